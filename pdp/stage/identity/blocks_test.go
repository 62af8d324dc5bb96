package identity

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// newBlockedWorld is a world with a list of blocks, which was read at testNow if synced is set. Settings replace those of identity.
func newBlockedWorld(t testing.TB, settings string, synced bool) (*world, *blocks.List) {
	t.Helper()
	at := func() time.Time { return testNow }
	var table *state.Table
	list, err := blocks.New(blocks.Options{Clock: at, Open: func(changed func([]state.Record, bool)) (_ *state.Table, err error) {
		table, err = state.NewTable(state.TableOptions{Store: memory.New(at), Name: blocks.Table, Clock: at, Changed: changed})
		return table, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if synced {
		if err := table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	w.stage = New(Options{Blocks: list, TokenCache: 1 << 20}) // what is known of a token before it is blocked must not count
	settings, ofRoute, _ := strings.Cut(settings, "ROUTE")
	text := strings.Replace(serviceYAML, "mode: required,", "mode: required, "+settings, 1)
	w.files["services/orders/service.yaml"] = strings.Replace(text, "{name: read,", "{name: read, "+ofRoute, 1)
	b, s := load(t, w.files)
	compiled, problems := w.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.service.Parts[Name] = compiled
	w.service.Route.Bundle = "acme"
	return w, list
}

func block(t testing.TB, l *blocks.List, b blocks.Block) blocks.Block {
	t.Helper()
	b.Reason, b.By, b.Made = "leaked in a log", "ops", testNow
	in, _, err := l.Put(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

const (
	corpIssuer = "https://idp.example.com"
	revoked    = verdict.TokenRevoked
	forbidden  = verdict.SubjectBlocked
)

// testBlockedCredentials: every part of a token by which it can be blocked is found, and a block of another part is not; in another
// bundle, with another issuer or for another name the token passes.
func testBlockedCredentials(t *testing.T) {
	before := testNow.Add(-5 * time.Second)
	for name, row := range map[string]struct {
		block  blocks.Block
		reason verdict.Reason // "" passes
	}{
		"token":                     {blocks.Block{Kind: blocks.Token, Issuer: corpIssuer, Value: "j-1"}, revoked},
		"token of the bundle":       {blocks.Block{Kind: blocks.Token, Bundle: "acme", Issuer: corpIssuer, Value: "j-1"}, revoked},
		"token of another bundle":   {blocks.Block{Kind: blocks.Token, Bundle: "other", Issuer: corpIssuer, Value: "j-1"}, ""},
		"token of another issuer":   {blocks.Block{Kind: blocks.Token, Issuer: "https://partner.example.com", Value: "j-1"}, ""},
		"session":                   {blocks.Block{Kind: blocks.Session, Issuer: corpIssuer, Value: "s-1"}, revoked},
		"another session":           {blocks.Block{Kind: blocks.Session, Issuer: corpIssuer, Value: "s-2"}, ""},
		"signing key":               {blocks.Block{Kind: blocks.Key, Issuer: "corp", Value: "corp-1"}, revoked},
		"all older":                 {blocks.Block{Kind: blocks.Issuer, Issuer: corpIssuer, Before: before}, revoked},
		"only those older than it":  {blocks.Block{Kind: blocks.Issuer, Issuer: corpIssuer, Before: testNow.Add(-10 * time.Second)}, ""},
		"older of the subject":      {blocks.Block{Kind: blocks.Subject, Issuer: corpIssuer, Value: "alice-marker", Before: before}, revoked},
		"older of the subject, key": {blocks.Block{Kind: blocks.Subject, Value: "user:corp:alice-marker", Before: before}, revoked},
		"subject":                   {blocks.Block{Kind: blocks.Subject, Value: "user:corp:alice-marker"}, forbidden},
		"subject by sub":            {blocks.Block{Kind: blocks.Subject, Issuer: corpIssuer, Value: "alice-marker"}, forbidden},
		"another subject":           {blocks.Block{Kind: blocks.Subject, Value: "user:corp:alice-marke"}, ""},
		"client":                    {blocks.Block{Kind: blocks.Client, Issuer: corpIssuer, Value: "app-marker"}, forbidden},
		"another client":            {blocks.Block{Kind: blocks.Client, Issuer: corpIssuer, Value: "app"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, list := newBlockedWorld(t, "", true)
			raw := w.mint(t, claims{"sid": "s-1", "jti": "j-1"})
			w.wantSubject(t, w.bearer(routeRead, raw), "user:corp:alice-marker")
			in := block(t, list, row.block)
			before := w.stage.CacheStats().Hits
			defer func() {
				if w.stage.CacheStats().Hits == before {
					t.Error("the token was not in the cache")
				}
			}()
			c := w.bearer(routeRead, raw)
			switch row.reason {
			case "":
				w.wantSubject(t, c, "user:corp:alice-marker")
				return
			case revoked:
				w.wantDenied(t, c, revoked)
			default:
				wantBlocked(t, w, c)
			}
			if detail := c.Verdict.Explanation.Detail; !strings.Contains(detail, in.ID()+": leaked in a log") || !strings.HasPrefix(detail, "authenticator corp, key corp-1: ") {
				t.Errorf("the detail is %q", detail)
			}
			if row.reason == revoked { // on a route where no credential is needed, one that came must be good all the same
				w.wantDenied(t, w.bearer(routeBrowse, raw), revoked)
			}
			if w.evaluate(t, w.bearer(routeOpen, raw)) != pipeline.Continue {
				t.Error("a credential that nobody looks at is refused")
			}
		})
	}
}

// wantBlocked: who is blocked is known, forbidden, and not asked to log in again; scopes are not even looked at.
func wantBlocked(t *testing.T, w *world, c *pipeline.Case) {
	t.Helper()
	if w.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.SubjectBlocked || c.Verdict.HTTPStatus() != http.StatusForbidden || c.IsOutage() {
		t.Errorf("%s, status %d", c.Verdict.Reason, c.Verdict.HTTPStatus())
	}
	if len(c.Verdict.Obligations.SetResponse) > 0 || c.Subject.IsAnonymous() {
		t.Errorf("challenge %v, subject %q", c.Verdict.Obligations.SetResponse, c.Subject.Key)
	}
}

// TestBlockedCertificate: a certificate's subject is blocked like any other, and its age is that of the certificate.
func TestBlockedCertificate(t *testing.T) {
	w, list := newBlockedWorld(t, "", true)
	newCase := func() *pipeline.Case {
		c := w.newCase(routeRead)
		c.Request.Certificate = &request.Certificate{DNSNames: []string{"billing.example.com"}, NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour)}
		return c
	}
	w.wantSubject(t, newCase(), "service:mesh:billing.example.com")
	older := block(t, list, blocks.Block{Kind: blocks.Subject, Value: "service:mesh:billing.example.com", Before: testNow.Add(-time.Hour)})
	w.wantSubject(t, newCase(), "service:mesh:billing.example.com")
	if _, _, err := list.Lift(t.Context(), older.ID()); err != nil {
		t.Fatal(err)
	}
	older.Before = testNow.Add(-time.Minute)
	block(t, list, older)
	w.wantDenied(t, newCase(), revoked)
	if _, _, err := list.Lift(t.Context(), older.ID()); err != nil {
		t.Fatal(err)
	}
	block(t, list, blocks.Block{Kind: blocks.Subject, Bundle: "acme", Value: "service:mesh:billing.example.com"})
	wantBlocked(t, w, newCase())
}

// TestScopesComeAfterBlocks: who is blocked does not learn which scope would do.
func TestScopesComeAfterBlocks(t *testing.T) {
	w, list := newBlockedWorld(t, "", true)
	block(t, list, blocks.Block{Kind: blocks.Subject, Value: "user:corp:alice-marker"})
	wantBlocked(t, w, w.bearer(routeWrite, w.mint(t, nil)))
}

// testStaleBlocks: what a copy that is too old means, by the failure mode of the service or of the route. What it knows counts in any mode.
func testStaleBlocks(t *testing.T) {
	const (
		passes   = "passes"
		degraded = "passes, degraded"
		denied   = "denied"
	)
	for _, row := range []struct {
		settings string        // of the service; what follows ROUTE is the route's
		age      time.Duration // of the copy; negative for one that never was
		want     string
	}{
		{"ROUTE revocation: {on_error: deny},", time.Minute, passes}, {"ROUTE revocation: {on_error: deny},", time.Minute + 1, denied},
		{"revocation: {on_error: deny, max_age: 5s}, ROUTE revocation: {on_error: allow},", 5 * time.Second, passes},
		{"revocation: {on_error: deny, max_age: 5s}, ROUTE revocation: {on_error: allow},", 6 * time.Second, degraded},
		{"revocation: {on_error: deny, max_age: 5s}, ROUTE revocation: {on_error: allow},", -1, degraded},
		{"revocation: {on_error: deny, max_age: 5s}, ROUTE revocation: {max_age: 20s},", 20 * time.Second, passes},
		{"revocation: {on_error: deny, max_age: 5s}, ROUTE revocation: {max_age: 20s},", 21 * time.Second, denied},
		{"revocation: {on_error: allow}, ROUTE revocation: {on_error: stale},", -1, denied},
		{"", time.Minute, passes}, {"", time.Minute + 1, degraded}, {"", -1, denied}, {"", 1000 * time.Hour, degraded},
		{"revocation: {on_error: stale, max_age: 5s},", 5 * time.Second, passes}, {"revocation: {on_error: stale, max_age: 5s},", 6 * time.Second, degraded},
		{"revocation: {on_error: deny},", time.Minute, passes}, {"revocation: {on_error: deny},", time.Minute + 1, denied}, {"revocation: {on_error: deny},", -1, denied},
		{"revocation: {on_error: allow},", time.Minute, passes}, {"revocation: {on_error: allow},", time.Minute + 1, degraded}, {"revocation: {on_error: allow},", -1, degraded},
	} {
		w, list := newBlockedWorld(t, row.settings, row.age >= 0)
		c := w.bearer(routeRead, w.mint(t, claims{"exp": testNow.Unix() + 5_000_000, "iat": testNow.Unix()}))
		part := w.service.Parts[Name].(*part)
		c.Now = testNow.Add(max(row.age, 0))
		// The token's own times are not the point here.
		who := proven{}
		r := part.checkRevoked(c, &part.routes[routeRead], &who)
		got := denied
		switch {
		case !r.is() && c.Verdict.Degraded:
			got = degraded
		case !r.is():
			got = passes
		case r.reason != verdict.RevocationsUnavailable:
			t.Errorf("%+v: %v", row, r)
		}
		if got != row.want {
			t.Errorf("%q with a copy of age %s: %s, want %s", row.settings, row.age, got, row.want)
		}
		if row.age < 0 {
			continue
		}
		block(t, list, blocks.Block{Kind: blocks.Token, Issuer: corpIssuer, Value: "jti-marker"})
		who.Issuer, who.TokenID = corpIssuer, "jti-marker"
		if r := part.checkRevoked(c, &part.routes[routeRead], &who); r.reason != revoked {
			t.Errorf("%q with a copy of age %s: what is known does not count: %v", row.settings, row.age, r)
		}
	}
	// The denial is an outage, which charges nobody, and asks for no other credential.
	w, _ := newBlockedWorld(t, "", false)
	c := w.bearer(routeRead, w.mint(t, nil))
	if w.evaluate(t, c) != pipeline.Stop || c.Verdict.Reason != verdict.RevocationsUnavailable || c.Verdict.HTTPStatus() != 503 || !c.IsOutage() || len(c.Verdict.Obligations.SetResponse) > 0 {
		t.Errorf("%+v, outage %v", c.Verdict, c.IsOutage())
	}
	if !c.Subject.IsAnonymous() {
		t.Error(c.Subject.Key)
	}
}

// TestBlockChecksAllocateNothing: what a decision pays for blocks is no memory.
func TestBlockChecksAllocateNothing(t *testing.T) {
	w, list := newBlockedWorld(t, "", true)
	for _, k := range []blocks.Kind{blocks.Token, blocks.Session, blocks.Key, blocks.Subject, blocks.Client} {
		block(t, list, blocks.Block{Kind: k, Issuer: corpIssuer, Value: "x"})
		block(t, list, blocks.Block{Kind: k, Bundle: "acme", Issuer: corpIssuer, Value: "x"})
	}
	raw := w.mint(t, claims{"sid": "s"})
	c := w.bearer(routeRead, raw)
	part := w.service.Parts[Name].(*part)
	who, r := part.fromToken(t.Context(), c, raw, sumOf(raw))
	if r.is() {
		t.Fatal(r)
	}
	if n := testing.AllocsPerRun(100, func() {
		if part.checkRevoked(c, &part.routes[routeRead], &who).is() || part.checkBlocked(c, nil, &who).is() {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRevocationIsCompiled(t *testing.T) {
	const inService, inRoute = "mode: required,", "{name: read,"
	for _, row := range []struct {
		after, settings, want string
		line                  int
	}{
		{inService, "revocation: {on_error: maybe},", `"maybe" is no failure mode; write stale, deny or allow`, 4},
		{inService, "revocation: {max_age: 0s},", "max_age is from 1s to 24h", 4},
		{inService, "revocation: {max_age: 25h},", "max_age is from 1s to 24h", 4},
		{inRoute, "revocation: {on_error: maybe},", `"maybe" is no failure mode; write stale, deny or allow`, 7},
		{inRoute, "revocation: {max_age: 0s},", "max_age is from 1s to 24h", 7},
		{"{name: health,", "revocation: {on_error: deny},", "no credential is looked at here, so none could be blocked", 6},
		{"{name: open,", "revocation: {},", "no credential is looked at here, so none could be blocked", 10},
	} {
		w := newWorld(t)
		w.files["services/orders/service.yaml"] = strings.Replace(serviceYAML, row.after, row.after+" "+row.settings, 1)
		b, s := load(t, w.files)
		if _, problems := w.stage.Compile(b, s); len(problems) != 1 || problems[0].Message != row.want || problems[0].Line != row.line {
			t.Errorf("%s %s: %v", row.after, row.settings, problems)
		}
	}
}

// TestSources: every kind of authenticator is one, for who blocks is told what is hit; and only of signed tokens it is known how long they live.
func TestSources(t *testing.T) {
	w := newWorld(t)
	sourcesOf := func(s *pipeline.Service) map[string]Source {
		out := map[string]Source{}
		for _, from := range Sources(s) {
			out[from.Authenticator] = from
		}
		return out
	}
	for _, want := range []Source{{Authenticator: "machines"}, {Authenticator: "shipped"}, {Authenticator: "mesh"}} {
		if got := sourcesOf(newKeyWorld(t).service); len(got) != 4 || got[want.Authenticator] != want {
			t.Errorf("API keys: %+v, want %+v", got, want)
		}
	}
	if got := sourcesOf(newOpaqueWorld(t).service); len(got) != 5 || got["vault"] != (Source{Authenticator: "vault", Issuer: corpIssuer}) {
		t.Errorf("opaque tokens: %+v", got)
	}
	got := sourcesOf(w.service)
	if len(got) != 4 || got["corp"] != (Source{"corp", corpIssuer, 24 * time.Hour}) || got["partner"].MaxLifetime != time.Hour || got["mesh"] != (Source{Authenticator: "mesh"}) {
		t.Errorf("%+v", got)
	}
	if Sources(&pipeline.Service{}) != nil {
		t.Error("sources of a service that was not compiled")
	}
}

// TestCheckLogout: an authenticator takes logout tokens for its own audiences with its own keys, or none at all.
func TestCheckLogout(t *testing.T) {
	w := newWorld(t)
	w.files["bundle.yaml"] = strings.Replace(bundleYAML, "    subject: {id: sub,", "    logout: {audiences: [web, app]}\n    subject: {id: sub,", 1)
	b, s := load(t, w.files)
	compiled, problems := w.stage.Compile(b, s)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.service.Parts[Name] = compiled
	logout := func(changes claims) string {
		c := goodClaims(claims{"client_id": nil, "aud": "web", "sid": "s-1", "exp": testNow.Unix() + 60, "events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{}}})
		for name, value := range changes {
			c[name] = value
		}
		return sign(t, w.corp, "logout+jwt", c)
	}
	got, err := CheckLogout(t.Context(), w.service, "corp", logout(nil), testNow)
	if err != nil || got.Session != "s-1" || got.Subject != "alice-marker" || got.Issuer != corpIssuer || got.MaxLifetime != 24*time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
	for raw, reason := range map[string]verdict.Reason{
		logout(claims{"aud": "orders-api"}): verdict.TokenAudience, // an API is no client
		logout(claims{"nonce": "n"}):        verdict.TokenType,
		w.mint(t, nil):                      verdict.TokenType,
		sign(t, w.partner, "logout+jwt", goodClaims(claims{"aud": "web", "exp": testNow.Unix() + 60})): verdict.TokenAlgorithm,
		"x.y.z": verdict.TokenMalformed,
		"":      verdict.TokenMalformed,
	} {
		_, err := CheckLogout(t.Context(), w.service, "corp", raw, testNow)
		refused, ok := errors.AsType[*RefusedError](err)
		if !ok || refused.Reason != reason || strings.Contains(refused.Detail, "marker") {
			t.Errorf("%s: %v", reason, err)
		}
	}
	for _, authenticator := range []string{"partner", "mesh", "nobody", ""} {
		if _, err := CheckLogout(t.Context(), w.service, authenticator, logout(nil), testNow); !errors.Is(err, ErrNoLogout) {
			t.Errorf("%q: %v", authenticator, err)
		}
	}
	w.wantDenied(t, w.bearer(routeRead, logout(nil)), verdict.TokenType)
	w.files["bundle.yaml"] = strings.Replace(w.files["bundle.yaml"], "audiences: [web, app]", "audiences: []", 1)
	b, s = load(t, w.files)
	if _, problems := w.stage.Compile(b, s); len(problems) != 1 || !strings.HasPrefix(problems[0].Message, "audiences are mandatory for logout tokens") || problems[0].Line != 9 {
		t.Error(problems)
	}
}
