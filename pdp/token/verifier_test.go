package token

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestVerify(t *testing.T) {
	t.Run("T11", func(t *testing.T) {
		for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"} {
			t.Run(alg, func(t *testing.T) {
				i := newIssuer(t, func(c *Config) { c.Algorithms = []string{alg} })
				i.signer = newSigner(t, alg, "k1")
				i.keys = keySet(t, i.signer)
				good, err := i.signer.Sign("at+jwt", goodClaims(nil))
				if err != nil {
					t.Fatal(err)
				}
				_, err = i.accept(good)
				wantReason(t, good, err, "")
				dot := strings.LastIndexByte(good, '.')
				signature, _ := decodeBase64(good[dot+1:])
				for name, bad := range map[string][]byte{
					"first bit": flip(signature, 0), "last byte": flip(signature, len(signature)-1), "short": signature[1:],
					"cut": signature[:len(signature)-1], "long": append([]byte{0}, signature...),
					"zeros appended": append(append([]byte(nil), signature...), 0, 0), "all zeros": make([]byte, len(signature)), "one byte": {1},
				} {
					raw := good[:dot+1] + encode(string(bad))
					_, err := i.accept(raw)
					if wantReason(t, raw, err, reasonSignature); err == nil {
						t.Error(name)
					}
				}
				foreign := newIssuer(t)
				foreign.signer = newSigner(t, "ES256", "k1")
				raw := foreign.mint(t, `{"alg":"`+alg+`","kid":"k1","typ":"at+jwt"}`, goodClaims(nil))
				_, err = i.accept(raw)
				wantReason(t, raw, err, reasonSignature)
			})
		}
		t.Run("PSS salt length", func(t *testing.T) {
			i := newIssuer(t, func(c *Config) { c.Algorithms = []string{"PS256"} })
			i.signer = newSigner(t, "PS256", "k1")
			i.keys = keySet(t, i.signer)
			signed := encode(`{"alg":"PS256","kid":"k1","typ":"at+jwt"}`) + "." + encode(text(t, goodClaims(nil)))
			h := crypto.SHA256.New()
			h.Write([]byte(signed))
			for salt, reason := range map[int]string{32: "", 0: reasonSignature, 20: reasonSignature, 31: reasonSignature, 33: reasonSignature, 64: reasonSignature} {
				options := &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}
				if salt == 0 {
					options.SaltLength = 1
				}
				signature, err := i.signer.config.Key.Sign(rand.Reader, h.Sum(nil), options)
				if err != nil {
					t.Fatal(err)
				}
				raw := signed + "." + encode(string(signature))
				_, err = i.accept(raw)
				wantReason(t, raw, err, reason)
			}
		})
		t.Run("ASN.1 signature", func(t *testing.T) {
			i := newIssuer(t)
			signed := encode(goodHeader) + "." + encode(text(t, goodClaims(nil)))
			h := crypto.SHA256.New()
			h.Write([]byte(signed))
			signature, err := i.signer.config.Key.Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			_, err = i.accept(signed + "." + encode(string(signature)))
			wantReason(t, "", err, reasonSignature)
		})
		t.Run("changed payload", func(t *testing.T) {
			i := newIssuer(t)
			parts := strings.Split(i.mint(t, goodHeader, goodClaims(nil)), ".")
			_, err := i.accept(parts[0] + "." + encode(text(t, goodClaims(map[string]any{"sub": "root"}))) + "." + parts[2])
			wantReason(t, "", err, reasonSignature)
		})
		t.Run("HMAC with a public key", func(t *testing.T) { // RFC 8725 section 2.1
			s := newSigner(t, "RS256", "k1")
			public, err := MarshalKeySet(s)
			if err != nil {
				t.Fatal(err)
			}
			for _, algs := range [][]string{{"RS256"}, {"HS256"}} {
				v, err := NewVerifier(Config{Issuer: testIssuer, Algorithms: algs})
				if err != nil {
					t.Fatal(err)
				}
				raw := mintHMAC(public, `{"alg":"HS256","kid":"k1","typ":"at+jwt"}`, text(t, goodClaims(nil)))
				parsed, err := Parse(raw, 0)
				if err != nil {
					t.Fatal(err)
				}
				_, err = v.Verify(parsed, keySet(t, s))
				wantReason(t, raw, err, reasonAlgorithm)
			}
		})
		t.Run("HMAC with a secret", func(t *testing.T) {
			secret := strings.Repeat("s", 32)
			keys, err := parseSecretSet([]byte(`{"keys":[{"kty":"oct","kid":"k1","k":"` + encode(secret) + `"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			i := newIssuer(t, func(c *Config) { c.Algorithms = []string{"HS256", "HS512"} })
			i.keys = keys
			payload := text(t, goodClaims(nil))
			_, err = i.accept(mintHMAC([]byte(secret), `{"alg":"HS256","kid":"k1","typ":"at+jwt"}`, payload))
			wantReason(t, "", err, "")
			_, err = i.accept(mintHMAC([]byte(secret+"x"), `{"alg":"HS256","kid":"k1","typ":"at+jwt"}`, payload))
			wantReason(t, "", err, reasonSignature)
			_, err = i.accept(mintHMAC([]byte(secret), `{"alg":"HS512","kid":"k1","typ":"at+jwt"}`, payload))
			wantReason(t, "", err, reasonAlgorithm) // the secret is too short for it
		})
	})
}

func flip(b []byte, i int) []byte {
	c := append([]byte(nil), b...)
	c[i] ^= 0x80
	return c
}

// claimCases run every claim's check on well-signed tokens.
func TestClaimChecks(t *testing.T) {
	type claims = map[string]any
	now := testNow.Unix()
	long := strings.Repeat("x", 257)
	raw := func(s string) rawJSON { return rawJSON(s) }
	tests := map[string][]struct {
		name   string
		claims claims
		reason string
	}{
		"T12": {
			{"missing", claims{"iss": nil}, reasonIssuer},
			{"empty", claims{"iss": ""}, reasonIssuer},
			{"trailing slash", claims{"iss": testIssuer + "/"}, reasonIssuer},
			{"case", claims{"iss": "https://IDP.example.com"}, reasonIssuer},
			{"scheme", claims{"iss": "http://idp.example.com"}, reasonIssuer},
			{"space", claims{"iss": testIssuer + " "}, reasonIssuer},
			{"prefix", claims{"iss": testIssuer + ".evil.example"}, reasonIssuer},
			{"NUL", claims{"iss": testIssuer + "\x00"}, reasonIssuer},
			{"array", claims{"iss": []string{testIssuer}}, reasonMalformed},
			{"number", claims{"iss": 1}, reasonMalformed},
			{"null", claims{"iss": raw("null")}, reasonMalformed},
		},
		"T13": {
			{"the other", claims{"aud": "refunds-api"}, ""},
			{"array", claims{"aud": []string{"x", "orders-api"}}, ""},
			{"missing", claims{"aud": nil}, reasonClaim},
			{"another", claims{"aud": "billing"}, reasonAudience},
			{"others", claims{"aud": []string{"billing", "orders"}}, reasonAudience},
			{"empty", claims{"aud": ""}, reasonAudience},
			{"empty array", claims{"aud": []string{}}, reasonAudience},
			{"case", claims{"aud": "Orders-API"}, reasonAudience},
			{"list in a string", claims{"aud": "orders-api refunds-api"}, reasonAudience},
			{"number", claims{"aud": 1}, reasonMalformed},
			{"array of numbers", claims{"aud": []int{1}}, reasonMalformed},
			{"mixed array", claims{"aud": []any{"orders-api", 1}}, reasonMalformed},
			{"nested array", claims{"aud": []any{[]string{"orders-api"}}}, reasonMalformed},
			{"object", claims{"aud": claims{"orders-api": true}}, reasonMalformed},
			{"null", claims{"aud": raw("null")}, reasonMalformed},
		},
		"T15": {
			{"exp missing", claims{"exp": nil}, reasonClaim},
			{"exp now", claims{"exp": now}, reasonExpired},
			{"exp a second ahead", claims{"exp": now + 1}, ""},
			{"exp half a second ahead", claims{"exp": float64(now) + 0.5}, ""},
			{"exp half a second ago", claims{"exp": float64(now) - 0.5}, reasonExpired},
			{"exp 0", claims{"exp": 0}, reasonExpired},
			{"exp negative", claims{"exp": -1}, reasonMalformed},
			{"exp a string", claims{"exp": "1893456000"}, reasonMalformed},
			{"exp null", claims{"exp": raw("null")}, reasonMalformed},
			{"exp true", claims{"exp": true}, reasonMalformed},
			{"exp array", claims{"exp": []int64{now + 60}}, reasonMalformed},
			{"exp 1e300", claims{"exp": raw("1e300")}, reasonMalformed},
			{"exp 1e400", claims{"exp": raw("1e400")}, reasonMalformed},
			{"exp 2^63-1", claims{"exp": raw("9223372036854775807")}, reasonMalformed},
			{"exp 1e19", claims{"exp": raw("1e19")}, reasonMalformed},
			{"exp year 10000", claims{"exp": raw("253402300800")}, reasonMalformed},
			{"exp in milliseconds", claims{"exp": (now + 60) * 1000}, reasonMalformed},
			{"exp longest", claims{"exp": now + 86400}, ""},
			{"exp too far", claims{"exp": now + 86401}, reasonLifetime},
			{"exp year 9999", claims{"exp": raw("253402300799")}, reasonLifetime},
			{"nbf within leeway", claims{"nbf": now + 30}, ""},
			{"nbf ahead", claims{"nbf": now + 31}, reasonNotYetValid},
			{"nbf past", claims{"nbf": now - 100}, ""},
			{"nbf a string", claims{"nbf": "0"}, reasonMalformed},
			{"nbf huge", claims{"nbf": raw("1e300")}, reasonMalformed},
			{"nbf null", claims{"nbf": raw("null")}, reasonMalformed},
			{"iat missing", claims{"iat": nil}, reasonClaim},
			{"iat within leeway", claims{"iat": now + 30}, ""},
			{"iat ahead", claims{"iat": now + 31}, reasonNotYetValid},
			{"iat a string", claims{"iat": "0"}, reasonMalformed},
			{"iat negative", claims{"iat": -5}, reasonMalformed},
		},
		"T16": {
			{"sub missing", claims{"sub": nil}, reasonClaim},
			{"client_id missing", claims{"client_id": nil}, reasonClaim},
			{"jti missing", claims{"jti": nil}, reasonClaim},
			{"sub empty", claims{"sub": ""}, reasonMalformed},
			{"sub 256", claims{"sub": long[1:]}, ""},
			{"sub 257", claims{"sub": long}, reasonMalformed},
			{"sub number", claims{"sub": 7}, reasonMalformed},
			{"sub array", claims{"sub": []string{"alice"}}, reasonMalformed},
			{"sub null", claims{"sub": raw("null")}, reasonMalformed},
			{"sub NUL", claims{"sub": "alice\x00admin"}, reasonMalformed},
			{"sub CRLF", claims{"sub": "alice\r\nx-role: admin"}, reasonMalformed},
			{"sub C1", claims{"sub": "alice\u0085"}, reasonMalformed},
			{"sub in other letters", claims{"sub": "Ærø 漢"}, ""},
			{"client_id empty", claims{"client_id": ""}, reasonMalformed},
			{"client_id number", claims{"client_id": 1}, reasonMalformed},
			{"jti 257", claims{"jti": long}, reasonMalformed},
			{"jti object", claims{"jti": claims{}}, reasonMalformed},
		},
	}
	i := newIssuer(t)
	for id, cases := range tests {
		t.Run(id, func(t *testing.T) {
			for _, test := range cases {
				t.Run(test.name, func(t *testing.T) {
					token := i.mint(t, goodHeader, goodClaims(test.claims))
					_, err := i.accept(token)
					wantReason(t, token, err, test.reason)
				})
			}
		})
	}
}

// rawJSON is written as it stands.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// The types: what a list of one issuer admits, and what no list can.
func TestTypes(t *testing.T) {
	t.Run("T14", func(t *testing.T) {
		type claims = map[string]any
		access, legacy := []string(nil), []string{"at+jwt", "JWT"}
		for _, test := range []struct {
			name   string
			types  []string
			typ    string
			claims claims
			reason string
		}{
			{"at+jwt", access, `"at+jwt"`, nil, ""},
			{"application/at+jwt", access, `"application/at+jwt"`, nil, ""},
			{"case", access, `"Application/AT+JWT"`, nil, ""},
			{"configured with the long name", []string{"application/at+jwt"}, `"at+jwt"`, nil, ""},
			{"absent", access, "", nil, reasonType},
			{"JWT", access, `"JWT"`, nil, reasonType},
			{"suffix", access, `"at+jwt2"`, nil, reasonType},
			{"twice application", access, `"application/application/at+jwt"`, nil, reasonType},
			{"logout", access, `"logout+jwt"`, nil, reasonType},
			{"proof", access, `"dpop+jwt"`, nil, reasonType},
			{"security event", access, `"secevent+jwt"`, nil, reasonType},
			{"empty", access, `""`, nil, reasonMalformed},
			{"number", access, `1`, nil, reasonMalformed},
			{"null", access, `null`, nil, reasonMalformed},
			{"array", access, `["at+jwt"]`, nil, reasonMalformed},
			{"control character", access, `"at+jwt\u0000"`, nil, reasonMalformed},
			{"Kelvin sign", access, `"\u212a"`, nil, reasonMalformed},
			{"legacy JWT", legacy, `"JWT"`, nil, ""},
			{"legacy absent", legacy, "", nil, ""},
			{"legacy, at+jwt", legacy, `"at+jwt"`, nil, ""},
			{"legacy, without client_id, jti, iat", legacy, `"JWT"`, claims{"client_id": nil, "jti": nil, "iat": nil}, ""},
			{"legacy, without sub", legacy, `"JWT"`, claims{"sub": nil}, ""},
			{"legacy, empty sub", legacy, `"JWT"`, claims{"sub": ""}, reasonMalformed},
			{"legacy, at+jwt without jti", legacy, `"at+jwt"`, claims{"jti": nil}, reasonClaim},
			{"legacy ID token: nonce", legacy, `"JWT"`, claims{"nonce": "n"}, reasonType},
			{"legacy ID token: at_hash", legacy, "", claims{"at_hash": "h"}, reasonType},
			{"legacy ID token: c_hash", legacy, "", claims{"c_hash": "h"}, reasonType},
			{"legacy ID token: null nonce", legacy, "", claims{"nonce": rawJSON("null")}, reasonType},
			{"legacy logout token by its events", legacy, `"JWT"`, claims{"events": claims{}}, reasonType},
			{"legacy logout", legacy, `"logout+jwt"`, nil, reasonType},
			{"legacy proof", legacy, `"DPoP+JWT"`, nil, reasonType},
			{"legacy security event", legacy, `"application/secevent+jwt"`, nil, reasonType},
			{"legacy only, at+jwt", []string{"JWT"}, `"at+jwt"`, nil, reasonType},
		} {
			t.Run(test.name, func(t *testing.T) {
				i := newIssuer(t, func(c *Config) { c.Types = test.types })
				header := `{"alg":"ES256","kid":"k1","typ":` + test.typ + `}`
				if test.typ == "" {
					header = `{"alg":"ES256","kid":"k1"}`
				}
				raw := i.mint(t, header, goodClaims(test.claims))
				_, err := i.accept(raw)
				wantReason(t, raw, err, test.reason)
			})
		}
	})
}

func TestConfiguration(t *testing.T) {
	second := time.Second
	tooLong, negative, zero := 121*second, -second, time.Duration(0)
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"good":               {Config{Issuer: "i", Algorithms: []string{"RS256", "EdDSA"}, Leeway: &zero}, ""},
		"no issuer":          {Config{Algorithms: []string{"RS256"}}, "issuer"},
		"no algorithms":      {Config{Issuer: "i"}, "algorithms is empty"},
		"none":               {Config{Issuer: "i", Algorithms: []string{"none"}}, `"none" is not`},
		"case":               {Config{Issuer: "i", Algorithms: []string{"rs256"}}, `"rs256" is not`},
		"mixed":              {Config{Issuer: "i", Algorithms: []string{"RS256", "HS256"}}, "exclude"},
		"leeway too long":    {Config{Issuer: "i", Algorithms: []string{"RS256"}, Leeway: &tooLong}, "leeway"},
		"leeway negative":    {Config{Issuer: "i", Algorithms: []string{"RS256"}, Leeway: &negative}, "leeway"},
		"lifetime negative":  {Config{Issuer: "i", Algorithms: []string{"RS256"}, MaxLifetime: negative}, "lifetime"},
		"type of a proof":    {Config{Issuer: "i", Algorithms: []string{"RS256"}, Types: []string{"DPoP+jwt"}}, "not credentials"},
		"type of logout":     {Config{Issuer: "i", Algorithms: []string{"RS256"}, Types: []string{"application/logout+jwt"}}, "not credentials"},
		"type of an event":   {Config{Issuer: "i", Algorithms: []string{"RS256"}, Types: []string{"secevent+jwt"}}, "not credentials"},
		"empty type":         {Config{Issuer: "i", Algorithms: []string{"RS256"}, Types: []string{"application/"}}, "not a token type"},
		"unprintable a type": {Config{Issuer: "i", Algorithms: []string{"RS256"}, Types: []string{"a\n"}}, "not a token type"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewVerifier(test.config)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	for _, names := range [][]string{nil, {""}, {"a", ""}} {
		if _, err := NewAudiences(names...); err == nil {
			t.Errorf("audiences %q accepted", names)
		}
	}
	i := newIssuer(t)
	i.audiences = Audiences{}
	for _, aud := range []any{"", "orders-api", []string{}, []string{""}} {
		_, err := i.accept(i.mint(t, goodHeader, goodClaims(map[string]any{"aud": aud})))
		wantReason(t, "", err, reasonAudience)
	}
}

// A cached token is checked against the instant and the verifier of each use.
func TestCheckOnEveryUse(t *testing.T) {
	i := newIssuer(t)
	parsed, err := Parse(i.mint(t, goodHeader, goodClaims(nil)), 0)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := i.verifier.Verify(parsed, i.keys)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Issuer() != testIssuer || !cmp.Equal(parsed.Header(), verified.Header()) ||
		!cmp.Equal(verified.Header(), Header{Algorithm: "ES256", Type: "at+jwt", KeyID: "k1"}) {
		t.Errorf("header %+v", verified.Header())
	}
	if key, err := i.verifier.SelectKey(parsed, i.keys); err != nil || key.ID() != "k1" {
		t.Errorf("key %v, error %v", key, err)
	}
	if !i.keys.Contains(verified.KeyThumbprint()) || verified.KeyThumbprint() != i.signer.PublicKey().Thumbprint() {
		t.Error("the thumbprint is not that of the key")
	}
	if want := testNow.Add(300 * time.Second); !verified.Expires().Equal(want) {
		t.Errorf("expires %v, want %v", verified.Expires(), want)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = i.verifier.Check(verified, i.audiences, testNow) }); n != 0 {
		t.Errorf("a use allocates %v times", n)
	}
	for offset, reason := range map[time.Duration]string{
		0: "", 299 * time.Second: "", 300 * time.Second: reasonExpired, time.Hour: reasonExpired,
		-40 * time.Second: "", -41 * time.Second: reasonNotYetValid, -48 * time.Hour: reasonNotYetValid,
	} {
		_, err := i.verifier.Check(verified, i.audiences, testNow.Add(offset))
		wantReason(t, "", err, reason)
	}
	other := newIssuer(t, func(c *Config) { c.Issuer = "https://other.example.com" })
	for _, keys := range []*KeySet{i.keys, nil} { // the issuer is checked before any key is looked up
		_, err = other.verifier.Verify(parsed, keys)
		wantReason(t, "", err, reasonIssuer)
	}
	_, err = other.verifier.Check(verified, i.audiences, testNow)
	wantReason(t, "", err, reasonIssuer)
}

func TestReasonsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if seen[r] || !strings.HasPrefix(r, "token_") {
			t.Errorf("reason %q", r)
		}
		seen[r] = true
	}
	var e *Error
	if err := error(refuse(reasonExpired, "x")); !errors.As(err, &e) || !seen[e.Reason()] || e.Error() != "token_expired: x" {
		t.Errorf("error %v", err)
	}
}
