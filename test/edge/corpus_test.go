package edge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math/big"
	"strings"
	"testing"
	"time"
)

// corpusMarker stands in every credential of the corpus, in what is signed; nothing that the server says or writes may hold it.
const corpusMarker = "corpus-marker"

// attack is a forged or unfit credential, and the reason for which it must be refused.
type attack struct {
	name, authorization, reason string
}

// corpus collects attacks, each made of a good token by one change.
type corpus struct {
	t       *testing.T
	issuer  *issuer
	other   *ecdsa.PrivateKey // of nobody that the server knows
	now     time.Time
	attacks []attack
	good    []attack // accepted: without them a server that refuses all would pass
}

func newCorpus(t *testing.T, i *issuer) *corpus {
	t.Helper()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &corpus{t: t, issuer: i, other: other, now: time.Now()}
	c.unsigned()
	c.confused()
	c.keyIDs()
	c.embedded()
	c.signatures()
	c.truncated()
	c.spellings()
	c.duplicates()
	c.numbers()
	c.wrongTypes()
	c.texts()
	c.forms()
	c.types()
	c.names()
	c.times()
	c.sizes()
	return c
}

func (c *corpus) raw(name, reason, token string) {
	c.attacks = append(c.attacks, attack{name, "Bearer " + token, reason})
}

func (c *corpus) accept(name, token string) {
	c.good = append(c.good, attack{name, "Bearer " + token, ""})
}

// parts returns those of a good token.
func (c *corpus) parts() parts {
	p := soundParts("corpus", "reader")
	p.claims["x-"+corpusMarker] = true
	return p
}

// text signs a header and claims as they are written.
func (c *corpus) text(key *ecdsa.PrivateKey, header, claims string) string {
	c.t.Helper()
	e := base64.RawURLEncoding
	signed := e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(claims))
	r, s := c.ecdsa(key, signed)
	return signed + "." + e.EncodeToString(append(r, s...))
}

func (c *corpus) ecdsa(key *ecdsa.PrivateKey, signed string) (r, s []byte) {
	c.t.Helper()
	sum := sha256.Sum256([]byte(signed))
	x, y, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		c.t.Fatal(err)
	}
	return x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))
}

func (c *corpus) json(v any) string {
	c.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// changed signs what a change makes of a good token.
func (c *corpus) changed(name, reason string, change func(p parts)) {
	c.t.Helper()
	p := c.parts()
	change(p)
	token := c.text(c.issuer.key, c.json(p.header), c.json(p.claims))
	if reason == "" {
		c.accept(name, token)
		return
	}
	c.raw(name, reason, token)
}

// claim sets one claim; header one member of the header.
func (c *corpus) claim(reason, name string, value any) {
	c.t.Helper()
	text := c.json(value)
	c.changed(fmt.Sprintf("claim %s %.40q of %d", name, text, len(text)), reason, func(p parts) { p.claims[name] = value })
}

func (c *corpus) header(reason, name string, value any) {
	c.t.Helper()
	text := c.json(value)
	c.changed(fmt.Sprintf("header %s %.40q of %d", name, text, len(text)), reason, func(p parts) { p.header[name] = value })
}

// claimText writes the value of one claim as no encoder would.
func (c *corpus) claimText(reason, name, value string) {
	c.t.Helper()
	p := c.parts()
	p.claims[name] = "@"
	claims := strings.Replace(c.json(p.claims), `"`+name+`":"@"`, `"`+name+`":`+value, 1)
	c.raw(fmt.Sprintf("claim %s as %.40q", name, value), reason, c.text(c.issuer.key, c.json(p.header), claims))
}

// unsigned: none, in every spelling of its letters (RFC 8725, section 2.1).
func (c *corpus) unsigned() {
	for bits := range 16 {
		alg := []byte("none")
		for i := range alg {
			if bits>>i&1 == 1 {
				alg[i] -= 'a' - 'A'
			}
		}
		p := c.parts()
		p.header["alg"] = string(alg)
		c.raw("alg "+string(alg), "token_algorithm", p.unsigned(c.t)+".")
		c.raw("alg "+string(alg)+" beside a signature", "token_algorithm", p.unsigned(c.t)+".c2lnbmF0dXJl")
	}
	c.raw("no signature", "token_malformed", c.parts().unsigned(c.t)+".")
}

// confused: the public key as a secret, and algorithms that are not the issuer's.
func (c *corpus) confused() {
	secrets := publicForms(c.t, c.issuer.key.Public(), c.issuer.keys)
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(c.issuer.keys, &set); err != nil {
		c.t.Fatal(err)
	}
	secrets["JWK"], secrets["nothing"], secrets["PEM without its end"] = set.Keys[0], nil, bytes.TrimRight(secrets["PEM"], "\n")
	for alg, hashed := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
		for form, secret := range secrets {
			p := c.parts()
			p.header["alg"] = alg
			mac := hmac.New(hashed, secret)
			mac.Write([]byte(p.unsigned(c.t)))
			c.raw(alg+" with the public key as "+form, "token_algorithm", p.unsigned(c.t)+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
		}
	}
	for _, alg := range []string{"ES384", "ES512", "ES256K", "RS256", "RS512", "PS256", "EdDSA", "Ed25519", "RS1", "es256", "ES256 ", "ES256\x00", "\tES256", "", "dir", "A256KW", "PBES2-HS256+A128KW", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"} {
		c.header("token_algorithm", "alg", alg)
	}
	for _, alg := range []any{nil, 7, true, []string{"ES256"}, map[string]any{"ES256": 1}} {
		c.header("token_malformed", "alg", alg)
	}
	c.changed("no alg", "token_malformed", func(p parts) { delete(p.header, "alg") })
}

// keyIDs: a kid is a stranger's text (RFC 8725, section 3.10).
func (c *corpus) keyIDs() {
	for _, kid := range []any{
		"../../../../../dev/null", "/etc/passwd", "file:///dev/null", "https://evil.example.com/keys", "x' UNION SELECT 'secret", "'; DROP TABLE keys; --", "$(id)", "`id`", "{{7*7}}",
		strings.ToUpper(keyID), keyID + " ", " " + keyID, strings.Repeat("k", 128), "*", "..",
	} {
		c.header("token_key_unknown", "kid", kid)
	}
	for _, kid := range []any{"", keyID + "\x00", keyID + "\n", "k\u00e9y", "\u202e" + keyID, strings.Repeat("k", 129), strings.Repeat("k", 4000), nil, 7, true, []string{keyID}, map[string]any{"kid": keyID}} {
		c.header("token_malformed", "kid", kid)
	}
}

// embedded: keys that the token brings along, or points to, are not even looked at.
func (c *corpus) embedded() {
	point, err := c.other.PublicKey.Bytes()
	if err != nil {
		c.t.Fatal(err)
	}
	e := base64.RawURLEncoding
	jwk := map[string]any{"kty": "EC", "crv": "P-256", "x": e.EncodeToString(point[1:33]), "y": e.EncodeToString(point[33:])}
	for name, value := range map[string]any{
		"jwk": jwk, "jku": "https://127.0.0.1:1/keys", "x5u": "https://127.0.0.1:1/chain.pem", "x5c": []string{base64.StdEncoding.EncodeToString(point)},
	} {
		for kid, reason := range map[string]string{keyID: "token_signature", "mine": "token_key_unknown"} {
			p := c.parts()
			p.header[name], p.header["kid"] = value, kid
			c.raw("own key by "+name+", kid "+kid, reason, c.text(c.other, c.json(p.header), c.json(p.claims)))
		}
		c.header("", name, value) // beside a good signature they are only ignored
	}
	p := c.parts()
	c.raw("another key", "token_signature", c.text(c.other, c.json(p.header), c.json(p.claims)))
	delete(p.header, "kid")
	c.raw("another key without a kid", "token_signature", c.text(c.other, c.json(p.header), c.json(p.claims)))
	c.accept("no kid, and one key", c.text(c.issuer.key, c.json(p.header), c.json(p.claims)))
}

// signatures: numbers that some verifiers take for a signature of anything (CVE-2022-21449), and other encodings.
func (c *corpus) signatures() {
	n := elliptic.P256().Params().N
	number := func(v *big.Int) []byte { return v.FillBytes(make([]byte, 32)) }
	zero, one, less, more := number(big.NewInt(0)), number(big.NewInt(1)), number(new(big.Int).Sub(n, big.NewInt(1))), number(n)
	high := bytes.Repeat([]byte{0xff}, 32)
	signed := c.parts().unsigned(c.t)
	r, s := c.ecdsa(c.issuer.key, signed)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
	if err != nil {
		c.t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, signature := range map[string][]byte{
		"0 0": join(zero, zero), "0 1": join(zero, one), "1 0": join(one, zero), "1 1": join(one, one), "n n": join(more, more), "n 1": join(more, one), "1 n": join(one, more),
		"n-1 n-1": join(less, less), "all ones": join(high, high), "r 0": join(r, zero), "0 s": join(zero, s), "s r": join(s, r), "r r": join(r, r), "r n": join(r, more),
		"in DER": der, "without its first byte": join(r, s)[1:], "without its last byte": join(r, s)[:63], "a byte more": join(r, s, zero[:1]), "a zero before": join(zero[:1], r, s),
		"twice": join(r, s, r, s), "half": r, "one byte": {0}, "64 KiB cut to 1 KiB": make([]byte, 1024),
	} {
		c.raw("signature "+name, "token_signature", signed+"."+base64.RawURLEncoding.EncodeToString(signature))
	}
	for bit := range 8 {
		flipped := join(r, s)
		flipped[bit*8] ^= 1 << bit
		c.raw(fmt.Sprint("a bit flipped in byte ", bit*8), "token_signature", signed+"."+base64.RawURLEncoding.EncodeToString(flipped))
	}
	// ECDSA signs (r, s) and (r, n-s) alike; no JWS rule prefers one. Nothing here takes a token's text for its identity.
	opposite := new(big.Int).Sub(n, new(big.Int).SetBytes(s))
	c.accept("the other s", signed+"."+base64.RawURLEncoding.EncodeToString(join(r, number(opposite))))
	sound := c.text(c.issuer.key, c.json(c.parts().header), c.json(c.parts().claims))
	p := c.parts()
	p.claims["sub"] = "root"
	head, _, _ := strings.Cut(sound, ".")
	c.raw("claims exchanged", "token_signature", head+"."+encode(c.t, p.claims)+sound[strings.LastIndexByte(sound, '.'):])
	p = c.parts()
	p.header["typ"] = "AT+JWT"
	c.raw("header exchanged", "token_signature", encode(c.t, p.header)+sound[len(head):])
}

// truncated: a token cut short, at 24 places.
func (c *corpus) truncated() {
	sound := c.text(c.issuer.key, c.json(c.parts().header), c.json(c.parts().claims))
	for i := 1; i < 24; i++ {
		cut := sound[:len(sound)*i/24]
		reason := "token_malformed"
		if last := cut[strings.LastIndexByte(cut, '.')+1:]; strings.Count(cut, ".") == 2 && len(last) > 0 {
			if _, err := base64.RawURLEncoding.Strict().DecodeString(last); err == nil {
				reason = "token_signature"
			}
		}
		c.raw(fmt.Sprintf("cut after %d/24", i), reason, cut)
	}
	for i := range 3 {
		segments := strings.Split(sound, ".")
		segments[i] = ""
		c.raw(fmt.Sprint("without segment ", i), "token_malformed", strings.Join(segments, "."))
	}
}

// spellings: one octet string has one spelling in base64url (RFC 7515, section 2).
func (c *corpus) spellings() {
	sound := c.text(c.issuer.key, c.json(c.parts().header), c.json(c.parts().claims))
	segments := strings.Split(sound, ".")
	for i, segment := range segments {
		with := func(name, reason, text string) {
			out := append([]string(nil), segments...)
			out[i] = text
			c.raw(fmt.Sprintf("segment %d %s", i, name), reason, strings.Join(out, "."))
		}
		with("padded", "token_malformed", segment+"=")
		with("padded twice", "token_malformed", segment+"==")
		with("of the standard alphabet", "token_malformed", segment+"+/")
		with("of one letter more", "token_malformed", strings.Repeat("A", 4-len(segment)%4+1)+segment)
		with("percent-encoded", "token_malformed", segment[:1]+"%2D"+segment[1:])
		with("with a quote", "token_malformed", segment+`"`)
		with("with a colon", "token_malformed", segment[:4]+":"+segment[4:])
		with("beyond ASCII", "token_malformed", segment+"\u00e9")
	}
	// 64 octets take 86 letters, of which the last has four bits to spare.
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", sound[len(sound)-1])
	for _, spare := range []int{1, 2, 4, 8} {
		c.raw(fmt.Sprint("spare bits ", spare), "token_malformed", sound[:len(sound)-1]+string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|spare]))
	}
	c.attacks = append(c.attacks,
		attack{"two tokens", "Bearer " + sound + " " + sound, "credentials_malformed"},
		attack{"joined tokens", "Bearer " + sound + "," + sound, "duplicate_header"},
		attack{"a second scheme", "Bearer " + sound + ", Basic YTpi", "duplicate_header"},
		attack{"behind another scheme", "Basic YTpi, Bearer " + sound, "duplicate_header"},
		attack{"in quotes", `Bearer "` + sound + `"`, "token_malformed"},
		attack{"as a parameter", "Bearer token=" + sound, "token_malformed"},
		attack{"without a token", "Bearer", "credentials_malformed"},
		attack{"another scheme", "Token " + sound, "token_missing"},
		attack{"no scheme", sound, "token_missing"},
	)
	c.good = append(c.good, attack{"scheme in capitals", "BEARER " + sound, ""}, attack{"more spaces", "bearer   " + sound, ""})
}

// duplicates: which of two members counts is nobody's guess (RFC 8259, section 4).
func (c *corpus) duplicates() {
	header, claims := c.json(c.parts().header), c.json(c.parts().claims)
	add := func(text, member string) string { return `{` + member + `,` + text[1:] }
	for _, member := range []string{`"alg":"none"`, `"alg":"ES256"`, `"typ":"JWT"`, `"kid":"other"`, `"\u0061lg":"none"`, `"x":1,"x":2`, `"x":{"y":1,"y":2}`} {
		c.raw("header "+member+" more", "token_malformed", c.text(c.issuer.key, add(header, member), claims))
	}
	for _, member := range []string{
		`"iss":"https://idp.example.com"`, `"iss":"https://evil.example.com"`, `"sub":"root"`, `"aud":"other"`, `"exp":1`, `"exp":9999999999`, `"nbf":0`, `"nbf":0,"nbf":1`,
		`"\u0073ub":"root"`, `"e\u0078p":9999999999`, `"realm_access":{"roles":["admin"]}`, `"x":{"y":1,"y":2}`, `"x":[{"y":1,"y":2}]`, `"":1,"":2`,
	} {
		want := "token_malformed"
		if member == `"nbf":0` {
			c.accept("one nbf more", c.text(c.issuer.key, header, add(claims, member)))
			continue
		}
		c.raw("claims "+member+" more", want, c.text(c.issuer.key, header, add(claims, member)))
	}
	// Names are case-sensitive: another spelling is another claim.
	c.raw("Exp in the place of exp", "token_claim", c.text(c.issuer.key, header, strings.Replace(claims, `"exp"`, `"Exp"`, 1)))
	c.raw("AUD in the place of aud", "token_claim", c.text(c.issuer.key, header, strings.Replace(claims, `"aud"`, `"AUD"`, 1)))
	c.raw("ALG in the place of alg", "token_malformed", c.text(c.issuer.key, strings.Replace(header, `"alg"`, `"ALG"`, 1), claims))
	c.accept("Exp beside exp", c.text(c.issuer.key, header, add(claims, `"Exp":1`)))
	c.accept("a name in escapes", c.text(c.issuer.key, header, strings.Replace(claims, `"sub"`, `"\u0073ub"`, 1)))
}

// numbers that a float64 cannot hold, or that are none.
func (c *corpus) numbers() {
	for value, reason := range map[string]string{
		"1e300": "token_malformed", "1e400": "token_malformed", "99999999999999999999": "token_malformed", "9223372036854775807": "token_malformed", "253402300800": "token_malformed",
		"-1": "token_malformed", "-1e300": "token_malformed", "0": "token_expired", "-0": "token_expired", "0.5": "token_expired", "1e-400": "token_expired", "1": "token_expired",
		"NaN": "token_malformed", "Infinity": "token_malformed", "-Infinity": "token_malformed", "0x7fffffff": "token_malformed", "09999999999": "token_malformed", "+9999999999": "token_malformed",
		"9999999999.": "token_malformed", ".5": "token_malformed", "1e": "token_malformed", "9_999_999_999": "token_malformed", "9999999999": "token_lifetime", "1e11": "token_lifetime",
	} {
		c.claimText(reason, "exp", value)
	}
	for _, value := range []string{"1e400", "99999999999999999999", "-5"} {
		c.claimText("token_malformed", "nbf", value)
		c.claimText("token_malformed", "iat", value)
	}
}

// wrongTypes: every claim that is read, as every type that it must not have.
func (c *corpus) wrongTypes() {
	values := map[string]any{"null": nil, "a number": 7, "a text": "7", "true": true, "an array": []any{"a", 1}, "an object": map[string]any{"a": "b"}}
	for name, fits := range map[string][]string{
		"iss": {"a text"}, "sub": {"a text"}, "client_id": {"a text"}, "jti": {"a text"}, "aud": {"a text"}, "exp": {"a number"}, "nbf": {"a number"}, "iat": {"a number"},
		"scope": {"a text"}, "acr": {"a text"}, "amr": {"a text"}, "auth_time": {"a number"}, "sid": {"a text"}, "cnf": nil, "realm_access": nil,
	} {
		reason := "token_malformed"
		switch name {
		case "scope", "acr", "amr", "auth_time", "sid":
			reason = "token_claim"
		case "cnf":
			reason = "token_binding"
		case "realm_access":
			continue // its roles below
		}
		for kind, value := range values {
			fit := false
			for _, f := range fits {
				fit = fit || f == kind
			}
			if !fit {
				want := reason
				if name == "cnf" && value == nil {
					want = "token_claim"
				}
				c.changed(name+" is "+kind, want, func(p parts) { p.claims[name] = value })
			}
		}
	}
	for _, roles := range []any{7, true, nil, map[string]any{"reader": true}, []any{"reader", 1}, []any{[]string{"reader"}}, []any{nil}} {
		c.changed("roles are "+c.json(roles), "token_claim", func(p parts) { p.claims["realm_access"] = map[string]any{"roles": roles} })
	}
	for _, aud := range []any{[]any{}, []string{"other"}, "edge-api ", "EDGE-API", "edge", "edge-api,orders-api", "https://edge-api", ""} {
		c.claim("token_audience", "aud", aud)
	}
	for _, aud := range []any{[]any{"edge-api", 1}, []any{"edge-api", nil}, []any{[]string{"edge-api"}}, map[string]any{"edge-api": true}} {
		c.claim("token_malformed", "aud", aud)
	}
	for name, cnf := range map[string]any{
		"jkt": map[string]any{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}, "x5t#S256": map[string]any{"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"},
		"jwk": map[string]any{"jwk": map[string]any{"kty": "oct"}}, "kid": map[string]any{"kid": keyID}, "nothing": map[string]any{}, "jku": map[string]any{"jku": "https://127.0.0.1:1/"},
	} {
		c.changed("bound by "+name, "token_binding", func(p parts) { p.claims["cnf"] = cnf })
	}
}

// texts that are no JSON, or no text.
func (c *corpus) texts() {
	header, claims := c.json(c.parts().header), c.json(c.parts().claims)
	for name, text := range map[string]string{
		"empty": "", "null": "null", "an array": "[" + claims + "]", "a text": `"x"`, "a number": "1", "an empty object": "{}", "two objects": claims + claims, "two objects and a line": claims + "\n" + claims,
		"data behind": claims + "x", "a NUL behind": claims + "\x00", "a mark before": "\ufeff" + claims, "in UTF-16": strings.Join(strings.Split(claims, ""), "\x00"), "a comment": `{/**/` + claims[1:],
		"a comma at the end": claims[:len(claims)-1] + ",}", "single quotes": strings.ReplaceAll(claims, `"`, "'"), "no quotes": strings.ReplaceAll(claims, `"sub"`, "sub"),
		"bytes that are no UTF-8": strings.Replace(claims, `"sub":"corpus"`, "\"sub\":\"corp\xffus\"", 1), "an overlong byte": strings.Replace(claims, `"sub":"corpus"`, "\"sub\":\"corp\xc0\xafus\"", 1),
		"half of a pair": strings.Replace(claims, `"sub":"corpus"`, `"sub":"corp\ud800us"`, 1), "the other half": strings.Replace(claims, `"sub":"corpus"`, `"sub":"corp\udc00us"`, 1),
		"a tab in a text": strings.Replace(claims, `"sub":"corpus"`, "\"sub\":\"corp\tus\"", 1), "a line in a text": strings.Replace(claims, `"sub":"corpus"`, "\"sub\":\"corp\nus\"", 1),
		"an escape that is none": strings.Replace(claims, `"sub":"corpus"`, `"sub":"corp\xus"`, 1), "cut": claims[:len(claims)-1],
		"33 arrays": `{"x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + "," + claims[1:], "1,000 arrays": `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "," + claims[1:],
		"500 objects": `{"x":` + strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500) + "," + claims[1:], "2,000 arrays that do not end": `{"x":` + strings.Repeat("[", 2000),
	} {
		reason := "token_malformed"
		if text == "{}" {
			reason = "token_issuer"
		}
		c.raw("claims are "+name, reason, c.text(c.issuer.key, header, text))
	}
	c.accept("30 arrays", c.text(c.issuer.key, header, `{"x":`+strings.Repeat("[", 30)+strings.Repeat("]", 30)+","+claims[1:]))
	c.accept("space around", c.text(c.issuer.key, header, " \n"+claims+"\t "))
	for name, text := range map[string]string{
		"empty": "", "null": "null", "an array": "[" + header + "]", "two objects": header + header, "a mark before": "\ufeff" + header, "deep": `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "," + header[1:],
		"an empty object": "{}", "bytes that are no UTF-8": strings.Replace(header, keyID, "\xff", 1), "half of a pair": strings.Replace(header, keyID, `\ud800`, 1),
	} {
		c.raw("header is "+name, "token_malformed", c.text(c.issuer.key, text, claims))
	}
}

// forms of JOSE that are no compact JWS, and extensions.
func (c *corpus) forms() {
	sound := c.text(c.issuer.key, c.json(c.parts().header), c.json(c.parts().claims))
	s := strings.Split(sound, ".")
	c.raw("flattened JSON", "duplicate_header", fmt.Sprintf(`{"protected":"%s","payload":"%s","signature":"%s"}`, s[0], s[1], s[2]))
	c.raw("JSON of one member", "token_malformed", fmt.Sprintf(`{"payload":"%s"}`, s[1]))
	c.raw("five parts", "token_malformed", sound+"."+s[1]+"."+s[2])
	c.raw("four parts", "token_malformed", sound+".")
	c.raw("a dot before", "token_malformed", "."+sound)
	c.raw("dots alone", "token_malformed", "..")
	c.raw("1,000 dots", "token_malformed", strings.Repeat(".", 1000))
	c.raw("detached", "token_malformed", s[0]+".."+s[2])
	for _, name := range []string{"crit", "b64", "zip"} {
		for _, value := range []any{nil, false, true, "DEF", []string{}, []string{"exp"}, []string{"b64"}, []string{"x"}} {
			c.header("token_critical", name, value)
		}
	}
	nested := c.parts()
	nested.header["cty"] = "JWT"
	c.raw("a token in a token", "token_malformed", c.text(c.issuer.key, c.json(nested.header), sound))
}

// types: what a token is for (RFC 8725, section 3.11; RFC 9068, section 4).
func (c *corpus) types() {
	for _, typ := range []string{"JWT", "jwt", "application/jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "id+jwt", "JOSE", "at+jwt2", "at", "application/application/at+jwt", "at+jwt; charset=utf-8", "at+jwt "} {
		c.header("token_type", "typ", typ)
	}
	c.changed("no typ", "token_type", func(p parts) { delete(p.header, "typ") })
	for _, typ := range []any{"", nil, 7, true, []string{"at+jwt"}, "at+jwt\n", "\u00e9", strings.Repeat("t", 65), "application/"} {
		c.header("token_malformed", "typ", typ)
	}
	for _, typ := range []string{"AT+JWT", "application/at+jwt", "Application/At+Jwt"} {
		c.header("", "typ", typ)
	}
}

// names: issuers that are nearly the right one, and names that are none.
func (c *corpus) names() {
	for _, iss := range []string{
		"https://idp.example.com/", "https://IDP.example.com", "http://idp.example.com", "https://idp.example.com:443", "https://idp.example.com?", "https://idp.example.com#", " https://idp.example.com",
		"https://idp.example.com ", "https://idp.example.com.", "https://idp.example.co\u043c", "https://idp.example.com\x00", "https://idp.example.com@evil.example.com", "idp.example.com", "", "https://evil.example.com",
	} {
		c.claim("token_issuer", "iss", iss)
	}
	for _, name := range []string{"sub", "client_id", "jti"} {
		for _, value := range []string{"", strings.Repeat("x", 257), "a\x00b", "a\r\nx-durward-roles: admin", "a\u0085b", "a\x7fb"} {
			c.claim("token_malformed", name, value)
		}
		c.changed("no "+name, "token_claim", func(p parts) { delete(p.claims, name) })
	}
	for _, name := range []string{"exp", "aud", "iat"} {
		c.changed("no "+name, "token_claim", func(p parts) { delete(p.claims, name) })
	}
	c.changed("no iss", "token_issuer", func(p parts) { delete(p.claims, "iss") })
	for _, scope := range []string{"a  b", " a", "a ", "a\tb", `a"b`, "a\\b", "\u00e9"} {
		c.claim("token_claim", "scope", scope)
	}
	for _, sub := range []string{"root", "user:corp:root", "anonymous", "*", "reader", strings.Repeat("x", 256), "../admin", "a:b"} {
		c.claim("", "sub", sub) // any name is a name; none of them is a role, or somebody else
	}
}

// times at and beyond the edges.
func (c *corpus) times() {
	at := func(d time.Duration) int64 { return c.now.Add(d).Unix() }
	for reason, claims := range map[string][]map[string]any{
		"token_expired": {
			{"exp": at(-time.Second)}, {"exp": at(-time.Hour), "iat": at(-2 * time.Hour)}, {"exp": float64(at(0)) - 0.5},
		},
		"token_not_yet_valid": {
			{"nbf": at(10 * time.Minute)}, {"iat": at(10 * time.Minute)}, {"nbf": at(time.Hour), "exp": at(2 * time.Hour)}, {"nbf": at(10 * time.Minute), "iat": at(10 * time.Minute)},
		},
		"token_lifetime": {{"exp": at(25 * time.Hour)}, {"exp": at(1000 * time.Hour)}, {"exp": 253402300799}},
		"":               {{"exp": at(time.Hour)}, {"exp": float64(at(time.Hour)) + 0.5}, {"nbf": at(-time.Hour)}, {"exp": at(23 * time.Hour)}},
	} {
		for _, changes := range claims {
			c.changed("times "+c.json(changes), reason, func(p parts) {
				for name, value := range changes {
					p.claims[name] = value
				}
			})
		}
	}
}

func (c *corpus) sizes() {
	c.claim("token_too_long", "x", strings.Repeat("x", 6000))
	c.claim("token_too_long", "x", make([]int, 3500))
	c.header("token_too_long", "x", strings.Repeat("x", 6000))
	c.raw("8,193 letters", "token_too_long", strings.Repeat("x", 8193))
	c.raw("8,193 dots", "token_too_long", strings.Repeat(".", 8193))
	c.claim("", "x", strings.Repeat("x", 5000))
}

// TestAttackCorpus sends forged and malformed credentials over ext_authz: none is accepted, each is refused for its own reason, and
// nothing of them comes back or is written down.
func TestAttackCorpus(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	client := e.connect(t)
	c := newCorpus(t, e.issuer)
	names := map[string]bool{}
	for _, a := range c.attacks {
		if names[a.name] {
			t.Errorf("%s stands there twice", a.name)
		}
		names[a.name] = true
		got := e.put(t, client, ask("/a/b", [2]string{"authorization", a.authorization}))
		status, public := 401, "invalid_token"
		switch a.reason {
		case "token_missing":
			public = "credentials_required"
		case "credentials_malformed":
			status, public = 400, "invalid_request"
		case "duplicate_header": // a comma: so says the stage before identity, without a challenge
			status, public = 400, ""
		}
		got.want(t, a.name, fmt.Sprintf("deny %d %s", status, a.reason))
		if subject := got.record.text("subject.key"); subject != "anonymous" {
			t.Errorf("%s: the record names %q", a.name, subject)
		}
		challenge := ""
		for _, h := range got.GetDeniedResponse().GetHeaders() {
			if strings.EqualFold(h.GetHeader().GetKey(), "www-authenticate") {
				challenge += h.GetHeader().GetValue() + string(h.GetHeader().GetRawValue())
			}
		}
		if public == "" && challenge != "" || public != "" && !strings.HasPrefix(challenge, "Bearer realm=") || strings.Contains(challenge, `error="`+public+`"`) == (public == "credentials_required" || public == "") {
			t.Errorf("%s: www-authenticate %q", a.name, challenge)
		}
		wantNothingOf(t, a, got)
		wantHash(t, a, got)
	}
	for _, a := range c.good {
		got := e.put(t, client, ask("/a/b", [2]string{"authorization", a.authorization}))
		got.want(t, a.name, "allow 200 allowed")
	}
	if len(c.attacks) < 300 || len(c.good) < 20 {
		t.Errorf("%d attacks, %d good ones", len(c.attacks), len(c.good))
	}
	t.Logf("%d attacks refused, %d good ones accepted", len(c.attacks), len(c.good))
}

// wantHash fails unless the record names a refused token as whoever holds it can: by its hash.
func wantHash(t *testing.T, a attack, got answer) {
	t.Helper()
	want := ""
	if _, raw, found := strings.Cut(a.authorization, " "); found && a.reason != "token_missing" && a.reason != "credentials_malformed" && a.reason != "duplicate_header" {
		sum := sha256.Sum256([]byte(strings.Trim(raw, " ")))
		want = hex.EncodeToString(sum[:])
	}
	if hash := got.record.text("request.credential_hash"); hash != want {
		t.Errorf("%s: the record has credential_hash %q, want %q", a.name, hash, want)
	}
}

// wantNothingOf fails where an answer or its record holds a piece of a credential.
func wantNothingOf(t *testing.T, a attack, got answer) {
	t.Helper()
	record, err := json.Marshal(got.record)
	if err != nil {
		t.Fatal(err)
	}
	said := got.String() + string(record)
	pieces := append(strings.FieldsFunc(a.authorization, func(r rune) bool { return strings.ContainsRune(" .,", r) }), corpusMarker)
	for _, piece := range pieces {
		if len(piece) >= 12 && strings.Contains(said, piece) {
			t.Errorf("%s: %.40q came back or is recorded", a.name, piece)
		}
	}
}
