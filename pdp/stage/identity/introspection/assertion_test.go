package introspection

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

// verified returns the claims of an assertion that was sent, by the signer's public key.
func verified(t *testing.T, w *world, n int, secret, keyID, algorithm string) token.Claims {
	t.Helper()
	q := w.calls()[n]
	if q.form["client_assertion_type"][0] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || q.form["client_id"][0] != "durward" || q.authorization != "" {
		t.Errorf("%+v", q)
	}
	raw := q.form["client_assertion"][0]
	signer, err := newSigner(secret, keyID, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.MarshalKeySet(signer)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.ParseKeySet(set)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.Config{Issuer: "durward", Algorithms: []string{algorithm}, Types: []string{"JWT"}})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := token.Parse(raw, 0)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verifier.Verify(parsed, keys)
	if err != nil {
		t.Fatal(err)
	}
	audiences, err := token.NewAudiences("https://idp.example.com")
	if err != nil {
		t.Fatal(err)
	}
	claims, err := verifier.Check(v, audiences, w.clock())
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestPrivateKeyJWT: an assertion is signed with the secret's key, for the server alone, once, for a short time.
func TestPrivateKeyJWT(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, key := range map[string]any{"RS256": rsaKey(t, 2048), "ES256": ecKey(t), "ES512": p521, "EdDSA": edwards} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t)
			w.config.Authentication, w.config.Audience = PrivateKeyJWT, w.config.Issuer
			w.secrets["acme/idp"] = pemOf(t, key)
			e := w.open(t)
			w.wantActive(t, e, "tok-1")
			w.wantActive(t, e, "tok-2")
			first := verified(t, w, 0, w.secrets["acme/idp"], "", algorithm)
			second := verified(t, w, 1, w.secrets["acme/idp"], "", algorithm)
			if issued, ok := first.IssuedAt(); !ok || first.Subject() != "durward" || first.Expires().Sub(issued) != time.Minute || !issued.Equal(testNow) {
				t.Errorf("claims %v", first.Members())
			}
			if first.ID() == second.ID() || len(first.ID()) != 22 {
				t.Errorf("jti %q, then %q", first.ID(), second.ID())
			}
			if first.Members()["aud"] != "https://idp.example.com" {
				t.Errorf("aud %v", first.Members()["aud"])
			}
		})
	}
}

// TestKeyIsRead again when the secret is another one; one that is no key leaves the last good one.
func TestKeyIsRead(t *testing.T) {
	w := newWorld(t)
	w.config.Authentication, w.config.Audience, w.config.KeyID = PrivateKeyJWT, w.config.Issuer, "k1"
	before, after := pemOf(t, ecKey(t)), pemOf(t, ecKey(t))
	w.secrets["acme/idp"] = before
	e := w.open(t)
	w.wantActive(t, e, "tok-1")
	verified(t, w, 0, before, "k1", "ES256")
	w.secrets["acme/idp"] = after
	w.wantActive(t, e, "tok-2")
	verified(t, w, 1, after, "k1", "ES256")
	w.secrets["acme/idp"] = "half a ke"
	w.wantActive(t, e, "tok-3")
	verified(t, w, 2, after, "k1", "ES256")
	delete(w.secrets, "acme/idp")
	w.wantError(t, e, "tok-4", Unready)
}

// TestKeys: what can be a client's key, and what cannot. Nothing of it stands in an error.
func TestKeys(t *testing.T) {
	rsaOne, ec := rsaKey(t, 2048), ecKey(t)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	public, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		good       bool
	}{
		{"PKCS #1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaOne)), true},
		{"SEC 1", block("EC PRIVATE KEY", sec1), true},
		{"PKCS #8", pemOf(t, ec), true},
		{"a password", "s3cret-marker", false},
		{"a public key", block("PUBLIC KEY", public), false},
		{"two keys", pemOf(t, ec) + pemOf(t, rsaOne), false},
		{"junk inside", block("PRIVATE KEY", []byte("marker")), false},
		{"of another kind", block("RSA PRIVATE KEY", sec1), false},
		{"short RSA", pemOf(t, rsaKey(t, 1024)), false},
		{"a small curve", pemOf(t, p224), false},
	} {
		_, err := newSigner(row.text, "", rand.Reader)
		if (err == nil) != row.good {
			t.Errorf("%s: error %v", row.name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "marker") || strings.Contains(err.Error(), row.text)) {
			t.Errorf("%s: %v holds the secret", row.name, err)
		}
	}
}

func FuzzPrivateKey(f *testing.F) {
	f.Add("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	f.Add(pemOf(f, ecKey(f)))
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := newSigner(text, "", rand.Reader); (s == nil) == (err == nil) {
			t.Error("neither a signer nor an error, or both")
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, text := range []string{"1", "-1", "Thu, 01 Jan 2026 12:00:20 GMT", "99999999999999999999", "1e9"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d := retryAfter(text, testNow); d < 0 {
			t.Errorf("%q: %v", text, d)
		}
	})
}
