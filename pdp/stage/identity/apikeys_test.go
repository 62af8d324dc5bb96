package identity

import (
	"crypto/rand"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const keysBundleYAML = `format: 1
name: acme
authenticators:
  corp:
    kind: jwt
    issuer: https://idp.example.com
    algorithms: [ES256]
    jwks: {file: keys/corp.jwks.json}
  machines:
    kind: api_key
    prefix: live
    keys: {table: true}
    roles: {allow: [reader]}
  shipped:
    kind: api_key
    prefix: ship
    keys: {file: keys/shipped.yaml}
    roles: {allow: ["*"]}
  mesh:
    kind: mtls
    sans: [billing.example.com]
`

const keysServiceYAML = `service: orders
match:
  - {host: orders.example.com}
identity: {mode: required, accept: [corp, machines, shipped, mesh], audiences: [orders-api]}
routes:
  - {name: health, path: /health, methods: [GET], access: public}
  - {name: read, path: /orders, methods: [GET]}
  - {name: write, path: /orders, methods: [POST], scopes: ["orders:read", "orders:write"]}
  - {name: browse, path: /browse, methods: [GET], identity: optional}
`

// keyWorld is a service that takes API keys.
type keyWorld struct {
	*world
	hasher *apikey.Hasher
	table  *apikey.Book
	fresh  bool
	used   []string
	// shipped is a key of the file.
	shipped string
}

func newHasher(t testing.TB, name string) *apikey.Hasher {
	t.Helper()
	h, err := apikey.NewHasher(apikey.HashKey{Name: name, Secret: []byte(strings.Repeat(name, 43))})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// issueKey makes a key of an authenticator.
func issueKey(t testing.TB, h *apikey.Hasher, authenticator, prefix string, change func(*apikey.Record)) (string, apikey.Record) {
	t.Helper()
	text, k, err := apikey.New(rand.Reader, prefix)
	if err != nil {
		t.Fatal(err)
	}
	r := apikey.Record{ID: k.ID, Bundle: "acme", Authenticator: authenticator, Owner: "ci-marker", Kind: "service", Created: testNow.Add(-time.Hour), Expires: testNow.Add(time.Hour)}
	if change != nil {
		change(&r)
	}
	r.Hash, r.HashKey = h.Hash(r.Bundle, r.Authenticator, text)
	return text, r
}

func newKeyWorld(t testing.TB) *keyWorld {
	t.Helper()
	w := &keyWorld{world: newWorld(t), hasher: newHasher(t, "k"), fresh: true}
	w.table = apikey.NewBook(apikey.BookOptions{
		Fresh: func(time.Time) bool { return w.fresh },
		Used:  func(r *apikey.Record, _ time.Time) { w.used = append(w.used, r.ID) },
	})
	var r apikey.Record
	w.shipped, r = issueKey(t, w.hasher, "shipped", "dwk_ship_", nil)
	w.files["bundle.yaml"], w.files["services/orders/service.yaml"] = keysBundleYAML, keysServiceYAML
	w.files["keys/shipped.yaml"] = "keys:\n" + apikey.WriteYAML(&r)
	w.stage = New(Options{APIKeys: &APIKeys{Hasher: w.hasher, Table: w.table}})
	b, s := load(t, w.files)
	compiled, problems := w.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.service = &pipeline.Service{Route: &route.Service{Name: "orders"}, Parts: map[string]any{Name: compiled}}
	for i, r := range s.Routes {
		w.service.Route.Routes = append(w.service.Route.Routes, &route.Route{Service: w.service.Route, Index: i, Name: r.Name, Public: r.Access == "public"})
	}
	return w
}

// issue makes a key of the table.
func (w *keyWorld) issue(t testing.TB, change func(*apikey.Record)) (string, apikey.Record) {
	t.Helper()
	text, r := issueKey(t, w.hasher, "machines", "dwk_live_", change)
	w.table.Put(r)
	return text, r
}

func TestAPIKeySubject(t *testing.T) {
	w := newKeyWorld(t)
	raw, r := w.issue(t, func(r *apikey.Record) {
		r.Tenant, r.Scopes, r.Roles = "acme", []string{"orders:read", "orders:write"}, []string{"reader", "root"}
	})
	c := w.bearer(routeWrite, raw)
	w.wantSubject(t, c, "service:machines:ci-marker")
	want := subject.Subject{
		Key: "service:machines:ci-marker", Kind: "service", Authenticator: "machines", ID: "ci-marker", Tenant: "acme",
		Scopes: r.Scopes, Roles: []string{"reader"}, DroppedRoles: 1, TokenID: r.ID, KeyID: r.ID,
	}
	if diff := cmp.Diff(want, c.Subject); diff != "" {
		t.Error(diff)
	}
	// A key that acts for a person is a user, with a key of its own.
	person, _ := w.issue(t, func(r *apikey.Record) { r.Kind = "user" })
	w.wantSubject(t, w.bearer(routeRead, person), "user:machines:ci-marker")
	// One of the file, a token beside, one in a native question, and whoever comes without where nobody must come with one.
	w.wantSubject(t, w.bearer(routeRead, w.shipped), "service:shipped:ci-marker")
	w.wantSubject(t, w.bearer(routeRead, w.mint(t, nil)), "user:corp:alice-marker")
	native := w.newCase(routeRead)
	native.Request.Operation = &request.Operation{Credential: raw}
	w.wantSubject(t, native, "service:machines:ci-marker")
	w.wantSubject(t, w.newCase(routeBrowse), "anonymous")
	// A key that lacks a scope is known.
	c = w.bearer(routeWrite, person)
	w.wantDenied(t, c, verdict.ScopeMissing)
	if c.Subject.Key != "user:machines:ci-marker" {
		t.Errorf("subject %q", c.Subject.Key)
	}
}

// TestAPIKeyRefusals: whatever is wrong, the client learns the same; the record has the exact reason, with the key where there is one.
func TestAPIKeyRefusals(t *testing.T) {
	w := newKeyWorld(t)
	good, _ := w.issue(t, nil)
	expired, expiredRecord := w.issue(t, func(r *apikey.Record) { r.Expires = testNow })
	revoked, revokedRecord := w.issue(t, func(r *apikey.Record) { r.Revoked = testNow })
	home, homeRecord := w.issue(t, func(r *apikey.Record) { r.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	foreign, _ := w.issue(t, func(r *apikey.Record) { r.Bundle = "other" })
	unknown, _ := issueKey(t, w.hasher, "machines", "dwk_live_", nil)
	stranger, _ := issueKey(t, w.hasher, "machines", "dwk_", nil)
	shipped, _ := issueKey(t, w.hasher, "shipped", "dwk_ship_", nil)
	for _, tc := range []struct {
		name, raw string
		want      verdict.Reason
		detail    string
	}{
		{"unknown", unknown, verdict.APIKeyUnknown, "authenticator machines: there is no such key"},
		{"unknown, of the file's", shipped, verdict.APIKeyUnknown, "authenticator shipped: there is no such key"},
		{"of a prefix that nobody has", stranger, verdict.APIKeyUnknown, "no accepted authenticator has keys with this prefix"},
		{"of another bundle", foreign, verdict.APIKeyUnknown, "authenticator machines: the key is one of another authenticator"},
		{"expired", expired, verdict.APIKeyExpired, "authenticator machines, key " + expiredRecord.ID + ": the key has expired"},
		{"revoked", revoked, verdict.TokenRevoked, "authenticator machines, key " + revokedRecord.ID + ": the key was revoked"},
		{"from elsewhere", home, verdict.APIKeyAddress, "authenticator machines, key " + homeRecord.ID + ": the client's address is none"},
		{"truncated", good[:len(good)-1], verdict.APIKeyUnknown, "the text is no key"},
		{"upper case", strings.ToUpper(good), verdict.TokenMalformed, ""}, // no longer of the form
		{"a bit flipped", good[:40] + string(good[40]^1) + good[41:], verdict.APIKeyUnknown, ""},
		{"10 KB", good + strings.Repeat("x", 10<<10), verdict.APIKeyUnknown, "the text is no key"},
		{"unicode", "dwk_live_" + strings.Repeat("ｋ", 30), verdict.APIKeyUnknown, "the text is no key"},
		{"the prefix alone", "dwk_", verdict.APIKeyUnknown, "the text is no key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.bearer(routeRead, tc.raw)
			if strings.Contains(tc.detail, "ci-marker") {
				t.Fatal("no test")
			}
			w.wantDenied(t, c, tc.want) // checks the challenge, which is the same for all
			if !strings.Contains(c.Verdict.Explanation.Detail, tc.detail) {
				t.Errorf("%q, want %q", c.Verdict.Explanation.Detail, tc.detail)
			}
		})
	}
	if w.used != nil {
		t.Errorf("used: %v", w.used)
	}
	// The policy of the address is that of the client, not of the gateway.
	c := w.bearer(routeRead, home)
	c.Request.Client = netip.MustParseAddr("10.9.9.9")
	w.wantSubject(t, c, "service:machines:ci-marker")
}

// TestAPIKeysOutage: what nobody here can tell is no fault of the key's, and no reason to ask for another one.
func TestAPIKeysOutage(t *testing.T) {
	w := newKeyWorld(t)
	raw, _ := w.issue(t, nil)
	w.fresh = false
	c := w.bearer(routeRead, raw)
	if w.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.KeysUnavailable || c.Verdict.HTTPStatus() != 503 || !c.IsOutage() || !c.Subject.IsAnonymous() {
		t.Errorf("%+v, outage %v", c.Verdict, c.IsOutage())
	}
	if len(c.Verdict.Obligations.SetResponse) > 0 || !strings.Contains(c.Verdict.Explanation.Detail, "authenticator machines: the table") {
		t.Errorf("%+v", c.Verdict)
	}
	w.wantSubject(t, w.bearer(routeRead, w.shipped), "service:shipped:ci-marker")
}

// TestAPIKeysOffline: a tool without hash keys compiles such a bundle, and takes no key for good.
func TestAPIKeysOffline(t *testing.T) {
	w := newKeyWorld(t)
	b, s := load(t, w.files)
	part, problems := New(Options{}).Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.service.Parts[Name] = part
	raw, _ := w.issue(t, nil)
	for _, text := range []string{raw, w.shipped} {
		c := w.bearer(routeRead, text)
		if w.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.KeysUnavailable {
			t.Errorf("%+v", c.Verdict)
		}
	}
}

// TestAPIKeysUsed: a use is told once a minute, and not by a dry run.
func TestAPIKeysUsed(t *testing.T) {
	w := newKeyWorld(t)
	raw, r := w.issue(t, nil)
	dry := w.bearer(routeRead, raw)
	dry.Request.Mode = request.Dry
	w.wantSubject(t, dry, "service:machines:ci-marker")
	if len(w.used) > 0 {
		t.Errorf("a dry run: %v", w.used)
	}
	for range 3 {
		w.wantSubject(t, w.bearer(routeRead, raw), "service:machines:ci-marker")
	}
	if diff := cmp.Diff([]string{r.ID}, w.used); diff != "" {
		t.Error(diff)
	}
}

func TestAPIKeysGiven(t *testing.T) {
	w := newKeyWorld(t)
	for _, kind := range []string{"user", "service"} {
		c := w.newCase(routeRead)
		c.Given = &subject.Subject{Key: subject.Key(kind, "machines", "ci"), Kind: kind, Authenticator: "machines", ID: "ci", Roles: []string{"reader", "root"}}
		w.wantSubject(t, c, kind+":machines:ci")
		if diff := cmp.Diff([]string{"reader"}, c.Subject.Roles); diff != "" || c.Subject.DroppedRoles != 1 {
			t.Error(diff)
		}
	}
}

func TestKeyAuthenticators(t *testing.T) {
	w := newKeyWorld(t)
	want := []KeyAuthenticator{{Name: "machines", Prefix: "dwk_live_", Roles: []string{"reader"}}}
	if diff := cmp.Diff(want, KeyAuthenticators(w.service), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if got := KeyAuthenticators(&pipeline.Service{}); got != nil {
		t.Errorf("%v", got)
	}
}

func TestAPIKeyProblems(t *testing.T) {
	w := newKeyWorld(t)
	const bundle, service, keys = "bundle.yaml", "services/orders/service.yaml", "keys/shipped.yaml"
	for _, row := range []struct {
		name                string
		path, before, after string
		want                string
		options             Options
	}{
		{"sound", bundle, "acme", "acme", "", w.stage.options},
		{"the same prefix", bundle, "prefix: ship", "prefix: live", service + `:4:53: the keys of the authenticators "machines" and "shipped" both begin with dwk_live_`, w.stage.options},
		{"a bad prefix", bundle, "prefix: ship", "prefix: Ship", bundle + ":16:13: the label of keys is 1 to 8", w.stage.options},
		{"roles from claims", bundle, "roles: {allow: [reader]}", "roles: {from: roles, allow: [reader]}", bundle + ":13:19: roles are written down with each key", w.stage.options},
		{"no file", bundle, "keys: {file: keys/shipped.yaml}", "keys: {file: keys/other.yaml}", bundle + `:17:18: the bundle has no file "keys/other.yaml"`, w.stage.options},
		{"two sources", bundle, "keys: {file: keys/shipped.yaml}", "keys: {file: keys/shipped.yaml, table: true}", bundle + ":17:5: keys come from one place", w.stage.options},
		{"a typo in the file", keys, "owner:", "ownr:", keys + ":5:5:", w.stage.options},
		{"a role that may not be asserted", keys, "    kind:", "    roles: [writer]\n    kind:", keys + `:6:5: the authenticator "shipped" may not assert all of these roles`, w.stage.options},
		{"a hash key that the server lacks", keys, `hash_key: "k"`, `hash_key: "lost"`, keys + `:4:15: this server has no hash key "lost"`, w.stage.options},
		{"the same, for a tool", keys, `hash_key: "k"`, `hash_key: "lost"`, "", Options{}},
		{"a server without hash keys", bundle, "acme", "acme", bundle + ":10:11: this server has no hash keys", Options{APIKeys: &APIKeys{Table: w.table}}},
		{"scopes without credentials that could have them", service, "accept: [corp, machines, shipped, mesh], audiences: [orders-api]", "accept: [mesh]", service + ":8:51: neither tokens nor keys", w.stage.options},
		{"scopes with keys alone", service, "accept: [corp, machines, shipped, mesh], audiences: [orders-api]", "accept: [machines]", "", w.stage.options},
	} {
		t.Run(row.name, func(t *testing.T) {
			files := replaced(t, w.files, row.path, row.before, row.after)
			if row.name == "a role that may not be asserted" {
				files = replaced(t, files, bundle, `roles: {allow: ["*"]}`, `roles: {allow: [reader]}`)
			}
			b, s := load(t, files)
			_, problems := New(row.options).Compile(b, s)
			if row.want == "" {
				if len(problems) > 0 {
					t.Error(problems)
				}
				return
			}
			found := false
			for _, p := range problems {
				found = found || strings.HasPrefix(p.Position.String()+": "+p.Message, row.want)
			}
			if !found {
				t.Errorf("%v\nwant %s", problems, row.want)
			}
		})
	}
}
