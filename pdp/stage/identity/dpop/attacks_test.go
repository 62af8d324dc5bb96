package dpop

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

func cut3(proof string) (header, payload, signature string) {
	header, rest, _ := strings.Cut(proof, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	return header, payload, signature
}

// attack breaks a sound attempt in one way.
type attack struct {
	name   string
	spoil  func(t *testing.T, a *attempt)
	reason verdict.Reason
	detail string // a part of the text for operators
}

// attacks are by the number of the check of RFC 9449, section 4.3, that each breaks.
func attacks(t testing.TB) map[string][]attack {
	stranger, ed := newClient(t, "ES256"), newClient(t, "Ed25519")
	p384 := newClient(t, "ES384")
	claim := func(name string, value any) func(*testing.T, *attempt) {
		return func(_ *testing.T, a *attempt) { a.claims[name] = value }
	}
	header := func(name string, value any) func(*testing.T, *attempt) {
		return func(_ *testing.T, a *attempt) { a.header[name] = value }
	}
	jwk := func(change func(object)) func(*testing.T, *attempt) {
		return func(t *testing.T, a *attempt) {
			key := ownKey(t, a.client)
			change(key)
			a.header["jwk"] = key
		}
	}
	after := func(change func(string) string) func(*testing.T, *attempt) {
		return func(_ *testing.T, a *attempt) { a.after = change }
	}
	return map[string][]attack{
		"01 one field": {
			{"none", func(_ *testing.T, a *attempt) { a.lines = []string{} }, verdict.ProofMissing, "no DPoP field"},
			{"two", func(t *testing.T, a *attempt) { a.lines = []string{a.proof(t), a.proof(t)} }, verdict.ProofInvalid, "more than one"},
			{"the same twice", func(t *testing.T, a *attempt) { p := a.proof(t); a.lines = []string{p, p} }, verdict.ProofInvalid, "more than one"},
			{"two joined by a gateway", func(t *testing.T, a *attempt) { a.lines = []string{a.proof(t) + ", " + a.proof(t)} }, verdict.ProofInvalid, "base64url"},
			{"an empty one", func(_ *testing.T, a *attempt) { a.lines = []string{""} }, verdict.ProofInvalid, "three parts"},
		},
		"02 one strict JWS": {
			{"no JWS", func(_ *testing.T, a *attempt) { a.lines = []string{"x"} }, verdict.ProofInvalid, "three parts"},
			{"four parts", after(func(p string) string { return p + ".x" }), verdict.ProofInvalid, "three parts"},
			{"padding", after(func(p string) string { return p + "=" }), verdict.ProofInvalid, "base64url"},
			{"a space before it", after(func(p string) string { return " " + p }), verdict.ProofInvalid, "base64url"},
			{"JSON serialisation", func(_ *testing.T, a *attempt) { a.lines = []string{`{"payload":"e30","signatures":[]}`} }, verdict.ProofInvalid, "base64url"},
			{"longer than 8 KiB", claim("x", strings.Repeat("x", 8000)), verdict.ProofInvalid, "too_long"},
			{"bits after the last octet", after(looseBits), verdict.ProofInvalid, "strict base64url"},
			{"crit", header("crit", []string{"exp"}), verdict.ProofInvalid, "extension"},
			{"b64", header("b64", true), verdict.ProofInvalid, "extension"},
			{"a claim twice", payload(func(p string) string { return strings.Replace(p, `{`, `{"htm":"POST",`, 1) }), verdict.ProofInvalid, "strict JSON"},
			{"nested too deep", payload(func(p string) string {
				return strings.Replace(p, `{`, `{"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`,`, 1)
			}), verdict.ProofInvalid, "strict JSON"},
			{"text behind the payload", payload(func(p string) string { return p + "{}" }), verdict.ProofInvalid, "strict JSON"},
			{"an array as payload", payload(func(string) string { return "[]" }), verdict.ProofInvalid, "strict JSON"},
			{"bytes that are not UTF-8", payload(func(p string) string { return strings.Replace(p, "jti-marker", "\xff", 1) }), verdict.ProofInvalid, "strict JSON"},
		},
		"03 required claims": {
			{"no jti", claim("jti", nil), verdict.ProofInvalid, "jti"},
			{"an empty jti", claim("jti", ""), verdict.ProofInvalid, "jti"},
			{"a jti of 257 bytes", claim("jti", strings.Repeat("x", 257)), verdict.ProofInvalid, "jti"},
			{"a jti that is a number", claim("jti", 7), verdict.ProofInvalid, "jti"},
			{"no htm", claim("htm", nil), verdict.ProofInvalid, "htm"},
			{"no htu", claim("htu", nil), verdict.ProofInvalid, "htu"},
			{"no iat", claim("iat", nil), verdict.ProofInvalid, "iat"},
			{"no ath", claim("ath", nil), verdict.ProofInvalid, "ath"},
			{"names in another case", payload(func(p string) string { return strings.Replace(p, `"htm"`, `"HTM"`, 1) }), verdict.ProofInvalid, "htm"},
		},
		"04 typ": {
			{"none", header("typ", nil), verdict.ProofInvalid, "typ"},
			{"JWT", header("typ", "JWT"), verdict.ProofInvalid, "typ"},
			{"an access token", header("typ", "at+jwt"), verdict.ProofInvalid, "typ"},
			{"a number", header("typ", 1), verdict.ProofInvalid, "typ"},
		},
		"05 alg": {
			{"none", rewritten(func(h object) { h["alg"] = "none" }, nil), verdict.ProofInvalid, "token_algorithm"},
			{"None without a signature", rewritten(func(h object) { h["alg"] = "None" }, func(text string) string { return text + "." }), verdict.ProofInvalid, "token_algorithm"},
			{"HS256 with the public key", rewritten(func(h object) { h["alg"] = "HS256" }, func(text string) string {
				return signHMAC(text, []byte(ed.thumbprint))
			}), verdict.ProofInvalid, "token_algorithm"},
			{"HS256 with a secret as jwk", rewritten(func(h object) {
				h["alg"], h["jwk"] = "HS256", object{"kty": "oct", "k": encode(strings.Repeat("k", 32))}
			}, func(text string) string { return signHMAC(text, []byte(strings.Repeat("k", 32))) }), verdict.ProofInvalid, "secret"},
			{"one that is not on the list", func(_ *testing.T, a *attempt) { *a = *sound(p384) }, verdict.ProofInvalid, "token_algorithm"},
			{"one for another kind of key", rewritten(func(h object) { h["alg"] = "RS256" }, nil), verdict.ProofInvalid, "token_algorithm"},
			{"one for another curve", rewritten(func(h object) { h["alg"] = "EdDSA" }, nil), verdict.ProofInvalid, "token_algorithm"},
			{"in another case", rewritten(func(h object) { h["alg"] = "es256" }, nil), verdict.ProofInvalid, "token_algorithm"},
			{"no alg", rewritten(func(h object) { delete(h, "alg") }, nil), verdict.ProofInvalid, "alg"},
		},
		"06 signature": {
			{"another key's", after(func(p string) string {
				h, c, _ := cut3(p)
				return stranger.signES256(t, h+"."+c)
			}), verdict.ProofInvalid, "token_signature"},
			{"claims exchanged", after(func(p string) string {
				h, c, s := cut3(p)
				return h + "." + encode(strings.Replace(decoded(t, c), "GET", "PUT", 1)) + "." + s
			}), verdict.ProofInvalid, "token_signature"},
			{"zeros", after(func(p string) string {
				h, c, _ := cut3(p)
				return h + "." + c + "." + encode(strings.Repeat("\x00", 64))
			}), verdict.ProofInvalid, "token_signature"},
			{"too short", after(func(p string) string { h, c, s := cut3(p); return h + "." + c + "." + encode(decoded(t, s)[:62]) }), verdict.ProofInvalid, "token_signature"},
			{"none", after(func(p string) string { h, c, _ := cut3(p); return h + "." + c + "." }), verdict.ProofInvalid, "signature is empty"},
			{"in ASN.1", after(func(p string) string {
				h, c, _ := cut3(p)
				return h + "." + c + "." + encode("0\x06\x02\x01\x01\x02\x01\x01")
			}), verdict.ProofInvalid, "token_signature"},
		},
		"07 jwk": {
			{"none", header("jwk", nil), verdict.ProofInvalid, "one key"},
			{"text", header("jwk", "x"), verdict.ProofInvalid, "jwk is not an object"},
			{"with the private part", jwk(func(k object) { k["d"] = k["x"] }), verdict.ProofInvalid, "private"},
			{"with a factor", jwk(func(k object) { k["p"] = "AQ" }), verdict.ProofInvalid, "private"},
			{"a secret", header("jwk", object{"kty": "oct", "k": encode(strings.Repeat("k", 32))}), verdict.ProofInvalid, "secret"},
			{"a point off the curve", jwk(func(k object) { k["y"] = k["x"] }), verdict.ProofInvalid, "sound"},
			{"a curve that is not supported", jwk(func(k object) { k["crv"] = "secp256k1" }), verdict.ProofInvalid, "not a key for signatures"},
			{"for encryption", jwk(func(k object) { k["use"] = "enc" }), verdict.ProofInvalid, "not a key for signatures"},
			{"for another algorithm", jwk(func(k object) { k["alg"] = "ES384" }), verdict.ProofInvalid, "sound"},
			{"RSA of 1024 bits", header("jwk", object{"kty": "RSA", "e": "AQAB", "n": encode("\xc1" + strings.Repeat("a", 127))}), verdict.ProofInvalid, "sound"},
			{"an Ed25519 point that anyone signs for", header("jwk", object{"kty": "OKP", "crv": "Ed25519", "x": encode("\x01" + strings.Repeat("\x00", 31))}), verdict.ProofInvalid, "sound"},
			{"beside a kid", header("kid", "corp-1"), verdict.ProofInvalid, "name no other"},
			{"beside a jku", header("jku", "https://evil.example/jwks"), verdict.ProofInvalid, "name no other"},
			{"beside an x5c", header("x5c", []string{"MIIB"}), verdict.ProofInvalid, "name no other"},
			{"only an x5c", rewritten(func(h object) { delete(h, "jwk"); h["x5c"] = []string{"MIIB"} }, nil), verdict.ProofInvalid, "name no other"},
		},
		"08 htm": {
			{"another method", claim("htm", "POST"), verdict.ProofInvalid, "htm"},
			{"in lower case", claim("htm", "get"), verdict.ProofInvalid, "htm"},
			{"a list", claim("htm", []string{"GET"}), verdict.ProofInvalid, "htm"},
			{"a HEAD request", func(_ *testing.T, a *attempt) { a.use.Request.Method = "HEAD" }, verdict.ProofInvalid, "htm"},
			{"with a method override", func(_ *testing.T, a *attempt) {
				a.claims["htm"] = "DELETE"
				a.use.Request.Header = request.Header{{Name: "x-http-method-override", Value: "DELETE"}}
			}, verdict.ProofInvalid, "htm"},
		},
		"09 htu": {
			{"another path", claim("htu", "https://orders.example.com/orders/8"), verdict.ProofInvalid, "htu"},
			{"another host", claim("htu", "https://evil.example/orders/7"), verdict.ProofInvalid, "htu"},
			{"a host that begins the same", claim("htu", "https://orders.example.com.evil.example/orders/7"), verdict.ProofInvalid, "htu"},
			{"another port", claim("htu", "https://orders.example.com:8443/orders/7"), verdict.ProofInvalid, "htu"},
			{"plain text", claim("htu", "http://orders.example.com/orders/7"), verdict.ProofInvalid, "htu"},
			{"a user before the host", claim("htu", "https://orders.example.com@orders.example.com/orders/7"), verdict.ProofInvalid, "htu"},
			{"a relative one", claim("htu", "/orders/7"), verdict.ProofInvalid, "htu"},
			{"a prefix of the path", claim("htu", "https://orders.example.com/orders"), verdict.ProofInvalid, "htu"},
			{"a slash more", claim("htu", testURL+"/"), verdict.ProofInvalid, "htu"},
			{"a path in another case", claim("htu", "https://orders.example.com/Orders/7"), verdict.ProofInvalid, "htu"},
			{"an escaped slash", claim("htu", "https://orders.example.com/orders%2f7"), verdict.ProofInvalid, "htu"},
			{"a broken escape", claim("htu", testURL+"%4"), verdict.ProofInvalid, "htu"},
			{"a backslash", claim("htu", `https://orders.example.com\orders\7`), verdict.ProofInvalid, "htu"},
			{"a list", claim("htu", []string{testURL}), verdict.ProofInvalid, "htu"},
			{"of a forwarded host that the client wrote", func(_ *testing.T, a *attempt) {
				a.claims["htu"] = "https://admin.example.com/orders/7"
				a.use.Request.Header = request.Header{{Name: "x-forwarded-host", Value: "admin.example.com"}, {Name: "forwarded", Value: "host=admin.example.com"}}
			}, verdict.ProofInvalid, "htu"},
		},
		"10 nonce": {
			{"none", claim("nonce", nil), verdict.ProofNonce, "no nonce"},
			{"a number", claim("nonce", 1), verdict.ProofInvalid, "nonce"},
			{"the client's own", claim("nonce", "abc"), verdict.ProofNonce, "none of this service's"},
			{"of another key", claim("nonce", newNonces(t, 2).at(testNow)), verdict.ProofNonce, "none of this service's"},
			{"of another service", claim("nonce", otherService(t).at(testNow)), verdict.ProofNonce, "none of this service's"},
			{"five minutes old", claim("nonce", newNonces(t, 1).at(testNow.Add(-5*time.Minute))), verdict.ProofNonce, "too old"},
			{"of the future", claim("nonce", newNonces(t, 1).at(testNow.Add(2*time.Minute))), verdict.ProofNonce, "none of this service's"},
			{"spelled in another way", claim("nonce", newNonces(t, 1).at(testNow)+"="), verdict.ProofNonce, "none of this service's"},
		},
		"11 time": {
			{"61 s old", claim("iat", testNow.Unix()-61), verdict.ProofInvalid, "far back"},
			{"6 s ahead", claim("iat", testNow.Unix()+6), verdict.ProofInvalid, "ahead"},
			{"the beginning of time", claim("iat", 0), verdict.ProofInvalid, "far back"},
			{"text", claim("iat", "1767268830"), verdict.ProofInvalid, "iat"},
			{"beyond all numbers", payload(func(p string) string { return strings.Replace(p, `"iat":`, `"iat":1e400,"y":`, 1) }), verdict.ProofInvalid, "iat"},
			{"milliseconds", claim("iat", testNow.UnixMilli()), verdict.ProofInvalid, "iat"},
			{"expired by its own word", claim("exp", testNow.Unix()), verdict.ProofInvalid, "exp"},
			{"not valid yet by its own word", claim("nbf", testNow.Unix()+60), verdict.ProofInvalid, "nbf"},
		},
		"12 token and key": {
			{"ath of another token", claim("ath", hashOf("another token")), verdict.ProofInvalid, "ath"},
			{"ath padded", claim("ath", hashOf(testToken)+"="), verdict.ProofInvalid, "ath"},
			{"the token itself as ath", claim("ath", testToken), verdict.ProofInvalid, "ath"},
			{"a sound proof of another key", func(_ *testing.T, a *attempt) {
				bound := a.use.Thumbprint
				*a = *sound(stranger)
				a.use.Thumbprint = bound
			}, verdict.TokenBinding, "another key"},
			{"a jkt that is cut off", func(_ *testing.T, a *attempt) { a.use.Thumbprint = a.use.Thumbprint[:20] }, verdict.TokenBinding, "another key"},
			{"no jkt", func(_ *testing.T, a *attempt) { a.use.Thumbprint = "" }, verdict.TokenBinding, "another key"},
		},
	}
}

func ownKey(t testing.TB, c *client) object {
	t.Helper()
	proof, err := c.signer.SignProof(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := cut3(proof)
	var header struct {
		JWK object `json:"jwk"`
	}
	if err := json.Unmarshal([]byte(decoded(t, head)), &header); err != nil {
		t.Fatal(err)
	}
	return header.JWK
}

// payload changes the payload's text before it is signed.
func payload(change func(string) string) func(*testing.T, *attempt) {
	return func(t *testing.T, a *attempt) { a.payload = change(textOf(t, a.claims)) }
}

// rewritten changes the header and signs again, by default with the client's key.
func rewritten(change func(object), sign func(text string) string) func(*testing.T, *attempt) {
	return func(t *testing.T, a *attempt) {
		own := a.client
		a.after = func(proof string) string {
			head, body, _ := cut3(proof)
			var members object
			if err := json.Unmarshal([]byte(decoded(t, head)), &members); err != nil {
				t.Fatal(err)
			}
			change(members)
			text := encode(textOf(t, members)) + "." + body
			if sign != nil {
				return sign(text)
			}
			return own.signES256(t, text)
		}
	}
}

func otherService(t testing.TB) *Nonces {
	t.Helper()
	n, err := NewNonces(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return n.For("acme/payments")
}

func decoded(t testing.TB, part string) string {
	t.Helper()
	data, err := base64Decode(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// looseBits sets bits of the signature's last character that no octet holds.
func looseBits(proof string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, proof[len(proof)-1])
	return proof[:len(proof)-1] + string(alphabet[last|1])
}

// Each check of RFC 9449, section 4.3, is broken in several ways, with a service that wants nonces and everything else sound.
func TestAttacks(t *testing.T) {
	v := newVerifier(t, Options{Nonces: newNonces(t, 1)})
	all, count := attacks(t), 0
	names := make([]string, 0, len(all))
	for check := range all {
		names = append(names, check)
	}
	slices.Sort(names)
	for _, check := range names {
		if len(all[check]) < 2 {
			t.Errorf("%s is broken in one way alone", check)
		}
		count += len(all[check])
		t.Run(check, func(t *testing.T) {
			for _, one := range all[check] {
				t.Run(one.name, func(t *testing.T) {
					c := newClient(t, "ES256")
					fresh := func() *attempt {
						a := sound(c)
						a.claims["nonce"] = newNonces(t, 1).at(testNow)
						return a
					}
					if _, err := fresh().try(t, v); err != nil {
						t.Fatalf("refused before it was broken: %v", err)
					}
					a := fresh()
					one.spoil(t, a)
					got, err := a.try(t, v)
					refused, is := errors.AsType[*Refusal](err)
					if !is {
						t.Fatalf("accepted: %+v, %v", got, err)
					}
					if refused.Reason != one.reason || !strings.Contains(refused.Detail, one.detail) {
						t.Errorf("refused %v, want %s with %q", refused, one.reason, one.detail)
					}
					if got != (Verified{}) {
						t.Errorf("a refused proof leaves %+v", got)
					}
					if strings.Contains(refused.Error(), "marker") || strings.Contains(refused.Error(), "evil") {
						t.Errorf("%q holds a part of the request", refused)
					}
				})
			}
		})
	}
	if count < 60 {
		t.Errorf("%d attacks", count)
	}
}
