package token

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestForm(t *testing.T) {
	i := newIssuer(t)
	good := i.mint(t, goodHeader, goodClaims(nil))
	if _, err := i.accept(good); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	parts := strings.Split(good, ".")

	t.Run("T03", func(t *testing.T) {
		pad := func(n int) string { // a well-signed token of n bytes or a little more
			return i.mint(t, goodHeader, goodClaims(map[string]any{"fill": strings.Repeat("x", n*3/4)}))
		}
		long := pad(DefaultMaxLength + 1)
		_, err := i.accept(long)
		wantReason(t, "", err, reasonTooLong)
		_, err = Parse(long, ceilingMaxLength)
		wantReason(t, "", err, "")
		_, err = Parse(long, len(long))
		wantReason(t, "", err, "")
		_, err = Parse(long, len(long)-1)
		wantReason(t, "", err, reasonTooLong)
		_, err = Parse(pad(ceilingMaxLength+1), 1<<20)
		wantReason(t, "", err, reasonTooLong)
		for name, raw := range map[string]string{
			"empty":          "",
			"one part":       parts[0],
			"two parts":      parts[0] + "." + parts[1],
			"four parts":     good + ".",
			"JWE":            good + "." + parts[0] + "." + parts[1],
			"leading space":  " " + good,
			"trailing space": good + " ",
			"trailing LF":    good + "\n",
			"NUL":            good + "\x00",
			"plus":           parts[0] + "." + parts[1] + ".+" + parts[2][1:],
			"slash":          parts[0] + "." + parts[1] + "./" + parts[2][1:],
			"JSON form":      `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
			"non-ASCII":      parts[0] + "." + parts[1] + ".é",
		} {
			t.Run(name, func(t *testing.T) {
				_, err := i.accept(raw)
				wantReason(t, raw, err, reasonMalformed)
			})
		}
	})

	t.Run("T04", func(t *testing.T) {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := parts[2][len(parts[2])-1]
		flipped := string(alphabet[strings.IndexByte(alphabet, last)^1])
		for name, raw := range map[string]string{
			"padding":              good + "==",
			"trailing bit":         good[:len(good)-1] + flipped,
			"impossible length":    good + "AAA",
			"LF in the signature":  parts[0] + "." + parts[1] + "." + parts[2][:4] + "\n" + parts[2][4:],
			"CR in the payload":    parts[0] + "." + parts[1][:4] + "\r" + parts[1][4:] + "." + parts[2],
			"header not whole":     parts[0] + "A." + parts[1] + "." + parts[2],
			"empty header":         "." + parts[1] + "." + parts[2],
			"empty payload":        parts[0] + ".." + parts[2],
			"empty signature":      parts[0] + "." + parts[1] + ".",
			"payload trailing bit": parts[0] + "." + encode("{}")[:2] + "1." + parts[2],
		} {
			t.Run(name, func(t *testing.T) {
				_, err := i.accept(raw)
				wantReason(t, raw, err, reasonMalformed)
			})
		}
		if _, ok := decodeBase64("AA\nAA"); ok {
			t.Error("a line feed is skipped")
		}
	})

	t.Run("T05", func(t *testing.T) {
		claims := text(t, goodClaims(nil))
		open := strings.TrimSuffix(claims, "}")
		for name, payload := range map[string]string{
			"null": "null", "array": "[" + claims + "]", "string": `"x"`, "empty": "", "truncated": open,
			"duplicate exp":         `{"exp":1,` + claims[1:],
			"duplicate, escaped":    `{"\u0065xp":1,` + claims[1:],
			"duplicate in depth":    open + `,"a":{"b":{"c":1,"c":1}}}`,
			"invalid UTF-8":         open + ",\"x\":\"\xff\"}",
			"invalid UTF-8 name":    open + ",\"\xc3\x28\":1}",
			"overlong UTF-8":        open + ",\"x\":\"\xc0\xaf\"}",
			"lone surrogate":        open + `,"x":"\ud800"}`,
			"lone low surrogate":    open + `,"x":"\udc00x"}`,
			"control character":     open + ",\"x\":\"a\nb\"}",
			"trailing object":       claims + "{}",
			"trailing text":         claims + "x",
			"BOM":                   "\ufeff" + claims,
			"NaN":                   open + `,"x":NaN}`,
			"leading zero":          open + `,"x":01}`,
			"comment":               open + `/**/}`,
			"trailing comma":        open + `,}`,
			"deep arrays":           open + `,"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + "}",
			"deep objects":          open + `,"x":` + strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32) + "}",
			"unclosed depth":        open + `,"x":` + strings.Repeat("[", 3000),
			"UTF-16":                "\xff\xfe{\x00}\x00",
			"single quotes":         `{'iss':1}`,
			"unpaired in a name":    open + `,"\ud83d":1}`,
			"capital literal":       open + `,"x":True}`,
			"two colons":            open + `,"x"::1}`,
			"duplicate empty names": open + `,"":1,"":2}`,
		} {
			t.Run(name, func(t *testing.T) {
				raw := mint(t, i.signer, goodHeader, payload)
				_, err := i.accept(raw)
				wantReason(t, raw, err, reasonMalformed)
				if name == "null" || name == "array" || name == "string" {
					return // legal inside a header
				}
				_, err = i.accept(mint(t, i.signer, `{"alg":"ES256","kid":"k1","typ":"at+jwt","x":`+payload+"}", claims))
				wantReason(t, raw, err, reasonMalformed)
			})
		}
		t.Run("depth 32 is legal", func(t *testing.T) {
			_, err := i.accept(mint(t, i.signer, goodHeader, open+`,"x":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)+"}"))
			wantReason(t, "", err, "")
		})
		t.Run("names are case-sensitive", func(t *testing.T) {
			_, err := i.accept(i.mint(t, goodHeader, goodClaims(map[string]any{"exp": testNow.Unix() - 1, "Exp": testNow.Unix() + 60})))
			wantReason(t, "", err, reasonExpired)
			_, err = i.accept(i.mint(t, `{"ALG":"ES256","Kid":"k1","alg":"ES256","typ":"at+jwt"}`, goodClaims(nil)))
			wantReason(t, "", err, "")
			_, err = i.accept(i.mint(t, `{"Alg":"ES256","kid":"k1","typ":"at+jwt"}`, goodClaims(nil)))
			wantReason(t, "", err, reasonMalformed)
		})
		t.Run("duplicate header member", func(t *testing.T) {
			_, err := i.accept(i.mint(t, `{"alg":"none","alg":"ES256","kid":"k1","typ":"at+jwt"}`, goodClaims(nil)))
			wantReason(t, "", err, reasonMalformed)
		})
	})

	t.Run("T06", func(t *testing.T) {
		for _, alg := range []string{"none", "None", "NONE", "noNE", "", " none", "es256", "ES256 ", "ES256K", "RSA-OAEP", "dir", "HS1"} {
			raw := i.mint(t, `{"alg":"`+alg+`","kid":"k1","typ":"at+jwt"}`, goodClaims(nil))
			_, err := i.accept(raw)
			wantReason(t, raw, err, reasonAlgorithm)
			unsigned := raw[:strings.LastIndexByte(raw, '.')+1]
			_, err = i.accept(unsigned)
			wantReason(t, unsigned, err, reasonAlgorithm)
		}
		for _, alg := range []string{"RS256", "ES384", "EdDSA", "HS256", "PS512"} { // supported, but not this issuer's
			_, err := i.accept(i.mint(t, `{"alg":"`+alg+`","kid":"k1","typ":"at+jwt"}`, goodClaims(nil)))
			wantReason(t, "", err, reasonAlgorithm)
		}
		t.Run("a good signature under an algorithm or key that is not the issuer's", func(t *testing.T) {
			rs := newSigner(t, "RS256", "k1")
			ps, err := NewSigner(SignerConfig{Key: rs.config.Key, Algorithm: "PS256", KeyID: "k1", Random: rs.config.Random})
			if err != nil {
				t.Fatal(err)
			}
			for _, test := range []struct {
				allowed        []string
				signer, holder *Signer
				reason         string
			}{
				{[]string{"RS256", "PS256"}, rs, rs, ""},
				{[]string{"RS256", "PS256"}, ps, rs, reasonAlgorithm}, // the key is pinned to RS256
				{[]string{"PS256"}, rs, rs, reasonAlgorithm},
				{[]string{"ES256"}, rs, rs, reasonAlgorithm},
			} {
				other := newIssuer(t, func(c *Config) { c.Algorithms = test.allowed })
				other.keys = keySet(t, test.holder)
				raw, err := test.signer.Sign("at+jwt", goodClaims(nil))
				if err != nil {
					t.Fatal(err)
				}
				_, err = other.accept(raw)
				wantReason(t, raw, err, test.reason)
			}
		})
		for _, alg := range []string{`1`, `null`, `["ES256"]`, `{}`, `true`} {
			_, err := i.accept(i.mint(t, `{"alg":`+alg+`,"kid":"k1","typ":"at+jwt"}`, goodClaims(nil)))
			wantReason(t, "", err, reasonMalformed)
		}
		_, err := i.accept(i.mint(t, `{"kid":"k1","typ":"at+jwt"}`, goodClaims(nil)))
		wantReason(t, "", err, reasonMalformed)
	})

	t.Run("T07", func(t *testing.T) {
		for _, member := range []string{
			`"crit":["exp"]`, `"crit":[]`, `"crit":null`, `"crit":["b64"],"b64":false`, `"b64":false`, `"b64":true`, `"zip":"DEF"`,
		} {
			_, err := i.accept(i.mint(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt",`+member+`}`, goodClaims(nil)))
			wantReason(t, "", err, reasonCritical)
		}
	})

	t.Run("T08", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		dialled := make(chan struct{}, 1)
		go func() {
			if c, err := listener.Accept(); err == nil {
				c.Close()
				dialled <- struct{}{}
			}
		}()
		url := "http://" + listener.Addr().String()
		attacker := newSigner(t, "ES256", "k1")
		jwk := text(t, map[string]string{"kty": "EC", "crv": "P-256", "x": attacker.jwk.X, "y": attacker.jwk.Y, "kid": "k1"})
		header := `{"alg":"ES256","kid":"k1","typ":"at+jwt","jku":"` + url + `","x5u":"` + url + `","jwk":` + jwk + `,"x5c":["AA=="]}`
		raw := mint(t, attacker, header, text(t, goodClaims(nil)))
		_, err = i.accept(raw)
		wantReason(t, raw, err, reasonSignature)
		raw = i.mint(t, header, goodClaims(nil))
		_, err = i.accept(raw)
		wantReason(t, raw, err, "")
		parsed, err := Parse(raw, 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"jku", "x5u", "jwk", "x5c"}, parsed.Header().IgnoredKeys); diff != "" {
			t.Error(diff)
		}
		select {
		case <-dialled:
			t.Error("a key reference was followed")
		default:
		}
	})

	t.Run("T09", func(t *testing.T) {
		for _, kid := range []string{`""`, `1`, `null`, `["k1"]`, `"` + strings.Repeat("k", 129) + `"`, `"a\u0000"`, `"a\nb"`, `"é"`, `"\u007f"`} {
			_, err := i.accept(i.mint(t, `{"alg":"ES256","typ":"at+jwt","kid":`+kid+`}`, goodClaims(nil)))
			wantReason(t, "", err, reasonMalformed)
		}
		for _, kid := range []string{"k2", "K1", "k1 ", "../../k1", "' OR 1=1--", strings.Repeat("k", 128)} {
			_, err := i.accept(i.mint(t, `{"alg":"ES256","typ":"at+jwt","kid":"`+kid+`"}`, goodClaims(nil)))
			wantReason(t, "", err, reasonKeyUnknown)
		}
		noKID := i.mint(t, `{"alg":"ES256","typ":"at+jwt"}`, goodClaims(nil))
		_, err := i.accept(noKID)
		wantReason(t, noKID, err, "")
		several := *i
		several.keys = keySet(t, i.signer, newSigner(t, "ES256", "k2"))
		_, err = several.accept(noKID)
		wantReason(t, noKID, err, reasonKeyUnknown)
		several.keys = keySet(t, i.signer, newSigner(t, "ES384", "k2")) // one key fits
		_, err = several.accept(noKID)
		wantReason(t, noKID, err, "")
		several.keys = keySet(t, newSigner(t, "ES384", "k2"))
		_, err = several.accept(noKID)
		wantReason(t, noKID, err, reasonKeyUnknown)
		several.keys = nil
		_, err = several.accept(noKID)
		wantReason(t, noKID, err, reasonKeyUnknown)
		several.keys = keySet(t, newSigner(t, "ES384", "k1")) // the kid is there, for another algorithm
		_, err = several.accept(good)
		wantReason(t, good, err, reasonAlgorithm)
	})
}

// Refusing hostile input allocates the error and, before the parts are known to
// be three, nothing else.
func TestRefusingAllocatesLittle(t *testing.T) {
	for name, test := range map[string]struct {
		raw    string
		allocs float64
	}{
		"a million dots":       {strings.Repeat(".", 1_000_000), 1},
		"dots up to the limit": {strings.Repeat(".", DefaultMaxLength), 1},
		"no dots":              {strings.Repeat("A", DefaultMaxLength), 1},
		"foreign letters":      {strings.Repeat("!", 4000) + "." + strings.Repeat("!", 2000) + ".AA", 1},
		"22 MB":                {strings.Repeat("eyJh", 22<<18), 1},
		"a header of zeros":    {strings.Repeat("A", 8000) + ".AA.AA", 12},
		"deep nesting":         {encode(strings.Repeat("[", 5000)) + ".AA.AA", 90},
	} {
		t.Run(name, func(t *testing.T) {
			got := testing.AllocsPerRun(10, func() {
				if _, err := Parse(test.raw, 0); err == nil {
					t.Error("accepted")
				}
			})
			if got > test.allocs {
				t.Errorf("%v allocations, want at most %v", got, test.allocs)
			}
		})
	}
}
