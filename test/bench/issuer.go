package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"maps"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

// What the contests' tokens say; the bundle says the same.
const (
	issuerName, audience, tokenType = "https://idp.example.com", "orders-api", "at+jwt"
)

// issuer signs one token with a key that nobody keeps.
type issuer struct {
	algorithm string
	public    crypto.PublicKey
	keys      []byte // JWK set
	bearer    string
	signer    *token.Signer
}

// newIssuer makes an issuer and its token, of usual size.
func newIssuer(algorithm string, now time.Time) (*issuer, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case "RS256":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key for %s: %w", algorithm, err)
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: algorithm, KeyID: "bench-2026-01", Random: rand.Reader})
	if err != nil {
		return nil, fmt.Errorf("making an issuer for %s: %w", algorithm, err)
	}
	i := &issuer{algorithm: algorithm, public: key.Public(), signer: signer}
	if i.keys, err = token.MarshalKeySet(signer); err != nil {
		return nil, fmt.Errorf("writing the keys of %s: %w", algorithm, err)
	}
	if i.bearer, err = i.sign(now, nil); err != nil {
		return nil, err
	}
	return i, nil
}

// sign signs a token of usual size with more claims.
func (i *issuer) sign(now time.Time, more map[string]any) (string, error) {
	claims := map[string]any{
		"iss": issuerName, "sub": "5b1f2c4e-90a3-4a53-8e0e-6a3d3b1c7f20", "aud": []string{audience}, "client_id": "web-shop",
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(12 * time.Hour).Unix(), "jti": "0d8e3a52-7b7c-4b4f-9c57-2f1f0a6f4b11",
		"tenant": "acme", "scope": "openid profile email orders:read", "name": "Alice Example", "email": "alice@example.com",
		"realm_access": map[string]any{"roles": []string{"reader", "offline_access", "uma_authorization"}},
	}
	maps.Copy(claims, more)
	bearer, err := i.signer.Sign(tokenType, claims)
	if err != nil {
		return "", fmt.Errorf("signing with %s: %w", i.algorithm, err)
	}
	return bearer, nil
}
