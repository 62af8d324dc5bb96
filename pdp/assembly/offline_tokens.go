package assembly

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"io"

	"github.com/durward-pdp/durward/pdp/token"
)

// offlineIssuer signs the tokens for APIs of decisions without a server. Nobody knows its key.
type offlineIssuer struct{ *token.Signer }

// Issuer implements upstream.Minter.
func (offlineIssuer) Issuer() string { return "https://durward.example" }

func newOfflineIssuer(random io.Reader) (offlineIssuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return offlineIssuer{}, fmt.Errorf("make a key for upstream tokens: %w", err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: "offline", Random: random})
	return offlineIssuer{signer}, err
}
