package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

const keyID = "edge-test"

// issuer signs what it is told, right or wrong.
type issuer struct {
	key  *ecdsa.PrivateKey
	keys []byte // the public JWK set
}

func newIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: "ES256", KeyID: keyID, Random: rand.Reader})
	if err != nil {
		return nil, err
	}
	keys, err := token.MarshalKeySet(signer)
	return &issuer{key, keys}, err
}

// parts are the two JSON objects of a token.
type parts struct {
	header, claims map[string]any
}

// soundParts are those of a good token.
func soundParts(subject string, roles ...string) parts {
	now := time.Now()
	if roles == nil {
		roles = []string{} // a claim of null is refused
	}
	return parts{
		map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": keyID},
		map[string]any{
			"iss": "https://idp.example.com", "sub": subject, "aud": []string{"edge-api", "orders-api"}, "client_id": "edge-test",
			"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "jti-" + subject,
			"realm_access": map[string]any{"roles": roles},
		},
	}
}

func encode(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func (p parts) unsigned(t testing.TB) string {
	t.Helper()
	return encode(t, p.header) + "." + encode(t, p.claims)
}

// sign signs with ES256 whatever the header says.
func (i *issuer) sign(t testing.TB, p parts) string {
	t.Helper()
	text := p.unsigned(t)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature[:])
}

// token returns a good token.
func (i *issuer) token(t testing.TB, subject string, roles ...string) string {
	t.Helper()
	return i.sign(t, soundParts(subject, roles...))
}

func hs256(t testing.TB, p parts, secret []byte) string {
	t.Helper()
	text := p.unsigned(t)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// publicForms are the encodings of a public key that a confused verifier might take for a secret.
func publicForms(t testing.TB, key crypto.PublicKey, set []byte) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "point": point, "JWK set": set,
	}
}
