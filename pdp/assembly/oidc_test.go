package assembly

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/oidctest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/identity/keys"
	durwardv1 "github.com/durward-pdp/durward/proto/durward/v1"
)

// gated is a server whose one service takes tokens of a real OpenID provider.
type gated struct {
	*running
	provider *oidctest.Provider
	clock    *clock
}

const gatedService = `service: orders
match: [{host: orders.example.com}]
tls: optional
identity: {accept: [corp], audiences: [orders-api]}
policies:
  - {name: main, model: model.conf, rules: [policy.csv], request: {sub: subject.key, act: action}}
routes:
  - {name: read-order, path: "/orders/{id}", methods: [GET], action: "orders:read"}
`

// newGated starts the server; jwks says where the keys are, ISSUER standing for the provider's name.
func newGated(t *testing.T, provider *oidctest.Provider, jwks string, adjust func(*Options)) *gated {
	t.Helper()
	g := &gated{provider: provider, clock: &clock{now: time.Now()}}
	g.running = newRunningAs(t, g.bundleText(jwks), func(bundle string) {
		dir := filepath.Join(bundle, "services/orders")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"service.yaml": gatedService, "model.conf": explainedModel,
			"policy.csv": "p, member, orders:read\ng, user:corp:app, member\ng, user:corp:alice, member\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}, func(o *Options) {
		o.Clock = g.clock.Now
		o.Settings.Budget = format.Duration(20 * time.Second)
		o.Settings.Admin.Address = "127.0.0.1:0"
		o.Settings.Egress = []settings.Egress{{Host: provider.Host, Bundles: []string{"acme"}, Private: true, CA: provider.CAFile(t)}}
		adjust(o)
	})
	next := g.watch(t, "native")
	for next() != serving {
	}
	return g
}

func (g *gated) bundleText(jwks string) string {
	text := emptyBundle + "authenticators:\n  corp: {kind: jwt, issuer: \"ISSUER\", algorithms: [ES256], types: [JWT], jwks: " + jwks + "}\n"
	return strings.ReplaceAll(text, "ISSUER", g.provider.Issuer)
}

// want asks with a token and fails unless the answer has that reason and status.
func (g *gated) want(t *testing.T, raw, reason string, status int32) {
	t.Helper()
	if got, gotStatus := g.ask(t, raw); got != reason || gotStatus != status {
		t.Errorf("%s, %d; want %s, %d", got, gotStatus, reason, status)
	}
}

func (g *gated) ask(t *testing.T, raw string) (reason string, status int32) {
	t.Helper()
	answer, err := durwardv1.NewDecisionServiceClient(g.conn).Check(t.Context(), &durwardv1.CheckRequest{Question: &durwardv1.CheckRequest_Http{Http: &durwardv1.HTTPRequest{
		Method: "GET", Scheme: "https", Host: "orders.example.com", Target: "/orders/7", Protocol: "HTTP/1.1",
		Headers: []*durwardv1.HeaderLine{{Name: "authorization", Value: []byte("Bearer " + raw)}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetReason(), answer.GetHttpStatus()
}

// get reads from the admin listener.
func (g *gated) get(t *testing.T, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.admin.listener.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, error %v", path, answer.StatusCode, err)
	}
	return string(body)
}

func (g *gated) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s\n%s", what, g.log)
		}
	}
}

const window = 30 * time.Second

var appClient = []oidctest.Client{{ID: "app", Secret: "s", Audience: []string{"orders-api"}}}

// TestOpenIDProvider takes a whole server through the life of a real provider: down at the start, up, rotating, down again.
func TestOpenIDProvider(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Path: "/realms/acme", Clients: appClient, Lifetime: 20 * time.Hour})
	first := p.ClientToken(t, "app")
	person := p.Login(t, "app", "alice").Access
	const document = "/.well-known/openid-configuration"
	p.SetDown(true)
	g := newGated(t, p, "{discovery: true, max_stale: 1h}", func(*Options) {})
	for range 20 {
		g.want(t, first, "keys_unavailable", 503)
	}
	if n := p.Requests(document); n != 1 {
		t.Errorf("%d requests for metadata in one window", n)
	}
	p.SetDown(false)
	g.clock.advance(window)
	g.eventually(t, "keys are fetched", func() bool { reason, _ := g.ask(t, first); return reason == "allowed" })
	g.want(t, person, "allowed", 200)

	old := "key-1"
	fresh := p.Rotate(t)
	second := p.ClientToken(t, "app")
	before := p.Requests("/keys")
	for range 20 {
		g.want(t, second, "token_key_unknown", 401)
	}
	if n := p.Requests("/keys") - before; n != 0 {
		t.Errorf("%d requests for keys within the window", n)
	}
	g.clock.advance(window)
	g.want(t, second, "allowed", 200)
	g.want(t, first, "allowed", 200)
	if n := p.Requests("/keys") - before; n != 1 {
		t.Errorf("%d requests for keys because of one new key", n)
	}
	p.Withdraw(old)
	g.clock.advance(5 * time.Minute)
	g.eventually(t, "the withdrawn key is refused", func() bool { reason, _ := g.ask(t, first); return reason == "token_key_unknown" })
	g.want(t, second, "allowed", 200)

	reloads := p.Requests("/keys")
	g.write(t, "# another revision\n"+g.bundleText("{discovery: true, max_stale: 1h}"))
	g.eventually(t, "another revision is in force", func() bool { return strings.Count(g.log.String(), `"bundle loaded"`) == 2 })
	g.want(t, second, "allowed", 200)
	if n := p.Requests("/keys") - reloads; n != 0 {
		t.Errorf("%d requests for keys because of a reload", n)
	}
	g.shown(t, fresh, second)

	p.SetDown(true)
	g.clock.advance(time.Hour + 5*time.Minute)
	g.want(t, second, "allowed", 200)
	g.clock.advance(time.Second)
	g.want(t, second, "keys_unavailable", 503)
	p.SetDown(false)
	g.clock.advance(2 * window)
	g.eventually(t, "keys are fetched again", func() bool { reason, _ := g.ask(t, second); return reason == "allowed" })
	g.logs(t)

	g.stop()
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
	ended := p.Requests("/keys")
	late := g.parts.keys.Source(keys.Place{Bundle: "acme", Issuer: p.Issuer, URL: p.KeysURL()})
	if known, pending := late.Next(t.Context(), late.Current()); pending || known.Set(g.clock.Now(), time.Hour) != nil || p.Requests("/keys") != ended {
		t.Errorf("after the end of the server keys are fetched, pending %v", pending)
	}
}

// shown looks at what operators see: the key, and nothing of the token.
func (g *gated) shown(t *testing.T, kid, raw string) {
	t.Helper()
	var view struct{ Issuers []keySourceView }
	text := g.get(t, "/configz")
	if err := json.Unmarshal([]byte(text), &view); err != nil {
		t.Fatal(err)
	}
	if len(view.Issuers) != 1 {
		t.Fatalf("%+v", view)
	}
	if i := view.Issuers[0]; i.Issuer != g.provider.Issuer || i.Host != g.provider.Host || !i.Discovery || i.Stale || i.Trouble != "" || len(i.Keys) != 1 ||
		i.Keys[0] != (issuerKeyView{ID: kid, Algorithm: "ES256", Type: "EC P-256"}) || i.Fetched.IsZero() || !i.Due.After(i.Fetched) {
		t.Errorf("%+v", i)
	}
	metrics := g.get(t, "/metrics")
	for _, line := range []string{
		`durward_key_fetches_total{bundle="acme",issuer="` + g.provider.Issuer + `",outcome="changed"} 3`,
		`durward_key_fetches_total{bundle="acme",issuer="` + g.provider.Issuer + `",outcome="failed"} 1`,
		`durward_keys{bundle="acme",issuer="` + g.provider.Issuer + `",usable="true"} 1`,
		`durward_keys_age_seconds{bundle="acme",issuer="` + g.provider.Issuer + `"} `,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %s in the metrics", line)
		}
	}
	for _, part := range strings.Split(raw, ".") {
		if strings.Contains(text+metrics+g.log.String(), part) {
			t.Errorf("a part of a token is shown")
		}
	}
}

// logs looks at what the log says: each change once.
func (g *gated) logs(t *testing.T) {
	t.Helper()
	for message, want := range map[string]int{
		"an issuer's keys cannot be fetched, its tokens are refused 503 until they can": 1,
		"an issuer's keys cannot be fetched, the last good ones serve on":               1,
		"an issuer's keys can be fetched again":                                         2,
		"an issuer's keys are new":                                                      3,
	} {
		g.eventually(t, message, func() bool { return strings.Count(g.log.String(), message) >= want })
		if n := strings.Count(g.log.String(), message); n != want {
			t.Errorf("%q is logged %d times, want %d", message, n, want)
		}
	}
}

// TestLogoutOfProvider: a real provider ends a session with keys that are found by discovery. While they are not there, it is told to come again.
func TestLogoutOfProvider(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: appClient})
	person, other := p.Login(t, "app", "alice"), p.Login(t, "app", "alice")
	raw := p.LogoutToken(t, "app", "alice", person.Session)
	p.SetDown(true)
	g := newGated(t, p, "{discovery: true}, logout: {audiences: [app]}", func(o *Options) { o.Settings.HTTP = settings.HTTP{Address: "127.0.0.1:0", Insecure: true} })
	send := func() (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.public.listener.Addr().String()+logoutPath, strings.NewReader("logout_token="+raw))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	if status, body := send(); status != 400 || !strings.Contains(body, `"error":"temporarily_unavailable"`) || strings.Contains(body, p.Issuer) {
		t.Error(status, body)
	}
	p.SetDown(false)
	g.clock.advance(window)
	g.eventually(t, "keys are fetched", func() bool { reason, _ := g.ask(t, person.Access); return reason == "allowed" })
	if status, body := send(); status != 200 || body != "" {
		t.Error(status, body)
	}
	g.want(t, person.Access, "token_revoked", 401)
	g.want(t, other.Access, "allowed", 200)
	metrics := g.get(t, "/metrics")
	for _, line := range []string{`durward_logouts_total{outcome="failed"} 1`, `durward_logouts_total{outcome="done"} 1`, `durward_logouts_total{outcome="refused"} 0`} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %s in the metrics", line)
		}
	}
}

// TestSlowProvider: decisions end in their own time, and the provider is asked once.
func TestSlowProvider(t *testing.T) {
	wait := make(chan struct{})
	release := sync.OnceFunc(func() { close(wait) })
	p := oidctest.Start(t, oidctest.Options{Clients: appClient, Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				<-wait
			}
			next.ServeHTTP(w, r)
		})
	}})
	t.Cleanup(release)
	raw := p.ClientToken(t, "app")
	g := newGated(t, p, `{url: "ISSUER/keys"}`, func(o *Options) { o.Settings.Budget = format.Duration(30 * time.Millisecond) })
	for range 20 {
		reason, status := g.ask(t, raw)
		if status != 503 || reason != "keys_unavailable" && reason != "deadline" {
			t.Errorf("%s, %d", reason, status)
		}
	}
	if n := p.Requests("/keys"); n != 1 {
		t.Errorf("%d requests for keys", n)
	}
	release()
	g.eventually(t, "keys are there", func() bool { reason, _ := g.ask(t, raw); return reason == "allowed" })
	if n := p.Requests("/keys"); n != 1 {
		t.Errorf("%d requests for keys", n)
	}
}

// TestProviderThatNobodyAllows: a bundle that wants keys from elsewhere does not load, and is told what would let it.
func TestProviderThatNobodyAllows(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{Clients: appClient})
	g := newGated(t, p, "{discovery: true}", func(*Options) {})
	before := p.Requests("/keys")
	g.write(t, g.bundleText(`{url: "https://keys.example.net/keys"}`))
	g.eventually(t, "the bundle is refused", func() bool { return strings.Contains(g.log.String(), "bundle refused") })
	for _, text := range []string{"bundle.yaml:5:", "may not be fetched", `egress: [{host: \\\"keys.example.net\\\", bundles: [acme]}]`} {
		if !strings.Contains(g.log.String(), strings.ReplaceAll(text, `\\\"`, `\"`)) {
			t.Errorf("no %s in %s", text, g.log)
		}
	}
	g.want(t, p.ClientToken(t, "app"), "allowed", 200)
	if n := p.Requests("/keys"); n > before+1 {
		t.Errorf("%d requests for keys", n-before)
	}
}
