package assembly

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/stage/identity/dpop"
)

// newNonces reads the keys of nonces; nil where the settings name no file. The error holds none of them.
func newNonces(configured *settings.Identity) (*dpop.Nonces, error) {
	if configured.NonceKeyFile == "" {
		return nil, nil
	}
	data, err := os.ReadFile(configured.NonceKeyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: reading identity.nonce_key_file: %w", settings.ErrInvalid, err)
	}
	var keys [][]byte
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			keys = append(keys, []byte(line))
		}
	}
	nonces, err := dpop.NewNonces(keys...)
	if err != nil {
		return nil, fmt.Errorf("%w: identity.nonce_key_file: %s: %w", settings.ErrInvalid, configured.NonceKeyFile, err)
	}
	return nonces, nil
}

// throwAwayNonces are those of tools, where no client has one from elsewhere.
func throwAwayNonces(random io.Reader) (*dpop.Nonces, error) {
	var key [32]byte
	if _, err := io.ReadFull(random, key[:]); err != nil {
		return nil, fmt.Errorf("make a key of nonces: %w", err)
	}
	return dpop.NewNonces(key[:])
}
