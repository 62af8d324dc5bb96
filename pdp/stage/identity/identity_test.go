package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const alice = "user:corp:alice-marker"

// The names of the subtests are those of the checklist of what a strict verifier does.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	good := w.mint(t, nil)

	t.Run("T01", func(t *testing.T) {
		for _, accepted := range []string{"Bearer " + good, "bearer " + good, "BEARER   " + good, " \tBearer " + good + " "} {
			w.wantSubject(t, w.authorization(routeRead, accepted), alice)
		}
		for _, row := range []struct {
			name   string
			values []string
			reason verdict.Reason
		}{
			{"two lines", []string{"Bearer " + good, "Bearer " + good}, verdict.CredentialsClash},
			{"two schemes", []string{"Basic YTpi", "Bearer " + good}, verdict.CredentialsClash},
			{"joined", []string{"Bearer " + good + ", Bearer " + good}, verdict.CredentialsClash},
			{"joined without space", []string{"Bearer " + good + ",Bearer " + good}, verdict.CredentialsClash},
			{"a comma at the end", []string{"Bearer " + good + ","}, verdict.CredentialsClash},
			{"Basic before Bearer", []string{"Basic YTpi, bearer\t" + good}, verdict.CredentialsClash},
			{"a scheme without space", []string{"Bearer,Bearer " + good}, verdict.CredentialsClash},
			{"no token", []string{"Bearer"}, verdict.CredentialsMalformed},
			{"an empty token", []string{"Bearer "}, verdict.CredentialsMalformed},
			{"empty", []string{""}, verdict.CredentialsMalformed},
			{"two tokens", []string{"Bearer " + good + " " + good}, verdict.CredentialsMalformed},
			{"a tab", []string{"Bearer\t" + good}, verdict.CredentialsMalformed},
			{"a parameter", []string{"Bearer token=" + good}, verdict.TokenMalformed},
			{"padding", []string{"Bearer " + good + "="}, verdict.TokenMalformed},
		} {
			t.Run(row.name, func(t *testing.T) {
				for _, index := range []int{routeRead, routeBrowse} {
					w.wantDenied(t, w.authorization(index, row.values...), row.reason)
				}
			})
		}
		for _, query := range []string{
			"access_token=" + good, "a=1&access_token=" + good, "a=1;access_token=x", "access_token", "access%5ftoken=x", "%61ccess_toke%6E=x", "Access_Token=x",
		} {
			t.Run("query "+query[:min(len(query), 20)], func(t *testing.T) {
				for _, index := range []int{routeRead, routeBrowse} {
					c := w.bearer(index, good)
					c.Match.Query = query
					w.wantDenied(t, c, verdict.CredentialsInQuery)
				}
			})
		}
		for _, query := range []string{"a=access_token", "access_tokens=x", "xaccess_token=x", "access%5token=x", "access_toke%", "&&", "=access_token"} {
			c := w.bearer(routeRead, good)
			c.Match.Query = query
			w.wantSubject(t, c, alice)
		}
		t.Run("body", func(t *testing.T) {
			c := w.newCase(routeRead)
			c.Request.Header = request.Header{{Name: "content-type", Value: "application/x-www-form-urlencoded"}, {Name: "cookie", Value: "access_token=" + good}}
			c.Request.Body.Bytes = []byte("access_token=" + good)
			w.wantDenied(t, c, verdict.TokenMissing)
		})
	})

	t.Run("T02", func(t *testing.T) {
		w.wantDenied(t, w.newCase(routeRead), verdict.TokenMissing)
		w.wantDenied(t, w.newCase(routeWrite), verdict.TokenMissing)
		for _, other := range []string{"Basic YTpi", "DPoP " + good, `Digest username="a", realm="b"`, "Bearer:" + good, good} {
			w.wantDenied(t, w.authorization(routeRead, other), verdict.TokenMissing)
		}
		w.wantSubject(t, w.newCase(routeBrowse), subject.AnonymousKey)
		w.wantSubject(t, w.authorization(routeBrowse, "Basic YTpi"), subject.AnonymousKey)
		// A scope needs somebody who has it, also where credentials are optional.
		w.wantDenied(t, w.newCase(routeBasket), verdict.TokenMissing)
	})

	t.Run("T28", func(t *testing.T) {
		for _, index := range []int{routeHealth, routeOpen} {
			for _, values := range [][]string{nil, {"Bearer " + good}, {"Bearer forged"}, {"Bearer " + good, "Bearer " + good}} {
				c := w.authorization(index, values...)
				c.Match.Query = "access_token=x"
				c.Request.Certificate = certificate("spiffe://example.com/ns/prod/web")
				w.wantSubject(t, c, subject.AnonymousKey)
				if diff := cmp.Diff(subject.Anonymous(), c.Subject); diff != "" {
					t.Errorf("somebody is left (-want +got):\n%s", diff)
				}
			}
		}
	})
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	now := testNow.Unix()
	denied := func(t *testing.T, raw string, reason verdict.Reason) {
		t.Helper()
		// Credentials that came must verify, needed or not.
		for _, index := range []int{routeRead, routeBrowse} {
			w.wantDenied(t, w.bearer(index, raw), reason)
		}
	}
	claim := func(t *testing.T, changes claims, reason verdict.Reason) {
		t.Helper()
		denied(t, w.mint(t, changes), reason)
	}

	t.Run("T12", func(t *testing.T) {
		claim(t, claims{"iss": "https://idp.example.com/"}, verdict.TokenIssuer)
		claim(t, claims{"iss": "https://IDP.example.com"}, verdict.TokenIssuer)
		claim(t, claims{"iss": nil}, verdict.TokenIssuer)
		claim(t, claims{"iss": []string{"https://idp.example.com"}}, verdict.TokenMalformed)
		// The right iss with a key of another issuer, under its own kid and under one of this issuer.
		denied(t, sign(t, signer(t, w.corpKey, "ES256", "partner-1"), "at+jwt", goodClaims(nil)), verdict.TokenKeyUnknown)
		denied(t, sign(t, w.corp, "at+jwt", goodClaims(claims{"iss": "https://partner.example.com"})), verdict.TokenAlgorithm)
		w.wantSubject(t, w.bearer(routeRead, w.mintPartner(t, "at+jwt", nil)), "user:partner:bob")
	})
	t.Run("T13", func(t *testing.T) {
		claim(t, claims{"aud": "payments-api"}, verdict.TokenAudience)
		claim(t, claims{"aud": []string{"payments-api", "orders"}}, verdict.TokenAudience)
		claim(t, claims{"aud": nil}, verdict.TokenClaim)
		claim(t, claims{"aud": 7}, verdict.TokenMalformed)
		w.wantSubject(t, w.bearer(routeRead, w.mint(t, claims{"aud": []string{"x", "refunds-api"}})), alice)
	})
	t.Run("T14", func(t *testing.T) {
		for _, typ := range []string{"", "JWT", "logout+jwt", "dpop+jwt", "secevent+jwt"} {
			denied(t, sign(t, w.corp, typ, goodClaims(nil)), verdict.TokenType)
		}
		w.wantSubject(t, w.bearer(routeRead, sign(t, w.corp, "application/AT+jwt", goodClaims(nil))), alice)
		w.wantSubject(t, w.bearer(routeRead, w.mintPartner(t, "", nil)), "user:partner:bob")
		denied(t, w.mintPartner(t, "JWT", claims{"nonce": "n"}), verdict.TokenType)
	})
	t.Run("T15", func(t *testing.T) {
		claim(t, claims{"exp": now - 1}, verdict.TokenExpired)
		claim(t, claims{"exp": now}, verdict.TokenExpired)
		claim(t, claims{"exp": nil}, verdict.TokenClaim)
		claim(t, claims{"exp": "2030"}, verdict.TokenMalformed)
		claim(t, claims{"exp": now + 24*3600 + 1}, verdict.TokenLifetime)
		claim(t, claims{"nbf": now + 31}, verdict.TokenNotYet)
		claim(t, claims{"iat": now + 31}, verdict.TokenNotYet)
		w.wantSubject(t, w.bearer(routeRead, w.mint(t, claims{"nbf": now + 30, "iat": now + 30})), alice)
		// A leeway of zero that is written down is zero, and the partner's tokens live an hour.
		denied(t, w.mintPartner(t, "at+jwt", claims{"iat": now + 1}), verdict.TokenNotYet)
		denied(t, w.mintPartner(t, "at+jwt", claims{"exp": now + 3601}), verdict.TokenLifetime)
	})
	t.Run("T16", func(t *testing.T) {
		for _, name := range []string{"sub", "client_id", "jti"} {
			claim(t, claims{name: nil}, verdict.TokenClaim)
			claim(t, claims{name: ""}, verdict.TokenMalformed)
			claim(t, claims{name: strings.Repeat("x", 257)}, verdict.TokenMalformed)
		}
		// Outside the at+jwt profile the configured claim is needed all the same.
		for _, id := range []any{nil, "", "a\x00b", strings.Repeat("x", 257), 7, []string{"bob"}} {
			denied(t, w.mintPartner(t, "JWT", claims{"user": claims{"name": id}}), verdict.TokenClaim)
		}
		denied(t, w.mintPartner(t, "JWT", claims{"user": "bob"}), verdict.TokenClaim)
		// The same name of two issuers is two subjects, and no name can be another's key.
		w.wantSubject(t, w.bearer(routeRead, w.mint(t, claims{"sub": "bob"})), "user:corp:bob")
		w.wantSubject(t, w.bearer(routeRead, w.mint(t, claims{"sub": "x:partner:bob"})), "user:corp:x:partner:bob")
	})
	t.Run("T17", func(t *testing.T) {
		for _, scope := range []any{nil, "", "orders:read", "orders:write", "orders:READ orders:write", []string{"orders:write"}} {
			w.wantDenied(t, w.bearer(routeWrite, w.mint(t, claims{"scope": scope})), verdict.ScopeMissing)
		}
		for _, scope := range []any{"orders:write orders:read", "x orders:read y orders:write", []string{"orders:read", "orders:write"}} {
			w.wantSubject(t, w.bearer(routeWrite, w.mint(t, claims{"scope": scope})), alice)
		}
		for _, scope := range []any{
			"a  b", " a", "a ", "a\tb", `a"b`, "ä", 7, claims{"a": "b"}, []any{"a", 7}, []string{"orders:read orders:write"}, []string{""},
		} {
			claim(t, claims{"scope": scope}, verdict.TokenClaim)
		}
		c := w.bearer(routeWrite, w.mint(t, nil))
		w.wantDenied(t, c, verdict.ScopeMissing)
		if c.Subject.Key != alice {
			t.Errorf("the record would name %q", c.Subject.Key)
		}
		c = w.newCase(routeWrite)
		c.Request.Certificate = certificate("spiffe://example.com/ns/prod/web")
		w.wantDenied(t, c, verdict.ScopeMissing)
	})
	t.Run("binding", func(t *testing.T) {
		cert := certificate("spiffe://example.com/ns/prod/web")
		thumbprint := base64.RawURLEncoding.EncodeToString(cert.Thumbprint[:])
		raw := w.mint(t, claims{"cnf": claims{"x5t#S256": thumbprint}})
		denied(t, raw, verdict.TokenBinding)
		c := w.bearer(routeRead, raw)
		c.Request.Certificate = cert
		w.wantSubject(t, c, alice)
		for _, cnf := range []any{
			claims{"x5t#S256": encode(strings.Repeat("x", 32))}, claims{"x5t#S256": ""}, claims{"x5t#S256": 7}, claims{"jkt": thumbprint}, claims{}, thumbprint,
			claims{"x5t#S256": thumbprint, "jkt": thumbprint},
		} {
			c := w.bearer(routeRead, w.mint(t, claims{"cnf": cnf}))
			c.Request.Certificate = cert
			w.wantDenied(t, c, verdict.TokenBinding)
		}
	})
}

func TestForged(t *testing.T) {
	w := newWorld(t)
	strange, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(w.corpKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := w.mint(t, nil)
	parts := strings.Split(good, ".")
	other := strings.Split(w.mint(t, claims{"sub": "mallory-marker"}), ".")
	for _, row := range []struct {
		name, raw string
		reason    verdict.Reason
	}{
		{"none", encode(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".", verdict.TokenAlgorithm},
		{"none, signed", encode(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], verdict.TokenAlgorithm},
		{"noNE", encode(`{"alg":"noNE","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], verdict.TokenAlgorithm},
		{"HS256 with the public key", forge(t, `{"alg":"HS256","typ":"at+jwt","kid":"corp-1"}`, goodClaims(nil), public), verdict.TokenAlgorithm},
		{"HS256 with the key set", forge(t, `{"alg":"HS256","typ":"at+jwt","kid":"corp-1"}`, goodClaims(nil), []byte(w.files["keys/corp.jwks.json"])), verdict.TokenAlgorithm},
		{"another key under the kid", sign(t, signer(t, strange, "ES256", "corp-1"), "at+jwt", goodClaims(nil)), verdict.TokenSignature},
		{"unknown kid", sign(t, signer(t, strange, "ES256", "kid-marker"), "at+jwt", goodClaims(nil)), verdict.TokenKeyUnknown},
		{"a kid that injects", sign(t, signer(t, w.corpKey, "ES256", "../../dev/null marker"), "at+jwt", goodClaims(nil)), verdict.TokenKeyUnknown},
		{"wrong aud", w.mint(t, claims{"aud": "aud-marker"}), verdict.TokenAudience},
		{"expired", w.mint(t, claims{"exp": testNow.Unix() - 1}), verdict.TokenExpired},
		{"not yet valid", w.mint(t, claims{"nbf": testNow.Unix() + 60}), verdict.TokenNotYet},
		{"issued in the future", w.mint(t, claims{"iat": testNow.Unix() + 60}), verdict.TokenNotYet},
		{"foreign issuer", w.mint(t, claims{"iss": "https://marker.example.net"}), verdict.TokenIssuer},
		{"overlong", w.mint(t, claims{"x": strings.Repeat("x", 9000)}), verdict.TokenTooLong},
		{"claims of one, signature of another", parts[0] + "." + other[1] + "." + parts[2], verdict.TokenSignature},
		{"two parts", parts[0] + "." + parts[1], verdict.TokenMalformed},
		{"five parts", good + ".x.y", verdict.TokenMalformed},
		{"crit", encode(`{"alg":"ES256","crit":["marker"]}`) + "." + parts[1] + "." + parts[2], verdict.TokenCritical},
		{"embedded key", forge(t, `{"alg":"ES256","typ":"at+jwt","jwk":{"kty":"oct","k":"AA"},"jku":"https://marker"}`, goodClaims(nil), nil), verdict.TokenSignature},
		{"opaque", "c29tZSBtYXJrZXI", verdict.TokenMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.wantDenied(t, w.bearer(routeRead, row.raw), row.reason)
			w.wantDenied(t, w.bearer(routeBrowse, row.raw), row.reason)
			c := w.newCase(routeRead)
			c.Request.Operation = &request.Operation{Credential: row.raw}
			w.wantDenied(t, c, row.reason)
			// A certificate does not make up for a bad token.
			c = w.bearer(routeRead, row.raw)
			c.Request.Certificate = certificate("spiffe://example.com/ns/prod/web")
			w.wantDenied(t, c, row.reason)
		})
	}

	// T27: whatever is wrong, the client reads the same; only the record tells. That all rows had one challenge is
	// what wantDenied checked; here is what the record may say.
	t.Run("T27", func(t *testing.T) {
		details := map[string]string{
			good[:len(good)-4] + "AAAA":                                               "authenticator corp, key corp-1: token_signature: the signature does not match",
			w.mint(t, claims{"exp": testNow.Unix() - 1}):                              "authenticator corp, key corp-1: token_expired: exp has come",
			w.mint(t, claims{"tenant": 7}):                                            "authenticator corp, key corp-1: a claim that describes the subject is missing or of another type",
			w.mint(t, claims{"iss": "https://marker"}):                                "",
			sign(t, signer(t, strange, "ES256", "marker"), "at+jwt", goodClaims(nil)): "authenticator corp: token_key_unknown: the issuer has no such key",
		}
		for raw, want := range details {
			c := w.bearer(routeRead, raw)
			if w.evaluate(t, c) != pipeline.Stop {
				t.Error("accepted")
			}
			if c.Verdict.Explanation.Detail != want {
				t.Errorf("detail %q, want %q", c.Verdict.Explanation.Detail, want)
			}
			if got := c.Verdict.Obligations.SetResponse[0].Value; got != wantToken {
				t.Errorf("challenge %q", got)
			}
			wantNoLeak(t, c)
		}
	})
	t.Run("T27", func(t *testing.T) { testCredentialHash(t, w) })
}

// testCredentialHash: a record tells the same credential from another, good or not, wherever it came from.
func testCredentialHash(t *testing.T, w *world) {
	good := w.mint(t, nil)
	expired := w.mint(t, claims{"exp": testNow.Unix() - 1})
	operation := w.newCase(routeRead)
	operation.Request.Operation = &request.Operation{Credential: good}
	for name, row := range map[string]struct {
		c    *pipeline.Case
		want [sha256.Size]byte
	}{
		"good":                 {w.bearer(routeRead, good), sha256.Sum256([]byte(good))},
		"of an operation":      {operation, sha256.Sum256([]byte(good))},
		"another scheme":       {w.authorization(routeBrowse, "Basic "+good), [32]byte{}},
		"with blanks":          {w.authorization(routeRead, "  bearer   "+good+"\t"), sha256.Sum256([]byte(good))},
		"lacks a scope":        {w.bearer(routeWrite, good), sha256.Sum256([]byte(good))},
		"expired":              {w.bearer(routeRead, expired), sha256.Sum256([]byte(expired))},
		"opaque":               {w.bearer(routeRead, "c29tZSBtYXJrZXI"), sha256.Sum256([]byte("c29tZSBtYXJrZXI"))},
		"longer than any":      {w.bearer(routeRead, strings.Repeat("x", 1<<16)), sha256.Sum256([]byte(strings.Repeat("x", 1<<16)))},
		"none":                 {w.newCase(routeRead), [32]byte{}},
		"two":                  {w.authorization(routeRead, "Bearer "+good, "Bearer "+good), [32]byte{}},
		"nobody is looked for": {w.bearer(routeOpen, good), [32]byte{}},
	} {
		w.evaluate(t, row.c)
		if got := row.c.Verdict.Explanation.Credential; got != row.want {
			t.Errorf("%s: %x, want %x", name, got, row.want)
		}
	}
}

func TestSubject(t *testing.T) {
	w := newWorld(t)
	t.Run("all claims", func(t *testing.T) {
		c := w.bearer(routeRead, w.mint(t, claims{
			"sub": "alice", "jti": "j1", "tenant": "north", "scope": "a b", "acr": "urn:mfa", "amr": []string{"pwd", "otp"}, "auth_time": testNow.Unix() - 60,
			"realm_access": claims{"roles": []string{"reader", "admin", "writer", "READER", "user:corp:root", "*"}},
		}))
		w.wantSubject(t, c, "user:corp:alice")
		got := c.Subject
		if got.Claims["tenant"] != "north" || got.Claims["acr"] != "urn:mfa" {
			t.Errorf("claims %v", got.Claims)
		}
		got.Claims = nil
		want := subject.Subject{
			Key: "user:corp:alice", Kind: subject.KindUser, Authenticator: "corp", ID: "alice", Issuer: "https://idp.example.com", Tenant: "north",
			Roles: []string{"reader", "writer"}, DroppedRoles: 4, Scopes: []string{"a", "b"}, ACR: "urn:mfa", AMR: []string{"pwd", "otp"},
			AuthTime: testNow.Add(-time.Minute), TokenID: "j1", KeyID: "corp-1",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("subject (-want +got):\n%s", diff)
		}
	})
	t.Run("every role", func(t *testing.T) {
		roles := []string{"admin", "user:partner:root", "anonymous", "service:mesh:x", "", "a\x07b", "a:b", strings.Repeat("x", 257)}
		c := w.bearer(routeRead, w.mintPartner(t, "at+jwt", claims{"roles": roles}))
		w.wantSubject(t, c, "user:partner:bob")
		if diff := cmp.Diff([]string{"admin", "a:b"}, c.Subject.Roles); diff != "" || c.Subject.DroppedRoles != 6 {
			t.Errorf("dropped %d; roles (-want +got):\n%s", c.Subject.DroppedRoles, diff)
		}
	})
	t.Run("a claim of another type", func(t *testing.T) {
		for name, values := range map[string][]any{
			"tenant": {7, "", []string{"north"}, claims{"x": 1}, "a\nb"}, "acr": {1, true, ""}, "amr": {1, []any{"pwd", 1}},
			"auth_time": {"now", -1, []int{1}, 1e300}, "realm_access": {claims{"roles": 7}, claims{"roles": []any{"reader", nil}}},
		} {
			for _, value := range values {
				w.wantDenied(t, w.bearer(routeRead, w.mint(t, claims{name: value})), verdict.TokenClaim)
			}
		}
	})
	t.Run("operation", func(t *testing.T) {
		c := w.authorization(routeRead, "Bearer of-the-caller-itself")
		c.Request.Operation = &request.Operation{Credential: w.mint(t, nil)}
		w.wantSubject(t, c, alice)
		c = w.authorization(routeRead, "Bearer "+w.mint(t, nil))
		c.Request.Operation = &request.Operation{}
		w.wantDenied(t, c, verdict.TokenMissing)
		c = w.newCase(routeRead)
		c.Request.Operation = &request.Operation{Credential: "Bearer " + w.mint(t, nil)}
		w.wantDenied(t, c, verdict.TokenMalformed)
	})
}

// certificate makes a certificate that is valid at testNow, with names of the kind that they look like.
func certificate(names ...string) *request.Certificate {
	c := &request.Certificate{NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour), Thumbprint: [32]byte{1, 2, 3}}
	for _, name := range names {
		switch {
		case strings.Contains(name, "://"):
			c.URIs = append(c.URIs, name)
		case strings.Contains(name, "@"):
			c.Emails = append(c.Emails, name)
		default:
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	return c
}

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	with := func(index int, c *request.Certificate) *pipeline.Case {
		out := w.newCase(index)
		out.Request.Certificate = c
		return out
	}
	for name, key := range map[string]string{
		"spiffe://example.com/ns/prod/web":                          "service:mesh:spiffe://example.com/ns/prod/web",
		"spiffe://example.com/ns/prod/a/b":                          "service:mesh:spiffe://example.com/ns/prod/a/b",
		"billing.example.com":                                       "service:mesh:billing.example.com",
		"ops@example.com":                                           "service:mesh:ops@example.com",
		"spiffe://example.com/ns/prod/":                             "",
		"spiffe://example.com/ns/prod":                              "",
		"spiffe://example.com/ns/production":                        "",
		"spiffe://example.com/ns/dev/web":                           "",
		"spiffe://EXAMPLE.com/ns/prod/web":                          "",
		"spiffe://example.com/ns/prod/../dev/web":                   "",
		"spiffe://example.com/ns/prod/%2e%2e/dev/web":               "",
		"spiffe://example.com/ns/prod/x?y":                          "",
		"spiffe://example.com/ns/prod/pilot":                        "", // two authenticators take it
		"billing.example.com.example.net":                           "",
		"x.billing.example.com":                                     "",
		"spiffe://example.com/ns/prod/" + strings.Repeat("x", 2048): "",
	} {
		t.Run(name[:min(len(name), 50)], func(t *testing.T) {
			for _, index := range []int{routeRead, routeBrowse} {
				c := with(index, certificate("unrelated.example.com", name))
				if key == "" {
					w.wantDenied(t, c, verdict.CertificateBad)
				} else {
					w.wantSubject(t, c, key)
				}
			}
		})
	}
	t.Run("names", func(t *testing.T) {
		c := with(routeRead, certificate("billing.example.com", "ops@example.com"))
		w.wantDenied(t, c, verdict.CertificateBad)
		w.wantDenied(t, with(routeRead, certificate()), verdict.CertificateBad)
		w.wantSubject(t, with(routeRead, certificate("billing.example.com", "billing.example.com")), "service:mesh:billing.example.com")
		// A host name or address that reads like a URI is not one.
		forged := certificate()
		forged.DNSNames, forged.Emails = []string{"spiffe://example.com/ns/prod/web"}, []string{"spiffe://example.com/ns/prod/web", "billing.example.com"}
		w.wantDenied(t, with(routeRead, forged), verdict.CertificateBad)
	})
	t.Run("validity", func(t *testing.T) {
		for _, row := range []struct {
			before, after time.Duration
			ok            bool
		}{{0, 0, true}, {-1, 1, true}, {1, 2, false}, {-2, -1, false}} {
			cert := certificate("billing.example.com")
			cert.NotBefore, cert.NotAfter = testNow.Add(row.before), testNow.Add(row.after)
			if row.ok {
				w.wantSubject(t, with(routeRead, cert), "service:mesh:billing.example.com")
			} else {
				w.wantDenied(t, with(routeRead, cert), verdict.CertificateBad)
			}
		}
		unknown := certificate("billing.example.com")
		unknown.NotBefore, unknown.NotAfter = time.Time{}, time.Time{}
		w.wantDenied(t, with(routeRead, unknown), verdict.CertificateBad)
	})
	t.Run("subject", func(t *testing.T) {
		c := with(routeRead, certificate("billing.example.com"))
		w.wantSubject(t, c, "service:mesh:billing.example.com")
		want := subject.Subject{Key: "service:mesh:billing.example.com", Kind: subject.KindService, Authenticator: "mesh", ID: "billing.example.com"}
		if diff := cmp.Diff(want, c.Subject); diff != "" {
			t.Errorf("subject (-want +got):\n%s", diff)
		}
	})
	t.Run("beside a token", func(t *testing.T) {
		c := w.bearer(routeRead, w.mint(t, nil))
		c.Request.Certificate = certificate("billing.example.com")
		w.wantSubject(t, c, alice)
	})
	t.Run("where none is accepted", func(t *testing.T) {
		files := replaced(t, w.files, "services/orders/service.yaml", "[corp, partner, mesh, pilots]", "[corp]")
		b, s := load(t, files)
		part, problems := w.stage.Compile(b, s)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		c := with(routeRead, certificate("billing.example.com"))
		c.Service = &pipeline.Service{Parts: map[string]any{Name: part}}
		w.wantDenied(t, c, verdict.TokenMissing)
	})
}

func TestNotCompiled(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*pipeline.Case){
		"no service":    func(c *pipeline.Case) { c.Service = nil },
		"no part":       func(c *pipeline.Case) { c.Service = &pipeline.Service{} },
		"another part":  func(c *pipeline.Case) { c.Service = &pipeline.Service{Parts: map[string]any{Name: 7}} },
		"no route":      func(c *pipeline.Case) { c.Match.Route = nil },
		"route too far": func(c *pipeline.Case) { r := *c.Match.Route; r.Index = 99; c.Match.Route = &r },
		"route below 0": func(c *pipeline.Case) { r := *c.Match.Route; r.Index = -1; c.Match.Route = &r },
	} {
		t.Run(name, func(t *testing.T) {
			c := w.bearer(routeHealth, w.mint(t, nil))
			change(c)
			outcome, err := w.stage.Evaluate(t.Context(), c)
			if outcome != pipeline.Stop || !errors.Is(err, ErrNotCompiled) || !c.Subject.IsAnonymous() {
				t.Errorf("outcome %v, error %v, subject %q", outcome, err, c.Subject.Key)
			}
		})
	}
}

// Package token's reasons are words of the public list, and the list has no other reasons of tokens but this stage's own.
func TestReasons(t *testing.T) {
	var listed []string
	own := []verdict.Reason{verdict.TokenMissing, verdict.TokenBinding, verdict.TokenInactive, verdict.TokenRevoked}
	for _, r := range verdict.Reasons() {
		if strings.HasPrefix(string(r), "token_") && !slices.Contains(own, r) {
			listed = append(listed, string(r))
		}
	}
	slices.Sort(listed)
	if diff := cmp.Diff(slices.Sorted(slices.Values(token.Reasons())), listed); diff != "" {
		t.Errorf("reasons (-token +verdict):\n%s", diff)
	}
	for _, r := range token.Reasons() {
		if info := verdict.Reason(r).Info(); info.Status != 401 || info.Public != verdict.InvalidToken {
			t.Errorf("%s: %+v", r, info)
		}
	}
}

func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	good, other, bad := w.mint(t, nil), w.mintPartner(t, "JWT", nil), w.mint(t, claims{"exp": testNow.Unix()})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				w.wantSubject(t, w.bearer(routeRead, good), alice)
				w.wantSubject(t, w.bearer(routeBrowse, other), "user:partner:bob")
				w.wantDenied(t, w.bearer(routeRead, bad), verdict.TokenExpired)
				w.wantDenied(t, w.bearer(routeWrite, good), verdict.ScopeMissing)
			}
		})
	}
	group.Wait()
}

func TestChallengeQuoting(t *testing.T) {
	got := challenge(&format.Service{Name: "a\"b\\c\r\nd\x7fé"}, "scope", `x"`)
	if want := `Bearer realm="a\"b\\c??d??", scope="x\""`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
