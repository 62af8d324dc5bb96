package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func acceptedClaims(t *testing.T, changes map[string]any) Claims {
	t.Helper()
	i := newIssuer(t)
	c, err := i.accept(i.mint(t, goodHeader, goodClaims(changes)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaims(t *testing.T) {
	c := acceptedClaims(t, map[string]any{
		"realm_access": map[string]any{"roles": []string{"reader", "writer"}, "n": 1.5, "a.b": "dotted", `a\b`: "slashed"},
		"scope":        "a b", "mixed": []any{"a", 1}, "none": rawJSON("null"), "empty": []string{},
		"big": rawJSON("9007199254740993"), "edge": rawJSON("9007199254740992"), "huge": rawJSON("1e400"), "auth_time": 1767268800,
	})
	refused := func(err error) string {
		var e *Error
		if errors.As(err, &e) {
			return e.Reason()
		}
		return ""
	}
	for path, want := range map[string]any{
		"scope": "a b", "realm_access.n": 1.5, `realm_access.a\.b`: "dotted", `realm_access.a\\b`: "slashed", "none": nil,
		"big": json.Number("9007199254740993"), "edge": float64(1 << 53), "huge": json.Number("1e400"),
	} {
		p, err := ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := c.Lookup(p); !ok || !cmp.Equal(got, want) {
			t.Errorf("%s: %#v, want %#v", path, got, want)
		}
	}
	for path, want := range map[string]struct{ text, list, number, time string }{
		"scope":               {"", "", reasonMalformed, reasonMalformed},
		"realm_access":        {reasonMalformed, reasonMalformed, reasonMalformed, reasonMalformed},
		"realm_access.roles":  {reasonMalformed, "", reasonMalformed, reasonMalformed},
		"realm_access.absent": {reasonClaim, reasonClaim, reasonClaim, reasonClaim},
		"scope.a":             {reasonClaim, reasonClaim, reasonClaim, reasonClaim},
		"mixed":               {reasonMalformed, reasonMalformed, reasonMalformed, reasonMalformed},
		"none":                {reasonMalformed, reasonMalformed, reasonMalformed, reasonMalformed},
		"empty":               {reasonMalformed, "", reasonMalformed, reasonMalformed},
		"big":                 {reasonMalformed, reasonMalformed, reasonMalformed, reasonMalformed},
		"auth_time":           {reasonMalformed, reasonMalformed, "", ""},
		"edge":                {reasonMalformed, reasonMalformed, "", reasonMalformed},
	} {
		p, err := ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := c.String(p)
		_, err2 := c.Strings(p)
		_, err3 := c.Number(p)
		_, err4 := c.Time(p)
		got := struct{ text, list, number, time string }{refused(err1), refused(err2), refused(err3), refused(err4)}
		if got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	roles, _ := ParsePath("realm_access.roles")
	first, _ := c.Strings(roles)
	first[0] = "admin" // the caller's own
	second, _ := c.Strings(roles)
	if diff := cmp.Diff([]string{"reader", "writer"}, second); diff != "" {
		t.Error(diff)
	}
	if _, ok := c.Lookup(Path{}); ok {
		t.Error("the zero path finds something")
	}
	issued, ok := c.IssuedAt()
	if c.Issuer() != testIssuer || c.Subject() != "alice" || c.ID() != "j1" || !ok || !issued.Equal(testNow.Add(-10*time.Second)) ||
		!c.Expires().Equal(testNow.Add(300*time.Second)) || len(c.Members()) != 16 {
		t.Errorf("claims %+v", c)
	}
}

func TestParsePath(t *testing.T) {
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", `a\`, `a\b`, strings.Repeat("a", 257), strings.Repeat("a.", 32) + "a"} {
		if p, err := ParsePath(bad); err == nil {
			t.Errorf("%q accepted as %v", bad, p)
		}
	}
	p, err := ParsePath(`https://example\.com/roles.x`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"https://example.com/roles", "x"}, p.names); diff != "" {
		t.Error(diff)
	}
}

func TestNewSigner(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := privateKey(t, "ES256")
	for name, test := range map[string]struct {
		config SignerConfig
		want   string
	}{
		"no key":      {SignerConfig{Algorithm: "ES256", KeyID: "k", Random: rand.Reader}, "needs a key"},
		"no kid":      {SignerConfig{Key: ec, Algorithm: "ES256", Random: rand.Reader}, "needs a key"},
		"no random":   {SignerConfig{Key: ec, Algorithm: "ES256", KeyID: "k"}, "needs a key"},
		"other curve": {SignerConfig{Key: ec, Algorithm: "ES384", KeyID: "k", Random: rand.Reader}, "alg does not fit"},
		"HMAC":        {SignerConfig{Key: ec, Algorithm: "HS256", KeyID: "k", Random: rand.Reader}, "alg does not fit"},
		"none":        {SignerConfig{Key: ec, Algorithm: "none", KeyID: "k", Random: rand.Reader}, "alg is not a supported"},
		"no alg":      {SignerConfig{Key: ec, KeyID: "k", Random: rand.Reader}, "alg is not a string, or is empty"},
		"P-224":       {SignerConfig{Key: p224, Algorithm: "ES256", KeyID: "k", Random: rand.Reader}, "crv is not supported"},
		"alien key":   {SignerConfig{Key: alienKey{}, Algorithm: "ES256", KeyID: "k", Random: rand.Reader}, "kty"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewSigner(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// alienKey is a signer whose signatures are nonsense.
type alienKey struct{ public crypto.PublicKey }

func (k alienKey) Public() crypto.PublicKey { return k.public }

func (alienKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return []byte{0x30, 6, 2, 1, 0xff, 2, 1, 1}, nil // r is -1
}

func TestSignErrors(t *testing.T) {
	s, err := NewSigner(SignerConfig{Key: alienKey{privateKey(t, "ES256").Public()}, Algorithm: "ES256", KeyID: "k", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign("at+jwt", nil); err == nil || !strings.Contains(err.Error(), "range") {
		t.Errorf("error %v", err)
	}
	if _, err := s.Sign("at+jwt", map[string]any{"x": make(chan int)}); err == nil {
		t.Error("a channel is signed")
	}
}
