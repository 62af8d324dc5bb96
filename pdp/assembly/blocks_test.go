package assembly

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/assembly/blocksapi"
	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
	"github.com/durward-pdp/durward/pdp/token"
)

// brittle is a store that can be taken away.
type brittle struct {
	*memory.Store
	down atomic.Bool
}

var errGone = errors.New("gone")

func (b *brittle) Write(ctx context.Context, table string, r state.Record, ifAbsent bool) (bool, error) {
	if b.down.Load() {
		return false, errGone
	}
	return b.Store.Write(ctx, table, r, ifAbsent)
}

func (b *brittle) Changes(ctx context.Context, table string, since state.Cursor) (state.Changes, error) {
	if b.down.Load() {
		return state.Changes{}, errGone
	}
	return b.Store.Changes(ctx, table, since)
}

func (b *brittle) Mark(ctx context.Context, key string, lasts time.Duration) (bool, error) {
	if b.down.Load() {
		return false, errGone
	}
	return b.Store.Mark(ctx, key, lasts)
}

func blocksIn(t *testing.T, s state.Store, now func() time.Time) *blocks.List {
	t.Helper()
	var table *state.Table
	list, err := blocks.New(blocks.Options{Clock: now, Open: func(changed func([]state.Record, bool)) (_ *state.Table, err error) {
		table, err = state.NewTable(state.TableOptions{Store: s, Name: blocks.Table, Clock: now, Changed: changed})
		return table, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return list
}

func emptyBlocks(t *testing.T) *blocks.List {
	t.Helper()
	return blocksIn(t, memory.New(time.Now), time.Now)
}

// blocksWorld is the quickstart's bundle in force, with logout, and what is blocked of it.
type blocksWorld struct {
	t        *testing.T
	clock    *clock
	signer   *token.Signer
	snapshot *pipeline.Snapshot
	store    *brittle
	list     *blocks.List
	records  *recordSink
	journal  journal
	log      *logged
}

func newBlocksWorld(t *testing.T) *blocksWorld {
	t.Helper()
	w := &blocksWorld{t: t, clock: &clock{now: instant()}, signer: newSigner(t), records: &recordSink{}, log: &logged{}}
	w.store = &brittle{Store: memory.New(w.clock.Now)}
	w.list = blocksIn(t, w.store, w.clock.Now)
	all := newStages(t)
	all.identity = identity.New(identity.Options{Blocks: w.list})
	files := quickstartFiles(t, w.signer)
	files["bundle.yaml"] = bytes.Replace(files["bundle.yaml"], []byte("    subject: {id: sub,"), []byte("    logout: {audiences: [web]}\n    subject: {id: sub,"), 1)
	snapshot, found := bundle.Build(files, bundle.Options{Compilers: all.compilers(), ClientAddress: true, Clock: w.clock.Now})
	if len(found) > 0 {
		t.Fatal(found)
	}
	w.snapshot = snapshot
	log, err := audit.NewLog(audit.Options{Sink: w.records, Queue: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = log.Close(ctx)
	})
	w.journal = journal{audit: log, clock: w.clock.Now, random: rand.Reader}
	return w
}

// events are the lines of the record log, without what differs each time.
func (w *blocksWorld) events() []string {
	w.t.Helper()
	var out []string
	for line := range strings.Lines(w.records.String()) {
		var e struct {
			Event, Outcome, Caller, Bundle, Detail string
			Key                                    []struct{ Name, Value string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatal(err)
		}
		text := fmt.Sprintf("%s %s by %q bundle %q", e.Event, e.Outcome, e.Caller, e.Bundle)
		for _, v := range e.Key {
			text += " " + v.Name + "=" + v.Value
		}
		out = append(out, text+" "+e.Detail)
	}
	return out
}

// admin listens with the world's blocks.
func (w *blocksWorld) admin() (do func(method, path string, body, answer any) (int, string), far *atomic.Bool) {
	w.t.Helper()
	s := settings.Defaults()
	s.Admin.Address = "127.0.0.1:0"
	mux := http.NewServeMux()
	known, err := newCallers(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	(&blocksAdmin{list: w.list, snapshot: func() *pipeline.Snapshot { return w.snapshot }, journal: w.journal}).register(mux, known, s.Admin.Address)
	far = &atomic.Bool{}
	return func(method, path string, body, answer any) (int, string) {
		w.t.Helper()
		data, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(w.t.Context(), method, "http://127.0.0.1"+path, bytes.NewReader(data))
		r.Header.Set("Content-Type", "application/json")
		o := origin{peer: netip.MustParseAddrPort("127.0.0.1:4711"), local: true}
		if far.Load() {
			o = origin{peer: netip.MustParseAddrPort("203.0.113.9:4711")}
		}
		a := httptest.NewRecorder()
		mux.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), originKey{}, o)))
		if a.Code != 200 {
			var e limitsapi.Error
			_ = json.Unmarshal(a.Body.Bytes(), &e)
			return a.Code, e.Error
		}
		if answer != nil {
			if err := json.Unmarshal(a.Body.Bytes(), answer); err != nil {
				w.t.Fatal(err)
			}
		}
		return a.Code, ""
	}, far
}

const corpIssuer = "https://idp.example.com"

// TestBlocksAdmin: dry run, block, list, block longer, lift; each change is recorded before and after.
func TestBlocksAdmin(t *testing.T) {
	w := newBlocksWorld(t)
	do, _ := w.admin()
	wish := blocksapi.Put{Kind: "session", Issuer: corpIssuer, Value: "s1", Reason: "stolen laptop", DryRun: true}
	var got blocksapi.Result
	if status, text := do("POST", blocksapi.PutPath, wish, &got); status != 200 {
		t.Fatal(status, text)
	}
	day := instant().Add(24 * time.Hour)
	want := blocksapi.Result{
		Block: blocksapi.Block{ID: got.Block.ID, Kind: "session", Issuer: corpIssuer, Value: "s1", Reason: "stolen laptop", By: "local", Made: instant(), Until: &day},
		Hits:  []string{"acme/orders", "acme/reports"}, DryRun: true, WithinMS: 1000,
		Remarks: []string{"whoever holds a refresh token gets new tokens: end the session at the issuer too"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(w.list.All()) != 0 || len(w.events()) != 0 {
		t.Error("a dry run did something", w.list.All(), w.events())
	}
	wish.DryRun = false
	want.DryRun, got = false, blocksapi.Result{}
	if status, text := do("POST", blocksapi.PutPath, wish, &got); status != 200 {
		t.Fatal(status, text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wish.Until = "30d"
	if status, text := do("POST", blocksapi.PutPath, wish, &got); status != 200 || !got.Known || !got.Block.Until.Equal(instant().Add(30*24*time.Hour)) {
		t.Error(status, text, got)
	}
	for _, kind := range []string{"", "?kind=session", "?bundle=acme", "?kind=network&n=1"} {
		var list blocksapi.List
		if status, text := do("GET", blocksapi.ListPath+kind, nil, &list); status != 200 {
			t.Fatal(status, text)
		}
		hit := kind == "" || kind == "?kind=session"
		if len(list.Blocks) != map[bool]int{true: 1}[hit] || list.Total != len(list.Blocks) || list.Held["session"] != 1 || list.Held["network"] != 0 || list.Most != 100_000 || list.Synced == nil {
			t.Errorf("%q: %+v", kind, list)
		}
	}
	if status, text := do("POST", blocksapi.LiftPath, blocksapi.Lift{ID: got.Block.ID, DryRun: true}, &got); status != 200 || !got.DryRun || len(w.list.All()) != 1 {
		t.Error(status, text, got)
	}
	if status, text := do("POST", blocksapi.LiftPath, blocksapi.Lift{ID: got.Block.ID}, &got); status != 200 || len(w.list.All()) != 0 {
		t.Error(status, text, got)
	}
	if status, text := do("POST", blocksapi.LiftPath, blocksapi.Lift{ID: got.Block.ID}, nil); status != 404 {
		t.Error(status, text)
	}
	detail := " block " + got.Block.ID + ": stolen laptop"
	put := func(outcome, until string) string {
		return `blocks.put ` + outcome + ` by "local" bundle "" kind=session issuer=` + corpIssuer + ` value=s1 until=` + until + detail
	}
	looked := `blocks.list done by "local" bundle "" `
	lifted := strings.Replace(put("requested", "2026-01-31T12:00:00Z"), "put", "lift", 1)
	wantEvents := []string{
		put("requested", "2026-01-02T12:00:00Z"), put("done", "2026-01-02T12:00:00Z"), put("requested", "2026-01-31T12:00:00Z"), put("done", "2026-01-31T12:00:00Z"),
		looked, looked, looked, looked, lifted, strings.Replace(lifted, "requested", "done", 1),
	}
	if diff := cmp.Diff(wantEvents, w.events()); diff != "" {
		t.Error(diff)
	}
}

// TestBlocksAdminRefuses: what is misspelt, endless by oversight, or hits nobody is refused, and says why.
func TestBlocksAdminRefuses(t *testing.T) {
	w := newBlocksWorld(t)
	do, far := w.admin()
	for name, row := range map[string]struct {
		wish blocksapi.Put
		want string // "" is taken
	}{
		"unknown kind":       {blocksapi.Put{Kind: "planet", Value: "x"}, "a kind is one of token, session, subject, client, key, network, issuer"},
		"another issuer":     {blocksapi.Put{Kind: "token", Issuer: corpIssuer + "/", Value: "x"}, "nobody would be hit; there are https://idp.example.com, workloads. Write it exactly so"},
		"… anyway":           {blocksapi.Put{Kind: "token", Issuer: corpIssuer + "/", Value: "x", Anyway: true}, ""},
		"another bundle":     {blocksapi.Put{Kind: "token", Bundle: "other", Issuer: corpIssuer, Value: "x"}, "nobody would be hit"},
		"no issuer":          {blocksapi.Put{Kind: "token", Value: "x", Anyway: true}, "the issuer is missing"},
		"subject for ever":   {blocksapi.Put{Kind: "subject", Value: "user:corp:alice", Until: "never"}, ""},
		"subject, no end":    {blocksapi.Put{Kind: "subject", Value: "user:corp:alice"}, `say until when: "never"`},
		"network, no end":    {blocksapi.Put{Kind: "network", Value: "192.0.2.0/24"}, `say until when: "never"`},
		"client, no end":     {blocksapi.Put{Kind: "client", Issuer: corpIssuer, Value: "x"}, `say until when: "never"`},
		"key, no end":        {blocksapi.Put{Kind: "key", Issuer: "corp", Value: "x"}, `say until when: "never"`},
		"no subject's key":   {blocksapi.Put{Kind: "subject", Value: "alice", Until: "1h"}, "a subject is its key, as user:AUTHENTICATOR:ID"},
		"wrong authority":    {blocksapi.Put{Kind: "subject", Value: "user:crop:alice", Until: "1h"}, "there are corp, workloads"},
		"by sub":             {blocksapi.Put{Kind: "subject", Issuer: corpIssuer, Value: "alice", Until: "1h"}, ""},
		"certificate, old":   {blocksapi.Put{Kind: "subject", Value: "service:workloads:x", Before: "now"}, "nothing here bounds how long such credentials live"},
		"certificate":        {blocksapi.Put{Kind: "subject", Value: "service:workloads:spiffe://example.com/ns/shop/x", Until: "1h"}, ""},
		"log out everywhere": {blocksapi.Put{Kind: "subject", Value: "user:corp:alice", Before: "now"}, ""},
		"whole issuer":       {blocksapi.Put{Kind: "issuer", Issuer: corpIssuer, Before: "2026-01-01T11:00:00Z"}, ""},
		"issuer for ever":    {blocksapi.Put{Kind: "issuer", Issuer: corpIssuer, Until: "never"}, "issued before a time"},
		"before some day":    {blocksapi.Put{Kind: "issuer", Issuer: corpIssuer, Before: "yesterday"}, `not "yesterday"`},
		"before the future":  {blocksapi.Put{Kind: "issuer", Issuer: corpIssuer, Before: "2026-01-02T12:00:00Z"}, "lies in the future"},
		"an end that came":   {blocksapi.Put{Kind: "token", Issuer: corpIssuer, Value: "x", Until: "2025-01-01T00:00:00Z"}, "until has come"},
		"no end at all":      {blocksapi.Put{Kind: "token", Issuer: corpIssuer, Value: "x", Until: "soon"}, `not "soon"`},
		"whole internet":     {blocksapi.Put{Kind: "network", Value: "0.0.0.0/0", Until: "1h"}, "0.0.0.0/0 is a very wide network"},
		"wide":               {blocksapi.Put{Kind: "network", Value: "2001:db8::/31", Until: "1h"}, "very wide"},
		"wide, anyway":       {blocksapi.Put{Kind: "network", Value: "10.0.0.0/8", Until: "1h", Anyway: true}, ""},
		"no network":         {blocksapi.Put{Kind: "network", Value: "example.com", Until: "1h"}, "is no address and no network"},
		"signing key":        {blocksapi.Put{Kind: "key", Issuer: "corp", Value: "k1", Until: "never"}, ""},
		"control character":  {blocksapi.Put{Kind: "session", Issuer: corpIssuer, Value: "a\nb"}, "control characters"},
	} {
		row.wish.Reason = "test"
		before := len(w.list.All())
		status, text := do("POST", blocksapi.PutPath, row.wish, nil)
		if want := map[bool]int{true: 200, false: 400}[row.want == ""]; status != want || !strings.Contains(text, row.want) {
			t.Errorf("%s: %d %q", name, status, text)
		}
		if got := len(w.list.All()) > before; got != (row.want == "") {
			t.Errorf("%s: blocked %v", name, got)
		}
	}
	if status, text := do("POST", blocksapi.PutPath, blocksapi.Put{Kind: "token", Issuer: corpIssuer, Value: "x"}, nil); status != 400 || !strings.Contains(text, "the reason is missing") {
		t.Error(status, text)
	}
	if status, text := do("POST", blocksapi.PutPath, map[string]any{"kind": "token", "ends": "never"}, nil); status != 400 || !strings.Contains(text, "ends") {
		t.Error(status, text)
	}
	w.store.down.Store(true)
	if status, text := do("POST", blocksapi.PutPath, blocksapi.Put{Kind: "token", Issuer: corpIssuer, Value: "y", Reason: "r"}, nil); status != 503 || !strings.Contains(text, "did not answer") {
		t.Error(status, text)
	}
	w.store.down.Store(false)
	far.Store(true)
	for _, row := range [][2]string{{"GET", blocksapi.ListPath}, {"POST", blocksapi.PutPath}, {"POST", blocksapi.LiftPath}} {
		if status, text := do(row[0], row[1], blocksapi.Put{}, nil); status != 403 {
			t.Error(row, status, text)
		}
	}
}

// TestBlocksAreRecordedOrNotMade: where nobody can say later who did it, it is not done.
func TestBlocksAreRecordedOrNotMade(t *testing.T) {
	w := newBlocksWorld(t)
	do, _ := w.admin()
	hang := make(chan struct{})
	w.records.hang.Store(&hang)
	defer close(hang)
	if status, text := do("POST", blocksapi.PutPath, blocksapi.Put{Kind: "token", Issuer: corpIssuer, Value: "x", Reason: "r"}, nil); status != 503 || !strings.Contains(text, "recorded") {
		t.Error(status, text)
	}
	if len(w.list.All()) != 0 {
		t.Error("blocked without a record")
	}
}

// endpoint takes the world's logout tokens.
func (w *blocksWorld) endpoint() (send func(path string, form url.Values, change func(*http.Request)) *httptest.ResponseRecorder, counted map[string]int) {
	w.t.Helper()
	counted = map[string]int{}
	e, err := newLogoutEndpoint(&logoutEndpoint{
		snapshot: func() *pipeline.Snapshot { return w.snapshot }, list: w.list, marks: w.store, journal: w.journal, logger: w.log.logger(),
		count: func(outcome string) { counted[outcome]++ },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(logoutPattern, http.MaxBytesHandler(e, maxPublicBody))
	return func(path string, form url.Values, change func(*http.Request)) *httptest.ResponseRecorder {
		w.t.Helper()
		r := httptest.NewRequestWithContext(w.t.Context(), "POST", path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if change != nil {
			change(r)
		}
		a := httptest.NewRecorder()
		mux.ServeHTTP(a, r)
		return a
	}, counted
}

// logout signs a logout token; a nil removes a claim.
func (w *blocksWorld) logout(changes map[string]any) string {
	w.t.Helper()
	claims := map[string]any{
		"iss": corpIssuer, "aud": "web", "sub": "alice", "sid": "s1", "jti": "l1", "iat": w.clock.Now().Unix(), "exp": w.clock.Now().Unix() + 120,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	raw, err := w.signer.Sign("logout+jwt", claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

const logoutPath = "/backchannel-logout/acme/corp"

// TestLogout: a token ends the session that it names; one without a session ends what the subject was given before.
func TestLogout(t *testing.T) {
	w := newBlocksWorld(t)
	send, counted := w.endpoint()
	decide := func(sid any, issued time.Time) string {
		t.Helper()
		claims := map[string]any{
			"iss": corpIssuer, "aud": "orders-api", "sub": "alice", "client_id": "web", "jti": "t1", "iat": issued.Unix(), "exp": w.clock.Now().Unix() + 300, "sid": sid,
			"realm_access": map[string]any{"roles": []string{"reader"}},
		}
		raw, err := w.signer.Sign("at+jwt", claims)
		if err != nil {
			t.Fatal(err)
		}
		return w.decide(raw)
	}
	if got := decide("s1", w.clock.Now()); got != "allowed" {
		t.Fatal(got)
	}
	a := send(logoutPath, url.Values{"logout_token": {w.logout(nil)}}, nil)
	if a.Code != 200 || a.Body.Len() != 0 || a.Header().Get("Cache-Control") != "no-store" {
		t.Fatal(a.Code, a.Body, a.Header())
	}
	if one, two := decide("s1", w.clock.Now()), decide("s2", w.clock.Now()); one != "token_revoked" || two != "allowed" {
		t.Error(one, two)
	}
	if got := w.list.All(); len(got) != 1 || got[0].Bundle != "acme" || !got[0].Until.Equal(instant().Add(24*time.Hour+clockSkew)) {
		t.Errorf("%+v", got)
	}
	// The same token once more changes nothing, not even the end.
	w.clock.advance(time.Minute)
	before := w.list.All()
	if a := send(logoutPath, url.Values{"logout_token": {w.logout(map[string]any{"iat": instant().Unix(), "exp": instant().Unix() + 120})}}, nil); a.Code != 400 || !strings.Contains(a.Body.String(), `"error":"invalid_request"`) {
		t.Error(a.Code, a.Body)
	}
	if diff := cmp.Diff(before, w.list.All()); diff != "" {
		t.Error(diff)
	}
	// Of the subject: what was issued until now, in the same second too; a new login works.
	if a := send(logoutPath, url.Values{"logout_token": {w.logout(map[string]any{"sid": nil, "jti": "l2"})}}, nil); a.Code != 200 {
		t.Error(a.Code, a.Body)
	}
	if one, two, three := decide("s2", w.clock.Now().Add(-time.Minute)), decide("s2", w.clock.Now()), decide("s3", w.clock.Now().Add(time.Second)); one != "token_revoked" || two != "token_revoked" || three != "allowed" {
		t.Error(one, two, three)
	}
	if diff := cmp.Diff(map[string]int{logoutDone: 2, logoutReplayed: 1}, counted); diff != "" {
		t.Error(diff)
	}
	events := w.events()
	if len(events) != 2 || !strings.HasPrefix(events[0], `logout done by "" bundle "acme" authenticator=corp jti=l1 kind=session issuer=`+corpIssuer+` value=s1 until=`) {
		t.Errorf("%q", events)
	}
}

// TestLogoutRefuses: whatever is no logout of the authenticator ends nobody's session, and the answer does not say why.
func TestLogoutRefuses(t *testing.T) {
	w := newBlocksWorld(t)
	send, counted := w.endpoint()
	good := url.Values{"logout_token": {w.logout(nil)}}
	other := newSigner(t)
	foreign, err := other.Sign("logout+jwt", map[string]any{"iss": corpIssuer, "aud": "web", "sid": "s1", "jti": "x", "iat": instant().Unix(), "exp": instant().Unix() + 60})
	if err != nil {
		t.Fatal(err)
	}
	access, err := w.signer.Sign("at+jwt", map[string]any{"iss": corpIssuer, "aud": "web", "sub": "alice", "sid": "s1", "jti": "x", "client_id": "web", "iat": instant().Unix(), "exp": instant().Unix() + 60})
	if err != nil {
		t.Fatal(err)
	}
	one := func(raw string) url.Values { return url.Values{"logout_token": {raw}} }
	for name, row := range map[string]struct {
		path   string
		form   url.Values
		change func(*http.Request)
		status int
	}{
		"no form":               {logoutPath, url.Values{}, nil, 400},
		"empty":                 {logoutPath, one(""), nil, 400},
		"two tokens":            {logoutPath, url.Values{"logout_token": {good.Get("logout_token"), good.Get("logout_token")}}, nil, 400},
		"in the query":          {logoutPath + "?" + good.Encode(), url.Values{}, nil, 400},
		"in the query and body": {logoutPath + "?logout_token=x", good, nil, 400},
		"JSON":                  {logoutPath, good, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 400},
		"no type":               {logoutPath, good, func(r *http.Request) { r.Header.Del("Content-Type") }, 400},
		"too large":             {logoutPath, one(strings.Repeat("a", maxLogoutBody)), nil, 400},
		"huge":                  {logoutPath, one(strings.Repeat("a", 4*maxPublicBody)), nil, 400},
		"broken escape":         {logoutPath, good, func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("logout_token=%zz")) }, 400},
		"GET":                   {logoutPath, good, func(r *http.Request) { r.Method = "GET" }, 405},
		"another bundle":        {"/backchannel-logout/other/corp", good, nil, 400},
		"mtls":                  {"/backchannel-logout/acme/workloads", good, nil, 400},
		"another authenticator": {"/backchannel-logout/acme/nobody", good, nil, 400},
		"another path":          {"/backchannel-logout/acme", good, nil, 404},
		"an access token":       {logoutPath, one(access), nil, 400},
		"a stranger's":          {logoutPath, one(foreign), nil, 400},
		"another audience":      {logoutPath, one(w.logout(map[string]any{"aud": "orders-api"})), nil, 400},
		"a nonce":               {logoutPath, one(w.logout(map[string]any{"nonce": "n"})), nil, 400},
		"no event":              {logoutPath, one(w.logout(map[string]any{"events": map[string]any{}})), nil, 400},
		"expired":               {logoutPath, one(w.logout(map[string]any{"exp": instant().Unix()})), nil, 400},
		"no session":            {logoutPath, one(w.logout(map[string]any{"sub": nil, "sid": nil})), nil, 400},
		"no jti":                {logoutPath, one(w.logout(map[string]any{"jti": nil})), nil, 400},
		"another issuer":        {logoutPath, one(w.logout(map[string]any{"iss": "https://evil.example.com"})), nil, 400},
		"no token":              {logoutPath, one("a.b.c"), nil, 400},
	} {
		a := send(row.path, row.form, row.change)
		if a.Code != row.status || len(w.list.All()) != 0 {
			t.Errorf("%s: %d %s, blocked %v", name, a.Code, a.Body, w.list.All())
		}
		if a.Code != 400 {
			continue
		}
		body := a.Body.String()
		if a.Header().Get("Cache-Control") != "no-store" || !strings.Contains(body, `{"error":"invalid_request","error_description":"the `) || strings.Contains(body, "token_") || strings.Contains(body, "evil") {
			t.Errorf("%s: %v %s", name, a.Header(), body)
		}
	}
	if counted[logoutDone] != 0 || counted[logoutRefused] != 23 {
		t.Error(counted)
	}
	if len(w.events()) != 0 { // whoever wants may send them
		t.Error(w.events())
	}
	if n := strings.Count(w.log.String(), "a logout token was refused"); n != 1 {
		t.Errorf("%d lines in one second", n)
	}
	w.store.down.Store(true)
	if a := send(logoutPath, good, nil); a.Code != 400 || !strings.Contains(a.Body.String(), "temporarily_unavailable") {
		t.Error(a.Code, a.Body)
	}
	w.store.down.Store(false)
	if a := send(logoutPath, good, nil); a.Code != 200 { // the issuer may try again
		t.Error(a.Code, a.Body)
	}
	// A flood is not even verified, and passes.
	for range 2 * logoutRate {
		send(logoutPath, one(foreign), nil)
	}
	if counted[logoutBusy] == 0 {
		t.Error(counted)
	}
	w.clock.advance(time.Minute)
	if a := send(logoutPath, one(w.logout(map[string]any{"jti": "later"})), nil); a.Code != 200 {
		t.Error(a.Code, a.Body)
	}
	w.snapshot = nil
	if a := send(logoutPath, one(w.logout(map[string]any{"jti": "last"})), nil); a.Code != 400 {
		t.Error(a.Code, a.Body)
	}
}

// TestLogoutFlood: strangers who send as much as they can keep no issuer out that sent a good token lately; nor does one who was good once
// get more than its rate.
func TestLogoutFlood(t *testing.T) {
	w := newBlocksWorld(t)
	send, counted := w.endpoint()
	from := func(address, raw string) int {
		t.Helper()
		return send(logoutPath, url.Values{"logout_token": {raw}}, func(r *http.Request) {
			*r = *r.WithContext(context.WithValue(r.Context(), originKey{}, origin{peer: netip.AddrPortFrom(netip.MustParseAddr(address), 443)}))
		}).Code
	}
	n := 0
	good := func() string {
		n++
		return w.logout(map[string]any{"jti": fmt.Sprint(n), "sid": fmt.Sprint(n)})
	}
	const idp = "192.0.2.1"
	if status := from(idp, good()); status != 200 {
		t.Fatal(status)
	}
	for i := range 3 * logoutRate {
		from(fmt.Sprintf("203.0.113.%d", i%250), "a.b.c")
	}
	if a, b := from(idp, good()), from("198.51.100.1", good()); a != 200 || b != 400 || counted[logoutBusy] < logoutRate {
		t.Errorf("the issuer %d, one that nobody knows yet %d, %v", a, b, counted)
	}
	w.clock.advance(time.Minute)
	busy := counted[logoutBusy]
	for range 2 * logoutRate {
		from(idp, "a.b.c")
	}
	if got := counted[logoutBusy] - busy; got < logoutRate/2 {
		t.Errorf("of a known sender %d were too many", got)
	}
	for i := range 2 * maxLogoutSenders { // the last ones are known
		w.clock.advance(time.Second)
		from(fmt.Sprintf("198.51.100.%d", i), good())
	}
	for range 3 * logoutRate {
		from("203.0.113.1", "a.b.c")
	}
	if first, last := from("198.51.100.0", good()), from(fmt.Sprintf("198.51.100.%d", 2*maxLogoutSenders-1), good()); first != 400 || last != 200 {
		t.Errorf("the first %d, the last %d", first, last)
	}
}

// TestLogoutsLeaveRoom: logouts fill the list of blocks but for a part that is the operators'.
func TestLogoutsLeaveRoom(t *testing.T) {
	w := newBlocksWorld(t)
	send, counted := w.endpoint()
	for i := range blocks.Most - reservedBlocks {
		if _, err := w.store.Store.Write(t.Context(), blocks.Table, state.Record{ID: fmt.Sprint(i)}, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.list.Room(); n != blocks.Most { // of what was last read
		t.Fatal(n)
	}
	for i, want := range []int{200, 400} { // the first brings what is shared
		if a := send(logoutPath, url.Values{"logout_token": {w.logout(map[string]any{"jti": fmt.Sprint(i), "sid": fmt.Sprint(i)})}}, nil); a.Code != want {
			t.Errorf("%d: %d %s", i, a.Code, a.Body)
		}
	}
	do, _ := w.admin()
	if status, text := do("POST", blocksapi.PutPath, blocksapi.Put{Kind: "session", Issuer: corpIssuer, Value: "s9", Reason: "stolen"}, nil); status != 200 {
		t.Error(status, text)
	}
	if counted[logoutFailed] != 1 || !strings.Contains(w.log.String(), "is for operators") {
		t.Error(counted, w.log.String())
	}
}

// decide asks for an order with a token, and returns the reason.
func (w *blocksWorld) decide(raw string) string {
	w.t.Helper()
	all := newStages(w.t)
	all.identity = identity.New(identity.Options{Blocks: w.list})
	p, err := pipeline.New(pipeline.Options{Steps: all.table(), Settler: all.limits, Clock: w.clock.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	engine, err := pdp.New(pdp.Options{Pipeline: p, Recorder: discard{}, Clock: w.clock.Now, Random: rand.Reader, Budget: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	engine.Publish(w.snapshot)
	v := engine.Decide(w.t.Context(), &request.Request{
		Adapter: "test", Method: "GET", Scheme: "https", Host: "orders.example.com", Target: "/orders/7", Protocol: "HTTP/1.1",
		Header: request.Header{{Name: "authorization", Value: "Bearer " + raw}}, Client: netip.MustParseAddr("198.51.100.7"),
	})
	return string(v.Reason)
}
