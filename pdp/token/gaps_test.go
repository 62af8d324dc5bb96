package token

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// Each row is an input that golang-jwt v5.3.1 accepts under some or all of its
// options (or whose refusal this package must keep), and what is said here.
func TestWhatTheLibraryLetsPass(t *testing.T) {
	i := newIssuer(t)
	type claims = map[string]any
	good := text(t, goodClaims(nil))
	open := strings.TrimSuffix(good, "}")
	signed := func(header, payload string) string { return mint(t, i.signer, header, payload) }
	with := func(c claims) string { return signed(goodHeader, text(t, goodClaims(c))) }
	valid := signed(goodHeader, good)
	signature := valid[strings.LastIndexByte(valid, '.')+1:]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	lastBit := valid[:len(valid)-1] + string(alphabet[strings.IndexByte(alphabet, valid[len(valid)-1])^1])
	now := testNow.Unix()
	for _, row := range []struct{ name, raw, reason string }{
		{"no exp", with(claims{"exp": nil}), reasonClaim},
		{"exp 0", with(claims{"exp": 0}), reasonExpired},
		{"exp as string", with(claims{"exp": "1893456000"}), reasonMalformed},
		{"expired exp and future Exp", with(claims{"exp": now - 1, "Exp": now + 60}), reasonExpired},
		{"duplicate exp", signed(goodHeader, `{"exp":1,`+good[1:]), reasonMalformed},
		{"duplicate alg", signed(`{"alg":"none",`+goodHeader[1:], good), reasonMalformed},
		{"crit", signed(`{"crit":["x"],`+goodHeader[1:], good), reasonCritical},
		{"b64 false", signed(`{"b64":false,`+goodHeader[1:], good), reasonCritical},
		{"typ logout+jwt", signed(strings.Replace(goodHeader, "at+jwt", "logout+jwt", 1), good), reasonType},
		{"future iat", with(claims{"iat": now + 3600}), reasonNotYetValid},
		{"claims null", signed(goodHeader, "null"), reasonMalformed},
		{"invalid UTF-8 in sub", signed(goodHeader, strings.Replace(good, "alice", "al\xffice", 1)), reasonMalformed},
		{"lone surrogate in sub", signed(goodHeader, strings.Replace(good, "alice", `al\ud800ice`, 1)), reasonMalformed},
		{"NUL in sub", signed(goodHeader, strings.Replace(good, "alice", `al\u0000ice`, 1)), reasonMalformed},
		{"aud number", with(claims{"aud": 1}), reasonMalformed},
		{"aud [1]", with(claims{"aud": []int{1}}), reasonMalformed},
		{"aud null", with(claims{"aud": rawJSON("null")}), reasonMalformed},
		{"exp 1e300", with(claims{"exp": rawJSON("1e300")}), reasonMalformed},
		{"exp 2^63-1", with(claims{"exp": rawJSON("9223372036854775807")}), reasonMalformed},
		{"exp 1e19", with(claims{"exp": rawJSON("1e19")}), reasonMalformed},
		{"nesting 900 deep", signed(goodHeader, open+`,"x":`+strings.Repeat("[", 900)+strings.Repeat("]", 900)+"}"), reasonMalformed},
		{"CR LF inside the signature", strings.TrimSuffix(valid, signature) + signature[:8] + "\r\n" + signature[8:], reasonMalformed},
		{"trailing LF", valid + "\n", reasonMalformed},
		{"last bit of the signature's text", lastBit, reasonMalformed},
		{"none", encode(`{"alg":"none","typ":"at+jwt"}`) + "." + encode(good) + ".", reasonAlgorithm},
		{"22 MB", signed(goodHeader, open+`,"x":"`+strings.Repeat("x", 16<<20)+`"}`), reasonTooLong},
		{"a million empty objects", signed(goodHeader, open+`,"x":[`+strings.Repeat("{},", 1_000_000)+`{}]}`), reasonTooLong},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := i.accept(row.raw)
			if wantReason(t, "", err, row.reason); err == nil {
				t.Error("accepted")
			}
		})
	}

	t.Run("empty HMAC key", func(t *testing.T) {
		if _, err := parseSecretSet([]byte(`{"keys":[{"kty":"oct","kid":"k1","alg":"HS256","k":""}]}`)); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("RSA 1024", func(t *testing.T) {
		n := base64.RawURLEncoding.EncodeToString([]byte("\xff" + strings.Repeat("\x01", 127)))
		if _, err := ParseKeySet([]byte(`{"keys":[{"kty":"RSA","n":"` + n + `","e":"AQAB"}]}`)); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("ES256 with a P-384 key", func(t *testing.T) {
		s := newSigner(t, "ES384", "k1")
		if _, err := ParseKeySet(set(t, members(s, claims{"alg": "ES256"}))); err == nil {
			t.Error("accepted at load")
		}
		several := *i
		several.keys, _ = ParseKeySet(set(t, members(s, claims{"alg": nil})))
		_, err := several.accept(valid)
		wantReason(t, valid, err, reasonAlgorithm)
	})
	t.Run("PSS with any salt", func(t *testing.T) {
		key, err := rsaKey()
		if err != nil {
			t.Fatal(err)
		}
		loose := *jwt.SigningMethodPS256
		loose.Options = &rsa.PSSOptions{SaltLength: 20}
		sig, err := loose.Sign("a.b", key)
		if err != nil {
			t.Fatal(err)
		}
		if jwt.SigningMethodPS256.Verify("a.b", sig, &key.PublicKey) != nil {
			t.Log("golang-jwt has become strict about the salt")
		}
		s, err := NewSigner(SignerConfig{Key: key, Algorithm: "PS256", KeyID: "k1", Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		if s.PublicKey().verify("PS256", "a.b", sig) {
			t.Error("accepted")
		}
	})
}
