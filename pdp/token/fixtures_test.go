package token

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
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
)

const testIssuer = "https://idp.example.com"

// testNow is the instant of all tests.
var testNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func privateKey(t testing.TB, alg string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsaKey()
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newSigner(t testing.TB, alg, kid string) *Signer {
	t.Helper()
	s, err := NewSigner(SignerConfig{Key: privateKey(t, alg), Algorithm: alg, KeyID: kid, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keySet(t testing.TB, signers ...*Signer) *KeySet {
	t.Helper()
	data, err := MarshalKeySet(signers...)
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseKeySet(data)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// issuer is a throw-away issuer with one ES256 key and a verifier of its tokens.
type issuer struct {
	signer    *Signer
	keys      *KeySet
	verifier  *Verifier
	audiences Audiences
}

func newIssuer(t testing.TB, change ...func(*Config)) *issuer {
	t.Helper()
	s := newSigner(t, "ES256", "k1")
	c := Config{Issuer: testIssuer, Algorithms: []string{"ES256"}}
	for _, f := range change {
		f(&c)
	}
	v, err := NewVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	audiences, err := NewAudiences("orders-api", "refunds-api")
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{signer: s, keys: keySet(t, s), verifier: v, audiences: audiences}
}

// accept runs the whole way of a token.
func (i *issuer) accept(raw string) (Claims, error) {
	parsed, err := Parse(raw, 0)
	if err != nil {
		return Claims{}, err
	}
	verified, err := i.verifier.Verify(parsed, i.keys)
	if err != nil {
		return Claims{}, err
	}
	return i.verifier.Check(verified, i.audiences, testNow)
}

// goodClaims are those of an acceptable at+jwt, with changes; a nil removes.
func goodClaims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": testIssuer, "sub": "alice", "aud": "orders-api", "client_id": "app", "jti": "j1",
		"iat": testNow.Unix() - 10, "exp": testNow.Unix() + 300,
	}
	maps.Copy(c, changes)
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

const goodHeader = `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`

func text(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// mint signs any two texts, so that only the part under test can be the reason
// of a refusal.
func mint(t testing.TB, s *Signer, header, payload string) string {
	t.Helper()
	signed := encode(header) + "." + encode(payload)
	signature, err := s.signature(signed)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(string(signature))
}

func (i *issuer) mint(t testing.TB, header string, claims map[string]any) string {
	t.Helper()
	return mint(t, i.signer, header, text(t, claims))
}

// mintHMAC signs with HS256.
func mintHMAC(secret []byte, header, payload string) string {
	signed := encode(header) + "." + encode(payload)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed))
	return signed + "." + encode(string(h.Sum(nil)))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// wantReason fails unless err is a refusal for this reason ("" means no
// refusal) whose text holds nothing of the token.
func wantReason(t *testing.T, raw string, err error, reason string) {
	t.Helper()
	if reason == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var refused *Error
	if !errors.As(err, &refused) {
		t.Errorf("error %v, want the reason %s", err, reason)
		return
	}
	if refused.Reason() != reason {
		t.Errorf("reason %v, want %s", refused, reason)
	}
	for part := range strings.SplitSeq(raw, ".") {
		if len(part) > 3 && strings.Contains(refused.Error(), part) {
			t.Errorf("the text %q holds a part of the token", refused)
		}
	}
}
