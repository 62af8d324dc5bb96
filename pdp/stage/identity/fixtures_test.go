package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/token"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// testNow is the instant of all tests.
var testNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const bundleYAML = `format: 1
name: acme
authenticators:
  corp:
    kind: jwt
    issuer: https://idp.example.com
    algorithms: [ES256]
    jwks: {file: keys/corp.jwks.json}
    subject: {id: sub, tenant: tenant, scopes: scope}
    roles: {from: realm_access.roles, allow: [reader, writer]}
  partner:
    kind: jwt
    issuer: https://partner.example.com
    algorithms: [Ed25519]
    jwks: {file: keys/partner.jwks.json}
    types: [at+jwt, JWT]
    leeway: 0s
    max_lifetime: 1h
    subject: {id: user.name}
    roles: {from: roles, allow: ["*"]}
  mesh:
    kind: mtls
    sans: ["spiffe://example.com/ns/prod/*", billing.example.com, ops@example.com]
  pilots:
    kind: mtls
    sans: ["spiffe://example.com/ns/prod/pilot"]
`

const serviceYAML = `service: orders
match:
  - {host: orders.example.com}
identity: {mode: required, accept: [corp, partner, mesh, pilots], audiences: [orders-api, refunds-api]}
routes:
  - {name: health, path: /health, methods: [GET], access: public}
  - {name: read, path: /orders, methods: [GET]}
  - {name: write, path: /orders, methods: [POST], scopes: ["orders:read", "orders:write"]}
  - {name: browse, path: /browse, methods: [GET], identity: optional}
  - {name: open, path: /open, methods: [GET], identity: none}
  - {name: basket, path: /basket, methods: [GET], identity: optional, scopes: [basket]}
`

// The routes of serviceYAML by index.
const (
	routeHealth = iota
	routeRead
	routeWrite
	routeBrowse
	routeOpen
	routeBasket
)

const (
	wantMissing = `Bearer realm="orders"`
	wantRequest = `Bearer realm="orders", error="invalid_request", ` +
		`error_description="The request must carry one access token, in one Authorization field"`
	wantToken = `Bearer realm="orders", error="invalid_token", ` +
		`error_description="The credentials are missing something, no longer valid, or not meant for this service"`
	wantScope = `Bearer realm="orders", error="insufficient_scope", ` +
		`error_description="The access token does not cover this operation", scope="orders:read orders:write"`
)

// load decodes a bundle with one service.
func load(t testing.TB, files map[string]string) (*format.Bundle, *format.Service) {
	t.Helper()
	contents := map[string][]byte{}
	for path, text := range files {
		contents[path] = []byte(text)
	}
	b, s := &format.Bundle{Files: format.NewFiles(contents)}, &format.Service{Dir: "services/orders"}
	b.File, _ = b.Files.Get("", "bundle.yaml")
	s.File, _ = b.Files.Get("", "services/orders/service.yaml")
	if problems := format.Decode(b.File, b); len(problems) > 0 {
		t.Fatal(problems)
	}
	if problems := format.Decode(s.File, s); len(problems) > 0 {
		t.Fatal(problems)
	}
	b.Services = []*format.Service{s}
	return b, s
}

// world is a compiled service with the issuers of its tokens.
type world struct {
	stage         *Stage
	service       *pipeline.Service
	corpKey       *ecdsa.PrivateKey
	corp, partner *token.Signer
	files         map[string]string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return worldOf(t, bundleYAML, serviceYAML)
}

// worldOf compiles a service of a bundle with the authenticators corp and partner.
func worldOf(t testing.TB, bundle, service string) *world {
	t.Helper()
	corpKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, partnerKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{stage: New(Options{TokenCache: 1 << 20}), corpKey: corpKey, corp: signer(t, corpKey, "ES256", "corp-1"), partner: signer(t, partnerKey, "Ed25519", "partner-1")}
	w.files = map[string]string{
		"bundle.yaml":                  bundle,
		"services/orders/service.yaml": service,
		"keys/corp.jwks.json":          jwks(t, w.corp),
		"keys/partner.jwks.json":       jwks(t, w.partner),
	}
	b, s := load(t, w.files)
	compiled, problems := w.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.service = &pipeline.Service{Route: &route.Service{Name: "orders"}, Parts: map[string]any{Name: compiled}}
	for i, r := range s.Routes {
		w.service.Route.Routes = append(w.service.Route.Routes,
			&route.Route{Service: w.service.Route, Index: i, Name: r.Name, Public: r.Access == "public"})
	}
	return w
}

func signer(t testing.TB, key crypto.Signer, algorithm, kid string) *token.Signer {
	t.Helper()
	s, err := token.NewSigner(token.SignerConfig{Key: key, Algorithm: algorithm, KeyID: kid, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func jwks(t testing.TB, signers ...*token.Signer) string {
	t.Helper()
	data, err := token.MarshalKeySet(signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

type claims = map[string]any

// goodClaims are acceptable ones of corp, with changes; a nil removes. What a test must not find outside the token
// holds the word marker.
func goodClaims(changes claims) claims {
	c := claims{
		"iss": "https://idp.example.com", "sub": "alice-marker", "aud": "orders-api", "client_id": "app-marker", "jti": "jti-marker",
		"iat": testNow.Unix() - 10, "exp": testNow.Unix() + 300,
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, value any) bool { return value == nil })
	return c
}

// mint signs a token of corp.
func (w *world) mint(t testing.TB, changes claims) string {
	t.Helper()
	return sign(t, w.corp, "at+jwt", goodClaims(changes))
}

// mintPartner signs a token of partner.
func (w *world) mintPartner(t testing.TB, typ string, changes claims) string {
	t.Helper()
	c := goodClaims(claims{"iss": "https://partner.example.com", "user": claims{"name": "bob"}})
	maps.Copy(c, changes)
	return sign(t, w.partner, typ, c)
}

func sign(t testing.TB, s *token.Signer, typ string, c claims) string {
	t.Helper()
	raw, err := s.Sign(typ, c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge makes a token of any header and claims, signed with HS256 and a secret.
func forge(t testing.TB, header string, c claims, secret []byte) string {
	t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	signed := encode(header) + "." + encode(string(payload))
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed))
	return signed + "." + encode(string(h.Sum(nil)))
}

// newCase makes a case on a route, with a request that tests then change.
func (w *world) newCase(index int) *pipeline.Case {
	return &pipeline.Case{
		Facts: attribute.Facts{
			Request: &request.Request{Method: "GET"},
			Match:   route.Match{Service: w.service.Route, Route: w.service.Route.Routes[index]},
			// A stage that forgets to say who it is must not inherit somebody.
			Subject: subject.Subject{Key: "user:corp:left over", Kind: subject.KindUser, ID: "left over"},
			Now:     testNow,
		},
		Service: w.service,
	}
}

// bearer makes a case on a route with a bearer token.
func (w *world) bearer(index int, raw string) *pipeline.Case {
	return w.authorization(index, "Bearer "+raw)
}

// authorization makes a case on a route with Authorization lines.
func (w *world) authorization(index int, values ...string) *pipeline.Case {
	c := w.newCase(index)
	for _, value := range values {
		c.Request.Header = append(c.Request.Header, request.Field{Name: "authorization", Value: value})
	}
	return c
}

// evaluate judges a case twice, so that what the cache answers is held against what verification answers.
func (w *world) evaluate(t testing.TB, c *pipeline.Case) pipeline.Outcome {
	t.Helper()
	first := *c
	fresh, err := w.stage.Evaluate(t.Context(), &first)
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := w.stage.Evaluate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if difference := cmp.Diff(first.Verdict, c.Verdict) + cmp.Diff(first.Subject, c.Subject); fresh != outcome || difference != "" {
		t.Errorf("the second time another answer: %d, then %d\n%s", fresh, outcome, difference)
	}
	return outcome
}

// wantSubject evaluates and fails unless the case goes on with the subject.
func (w *world) wantSubject(t testing.TB, c *pipeline.Case, key string) {
	t.Helper()
	if w.evaluate(t, c) != pipeline.Continue {
		t.Errorf("refused: %s (%s)", c.Verdict.Reason, c.Verdict.Explanation.Detail)
		return
	}
	if c.Subject.Key != key {
		t.Errorf("subject %q, want %q", c.Subject.Key, key)
	}
	if len(c.Verdict.Obligations.SetResponse) > 0 || c.Grant != nil {
		t.Errorf("obligations %v, grant %v", c.Verdict.Obligations, c.Grant)
	}
}

// wantDenied evaluates and fails unless the case stops for the reason, with the reason's own status, the challenge that
// belongs to what the client is told, and nothing of the request in any text.
func (w *world) wantDenied(t testing.TB, c *pipeline.Case, reason verdict.Reason) {
	t.Helper()
	if w.evaluate(t, c) != pipeline.Stop {
		t.Errorf("not refused, but %q; want %s", c.Subject.Key, reason)
		return
	}
	if c.Verdict.Reason != reason {
		t.Errorf("reason %s (%s), want %s", c.Verdict.Reason, c.Verdict.Explanation.Detail, reason)
	}
	if c.IsOutage() || c.Grant != nil {
		t.Errorf("outage %v, grant %v", c.IsOutage(), c.Grant)
	}
	want, status := wantToken, 401
	switch reason.Public() {
	case verdict.CredentialsRequired:
		want = wantMissing
	case verdict.InvalidRequest:
		want, status = wantRequest, 400
	case verdict.InsufficientScope:
		want, status = wantScope, 403
	default:
	}
	if c.Verdict.HTTPStatus() != status {
		t.Errorf("status %d, want %d", c.Verdict.HTTPStatus(), status)
	}
	fields := c.Verdict.Obligations.SetResponse
	if len(fields) != 1 || fields[0].Name != "www-authenticate" || fields[0].Value != want {
		t.Errorf("response fields %q, want www-authenticate: %s", fields, want)
	}
	if reason != verdict.ScopeMissing && !c.Subject.IsAnonymous() {
		t.Errorf("the subject is %q", c.Subject.Key)
	}
	wantNoLeak(t, c)
}

// wantNoLeak fails if the verdict holds a piece of a credential.
func wantNoLeak(t testing.TB, c *pipeline.Case) {
	t.Helper()
	texts := []string{c.Verdict.Explanation.Detail}
	for _, f := range c.Verdict.Obligations.SetResponse {
		texts = append(texts, f.Value)
	}
	pieces := []string{"marker"}
	for _, f := range c.Request.Header {
		_, raw, _ := strings.Cut(f.Value, " ")
		for piece := range strings.SplitSeq(raw, ".") {
			// The fixed texts may hold a word that a stranger sent by chance.
			if len(piece) > 7 && !strings.Contains(wantRequest+wantToken+wantScope, piece) {
				pieces = append(pieces, piece)
			}
		}
	}
	for _, text := range texts {
		for _, piece := range pieces {
			if strings.Contains(text, piece) {
				t.Errorf("%q holds %q of the credential", text, piece)
			}
		}
	}
}
