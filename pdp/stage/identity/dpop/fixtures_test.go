package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/token"
)

// testNow is the instant of all tests.
var testNow = time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC)

const (
	testToken  = "token-marker"
	testHost   = "orders.example.com"
	testTarget = "/orders/7?page=2"
	testURL    = "https://orders.example.com/orders/7"
)

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// client holds a key.
type client struct {
	key        crypto.Signer
	signer     *token.Signer
	thumbprint string
}

func newClient(t testing.TB, algorithm string) *client {
	t.Helper()
	c := &client{}
	var err error
	switch algorithm {
	case "ES256":
		c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		c.key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, c.key, err = ed25519.GenerateKey(rand.Reader)
	default:
		c.key, err = rsaKey()
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.signer, err = token.NewSigner(token.SignerConfig{Key: c.key, Algorithm: algorithm, KeyID: "unused", Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	thumbprint := c.signer.PublicKey().Thumbprint()
	c.thumbprint = base64.RawURLEncoding.EncodeToString(thumbprint[:])
	return c
}

type object = map[string]any

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// attempt is the use of a token with a proof, sound until a test changes it.
type attempt struct {
	client         *client
	header, claims object // nil values take members away
	// payload is the payload's text, "" for the claims; lines are the DPoP fields, nil for the proof.
	payload string
	lines   []string
	// after changes the finished proof.
	after func(proof string) string
	use   Use
}

func sound(c *client) *attempt {
	return &attempt{
		client: c, header: object{},
		claims: object{"jti": "jti-marker", "htm": "GET", "htu": testURL, "iat": testNow.Unix() - 3, "ath": hashOf(testToken)},
		use: Use{Token: testToken, Thumbprint: c.thumbprint, Now: testNow, Request: &request.Request{
			Method: "GET", Scheme: "https", Host: testHost, Target: testTarget, Protocol: "HTTP/2",
		}},
	}
}

// proof signs what the attempt says.
func (a *attempt) proof(t testing.TB) string {
	t.Helper()
	claims := object{}
	for name, value := range a.claims {
		if value != nil {
			claims[name] = value
		}
	}
	proof, err := a.client.signer.SignProof(a.header, claims)
	if err != nil {
		t.Fatal(err)
	}
	if a.payload != "" {
		head, _, _ := cut3(proof)
		proof = a.client.signES256(t, head+"."+encode(a.payload))
	}
	if a.after != nil {
		proof = a.after(proof)
	}
	return proof
}

// try verifies it.
func (a *attempt) try(t testing.TB, v *Verifier) (Verified, error) {
	t.Helper()
	lines := a.lines
	if lines == nil {
		lines = []string{a.proof(t)}
	}
	for _, line := range lines {
		a.use.Request.Header = append(a.use.Request.Header, request.Field{Name: "dpop", Value: line})
	}
	return v.Verify(&a.use)
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func textOf(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// signES256 signs any text with the client's key, which must be one for ES256.
func (c *client) signES256(t testing.TB, text string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, c.key.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	fixed := make([]byte, 64)
	r.FillBytes(fixed[:32])
	s.FillBytes(fixed[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(fixed)
}

// signHMAC signs any text with a secret.
func signHMAC(text string, secret []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func newVerifier(t testing.TB, o Options) *Verifier {
	t.Helper()
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newNonces(t testing.TB, first byte) *Nonces {
	t.Helper()
	n, err := NewNonces(append([]byte{first}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return n.For("acme/orders")
}
