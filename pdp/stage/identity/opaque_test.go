package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/egress"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// issuerServer is an authorization server over TLS that knows opaque tokens.
type issuerServer struct {
	mu     sync.Mutex
	tokens map[string]claims // beside active
	status int
	calls  int
}

func (s *issuerServer) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.status != 0 {
		out.WriteHeader(s.status)
		return
	}
	answer := claims{"active": false}
	if known, ok := s.tokens[r.PostForm.Get("token")]; ok {
		answer = maps.Clone(known)
		if _, said := answer["active"]; !said {
			answer["active"] = true
		}
	}
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(answer)
}

func (s *issuerServer) knows(raw string, c claims) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[raw] = c
	return raw
}

func (s *issuerServer) fails(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *issuerServer) wantCalls(t *testing.T, want int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls != want {
		t.Errorf("the issuer was asked %d times, want %d", s.calls, want)
	}
}

// passwords are the secrets of every bundle.
type passwords map[string]string

func (p passwords) Secret(_, name string) (string, error) { return p[name], nil }

// opaqueWorld is the world of the other tests with opaque tokens of the same issuer beside.
type opaqueWorld struct {
	*world
	issuer *issuerServer
	now    time.Time
}

const opaqueYAML = `  vault:
    kind: introspection
    issuer: https://idp.example.com
    introspection:
      url: URL
      client: {id: durward, authentication: basic, secret: vault}
      timeout: 5s
    subject: {tenant: tenant}
    roles: {from: realm_access.roles, allow: [reader]}
`

func newOpaqueWorld(t *testing.T) *opaqueWorld {
	t.Helper()
	w := &opaqueWorld{world: newWorld(t), issuer: &issuerServer{tokens: map[string]claims{}}, now: testNow}
	server := httptest.NewTLSServer(w.issuer)
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	fetcher, err := egress.New([]egress.Host{{Name: strings.TrimPrefix(server.URL, "https://"), Private: true, Roots: roots}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fetcher.Close)
	w.stage = New(Options{TokenCache: 1 << 20, Introspector: introspection.New(introspection.Options{
		Fetcher: fetcher, Secrets: passwords{"vault": "s3cret"}, Random: rand.Reader, Clock: func() time.Time { return w.now },
	})})
	w.files["bundle.yaml"] = bundleYAML + strings.ReplaceAll(opaqueYAML, "URL", server.URL+"/introspect")
	w.files["services/orders/service.yaml"] = strings.Replace(serviceYAML, "accept: [", "accept: [vault, ", 1)
	w.compile(t)
	return w
}

// compile loads the files anew.
func (w *opaqueWorld) compile(t *testing.T) {
	t.Helper()
	w.service = w.compiled(t, w.files)
}

func (w *opaqueWorld) compiled(t *testing.T, files map[string]string) *pipeline.Service {
	t.Helper()
	b, s := load(t, files)
	compiled, problems := w.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	service := &pipeline.Service{Route: &route.Service{Name: "orders"}, Parts: map[string]any{Name: compiled}}
	for i, r := range s.Routes {
		service.Route.Routes = append(service.Route.Routes, &route.Route{Service: service.Route, Index: i, Name: r.Name, Public: r.Access == "public"})
	}
	return service
}

func (w *opaqueWorld) opaque(index int, raw string) *pipeline.Case {
	c := w.bearer(index, raw)
	c.Now = w.now
	return c
}

// opaqueClaims are acceptable ones, with changes; a nil removes.
func opaqueClaims(changes claims) claims {
	c := claims{"sub": "alice-marker", "aud": []string{"orders-api", "other"}, "client_id": "app-marker", "jti": "jti-marker", "exp": testNow.Unix() + 300}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, value any) bool { return value == nil })
	return c
}

// once evaluates a case a single time: an issuer that fails may have another answer the second time.
func (w *opaqueWorld) once(t *testing.T, c *pipeline.Case) pipeline.Outcome {
	t.Helper()
	outcome, err := w.stage.Evaluate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// wantOutage evaluates and fails unless the case stops for an outage that says nothing to the client.
func (w *opaqueWorld) wantOutage(t *testing.T, c *pipeline.Case) {
	t.Helper()
	if w.once(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.IntrospectionUnavailable || !c.IsOutage() || !c.Verdict.Degraded ||
		c.Verdict.HTTPStatus() != 503 || !c.Subject.IsAnonymous() || len(c.Verdict.Obligations.SetResponse) > 0 {
		t.Errorf("%s (%s), outage %v, subject %s, fields %v", c.Verdict.Reason, c.Verdict.Explanation.Detail, c.IsOutage(), c.Subject.Key, c.Verdict.Obligations.SetResponse)
	}
	wantNoLeak(t, c)
}

// TestOpaqueSubject: what the issuer says makes the same subject as the claims of a JWT.
func TestOpaqueSubject(t *testing.T) {
	w := newOpaqueWorld(t)
	raw := w.issuer.knows("opaque-token", opaqueClaims(claims{
		"scope": "orders:read orders:write", "tenant": "acme", "realm_access": claims{"roles": []string{"reader", "writer", "user:vault:root"}},
		"acr": "urn:mfa", "amr": []string{"pwd", "otp"}, "auth_time": testNow.Unix() - 60, "token_type": "Bearer",
	}))
	c := w.opaque(routeWrite, raw)
	w.wantSubject(t, c, "user:vault:alice-marker")
	got := c.Subject
	got.Claims = nil
	want := subject.Subject{
		Key: "user:vault:alice-marker", Kind: "user", Authenticator: "vault", ID: "alice-marker", Issuer: "https://idp.example.com", Tenant: "acme",
		Roles: []string{"reader"}, DroppedRoles: 2, Scopes: []string{"orders:read", "orders:write"}, ACR: "urn:mfa", AMR: []string{"pwd", "otp"},
		AuthTime: testNow.Add(-time.Minute), TokenID: "jti-marker",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
}

// testOpaqueRefusals: an active token is not yet a good one.
func testOpaqueRefusals(t *testing.T) {
	w := newOpaqueWorld(t)
	certificate := &request.Certificate{Thumbprint: sha256.Sum256([]byte("client"))}
	bound := claims{"x5t#S256": base64.RawURLEncoding.EncodeToString(certificate.Thumbprint[:])}
	for i, row := range []struct {
		name    string
		changes claims
		want    verdict.Reason
	}{
		{"another audience", claims{"aud": "stock-api"}, verdict.TokenAudience},
		{"no audience", claims{"aud": nil}, verdict.TokenClaim},
		{"another issuer", claims{"iss": "https://partner.example.com"}, verdict.TokenIssuer},
		{"expired", claims{"exp": testNow.Unix()}, verdict.TokenExpired},
		{"not yet", claims{"nbf": testNow.Unix() + 60}, verdict.TokenNotYet},
		{"a refresh token", claims{"token_type": "refresh_token"}, verdict.TokenType},
		{"no subject", claims{"sub": nil}, verdict.TokenClaim},
		{"a subject of another type", claims{"sub": 7}, verdict.TokenMalformed},
		{"roles of another type", claims{"realm_access": claims{"roles": 7}}, verdict.TokenClaim},
		{"bound to a key", claims{"cnf": claims{"jkt": "x"}}, verdict.TokenBinding},
		{"bound to a certificate that did not come", claims{"cnf": bound}, verdict.TokenBinding},
		{"for DPoP, and bound to nothing", claims{"token_type": "DPoP"}, verdict.TokenBinding},
		{"inactive", claims{"active": false}, verdict.TokenInactive},
	} {
		raw := w.issuer.knows("opaque-"+strings.Repeat("x", i+1), opaqueClaims(row.changes))
		w.wantDenied(t, w.opaque(routeRead, raw), row.want) // asked, then remembered
		if t.Failed() {
			t.Fatal(row.name)
		}
	}
	w.issuer.wantCalls(t, 13+1) // what had ended is not remembered
	w.wantDenied(t, w.opaque(routeRead, "nobody-knows"), verdict.TokenInactive)
	raw := w.issuer.knows("bound-token", opaqueClaims(claims{"cnf": bound}))
	c := w.opaque(routeRead, raw)
	c.Request.Certificate = certificate
	w.wantSubject(t, c, "user:vault:alice-marker")
	w.wantDenied(t, w.opaque(routeRead, raw), verdict.TokenBinding) // remembered, and without the certificate
}

// TestIntrospectionCacheClaims: what the issuer said of a token is remembered; whether it fits is looked at on every use.
func TestIntrospectionCacheClaims(t *testing.T) {
	t.Run("introspection-cache-claims", func(t *testing.T) {
		w := newOpaqueWorld(t)
		raw := w.issuer.knows("opaque-token", opaqueClaims(claims{"scope": "orders:read", "exp": testNow.Unix() + 20}))
		w.wantSubject(t, w.opaque(routeRead, raw), "user:vault:alice-marker")
		w.wantDenied(t, w.opaque(routeWrite, raw), verdict.ScopeMissing)
		w.issuer.wantCalls(t, 1)

		// Another service of the bundle, for other audiences.
		orders := w.service
		w.service = w.compiled(t, replaced(t, w.files, "services/orders/service.yaml", "orders-api, refunds-api", "stock-api"))
		w.wantDenied(t, w.opaque(routeRead, raw), verdict.TokenAudience)
		// The same bundle, without the role and with another claim for the subject.
		files := replaced(t, w.files, "bundle.yaml", "subject: {tenant: tenant}", "subject: {id: client_id}")
		w.service = w.compiled(t, files)
		w.wantSubject(t, w.opaque(routeRead, raw), "user:vault:app-marker")
		w.issuer.wantCalls(t, 1)

		w.service = orders
		w.now = testNow.Add(19 * time.Second)
		w.wantSubject(t, w.opaque(routeRead, raw), "user:vault:alice-marker")
		w.issuer.wantCalls(t, 1)
		w.now = testNow.Add(20 * time.Second)
		w.wantDenied(t, w.opaque(routeRead, raw), verdict.TokenExpired)
	})
}

// TestDecisionsThatBeganBefore: the answer to a question that another decision asked after this one began is good for it too.
func TestDecisionsThatBeganBefore(t *testing.T) {
	w := newOpaqueWorld(t)
	raw := w.issuer.knows("opaque-token", opaqueClaims(nil))
	before := w.opaque(routeRead, raw)
	w.now = w.now.Add(time.Millisecond)
	w.wantSubject(t, w.opaque(routeRead, raw), "user:vault:alice-marker")
	w.wantSubject(t, before, "user:vault:alice-marker")
	w.issuer.wantCalls(t, 1)
}

// TestReloadAsksAgain: answers for one definition of an authenticator are none for the next one.
func TestReloadAsksAgain(t *testing.T) {
	w := newOpaqueWorld(t)
	raw := w.issuer.knows("opaque-token", opaqueClaims(nil))
	w.wantSubject(t, w.opaque(routeRead, raw), "user:vault:alice-marker")
	w.compile(t) // nothing changed
	w.wantSubject(t, w.opaque(routeRead, raw), "user:vault:alice-marker")
	w.issuer.wantCalls(t, 1)
	w.issuer.knows("opaque-token", claims{"active": false})
	w.files = replaced(t, w.files, "bundle.yaml", "id: durward", "id: durward-2")
	w.compile(t)
	w.wantDenied(t, w.opaque(routeRead, raw), verdict.TokenInactive)
	w.issuer.wantCalls(t, 2)
}

// testIssuerDown: an outage is never the client's fault, also where identity is optional; who is known goes on.
func testIssuerDown(t *testing.T) {
	w := newOpaqueWorld(t)
	known := w.issuer.knows("opaque-token", opaqueClaims(nil))
	w.wantSubject(t, w.opaque(routeRead, known), "user:vault:alice-marker")
	for _, status := range []int{500, 302, 401, 429} {
		w.issuer.fails(status)
		w.wantOutage(t, w.opaque(routeRead, "another-token"))
		w.wantOutage(t, w.opaque(routeBrowse, "another-token"))
		w.wantSubject(t, w.opaque(routeRead, known), "user:vault:alice-marker")
	}
	if c := w.opaque(routeRead, "another-token"); w.once(t, c) != pipeline.Stop || c.Verdict.RetryAfter <= 0 {
		t.Errorf("retry after %v", c.Verdict.RetryAfter)
	}
}

// TestForms: the form chooses, and nothing is tried after it.
func TestForms(t *testing.T) {
	for raw, want := range map[string]form{
		"a.b.c": formJWS, "e30.e30.": formOpaque, ".e30.e30": formOpaque, "e30..e30": formOpaque, "a.b": formOpaque, "a.b.c.d": formOpaque, "a.b.c.d.e": formOpaque,
		"opaque": formOpaque, "a.b.c=": formOpaque, "a.b.c~": formOpaque, "": formOpaque, "...": formOpaque, "a-_.b-_.c-_": formJWS,
	} {
		if got := formOf(raw); got != want {
			t.Errorf("%q: %d, want %d", raw, got, want)
		}
	}
	w := newOpaqueWorld(t)
	w.wantSubject(t, w.opaque(routeRead, w.mint(t, nil)), alice)
	w.wantDenied(t, w.opaque(routeRead, w.mint(t, claims{"exp": testNow.Unix()})), verdict.TokenExpired)
	w.wantDenied(t, w.opaque(routeRead, "e30.e30.e30"), verdict.TokenMalformed)
	for raw, want := range map[string]verdict.Reason{
		"a%b": verdict.TokenMalformed, "=": verdict.TokenMalformed, "a=b": verdict.TokenMalformed, "é": verdict.TokenMalformed, "\"": verdict.TokenMalformed,
		strings.Repeat("a", 8193): verdict.TokenTooLong,
	} {
		w.wantDenied(t, w.opaque(routeRead, raw), want)
	}
	w.issuer.wantCalls(t, 0)
	w.wantDenied(t, w.opaque(routeRead, strings.Repeat("a", 8190)+"=="), verdict.TokenInactive)
	w.issuer.wantCalls(t, 1)
	// Where no signed tokens are taken, one is no token, whatever the issuer would say of it.
	w.files["services/orders/service.yaml"] = strings.Replace(serviceYAML, "accept: [corp, partner, mesh, pilots]", "accept: [vault]", 1)
	w.compile(t)
	w.wantDenied(t, w.opaque(routeRead, w.issuer.knows(w.mint(t, nil), opaqueClaims(nil))), verdict.TokenMalformed)
	w.issuer.wantCalls(t, 1)
}

// TestGivenOpaque: a subject of this authenticator can be given as one of others.
func TestGivenOpaque(t *testing.T) {
	w := newOpaqueWorld(t)
	c := w.opaque(routeRead, "")
	c.Request.Header = nil
	c.Given = &subject.Subject{Key: "user:vault:bob", Kind: subject.KindUser, Authenticator: "vault", ID: "bob", Roles: []string{"reader", "writer"}}
	w.wantSubject(t, c, "user:vault:bob")
	if diff := cmp.Diff([]string{"reader"}, c.Subject.Roles); diff != "" {
		t.Error(diff)
	}
	w.issuer.wantCalls(t, 0)
}

// TestOpaqueProblems: what is wrong stands at its place.
func TestOpaqueProblems(t *testing.T) {
	w := newOpaqueWorld(t)
	for _, row := range []struct{ name, path, before, after, want string }{
		{"no issuer", "bundle.yaml", "    issuer: https://idp.example.com\n    introspection", "    introspection", "bundle.yaml:27:3: the issuer is missing"},
		{"a long leeway", "bundle.yaml", "      timeout: 5s\n", "      timeout: 5s\n    leeway: 3min\n", "bundle.yaml:34:13: the leeway is not between 0 and 120 s"},
		{"a long cache", "bundle.yaml", "timeout: 5s", "cache: 1h", "bundle.yaml:33:14: cache is from 0s to 10min"},
		{"no authentication", "bundle.yaml", ", authentication: basic", "", "bundle.yaml:32:7: authentication is basic, private_key_jwt or mtls"},
		{"an audience for a password", "bundle.yaml", "basic, ", "basic, audience: issuer, ", "bundle.yaml:32:7: key_id and audience have a meaning for private_key_jwt alone"},
		{"no key", "bundle.yaml", "basic", "private_key_jwt", "bundle.yaml:32:70: the secret is no private key in PEM (PKCS #8, PKCS #1 or SEC 1)"},
		{"a host that is not allowed", "bundle.yaml", "url: https://", "url: https://x.", "may not be fetched"},
		{"a path that is none", "bundle.yaml", "{tenant: tenant}", "{tenant: a..b}", "bundle.yaml:34:23: a claim path has an empty name"},
	} {
		b, s := load(t, replaced(t, w.files, row.path, row.before, row.after))
		_, problems := w.stage.Compile(b, s)
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.name, problems, row.want)
		}
	}
	// Two authorities for one form of token.
	files := maps.Clone(w.files)
	files["bundle.yaml"] += strings.ReplaceAll(strings.ReplaceAll(files["bundle.yaml"][len(bundleYAML):], "vault:\n", "second:\n"), "client: {id: durward", "client: {id: other")
	files["services/orders/service.yaml"] = strings.Replace(files["services/orders/service.yaml"], "accept: [vault", "accept: [vault, second", 1)
	b, s := load(t, files)
	_, problems := w.stage.Compile(b, s)
	want := format.Problems{s.File.Problem("$.identity.accept[1]", `the authenticators "vault" and "second" are both for opaque tokens: a token would have two meanings`)}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func FuzzFormOf(f *testing.F) {
	for _, raw := range []string{"a.b.c", "a.b", "opaque", "", "é", "a.b.c.d"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		dots := strings.Count(raw, ".")
		if formOf(raw) == formJWS && (dots != 2 || strings.ContainsAny(raw, "=+/~ ")) {
			t.Errorf("%q is taken for a JWS", raw)
		}
		if r := checkOpaque(raw); !r.is() && (raw == "" || strings.ContainsAny(raw, " \t\r\n\",%") || len(raw) > 8192) {
			t.Errorf("%q is taken for a bearer token", raw)
		}
	})
}
