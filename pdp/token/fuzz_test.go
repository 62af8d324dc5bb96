package token

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzParse holds that a token which parses has exactly one spelling and parts
// that the standard library reads too, and that no error quotes the input.
func FuzzParse(f *testing.F) {
	s := newSigner(f, "ES256", "k1")
	good := mint(f, s, goodHeader, text(f, goodClaims(nil)))
	for _, seed := range []string{
		good, good + "\n", "..", "", strings.Repeat(".", 100),
		encode(`{"alg":"none"}`) + ".e30.", encode(`{"alg":"ES256","crit":["x"]}`) + ".e30.AA",
		encode(`{"alg":"RS256","jwk":{}}`) + "." + encode(`{"a":1,"a":2}`) + ".AA",
		encode(`{"alg":"HS256"}`) + "." + encode(`{"exp":1e400,"x":[[[{}]]]}`) + ".AA",
	} {
		f.Add(seed)
	}
	v, err := NewVerifier(Config{Issuer: testIssuer, Algorithms: []string{"ES256"}})
	if err != nil {
		f.Fatal(err)
	}
	audiences, err := NewAudiences("orders-api")
	if err != nil {
		f.Fatal(err)
	}
	keys := keySet(f, s)
	f.Fuzz(func(t *testing.T, raw string) {
		parsed, err := Parse(raw, 0)
		if err != nil {
			if len(err.Error()) > 150 {
				t.Errorf("the text %q", err)
			}
			return
		}
		jws, err := parseCompact(raw, 0)
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(jws.signed, ".")
		headerText, _ := decodeBase64(header)
		if again := encode(string(headerText)) + "." + encode(string(jws.payload)) + "." + encode(string(jws.signature)); again != raw {
			t.Errorf("%q is another spelling of %q", raw, again)
		}
		if !json.Valid(headerText) || !json.Valid(jws.payload) {
			t.Error("the standard library refuses a part")
		}
		_, _ = v.Verify(parsed, keys)
		// The claims' checks must stand whatever the payload, so run them unsigned.
		_, _ = v.Check(&Verified{header: parsed.header, claims: Claims{members: parsed.claims}}, audiences, testNow)
	})
}

// FuzzJWKS holds that a set which parses obeys its bounds and that every usable
// key has a thumbprint and survives a verification.
func FuzzJWKS(f *testing.F) {
	for _, alg := range []string{"RS256", "ES256", "ES512", "EdDSA"} {
		data, err := MarshalKeySet(newSigner(f, alg, "k"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","key_ops":["verify"],"kid":"a"},{"kid":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func([]byte) (*KeySet, error){ParseKeySet, parseSecretSet} {
			keys, err := parse(data)
			if err != nil {
				if len(err.Error()) > 200 {
					t.Errorf("the text %q", err)
				}
				continue
			}
			if !json.Valid(data) || keys.Len() == 0 || keys.Len()+len(keys.Unusable()) > maxSetKeys {
				t.Errorf("%d keys, %d unusable", keys.Len(), len(keys.Unusable()))
			}
			for _, k := range keys.keys {
				if k.thumbprint == [32]byte{} || !keys.Contains(k.thumbprint) {
					t.Error("no thumbprint")
				}
				for name := range algorithms {
					if k.verify(name, "a.b", []byte("forged")) {
						t.Errorf("%s verifies nonsense", name)
					}
				}
			}
		}
	})
}

// FuzzParsePath holds that a path which parses is written in one way only and
// finds exactly the member that it names.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"sub", "realm_access.roles", `https://example\.com/roles`, `a\\.b`, ".", `\`, strings.Repeat("a.", 40)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePath(text)
		if err != nil {
			return
		}
		var again []string
		var value any = text
		for i := len(p.names) - 1; i >= 0; i-- {
			value = map[string]any{p.names[i]: value}
		}
		for _, name := range p.names {
			again = append(again, strings.ReplaceAll(strings.ReplaceAll(name, `\`, `\\`), ".", `\.`))
		}
		if joined := strings.Join(again, "."); joined != text {
			t.Errorf("%q is another spelling of %q", text, joined)
		}
		if found, ok := (Claims{members: value.(map[string]any)}).Lookup(p); !ok || found != text {
			t.Errorf("%q finds %v", text, found)
		}
	})
}
