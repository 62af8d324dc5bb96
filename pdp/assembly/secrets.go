package assembly

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
)

// maxSecret bounds a secret's file, in bytes.
const maxSecret = 64 << 10

// secrets are what bundles may only name. It is safe for concurrent use.
type secrets struct {
	clock  func() time.Time
	logger *slog.Logger
	byName map[string]*secret
}

// secret follows its file, as certificates do: a change that cannot be read keeps the last good state.
type secret struct {
	settings.BundleSecret

	mu      sync.Mutex
	text    settings.Secret // "" until it was read once
	stamp   stamp
	checked time.Time
	warned  bool // that others can read the file
	failing bool
}

func newSecrets(configured []settings.BundleSecret, clock func() time.Time, logger *slog.Logger) *secrets {
	s := &secrets{clock: clock, logger: logger, byName: make(map[string]*secret, len(configured))}
	for _, one := range configured {
		s.byName[one.Name] = &secret{BundleSecret: one}
	}
	return s
}

// Secret implements introspection.Secrets. A secret that a bundle may not use is one that it does not know.
func (s *secrets) Secret(bundle, name string) (string, error) {
	found, ok := s.byName[name]
	if !ok || !slices.Contains(found.Bundles, bundle) {
		return "", fmt.Errorf("the server's settings have no secret %.100q for this bundle", name)
	}
	found.mu.Lock()
	defer found.mu.Unlock()
	now := s.clock()
	if found.text != "" && now.Sub(found.checked) < recheck && !now.Before(found.checked) {
		return found.text.Reveal(), nil
	}
	found.checked = now
	if err := s.refresh(found); err != nil {
		return "", err
	}
	return found.text.Reveal(), nil
}

// refresh reads the file where it is another one than before. It fails only where the secret was never read.
func (s *secrets) refresh(found *secret) error {
	text, at, open, err := readSecret(found.File, found.stamp)
	switch {
	case err != nil && found.text == "":
		return fmt.Errorf("the secret %q cannot be read: %w", found.Name, err)
	case err != nil:
		if !found.failing {
			s.logger.Error("secret not read again, the last good one stays", "secret", found.Name, "error", err.Error())
		}
		found.failing = true
		return nil
	}
	found.failing = false
	if open && !found.warned {
		s.logger.Warn("secret can be read by others than its owner; give its file the mode 0600", "secret", found.Name, "file", found.File)
	}
	found.warned = open
	if text == "" { // unchanged
		return nil
	}
	if found.text != "" {
		s.logger.Info("secret read again", "secret", found.Name)
	}
	found.text, found.stamp = settings.Secret(text), at
	return nil
}

var (
	errSecretEmpty = errors.New("the file is empty")
	errSecretLong  = fmt.Errorf("the file is longer than %d bytes", maxSecret)
	errSecretFile  = errors.New("not a regular file")
)

// readSecret returns what a file holds, "" where it is the one that was read before, and whether its group or others may read it.
func readSecret(path string, before stamp) (text string, at stamp, open bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", stamp{}, false, err
	}
	if !info.Mode().IsRegular() {
		return "", stamp{}, false, errSecretFile // to read a pipe would wait
	}
	at, open = stamp{info.ModTime(), info.Size()}, info.Mode().Perm()&0o044 != 0
	if at == before {
		return "", at, open, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", stamp{}, false, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	switch text = strings.TrimSpace(string(data)); {
	case err != nil:
		return "", stamp{}, false, err
	case len(data) > maxSecret:
		return "", stamp{}, false, errSecretLong
	case text == "":
		return "", stamp{}, false, errSecretEmpty
	}
	return text, at, open, nil
}
