package introspection

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

// assertionLife is how long a client assertion is good for: long enough for clocks that differ a little.
const assertionLife = time.Minute

// assertions signs client assertions (RFC 7523) with the key that the secret holds now.
type assertions struct {
	mu     sync.Mutex
	of     [sha256.Size]byte // the secret that the signer was made of
	signer *token.Signer
}

func (a *assertions) sign(secret string, c *Config, o Options) (string, error) {
	signer, err := a.current(secret, c, o)
	if err != nil {
		return "", err
	}
	var id [16]byte
	if _, err := io.ReadFull(o.Random, id[:]); err != nil {
		return "", errors.New("no randomness")
	}
	now := o.Clock()
	return signer.Sign("JWT", map[string]any{
		"iss": c.ClientID, "sub": c.ClientID, "aud": c.Audience, "jti": base64.RawURLEncoding.EncodeToString(id[:]),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
}

// current returns the signer of a secret. One that cannot be used leaves the last good one in its place.
func (a *assertions) current(secret string, c *Config, o Options) (*token.Signer, error) {
	of := sha256.Sum256([]byte(secret))
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.signer != nil && a.of == of {
		return a.signer, nil
	}
	signer, err := newSigner(secret, c.KeyID, o.Random)
	if err != nil {
		if a.signer != nil {
			return a.signer, nil
		}
		return nil, err
	}
	a.signer, a.of = signer, of
	return signer, nil
}

// newSigner makes a signer of a private key in PEM. Its errors hold nothing of it.
func newSigner(text, keyID string, random io.Reader) (*token.Signer, error) {
	key, err := privateKey(text)
	if err != nil {
		return nil, err
	}
	config := token.SignerConfig{Key: key, Algorithm: algorithmOf(key), KeyID: keyID, Random: random}
	if keyID != "" {
		return token.NewSigner(config)
	}
	config.KeyID = "thumbprint"
	unnamed, err := token.NewSigner(config)
	if err != nil {
		return nil, err
	}
	thumbprint := unnamed.PublicKey().Thumbprint()
	config.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	return token.NewSigner(config)
}

var errNoKey = errors.New("the secret is no private key in PEM (PKCS #8, PKCS #1 or SEC 1)")

func privateKey(text string) (crypto.Signer, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return nil, errNoKey
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, fmt.Errorf("%w: it holds more than one block", errNoKey)
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errNoKey
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errNoKey
	}
	return signer, nil
}

// algorithmOf returns the algorithm that servers most likely take of such a key; "" for a key that none takes.
func algorithmOf(key crypto.Signer) string {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Params().BitSize]
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return ""
}
