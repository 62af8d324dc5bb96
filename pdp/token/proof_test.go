package token

import (
	"encoding/base64"
	"testing"
)

// TestProofs: what a proof must look like, and that nothing but its own sound key verifies it.
func TestProofs(t *testing.T) {
	s := newSigner(t, "ES256", "k1")
	proof := func(header map[string]any) string {
		raw, err := s.SignProof(header, map[string]any{"jti": "1"})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "PS256", "PS512"} {
		own := newSigner(t, alg, "k1")
		raw, err := own.SignProof(nil, map[string]any{"jti": "1"})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseProof(raw, 0)
		if err != nil {
			t.Fatal(alg, err)
		}
		if parsed.Header().Type != "dpop+jwt" || parsed.Header().KeyID != "" || parsed.Key().Thumbprint() != own.PublicKey().Thumbprint() {
			t.Errorf("%s: %+v", alg, parsed.Header())
		}
		if claims, err := parsed.Verify([]string{alg}); err != nil || claims.ID() != "1" {
			t.Errorf("%s: %v, %v", alg, claims, err)
		}
		_, err = parsed.Verify([]string{"HS256"})
		wantReason(t, raw, err, reasonAlgorithm)
		// As a token it is none, whoever has the key.
		if _, err := (&issuer{own, keySet(t, own), nil, Audiences{}}).verifies(raw); err == nil {
			t.Errorf("%s: a proof is a token", alg)
		}
	}
	for _, row := range []struct {
		name   string
		header map[string]any
		reason string
	}{
		{"no key", map[string]any{"jwk": nil}, reasonMalformed},
		{"a kid", map[string]any{"kid": "k1"}, reasonMalformed},
		{"an x5u", map[string]any{"x5u": "https://evil.example"}, reasonMalformed},
		{"an empty key", map[string]any{"jwk": map[string]any{}}, reasonMalformed},
		{"a list of keys", map[string]any{"jwk": []any{}}, reasonMalformed},
		{"an unknown type of key", map[string]any{"jwk": map[string]any{"kty": "AKP"}}, reasonAlgorithm},
		{"a secret", map[string]any{"jwk": map[string]any{"kty": "oct", "k": encode("0123456789abcdef0123456789abcdef")}}, reasonMalformed},
		{"crit", map[string]any{"crit": []string{"x"}}, reasonCritical},
	} {
		_, err := ParseProof(proof(row.header), 0)
		if err == nil {
			t.Errorf("%s is taken", row.name)
			continue
		}
		wantReason(t, "", err, row.reason)
	}
	if _, err := ParseProof(mint(t, s, text(t, map[string]any{"alg": "ES256", "jwk": s.jwk}), "[]"), 0); err == nil {
		t.Error("a payload that is no object is taken")
	}
	if err := CheckProofAlgorithms([]string{"HS256"}); err == nil {
		t.Error("HMAC is taken for proofs")
	}
	if err := CheckProofAlgorithms(nil); err == nil {
		t.Error("no algorithm is taken for proofs")
	}
}

// verifies parses and verifies with a verifier of any algorithm.
func (i *issuer) verifies(raw string) (*Verified, error) {
	parsed, err := Parse(raw, 0)
	if err != nil {
		return nil, err
	}
	v, err := NewVerifier(Config{Issuer: testIssuer, Algorithms: []string{parsed.Header().Algorithm}})
	if err != nil {
		return nil, err
	}
	return v.Verify(parsed, i.keys)
}

// TestThumbprintExample: the key and thumbprint that RFC 7638, section 3.1, prints.
func TestThumbprintExample(t *testing.T) {
	key, err := parseKey(map[string]any{
		"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
		"n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
	})
	if err != nil {
		t.Fatal(err)
	}
	thumbprint := key.Thumbprint()
	if got := base64.RawURLEncoding.EncodeToString(thumbprint[:]); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("thumbprint %s", got)
	}
}

// FuzzParseProof holds that a proof which parses has one key, and that no error quotes the input.
func FuzzParseProof(f *testing.F) {
	s := newSigner(f, "ES256", "k1")
	good, err := s.SignProof(nil, map[string]any{"jti": "1"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, "..", encode(`{"alg":"ES256","jwk":{"kty":"EC"}}`) + ".e30.AA", encode(`{"alg":"RS256","jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}}`) + ".e30.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		parsed, err := ParseProof(raw, 0)
		if err != nil {
			if len(err.Error()) > 150 {
				t.Errorf("the text %q", err)
			}
			return
		}
		if parsed.Key() == nil || parsed.Key().Thumbprint() == [32]byte{} || parsed.Key().keyType == keyTypeSecret || parsed.Header().KeyID != "" {
			t.Errorf("%q has the key %+v", raw, parsed.Key())
		}
		if _, err := parsed.Verify([]string{"ES256"}); err == nil {
			parsed.signed += "A"
			if _, err := parsed.Verify([]string{"ES256"}); err == nil {
				t.Errorf("the signature of %q is for another text too", raw)
			}
		}
	})
}
