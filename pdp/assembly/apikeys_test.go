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
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/assembly/blocksapi"
	"github.com/durward-pdp/durward/pdp/assembly/keysapi"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/identity/apikey"
	"github.com/durward-pdp/durward/pdp/state"
	"github.com/durward-pdp/durward/pdp/state/memory"
)

const keyedBundle = `format: 1
requires: "1.0"
name: acme
authenticators:
  machines: {kind: api_key, prefix: live, keys: {table: true}, roles: {allow: [reader]}}
`

const keyedService = `service: orders
match: [{host: orders.example.com}]
identity: {mode: required, accept: [machines]}
policies:
  - {name: main, model: model.conf, rules: [policy.csv], request: {sub: subject.kind, act: action}}
routes:
  - {name: read, path: /orders, methods: [GET], action: read}
`

const keyedModel = `[request_definition]
r = sub, act
[policy_definition]
p = sub, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.act == p.act
`

// keyServer is a server that takes API keys.
type keyServer struct {
	*Server
	t       *testing.T
	log     *logged
	records *recordSink
	clock   *clock
	stop    func()
}

// newKeyServer starts a server with the settings as change says, and waits until it is ready.
func newKeyServer(t *testing.T, bundleText string, change func(*settings.Settings)) *keyServer {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bundle/bundle.yaml": bundleText, "bundle/services/orders/service.yaml": keyedService, "bundle/services/orders/model.conf": keyedModel,
		"bundle/services/orders/policy.csv": "p, service, read\n", "hash.key": strings.Repeat("0123456789", 5) + "\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k := &keyServer{t: t, log: &logged{}, records: &recordSink{}, clock: &clock{now: time.Now()}}
	s := settings.Defaults()
	s.Bundles = []settings.Bundle{{Dir: filepath.Join(dir, "bundle")}}
	s.Listeners = []settings.Listener{settings.DefaultListener()}
	s.Listeners[0].Address, s.Admin.Address, s.Drain = "127.0.0.1:0", "127.0.0.1:0", 0
	s.Redis.Timeout, s.Budget = format.Duration(2*time.Second), format.Duration(20*time.Second)
	s.APIKeys.HashKeys = []settings.HashKey{{Name: "k26", File: filepath.Join(dir, "hash.key")}}
	if change != nil {
		change(&s)
	}
	var err error
	if k.Server, err = New(Options{Settings: s, Logger: k.log.logger(), Records: k.records, Clock: k.clock.Now, Random: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	stopped := false
	k.stop = func() {
		if !stopped {
			stopped = true
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(k.stop)
	soon(t, "ready\n"+k.log.String(), k.ready.Load)
	return k
}

// decide asks with a key, and returns the reason.
func (k *keyServer) decide(secret string) string {
	v := k.engine.Decide(k.t.Context(), &request.Request{
		Adapter: "native", Method: "GET", Scheme: "https", Host: "orders.example.com", Target: "/orders", Protocol: "HTTP/1.1",
		Client: netip.MustParseAddr("198.51.100.7"), Header: request.Header{{Name: "authorization", Value: "Bearer " + secret}},
	})
	return string(v.Reason)
}

// ask asks the admin listener, and returns the status and the error's text.
func (k *keyServer) ask(method, path string, document, answer any) (int, string) {
	k.t.Helper()
	body, err := json.Marshal(document)
	if err != nil {
		k.t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(k.t.Context(), method, "http://"+k.admin.listener.Addr().String()+path, bytes.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	a, err := client.Do(q)
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	if a.StatusCode != http.StatusOK {
		return a.StatusCode, string(data)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			k.t.Fatalf("%s: %v", data, err)
		}
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		k.t.Errorf("%s may be stored", path)
	}
	return a.StatusCode, ""
}

func (k *keyServer) create(change func(*keysapi.Create)) keysapi.Created {
	k.t.Helper()
	want := keysapi.Create{Authenticator: "machines", Owner: "ci"}
	if change != nil {
		change(&want)
	}
	var made keysapi.Created
	if status, why := k.ask("POST", keysapi.CreatePath, want, &made); status != http.StatusOK {
		k.t.Fatalf("%d %s", status, why)
	}
	return made
}

// TestAPIKeysOfTwoReplicas: a key that one replica makes is taken by the other, and so are its rotation and its revocation, within what a
// poll takes where Redis does not let the other subscribe; and nothing of that is undone when Redis loses everything.
func TestAPIKeysOfTwoReplicas(t *testing.T) {
	redis := redistest.Start(t, "--user", "poller", "on", ">hunter2", "~*", "&*", "+@all", "-subscribe", "-psubscribe")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := newKeyServer(t, keyedBundle, func(s *settings.Settings) { s.Redis.URL = settings.Secret(redis.URL()) })
	// The hash keys are the same text in another file.
	second := newKeyServer(t, keyedBundle, func(s *settings.Settings) {
		s.Redis.URL, s.Redis.User, s.Redis.PasswordFile = settings.Secret(redis.URL()), "poller", password
	})
	both := func(what, secret, reason string) {
		t.Helper()
		if got := first.decide(secret); got != reason {
			t.Errorf("%s: the first replica says %s, want %s", what, got, reason)
		}
		soon(t, what+": the second replica says "+reason, func() bool { return second.decide(secret) == reason })
	}
	made := first.create(nil)
	both("made", made.Secret, "allowed")
	if got := redis.List("PUBSUB", "NUMSUB", "durward:state:{api_keys}:changed"); len(got) != 2 || strings.TrimPrefix(got[1], ":") != "1" {
		t.Errorf("%q subscribe, want the first replica alone", got)
	}
	if got := first.log.String() + second.log.String() + first.records.String() + second.records.String(); strings.Contains(got, made.Secret[len(made.Secret)-40:]) {
		t.Error("the secret stands in a log")
	}

	// The second replaces it, and the old one goes on for an hour.
	var rotated keysapi.Rotated
	hour := time.Hour.Milliseconds()
	if status, why := second.ask("POST", keysapi.RotatePath, keysapi.Rotate{ID: made.ID, OverlapMS: &hour}, &rotated); status != http.StatusOK {
		t.Fatalf("%d %s", status, why)
	}
	if rotated.Owner != made.Owner || rotated.Replaces != made.ID || rotated.Old.ID != made.ID || rotated.Old.Ends.IsZero() || rotated.Secret == made.Secret {
		t.Errorf("%+v", rotated)
	}
	if got := second.decide(rotated.Secret); got != "allowed" {
		t.Errorf("the new key: %s", got)
	}
	soon(t, "the first takes the new key", func() bool { return first.decide(rotated.Secret) == "allowed" })
	both("within the overlap", made.Secret, "allowed")
	first.clock.advance(time.Hour + time.Second)
	second.clock.advance(time.Hour + time.Second)
	soon(t, "the first reads the table at the later time", func() bool { return first.decide(made.Secret) != "keys_unavailable" })
	both("after it, by itself", made.Secret, "api_key_expired")
	both("the new key", rotated.Secret, "allowed")

	// Revoked by the first; the second sees it by asking alone.
	if status, why := first.ask("POST", keysapi.RevokePath, keysapi.Revoke{ID: rotated.ID, Reason: "leaked"}, nil); status != http.StatusOK {
		t.Fatalf("%d %s", status, why)
	}
	both("revoked", rotated.Secret, "token_revoked")

	// Redis forgets everything, and what it has afterwards is what replicas write back: no key is good again.
	redis.Restart()
	soon(t, "written back", func() bool { return redis.Do("HLEN", "durward:state:{api_keys}:records") == "4" })
	third := newKeyServer(t, keyedBundle, func(s *settings.Settings) { s.Redis.URL = settings.Secret(redis.URL()) })
	third.clock.advance(time.Hour + time.Second)
	for secret, reason := range map[string]string{rotated.Secret: "token_revoked", made.Secret: "api_key_expired"} {
		both("after a loss", secret, reason)
		soon(t, "a replica that starts then says "+reason, func() bool { return third.decide(secret) == reason })
	}
	var list keysapi.List
	if status, why := third.ask("GET", keysapi.ListPath, nil, &list); status != http.StatusOK || len(list.Keys) != 2 {
		t.Errorf("%d %s, %+v", status, why, list)
	}
	for _, k := range list.Keys {
		if k.ID == rotated.ID && (k.State != "revoked" || k.Reason != "leaked") || k.ID == made.ID && k.State != "expired" {
			t.Errorf("%+v", k)
		}
	}
}

// TestAPIKeysStale: a replica that was cut off while a key was revoked, and whose copy is the first thing that an empty store sees, does
// not make it good again.
func TestAPIKeysStale(t *testing.T) {
	h, err := apikey.NewHasher(apikey.HashKey{Name: "k", Secret: bytes.Repeat([]byte("x"), apikey.MinHashKey)})
	if err != nil {
		t.Fatal(err)
	}
	_, k, err := apikey.New(rand.Reader, "dwk_")
	if err != nil {
		t.Fatal(err)
	}
	r := apikey.Record{ID: k.ID, HashKey: "k", Bundle: "acme", Authenticator: "machines", Owner: "ci", Kind: "service", Created: time.Now()}
	r.Hash, _ = h.Hash("acme", "machines", "text")
	key, err1 := apikey.NewEntry(&r)
	revoked, err2 := apikey.RevokedEntry(&r, time.Now(), "")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	redis := redistest.Start(t)
	one, _ := openedState(t, redis.URL(), &logged{})
	two, _ := openedState(t, redis.URL(), &logged{})
	var keys [2]*apiKeys
	for i, s := range []*shared{one, two} {
		keys[i] = &apiKeys{book: apikey.NewBook(apikey.BookOptions{}), logger: (&logged{}).logger()}
		if keys[i].table, err = state.NewTable(state.TableOptions{Store: s.stateStore, Name: apiKeysTable, Clock: time.Now, Changed: keys[i].changed}); err != nil {
			t.Fatal(err)
		}
	}
	sync := func(i int) {
		t.Helper()
		if err := keys[i].table.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := keys[0].put(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	sync(1)
	if _, err := keys[0].put(t.Context(), revoked); err != nil { // which the second does not see
		t.Fatal(err)
	}
	redis.Restart()
	soon(t, "connected again", func() bool { return keys[1].table.Sync(t.Context()) == nil })
	sync(0)
	sync(1)
	fresh := &apiKeys{book: apikey.NewBook(apikey.BookOptions{}), logger: (&logged{}).logger()}
	if fresh.table, err = state.NewTable(state.TableOptions{Store: one.stateStore, Name: apiKeysTable, Clock: time.Now, Changed: fresh.changed}); err != nil {
		t.Fatal(err)
	}
	if err := fresh.table.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*apiKeys{"the one that revoked": keys[0], "the one that was cut off": keys[1], "one that starts": fresh} {
		if got, ok := k.book.Get(r.ID); !ok || got.Revoked.IsZero() {
			t.Errorf("%s: %v, %+v", name, ok, got)
		}
	}
}

// TestAPIKeysWithoutTheTable: a table that was never read is an outage, never a wrong key; one that was read serves for max_age.
func TestAPIKeysWithoutTheTable(t *testing.T) {
	never := newKeyServer(t, keyedBundle, func(s *settings.Settings) { s.Redis.URL = "redis://127.0.0.1:1" })
	_, k, err := apikey.New(rand.Reader, "dwk_live_")
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := apikey.New(rand.Reader, k.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	if got := never.decide(text); got != "keys_unavailable" {
		t.Errorf("%s", got)
	}
	if status, why := never.ask("POST", keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "ci"}, nil); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, why)
	}

	redis := redistest.Start(t)
	server := newKeyServer(t, keyedBundle, func(s *settings.Settings) {
		s.Redis.URL, s.APIKeys.MaxAge = settings.Secret(redis.URL()), format.Duration(10*time.Minute)
	})
	soon(t, "the table is read", func() bool { return !server.parts.apiKeys.table.Synced().IsZero() })
	made := server.create(nil)
	redis.Kill()
	soon(t, "it notices", func() bool { return strings.Contains(server.log.String(), "cannot be read") })
	server.clock.advance(9 * time.Minute)
	if got := server.decide(made.Secret); got != "allowed" {
		t.Errorf("within max_age: %s", got)
	}
	if status, why := server.ask("POST", keysapi.RevokePath, keysapi.Revoke{ID: made.ID}, nil); status != http.StatusServiceUnavailable || !strings.Contains(why, "nothing was changed") {
		t.Errorf("%d %s", status, why)
	}
	server.clock.advance(2 * time.Minute)
	for _, secret := range []string{made.Secret, text} {
		if got := server.decide(secret); got != "keys_unavailable" {
			t.Errorf("beyond max_age: %s", got)
		}
	}
}

// TestAPIKeyUses: a use is written down behind the decision, seldom, and by one replica for all.
func TestAPIKeyUses(t *testing.T) {
	redis := redistest.Start(t)
	url := func(s *settings.Settings) { s.Redis.URL = settings.Secret(redis.URL()) }
	first, second := newKeyServer(t, keyedBundle, url), newKeyServer(t, keyedBundle, url)
	soon(t, "the table is read", func() bool { return !first.parts.apiKeys.table.Synced().IsZero() })
	made := first.create(nil)
	soon(t, "the second takes the key", func() bool { return second.decide(made.Secret) == "allowed" })
	used := func(k *keyServer) time.Time {
		var list keysapi.List
		if status, why := k.ask("GET", keysapi.ListPath+"?owner=ci", nil, &list); status != http.StatusOK || len(list.Keys) != 1 {
			t.Fatalf("%d %s %+v", status, why, list)
		}
		return list.Keys[0].Used
	}
	soon(t, "its use is written down", func() bool { return !used(first).IsZero() && !used(second).IsZero() })
	before := redis.Do("HGET", "durward:state:{api_key_uses}:records", made.ID)
	for range 20 {
		if got := first.decide(made.Secret) + second.decide(made.Secret); got != "allowedallowed" {
			t.Fatal(got)
		}
	}
	first.clock.advance(2 * time.Minute)
	if got := first.decide(made.Secret); got != "allowed" {
		t.Fatal(got)
	}
	soon(t, "a later use is written down", func() bool { return redis.Do("HGET", "durward:state:{api_key_uses}:records", made.ID) != before })

	// Where nobody takes uses, decisions go on.
	busy := &apiKeys{used: make(chan use, 1)}
	dropped := 0
	busy.dropped = func() { dropped++ }
	for range 3 {
		busy.note(&apikey.Record{ID: "x"}, time.Now())
	}
	if dropped != 2 || len(busy.used) != 1 {
		t.Errorf("%d dropped, %d wait", dropped, len(busy.used))
	}
}

// TestAPIKeysAreRecorded: what cannot be recorded is not done, and what is done stands there twice, without the secret.
func TestAPIKeysAreRecorded(t *testing.T) {
	server := newKeyServer(t, keyedBundle, nil)
	made := server.create(func(c *keysapi.Create) { c.Roles, c.Tenant = []string{"reader"}, "shop" })
	lines := server.records.String()
	if strings.Count(lines, `"event":"keys.create"`) != 2 || !strings.Contains(lines, `"outcome":"requested"`) || !strings.Contains(lines, `"outcome":"done"`) || !strings.Contains(lines, `"value":"`+made.ID+`"`) {
		t.Errorf("%s", lines)
	}
	hang := make(chan struct{})
	server.records.hang.Store(&hang)
	status, why := server.ask("POST", keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "other"}, nil)
	if status != http.StatusServiceUnavailable || !strings.Contains(why, "recorded") {
		t.Errorf("%d %s", status, why)
	}
	if status, why := server.ask("POST", keysapi.RevokePath, keysapi.Revoke{ID: made.ID}, nil); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, why)
	}
	close(hang)
	server.records.hang.Store(nil)
	if got := server.decide(made.Secret); got != "allowed" {
		t.Errorf("a revocation that is not recorded: %s", got)
	}
	var list keysapi.List
	if _, why := server.ask("GET", keysapi.ListPath, nil, &list); len(list.Keys) != 1 {
		t.Errorf("%s %+v", why, list)
	}
}

// states returns how many keys of the table are in each state.
func (k *keyServer) states() map[string]int {
	k.t.Helper()
	var list keysapi.List
	if status, why := k.ask("GET", keysapi.ListPath, nil, &list); status != http.StatusOK {
		k.t.Fatalf("%d %s", status, why)
	}
	out := map[string]int{}
	for i := range list.Keys {
		out[list.Keys[i].State]++
	}
	return out
}

// TestAPIKeysRotatedAtOnce: of those who replace a key at the same time one gets a new key, and no other new key is good. One that is
// revoked meanwhile is replaced by none.
func TestAPIKeysRotatedAtOnce(t *testing.T) {
	server := newKeyServer(t, keyedBundle, nil)
	made := server.create(nil)
	const operators = 6
	statuses := make(chan int, operators)
	// Records are written late, so that all of them have looked at the key before any replaces it.
	hang := make(chan struct{})
	server.records.hang.Store(&hang)
	for range operators {
		go func() {
			status, _ := server.ask("POST", keysapi.RotatePath, keysapi.Rotate{ID: made.ID}, nil)
			statuses <- status
		}()
	}
	time.Sleep(200 * time.Millisecond) // a machine that needs longer tests less
	server.records.hang.Store(nil)
	close(hang)
	got := map[int]int{}
	for range operators {
		got[<-statuses]++
	}
	if got[http.StatusOK] != 1 || got[http.StatusConflict] != operators-1 {
		t.Errorf("answers %v", got)
	}
	if s := server.states(); s["active"] != 2 {
		t.Errorf("keys %v, want the old one and one new one to be active", s)
	}

	stolen := server.create(nil)
	hang = make(chan struct{})
	server.records.hang.Store(&hang)
	go func() {
		status, _ := server.ask("POST", keysapi.RotatePath, keysapi.Rotate{ID: stolen.ID}, nil)
		statuses <- status
	}()
	time.Sleep(200 * time.Millisecond)
	record, _ := server.parts.apiKeys.book.Get(stolen.ID)
	e, err := apikey.RevokedEntry(&record, time.Now(), "stolen")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.parts.apiKeys.put(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	server.records.hang.Store(nil)
	close(hang)
	if status := <-statuses; status != http.StatusConflict {
		t.Errorf("a key that was revoked meanwhile is replaced: %d", status)
	}
	if s := server.states(); s["active"] != 2 {
		t.Errorf("keys %v", s)
	}
}

// choosy is a store that does not take some entries.
type choosy struct {
	state.Store
	refuses func(id string) bool
}

func (c *choosy) Write(ctx context.Context, table string, r state.Record, ifAbsent bool) (bool, error) {
	if c.refuses(r.ID) {
		return false, errors.New("no answer")
	}
	return c.Store.Write(ctx, table, r, ifAbsent)
}

// TestAPIKeysHalfRotated: where the old key cannot be ended the new one, which nobody was given, is revoked, or named to whoever asked.
func TestAPIKeysHalfRotated(t *testing.T) {
	h, err := apikey.NewHasher(apikey.HashKey{Name: "k", Secret: bytes.Repeat([]byte("x"), apikey.MinHashKey)})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		refuses []string
		revoked bool
		says    string
	}{
		"no end":                   {[]string{"ends:"}, true, "the old key may go on as before"},
		"no end and no revocation": {[]string{"ends:", "revoked:"}, false, "nobody has it: revoke it"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &apiKeys{book: apikey.NewBook(apikey.BookOptions{}), hasher: h, logger: (&logged{}).logger(), clock: time.Now}
			store := &choosy{memory.New(time.Now), func(id string) bool {
				return slices.ContainsFunc(tc.refuses, func(prefix string) bool { return strings.HasPrefix(id, prefix) })
			}}
			if k.table, err = state.NewTable(state.TableOptions{Store: store, Name: apiKeysTable, Clock: time.Now, Changed: k.changed}); err != nil {
				t.Fatal(err)
			}
			a := &keysAdmin{keys: k, clock: time.Now, random: rand.Reader}
			records := make([]apikey.Record, 2)
			for i := range records {
				records[i] = apikey.Record{Bundle: "acme", Authenticator: "machines", Owner: "ci", Kind: "service", Created: time.Now()}
				if _, no := makeKey(rand.Reader, h, &identity.KeyAuthenticator{Name: "machines", Prefix: "dwk_"}, &records[i]); no != nil {
					t.Fatal(no)
				}
			}
			if no := a.add(t.Context(), &records[0]); no != nil {
				t.Fatal(no)
			}
			r, err := http.NewRequestWithContext(t.Context(), "POST", keysapi.RotatePath, nil)
			if err != nil {
				t.Fatal(err)
			}
			no := a.replace(r, &records[0], &records[1], time.Now().Add(time.Hour))
			if no == nil || no.status != http.StatusServiceUnavailable || !strings.Contains(no.text, tc.says) || strings.Contains(no.text, records[1].ID) == tc.revoked {
				t.Errorf("%+v", no)
			}
			if got, ok := k.book.Get(records[1].ID); !ok || got.Revoked.IsZero() == tc.revoked {
				t.Errorf("the new key: %+v", got)
			}
			if got, ok := k.book.Get(records[0].ID); !ok || !got.Revoked.IsZero() || !got.Ends.IsZero() {
				t.Errorf("the old key: %+v", got)
			}
		})
	}
}

// TestAPIKeysTableIsBounded: a table that is full takes no key more, and lets go on and revokes those that it has.
func TestAPIKeysTableIsBounded(t *testing.T) {
	server := newKeyServer(t, keyedBundle, nil)
	made := server.create(nil)
	record, _ := server.parts.apiKeys.book.Get(made.ID)
	for i := range keysapi.MaxKeys - 1 {
		r := record
		r.ID = fmt.Sprintf("%016d", i)
		server.parts.apiKeys.book.Put(r)
	}
	if status, why := server.ask("POST", keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x"}, nil); status != http.StatusConflict || !strings.Contains(why, "30000 keys") {
		t.Errorf("%d %s", status, why)
	}
	if status, why := server.ask("POST", keysapi.RotatePath, keysapi.Rotate{ID: made.ID}, nil); status != http.StatusConflict {
		t.Errorf("%d %s", status, why)
	}
	if got := server.decide(made.Secret); got != "allowed" {
		t.Errorf("%s", got)
	}
	if status, why := server.ask("POST", keysapi.RevokePath, keysapi.Revoke{ID: made.ID}, nil); status != http.StatusOK || server.decide(made.Secret) != "token_revoked" {
		t.Errorf("%d %s", status, why)
	}
}

// TestAPIKeysRefusedDocuments: what is asked for wrongly is told, and changes nothing.
func TestAPIKeysRefusedDocuments(t *testing.T) {
	server := newKeyServer(t, keyedBundle, nil)
	made := server.create(nil)
	never := -int64(1)
	scopes := make([]string, 64) // within the bound of a document, and beyond that of a record
	for i := range scopes {
		scopes[i] = strings.Repeat("x", 250)
	}
	for _, tc := range []struct {
		path     string
		document any
		status   int
		why      string
	}{
		{keysapi.CreatePath, map[string]any{"secret": "x"}, 400, "unknown field"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines"}, 400, "owner:"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "a\nb"}, 400, "owner:"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x", Kind: "robot"}, 400, "kind:"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x", Roles: []string{"root"}}, 400, "may not assert"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x", Bundle: "other"}, 404, "no service accepts"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x", Life: keysapi.Life{LifetimeMS: 1, Never: true}}, 400, "or never expires"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x", Life: keysapi.Life{LifetimeMS: 1 << 62}}, 400, "or never expires"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x", Life: keysapi.Life{LifetimeMS: -5}}, 400, "or never expires"},
		{keysapi.CreatePath, keysapi.Create{Authenticator: "machines", Owner: "x", Scopes: scopes}, 400, "more than 16384 bytes"},
		{keysapi.RevokePath, keysapi.Revoke{ID: strings.Repeat("A", 16)}, 404, "no such key"},
		{keysapi.RevokePath, keysapi.Revoke{ID: "../../x"}, 400, "16 letters and digits"},
		{keysapi.RevokePath, keysapi.Revoke{ID: made.ID, Reason: "a\nb"}, 400, "reason"},
		{keysapi.RotatePath, keysapi.Rotate{ID: made.ID, OverlapMS: &never}, 400, "overlap"},
	} {
		status, why := server.ask("POST", tc.path, tc.document, nil)
		if status != tc.status || !strings.Contains(why, tc.why) {
			t.Errorf("%s %+v: %d %s, want %d %q", tc.path, tc.document, status, why, tc.status, tc.why)
		}
	}
	if got := server.decide(made.Secret); got != "allowed" {
		t.Errorf("%s", got)
	}
	// A browser and a proxy are refused as they are for limits.
	q, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+server.admin.listener.Addr().String()+keysapi.RevokePath, strings.NewReader(`{"id":"`+made.ID+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Origin", "https://evil.example")
	a, err := (&http.Client{Timeout: patience}).Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	if a.StatusCode != http.StatusForbidden || server.decide(made.Secret) != "allowed" {
		t.Errorf("a browser: %d", a.StatusCode)
	}
	// Defaults: ninety days, a service.
	if life := made.Expires.Sub(made.Created); life != keysapi.DefaultLifetime || made.Kind != "service" {
		t.Errorf("%+v", made)
	}
	forever := server.create(func(c *keysapi.Create) { c.Never = true })
	if !forever.Expires.IsZero() {
		t.Errorf("%+v", forever)
	}
}

// TestBlockedAPIKey: an API key is blocked by its id, or with all others that its owner has until now; such a block never ends by itself.
func TestBlockedAPIKey(t *testing.T) {
	k := newKeyServer(t, keyedBundle, nil)
	one, two := k.create(nil), k.create(nil)
	put := func(wish blocksapi.Put, want int, text string) {
		t.Helper()
		wish.Reason = "leaked"
		var got blocksapi.Result
		status, why := k.ask("POST", blocksapi.PutPath, wish, &got)
		if status != want || !strings.Contains(why, text) {
			t.Fatalf("%+v: %d %s", wish, status, why)
		}
		if want == http.StatusOK && !slices.Equal(got.Hits, []string{"acme/orders"}) {
			t.Errorf("it hits %q", got.Hits)
		}
	}
	put(blocksapi.Put{Kind: "key", Issuer: "machine", Value: one.ID, Until: "never"}, http.StatusBadRequest, "there are machines")
	put(blocksapi.Put{Kind: "key", Issuer: "machines", Value: one.ID, Until: "never"}, http.StatusOK, "")
	if a, b := k.decide(one.Secret), k.decide(two.Secret); a != "token_revoked" || b != "allowed" {
		t.Error(a, b)
	}
	put(blocksapi.Put{Kind: "subject", Value: "service:machines:ci", Before: "now"}, http.StatusBadRequest, "nothing here bounds how long such credentials live")
	k.clock.advance(time.Second)
	put(blocksapi.Put{Kind: "subject", Value: "service:machines:ci", Before: "now", Until: "never"}, http.StatusOK, "")
	k.clock.advance(time.Second) // a key's time of issue is a whole second
	if a, b := k.decide(two.Secret), k.decide(k.create(nil).Secret); a != "token_revoked" || b != "allowed" {
		t.Error(a, b)
	}
}
