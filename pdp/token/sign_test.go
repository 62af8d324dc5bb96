package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// TestSignWith: any header can be signed but one that names another algorithm than the signature's.
func TestSignWith(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(SignerConfig{Key: key, Algorithm: "ES256", KeyID: "k", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		given map[string]any
		want  string
	}{
		{nil, `{"alg":"ES256","kid":"k"}`},
		{map[string]any{"typ": "at+jwt"}, `{"alg":"ES256","kid":"k","typ":"at+jwt"}`},
		{map[string]any{"kid": "other", "crit": []string{"b64"}}, `{"alg":"ES256","crit":["b64"],"kid":"other"}`},
		{map[string]any{"alg": "none"}, `{"alg":"ES256","kid":"k"}`},
	} {
		raw, err := s.SignWith(tc.given, map[string]any{"sub": "alice"})
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(raw, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil || string(header) != tc.want || !json.Valid(header) {
			t.Errorf("header %s, want %s (%v)", header, tc.want, err)
		}
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil || !s.PublicKey().verify("ES256", parts[0]+"."+parts[1], signature) {
			t.Errorf("%v: the signature does not hold (%v)", tc.given, err)
		}
	}
	if _, err := s.SignWith(map[string]any{"x": func() {}}, nil); err == nil {
		t.Error("a header that is no JSON was signed")
	}
	if _, err := s.SignWith(nil, map[string]any{"x": func() {}}); err == nil {
		t.Error("claims that are no JSON were signed")
	}
}
