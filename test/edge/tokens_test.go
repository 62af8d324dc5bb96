package edge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"
)

// refusal is what a bad credential gets.
type refusal struct {
	line           string // the Authorization line; "" for none
	status         int
	reason, public string
}

// refusals are forged and unfit credentials, each derived from one that passes.
func refusals(t *testing.T, i *issuer) map[string]refusal {
	t.Helper()
	out := map[string]refusal{}
	now := time.Now()
	forged := func(name, reason, token string) {
		out[name] = refusal{bearer(token), 401, reason, "invalid_token"}
	}
	changed := func(name, reason string, change func(parts)) {
		p := soundParts("forger", "reader")
		change(p)
		forged(name, reason, i.sign(t, p))
	}
	none := soundParts("forger", "reader")
	for _, alg := range []string{"none", "None", "NONE", "nOnE"} {
		none.header["alg"] = alg
		forged("alg "+alg, "token_algorithm", none.unsigned(t)+".")
	}
	none.header["alg"] = "none"
	forged("alg none with a signature", "token_algorithm", none.unsigned(t)+".c2lnbmF0dXJl")
	hmacs := soundParts("forger", "reader")
	hmacs.header["alg"] = "HS256"
	for form, secret := range publicForms(t, i.key.Public(), i.keys) {
		forged("HS256 with the public key as "+form, "token_algorithm", hs256(t, hmacs, secret))
	}
	forged("ES256 over an HMAC", "token_signature", hs256(t, soundParts("forger", "reader"), i.keys)+strings.Repeat("A", 43))
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged("another key", "token_signature", (&issuer{key: other}).token(t, "forger", "reader"))
	sound := i.token(t, "forger", "reader")
	body, _, _ := strings.Cut(sound, ".")
	forged("claims exchanged", "token_signature", body+"."+encode(t, soundParts("root").claims)+sound[strings.LastIndexByte(sound, '.'):])
	forged("no signature", "token_malformed", sound[:strings.LastIndexByte(sound, '.')+1])
	forged("two segments", "token_malformed", sound[:strings.LastIndexByte(sound, '.')])
	forged("four segments", "token_malformed", sound+".x")
	forged("padding", "token_malformed", sound+"==")
	forged("no JSON", "token_malformed", "abc.def.ghi")

	changed("wrong kid", "token_key_unknown", func(p parts) { p.header["kid"] = "other" })
	changed("kid of a path", "token_key_unknown", func(p parts) { p.header["kid"] = "../../../../dev/null" })
	ownKey := soundParts("root")
	ownKey.header["jwk"] = map[string]any{"kty": "EC", "crv": "P-256", "x": coordinate(other.X), "y": coordinate(other.Y)}
	forged("own key in the header", "token_signature", (&issuer{key: other}).sign(t, ownKey))
	changed("crit", "token_critical", func(p parts) { p.header["crit"] = []string{"exp"} })
	changed("an id token", "token_type", func(p parts) { p.header["typ"] = "JWT" })
	changed("wrong aud", "token_audience", func(p parts) { p.claims["aud"] = "reports-api" })
	changed("no aud", "token_claim", func(p parts) { delete(p.claims, "aud") })
	changed("expired", "token_expired", func(p parts) {
		p.claims["exp"] = now.Add(-2 * time.Minute).Unix()
		p.claims["iat"] = now.Add(-time.Hour).Unix()
	})
	changed("no exp", "token_claim", func(p parts) { delete(p.claims, "exp") })
	changed("not yet valid", "token_not_yet_valid", func(p parts) { p.claims["nbf"] = now.Add(10 * time.Minute).Unix() })
	changed("issued in the future", "token_not_yet_valid", func(p parts) { p.claims["iat"] = now.Add(10 * time.Minute).Unix() })
	changed("lives too long", "token_lifetime", func(p parts) { p.claims["exp"] = now.Add(1000 * time.Hour).Unix() })
	changed("foreign issuer", "token_issuer", func(p parts) { p.claims["iss"] = "https://evil.example.com" })
	changed("issuer with a slash", "token_issuer", func(p parts) { p.claims["iss"] = "https://idp.example.com/" })
	changed("no issuer", "token_issuer", func(p parts) { delete(p.claims, "iss") })
	changed("no sub", "token_claim", func(p parts) { delete(p.claims, "sub") })
	changed("sub of control characters", "token_malformed", func(p parts) { p.claims["sub"] = "root\r\nx-durward-roles: admin" })
	changed("bound to a key", "token_binding", func(p parts) { p.claims["cnf"] = map[string]any{"jkt": "abc"} })
	changed("very long", "token_too_long", func(p parts) { p.claims["x"] = strings.Repeat("x", 9000) })

	out["no credentials"] = refusal{"", 401, "token_missing", "credentials_required"}
	out["another scheme"] = refusal{"authorization: Basic YWxpY2U6YWxpY2U=", 401, "token_missing", "credentials_required"}
	out["no token"] = refusal{"authorization: Bearer", 400, "credentials_malformed", "invalid_request"}
	out["two words"] = refusal{bearer(sound + " x"), 400, "credentials_malformed", "invalid_request"}
	return out
}

func coordinate(n *big.Int) string {
	return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32)))
}

// TestForgedTokens sends them through gateways with both encodings of headers.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	e := common.watch(t)
	all := refusals(t, e.issuer)
	good := e.issuer.token(t, "forger", "reader")
	for _, door := range []string{edgeDoor, joinedDoor} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			e.allowed(t, e.send(t, door, request("GET", "edge.example.com", "/a/b", bearer(good))))
			e.allowed(t, e.send(t, door, request("GET", "edge.example.com", "/a/b", "authorization: bEARER  "+good)))
			for name, c := range all {
				t.Run(name, func(t *testing.T) {
					var lines []string
					if c.line != "" {
						lines = append(lines, c.line)
					}
					got := e.send(t, door, request("GET", "edge.example.com", "/a/b", lines...))
					found := e.denied(t, got, c.status, c.reason, c.public)
					if found != nil && found.text("subject.key") != "anonymous" {
						t.Errorf("the record names %s", found.text("subject.key"))
					}
					challenge := got.header.Values("www-authenticate")
					wantError := c.public != "credentials_required"
					if len(challenge) != 1 || !strings.HasPrefix(challenge[0], "Bearer realm=") ||
						strings.Contains(challenge[0], `error="`+c.public+`"`) != wantError {
						t.Errorf("www-authenticate %q", challenge)
					}
				})
			}
		})
	}
	t.Run("in the query", func(t *testing.T) {
		t.Parallel()
		for _, query := range []string{"access_token=", "a=b&access%5Ftoken=", "ACCESS_TOKEN="} {
			got := e.send(t, edgeDoor, request("GET", "edge.example.com", "/a/b?"+query+good))
			e.denied(t, got, 400, "credentials_in_query", "invalid_request")
		}
	})
}
