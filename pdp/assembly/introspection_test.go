package assembly

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/oidctest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// opaqueBundle takes opaque tokens of a provider.
func opaqueBundle(p *oidctest.Provider, client string) map[string]string {
	return map[string]string{
		"bundle.yaml": fmt.Sprintf(`format: 1
name: acme
authenticators:
  idp:
    kind: introspection
    issuer: %s
    introspection: {url: %s, client: %s, timeout: 5s, cache: 10min}
    subject: {tenant: tenant}
`, p.Issuer, p.IntrospectionURL(), client),
		"services/orders/service.yaml": `service: orders
match: [{host: orders.example.com}]
identity: {accept: [idp], audiences: [orders-api]}
policies:
  - {name: main, model: model.conf, rules: [policy.csv], request: {sub: subject.key, tenant: subject.tenant, act: action}}
routes:
  - {name: read, path: /orders, methods: [GET], action: read}
  - {name: write, path: /orders, methods: [POST], action: read, scopes: ["orders:write"]}
`,
		"services/orders/model.conf": `[request_definition]
r = sub, tenant, act
[policy_definition]
p = tenant, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.tenant == p.tenant && r.act == p.act
`,
		"services/orders/policy.csv": "p, acme, read\n",
	}
}

// opaqueServer is a server whose bundle a test edits.
type opaqueServer struct {
	*Server
	dir   string
	log   *logged
	admin string
}

// newOpaqueServer starts a server that may ask a provider.
func newOpaqueServer(t *testing.T, p *oidctest.Provider, files map[string]string, secrets map[string]string) *opaqueServer {
	t.Helper()
	s := &opaqueServer{dir: t.TempDir(), log: &logged{}}
	configured := settings.Defaults()
	configured.Bundles = []settings.Bundle{{Dir: filepath.Join(s.dir, "bundle")}}
	configured.Listeners = []settings.Listener{settings.DefaultListener()}
	configured.Listeners[0].Address, configured.Admin.Address = "127.0.0.1:0", "127.0.0.1:0"
	configured.Budget, configured.Drain, configured.Poll = format.Duration(patience), 0, format.Duration(50*time.Millisecond)
	configured.Egress = []settings.Egress{{Host: p.Host, Bundles: []string{"acme"}, Private: true, CA: p.CAFile(t)}}
	for name, text := range secrets {
		s.secret(t, name, text)
		configured.Secrets = append(configured.Secrets, settings.BundleSecret{Name: name, File: filepath.Join(s.dir, name), Bundles: []string{"acme"}})
	}
	s.write(t, files)
	var err error
	if s.Server, err = New(Options{Settings: configured, Logger: s.log.logger(), Records: io.Discard, Clock: time.Now, Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	s.admin = "http://" + s.Addresses()[1]
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *opaqueServer) write(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(s.dir, "bundle", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *opaqueServer) secret(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func (s *opaqueServer) decide(t *testing.T, method, raw string) verdict.Verdict {
	t.Helper()
	return s.engine.Decide(t.Context(), withToken(call(method, "orders.example.com", "/orders"), raw))
}

func (s *opaqueServer) want(t *testing.T, method, raw string, want verdict.Reason) {
	t.Helper()
	if v := s.decide(t, method, raw); v.Reason != want {
		t.Errorf("%s with %.10s…: %s (%s), want %s", method, raw, v.Reason, v.Explanation.Detail, want)
	}
}

func (s *opaqueServer) get(t *testing.T, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func ecPEM(t *testing.T) (public any, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public(), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestIntrospectionEndToEnd: opaque access tokens of a real OpenID provider, introspected by a real server, with a password and with
// assertions.
func TestIntrospectionEndToEnd(t *testing.T) {
	public, private := ecPEM(t)
	p := oidctest.Start(t, oidctest.Options{Clients: []oidctest.Client{
		{ID: "app", Secret: "a", Audience: []string{"orders-api", "durward", "signer"}, Scopes: []string{"orders:write"}, Opaque: true, Claims: map[string]any{"tenant": "acme"}},
		{ID: "stranger", Secret: "b", Audience: []string{"other-api", "durward", "signer"}, Opaque: true, Claims: map[string]any{"tenant": "acme"}},
		{ID: "durward", Secret: "p+w %:ü"},
		{ID: "signer", Key: public},
	}})
	for name, client := range map[string]string{
		"basic":           "{id: durward, authentication: basic, secret: idp-password}",
		"private_key_jwt": "{id: signer, authentication: private_key_jwt, secret: idp-key, key_id: k1}",
	} {
		t.Run(name, func(t *testing.T) {
			s := newOpaqueServer(t, p, opaqueBundle(p, client), map[string]string{"idp-password": "p+w %:ü\n", "idp-key": private})
			eventually(t, "ready", s.ready.Load)
			before := p.Requests("/oauth/introspect")
			reader, writer := p.Login(t, "app", "alice"), p.Login(t, "app", "bob", "orders:write")
			for range 3 {
				s.want(t, "GET", reader.Access, verdict.Allowed)
				s.want(t, "POST", reader.Access, verdict.ScopeMissing)
				s.want(t, "POST", writer.Access, verdict.Allowed)
			}
			if v := s.decide(t, "GET", reader.Access); v.Subject != "user:idp:alice" {
				t.Errorf("subject %s", v.Subject)
			}
			if n := p.Requests("/oauth/introspect") - before; n != 2 {
				t.Errorf("the provider was asked %d times about two tokens", n)
			}
			s.want(t, "GET", p.ClientToken(t, "stranger"), verdict.TokenAudience)
			s.want(t, "GET", "nobody-knows-this", verdict.TokenInactive)
			s.want(t, "GET", reader.ID, verdict.TokenMalformed) // a JWT
			revoked := p.Login(t, "app", "carol")
			p.Revoke(t, "app", revoked.Access)
			s.want(t, "GET", revoked.Access, verdict.TokenInactive)
			p.SetDown(true)
			defer p.SetDown(false)
			if v := s.decide(t, "GET", "not-known-yet"); v.Reason != verdict.IntrospectionUnavailable || v.HTTPStatus() != 503 || !v.Degraded {
				t.Errorf("%s, status %d", v.Reason, v.HTTPStatus())
			}
			s.want(t, "GET", reader.Access, verdict.Allowed) // who is known goes on
			s.wantShown(t, name)
			for _, secret := range []string{"p+w", "PRIVATE", reader.Access, writer.Access, "not-known-yet"} {
				if text := s.log.String() + s.get(t, "/configz") + s.get(t, "/metrics"); strings.Contains(text, secret) {
					t.Errorf("%q is shown", secret)
				}
			}
		})
	}
}

// wantShown looks at what operators see.
func (s *opaqueServer) wantShown(t *testing.T, authentication string) {
	t.Helper()
	var view struct {
		Settings struct {
			Secrets []map[string]any `json:"secrets"`
		} `json:"settings"`
		Introspection introspectionView `json:"introspection"`
	}
	if err := json.Unmarshal([]byte(s.get(t, "/configz")), &view); err != nil {
		t.Fatal(err)
	}
	in := &view.Introspection
	if len(in.Endpoints) != 1 || in.Endpoints[0].Authenticator != "idp" || in.Endpoints[0].Authentication != authentication || in.Endpoints[0].Circuit != "closed" ||
		in.Active == 0 || in.Inactive == 0 || in.Bytes == 0 || len(view.Settings.Secrets) != 2 {
		t.Errorf("configz %+v", view)
	}
	metrics := s.get(t, "/metrics")
	for _, want := range []string{
		`durward_introspections_total{authenticator="idp",bundle="acme",outcome="active",source="call"}`,
		`durward_introspections_total{authenticator="idp",bundle="acme",outcome="active",source="cached"}`,
		`durward_introspections_total{authenticator="idp",bundle="acme",outcome="unreachable",source="call"} 1`,
		`durward_introspection_duration_seconds_count{authenticator="idp",bundle="acme"}`,
		`durward_introspection_circuit_open{authenticator="idp",bundle="acme"} 0`, `durward_introspection_answers `,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "issuer cannot be asked about tokens") {
		t.Errorf("log: %s", log)
	}
}

// TestMisconfiguredClient: a provider that does not know us is our fault, and said so once.
func TestMisconfiguredClient(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: []oidctest.Client{{ID: "durward", Secret: "right"}, {ID: "app", Secret: "a", Audience: []string{"orders-api", "durward"}, Opaque: true, Claims: map[string]any{"tenant": "acme"}}}})
	s := newOpaqueServer(t, p, opaqueBundle(p, "{id: durward, authentication: basic, secret: pw}"), map[string]string{"pw": "wrong"})
	eventually(t, "ready", s.ready.Load)
	raw := p.Login(t, "app", "alice").Access
	for range 3 {
		s.want(t, "GET", raw, verdict.IntrospectionUnavailable)
	}
	if n := strings.Count(s.log.String(), "issuer does not accept this client"); n != 1 {
		t.Errorf("said %d times: %s", n, s.log.String())
	}
	s.secret(t, "pw", "right, and of another length"[:5])
	eventually(t, "the secret is read again", func() bool { v := s.decide(t, "GET", raw); return v.Allowed() })
	if log := s.log.String(); !strings.Contains(log, "secret read again") || !strings.Contains(log, "issuer answers about tokens again") {
		t.Errorf("log: %s", log)
	}
}

// TestSecretsOfBundles: a secret that the operator does not give to the bundle is a load error at its place.
func TestSecretsOfBundles(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := newOpaqueServer(t, p, opaqueBundle(p, "{id: durward, authentication: basic, secret: other}"), map[string]string{"pw": "right"})
	eventually(t, "refused", func() bool {
		return strings.Contains(s.log.String(), `the server's settings have no secret \"other\" for this bundle`)
	})
	if !strings.Contains(s.log.String(), "bundle.yaml:7:") || s.ready.Load() {
		t.Errorf("log: %s", s.log.String())
	}
	s.write(t, opaqueBundle(p, "{id: durward, authentication: basic, secret: pw}"))
	eventually(t, "ready", s.ready.Load)
}

// TestIntrospectionLog: an outage is told when it begins, changes, goes on for long, and ends.
func TestIntrospectionLog(t *testing.T) {
	text, now := &logged{}, &clock{now: instant()}
	l := &introspectionLog{logger: text.logger(), clock: now.Now, known: map[[2]string]*issuerHealth{}}
	lines := func() int { return strings.Count(text.String(), "\n") }
	down := func(o introspection.Outcome) introspection.Event {
		return introspection.Event{Bundle: "acme", Authenticator: "idp", Source: introspection.Call, Outcome: o, Error: &introspection.Error{Outcome: o}}
	}
	up := introspection.Event{Bundle: "acme", Authenticator: "idp", Source: introspection.Call, Outcome: introspection.Inactive}
	cached := up
	cached.Source = introspection.Cached
	for i, row := range []struct {
		event introspection.Event
		after time.Duration
		want  int
	}{
		{up, 0, 0}, {down(introspection.Timeout), 0, 1}, {down(introspection.Timeout), time.Second, 1}, {cached, 0, 1}, {down(introspection.Failed), 0, 2},
		{down(introspection.Failed), stillDown, 3}, {up, 0, 4}, {up, 0, 4},
	} {
		now.advance(row.after)
		if l.event(row.event); lines() != row.want {
			t.Errorf("event %d: %d lines, want %d\n%s", i, lines(), row.want, text.String())
		}
	}
	// Every other token makes the issuer stumble.
	now.advance(time.Minute)
	before := lines()
	for range 1000 {
		now.advance(time.Millisecond)
		l.event(down(introspection.Refused))
		l.event(up)
	}
	if n := lines() - before; n != maxIssuerLines {
		t.Errorf("%d lines of a thousand odd tokens, want %d", n, maxIssuerLines)
	}
	now.advance(time.Minute)
	before = lines()
	l.event(down(introspection.Timeout))
	l.event(up)
	if n := lines() - before; n != 2 {
		t.Errorf("%d lines a minute later", n)
	}
}

// TestSecretFiles: what is read, when, and what is told of it.
func TestSecretFiles(t *testing.T) {
	dir, text, now := t.TempDir(), &logged{}, &clock{now: instant()}
	path := filepath.Join(dir, "secret")
	write := func(content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	s := newSecrets([]settings.BundleSecret{{Name: "pw", File: path, Bundles: []string{"acme", "shop"}}, {Name: "dir", File: dir, Bundles: []string{"acme"}}}, now.Now, text.logger())
	want := func(bundle, name, want, fails string) {
		t.Helper()
		got, err := s.Secret(bundle, name)
		if got != want || (err != nil) != (fails != "") || err != nil && !strings.Contains(err.Error(), fails) {
			t.Errorf("%s of %s: %q, error %v", name, bundle, got, err)
		}
	}
	want("acme", "pw", "", "cannot be read")
	write("  \n", 0o600)
	want("acme", "pw", "", "empty") // who has nothing looks again at once
	write(strings.Repeat("a", maxSecret+1), 0o600)
	want("acme", "pw", "", "longer than 65536 bytes")
	write("hunter2\n", 0o600)
	want("acme", "pw", "hunter2", "")
	want("shop", "pw", "hunter2", "")
	want("other", "pw", "", `no secret "pw" for this bundle`)
	want("acme", "none", "", `no secret "none" for this bundle`)
	want("acme", "dir", "", "not a regular file")
	if log := text.String(); strings.Contains(log, "others") {
		t.Errorf("log: %s", log)
	}
	write("hunter3\n\n", 0o640)
	want("acme", "pw", "hunter2", "") // not before a second has passed
	now.advance(recheck)
	want("acme", "pw", "hunter3", "")
	if log := text.String(); strings.Count(log, "secret can be read by others") != 1 || !strings.Contains(log, "secret read again") {
		t.Errorf("log: %s", log)
	}
	for range 3 {
		now.advance(recheck)
		want("acme", "pw", "hunter3", "")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		now.advance(recheck)
		want("acme", "pw", "hunter3", "")
	}
	if log := text.String(); strings.Count(log, "not read again") != 1 || strings.Count(log, "read by others") != 1 || strings.Contains(log, "hunter") {
		t.Errorf("log: %s", log)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v", s, s.byName["pw"].text, s.byName["pw"].text)
	if strings.Contains(out.String(), "hunter") {
		t.Errorf("printed: %s", out.String())
	}
}
