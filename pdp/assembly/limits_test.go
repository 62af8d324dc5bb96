package assembly

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/bundle"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/stage/descriptors"
	"github.com/durward-pdp/durward/pdp/stage/identity"
	"github.com/durward-pdp/durward/pdp/stage/limits"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/redis"
	"github.com/durward-pdp/durward/ratelimiter/usage"
)

const limitedBundle = `format: 1
requires: "1.0"
name: acme
limit_definitions:
  everybody: {rate: 50/s, by: []}
`

const limitedService = `service: orders
match: [{host: orders.example.com}]
identity: {mode: none}
limit_definitions:
  per-address: {rate: 2/min, by: [client.network, request.header.x-device], missing: share, count: allowed}
  odd: {rate: 10/min, by: [request.method], algorithm: sliding_window, shadow: true, on_error: allow}
routes:
  - {name: read, path: /orders, methods: [GET], access: public, limits: [everybody, per-address]}
  - {name: other, path: /other, methods: [GET], access: public, limits: [odd]}
`

const limitedOther = `service: bills
match: [{host: bills.example.com}]
identity: {mode: none}
limit_definitions:
  per-address: {by: [client.network], by_class: {of: request.header.plan, first_of: [{gold: {rate: 60/min, burst: 3}}], otherwise: {rate: 20/min, burst: 1}}}
routes:
  - {name: read, path: /bills, methods: [GET], access: public, limits: [everybody, per-address]}
`

const limitedKeys = `service: keys
match: [{host: keys.example.com}]
identity: {mode: none}
limit_definitions:
  per-key: {rate: 2/min, by: [request.header.x-api-key, request.query.access_token], count: allowed}
routes:
  - {name: read, path: /keys, methods: [GET], access: public, limits: [per-key]}
`

const limitedExports = `service: exports
match: [{host: exports.example.com}]
identity: {mode: none}
limit_definitions:
  running: {concurrency: 2, expires: 1h, without_release: expire, by: [client.network]}
  seen: {rate: 3/30d, by: [client.network], distinct: request.header.x-device, count: allowed}
routes:
  - {name: run, path: /run, methods: [GET], access: public, limits: [running]}
  - {name: see, path: /see, methods: [GET], access: public, limits: [seen]}
`

const limitedDomain = `domain: edge
descriptors:
  - {key: user, detailed_metric: true, rate_limit: {unit: minute, requests_per_unit: 2, name: per-user}}
  - {key: closed, rate_limit: {unit: minute, requests_per_unit: 0}}
`

// limitsWorld is an admin listener over a bundle with limits, and what decides by it.
type limitsWorld struct {
	t       *testing.T
	engine  *pdp.Engine
	publish func(keys string) // with another service keys
	admin   *admin
	records *recordSink
	client  *http.Client
	base    string
	far     atomic.Bool // every connection looks as if it came from another machine
}

// recordSink takes lines, unless it is told to hang.
type recordSink struct {
	logged
	hang atomic.Pointer[chan struct{}]
}

func (s *recordSink) Write(p []byte) (int, error) {
	if hang := s.hang.Load(); hang != nil {
		<-*hang
	}
	return s.logged.Write(p)
}

// newLimitsWorld listens as change says. A nil shared store counts in memory.
func newLimitsWorld(t *testing.T, shared ratelimiter.Store, change func(*settings.Settings)) *limitsWorld {
	t.Helper()
	w := &limitsWorld{t: t, records: &recordSink{}}
	tracker, err := usage.New(usage.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	local, err := memory.New(memory.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimiter.New(ratelimiter.Options{Shared: shared, Local: local, Now: time.Now, Observe: tracker.Observe})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limiter.Close(context.Background()) })
	w.engine, w.publish = limitedEngine(t, limiter)
	w.publish(limitedKeys)
	log, err := audit.NewLog(audit.Options{Sink: w.records, Queue: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = log.Close(ctx)
	})
	s := settings.Defaults()
	s.Admin.Address = "127.0.0.1:0"
	if change != nil {
		change(&s)
	}
	options := adminOptions{
		settings: &s, state: func() stateView { return stateView{Where: "memory"} }, registry: prometheus.NewRegistry(), ready: &atomic.Bool{}, clock: time.Now, logger: (&logged{}).logger(), snapshot: w.engine.Snapshot,
		limits: &limitsAdmin{snapshot: w.engine.Snapshot, limiter: limiter, usage: tracker, journal: journal{audit: log, clock: time.Now, random: rand.Reader}},
	}
	if w.admin, err = newAdmin(options); err != nil {
		t.Fatal(err)
	}
	w.admin.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if w.far.Load() {
			c = farConn{c}
		}
		return withOrigin(ctx, c)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.admin.serve() }()
	t.Cleanup(func() {
		if err := errors.Join(w.admin.close(context.Background()), <-ended); err != nil {
			t.Error(err)
		}
	})
	at := w.admin.listener.Addr()
	w.base = "http://" + at.String()
	if at.Network() == "unix" {
		w.base = "http://durward"
	}
	w.client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, at.Network(), at.String())
	}}}
	return w
}

// limitedEngine decides by the bundle that it is told to publish, with a limiter.
func limitedEngine(t *testing.T, limiter *ratelimiter.Limiter) (*pdp.Engine, func(keys string)) {
	t.Helper()
	counting, err := limits.New(limits.Options{Limiter: limiter})
	if err != nil {
		t.Fatal(err)
	}
	all := stagesWith(counting, identity.Options{})
	if all.descriptors, err = descriptors.New(descriptors.Options{Limiter: limiter}); err != nil {
		t.Fatal(err)
	}
	options := pdp.Options{Recorder: discard{}, Clock: time.Now, Random: rand.Reader, Budget: patience}
	if options.Pipeline, err = newPipeline(&all, time.Now, nil); err != nil {
		t.Fatal(err)
	}
	if options.Descriptors, err = newDescriptorPipeline(&all, time.Now, nil); err != nil {
		t.Fatal(err)
	}
	engine, err := pdp.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return engine, func(keys string) {
		t.Helper()
		snapshot, problems := bundle.Build(map[string][]byte{
			"bundle.yaml": []byte(limitedBundle), "services/orders/service.yaml": []byte(limitedService), "services/bills/service.yaml": []byte(limitedOther),
			"services/keys/service.yaml": []byte(keys), "services/exports/service.yaml": []byte(limitedExports),
			"ratelimits/edge.yaml": []byte(limitedDomain),
		}, bundle.Options{Compilers: all.compilers(), Domains: all.descriptors, ClientAddress: true})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		engine.Publish(snapshot)
	}
}

type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("203.0.113.9:4242"))
}

// do asks and decodes the answer into out, where the status is 200; else it returns the error's text.
func (w *limitsWorld) do(method, path, body string, header http.Header, out any) (int, string) {
	w.t.Helper()
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		if q.Header[name] = values; name == "Host" {
			q.Host = values[0]
		}
	}
	a, err := w.client.Do(q)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	data, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.StatusCode != http.StatusOK {
		var e limitsapi.Error
		_ = json.Unmarshal(data, &e)
		return a.StatusCode, e.Error
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			w.t.Fatalf("%s: %v", data, err)
		}
	}
	return a.StatusCode, ""
}

// get decides GET requests of a client's address, with a device, and returns how many were allowed.
func (w *limitsWorld) get(n int, host, path, address, device string) int {
	w.t.Helper()
	allowed := 0
	for range n {
		r := &request.Request{
			Adapter: "native", Method: "GET", Scheme: "https", Host: host, Target: path, Protocol: "HTTP/1.1", Client: netip.MustParseAddr(address),
			Body: request.Body{Size: -1},
		}
		if device != "" {
			r.Header = request.Header{{Name: "x-device", Value: device}}
		}
		if v := w.engine.Decide(w.t.Context(), r); v.Allowed() {
			allowed++
		}
	}
	return allowed
}

// descriptor asks for the limits of a descriptor n times and returns how many times there was room.
func (w *limitsWorld) descriptor(key, value string, n int) int {
	w.t.Helper()
	allowed := 0
	for range n {
		v := w.engine.Decide(w.t.Context(), &request.Request{Adapter: "ratelimit", Descriptors: &request.Descriptors{
			Domain: "edge", List: []request.Descriptor{{Pairs: []request.Pair{{Key: key, Value: value}}}},
		}})
		if v.Allowed() {
			allowed++
		}
	}
	return allowed
}

// events returns the lines of the record log that tell of actions, without what differs each time.
func (w *limitsWorld) events() []map[string]any {
	w.t.Helper()
	var out []map[string]any
	ids := map[any]string{}
	for line := range strings.Lines(w.records.String()) {
		event := map[string]any{}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			w.t.Fatal(err)
		}
		counter, _ := event["counter"].(string)
		if event["time"] == nil || len(event["id"].(string)) != 32 || (event["event"] != "limits.top") != (len(counter) == 64) {
			w.t.Errorf("%s", line)
		}
		if ids[event["id"]] == "" {
			ids[event["id"]] = string(rune('a' + len(ids)))
		}
		event["id"] = ids[event["id"]]
		if peer, ok := event["peer_address"].(string); ok {
			event["peer_address"] = netip.MustParseAddrPort(peer).Addr().String()
		}
		delete(event, "time")
		delete(event, "counter")
		out = append(out, event)
	}
	return out
}

func TestLimitsList(t *testing.T) {
	w := newLimitsWorld(t, nil, nil)
	w.get(3, "orders.example.com", "/orders", "192.0.2.1", "")
	var got limitsapi.List
	if status, text := w.do("GET", limitsapi.ListPath, "", nil, &got); status != 200 {
		t.Fatal(status, text)
	}
	minute := func(count, burst int64) limitsapi.Rate {
		return limitsapi.Rate{Count: count, WindowMS: 60_000, Burst: burst}
	}
	want := limitsapi.List{
		Limits: []limitsapi.Limit{
			{
				Bundle: "acme", Name: "everybody", Rate: limitsapi.Rate{Count: 50, WindowMS: 1000, Burst: 50}, Algorithm: "gcra", By: []string{},
				Counts: "all", OnError: "local_share", Routes: []string{"bills", "orders"}, Usage: &limitsapi.Usage{Allowed: 2},
			},
			{
				Bundle: "acme", Service: "bills", Name: "per-address", Rate: minute(20, 1), Algorithm: "gcra", ClassOf: "request.header.plan",
				Classes: []limitsapi.Class{{Name: "gold", Rate: minute(60, 3)}}, By: []string{"client.network"}, Counts: "all", OnError: "local_share", Routes: []string{"read"},
			},
			{
				Bundle: "acme", Service: "exports", Name: "running", Rate: limitsapi.Rate{Count: 2, WindowMS: 3_600_000, Burst: 2}, Algorithm: "concurrency",
				WithoutRelease: "expire", By: []string{"client.network"}, Counts: "allowed", OnError: "local_share", Routes: []string{"run"},
			},
			{
				Bundle: "acme", Service: "exports", Name: "seen", Rate: limitsapi.Rate{Count: 3, WindowMS: 30 * 86_400_000, Burst: 3}, Algorithm: "distinct",
				Distinct: "request.header.x-device", By: []string{"client.network"}, Counts: "allowed", OnError: "local_share", Routes: []string{"see"},
			},
			{
				Bundle: "acme", Service: "keys", Name: "per-key", Rate: minute(2, 2), Algorithm: "gcra", By: []string{"request.header.x-api-key", "request.query.access_token"},
				Counts: "allowed", OnError: "local_share", Routes: []string{"read"},
			},
			{
				Bundle: "acme", Service: "orders", Name: "odd", Rate: minute(10, 10), Algorithm: "sliding_window", By: []string{"request.method"}, Counts: "all",
				OnError: "allow", Shadow: true, Routes: []string{"other"},
			},
			{
				Bundle: "acme", Service: "orders", Name: "per-address", Rate: minute(2, 2), Algorithm: "gcra", By: []string{"client.network", "request.header.x-device"},
				Counts: "allowed", OnError: "local_share", Routes: []string{"read"}, Usage: &limitsapi.Usage{Allowed: 2, Refused: 1},
			},
		},
		Domains: []limitsapi.Domain{{Bundle: "acme", Name: "edge", Rules: []limitsapi.Rule{
			{Path: "edge.closed", Unit: "minute"}, {Path: "edge.user", Name: "per-user", RequestsPerUnit: 2, Unit: "minute"},
		}}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(limitsapi.Usage{}, "Since")); diff != "" {
		t.Error(diff)
	}
}

func TestLimitsTop(t *testing.T) {
	w := newLimitsWorld(t, nil, nil)
	w.get(5, "orders.example.com", "/orders", "192.0.2.1", "")
	w.get(4, "orders.example.com", "/orders", "192.0.2.2", strings.Repeat("long", 50))
	w.get(2, "orders.example.com", "/orders", "192.0.2.3", "\u202eevil")
	w.get(1, "orders.example.com", "/orders", "192.0.2.4", "calm")
	w.get(2, "bills.example.com", "/bills", "192.0.2.1", "")
	w.descriptor("user", "alice", 6)

	top := func(query string) (out []limitsapi.Key) {
		t.Helper()
		var got limitsapi.Top
		if status, text := w.do("GET", limitsapi.TopPath+query, "", nil, &got); status != 200 || got.WindowMS != 300_000 {
			t.Fatal(status, text, got.WindowMS)
		}
		for _, k := range got.Keys {
			if len(k.Counter) != 64 {
				t.Errorf("counter %q", k.Counter)
			}
			k.Counter = ""
			out = append(out, k)
		}
		return out
	}
	alice := limitsapi.Key{Bundle: "acme", Domain: "edge", Values: []limitsapi.Value{{Name: "user", Value: "alice"}}, Near: 1, Refused: 4, Percent: 100}
	first := limitsapi.Key{
		Bundle: "acme", Service: "orders", Limit: "per-address", Near: 1, Refused: 3, Percent: 100,
		Values: []limitsapi.Value{{Name: "client.network", Value: "192.0.2.1"}, {Name: "request.header.x-device", Missing: true}},
	}
	long := limitsapi.Key{Bundle: "acme", Service: "orders", Limit: "per-address", Values: []limitsapi.Value{}, Hashed: true, Near: 1, Refused: 2, Percent: 100}
	bill := limitsapi.Key{Bundle: "acme", Service: "bills", Limit: "per-address", Values: []limitsapi.Value{{Name: "client.network", Value: "192.0.2.1"}}, Near: 1, Refused: 1, Percent: 100}
	evil := limitsapi.Key{
		Bundle: "acme", Service: "orders", Limit: "per-address", Near: 1, Percent: 100,
		Values: []limitsapi.Value{{Name: "client.network", Value: "192.0.2.3"}, {Name: "request.header.x-device", Value: "\u202eevil"}},
	}
	for query, want := range map[string][]limitsapi.Key{
		"":                       {alice, first, long, bill, evil},
		"?n=2":                   {alice, first},
		"?service=bills":         {bill},
		"?limit=per-address&n=1": {first},
		"?domain=edge":           {alice},
		"?limit=everybody":       nil,
		"?service=orders&n=1000": {first, long, evil},
	} {
		if diff := cmp.Diff(want, top(query)); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
	// Who looked at whom is recorded: keys hold values of requests.
	asked := map[string]bool{}
	for _, event := range w.events() {
		if event["event"] != "limits.top" || event["outcome"] != "done" || event["caller"] != "local" || event["peer_address"] != "127.0.0.1" {
			t.Errorf("%v", event)
		}
		asked[fmt.Sprintf("%v/%v/%v", event["service"], event["domain"], event["limit"])] = true
	}
	if len(asked) != 6 || !asked["<nil>/edge/<nil>"] || !asked["<nil>/<nil>/per-address"] {
		t.Errorf("recorded: %v", asked)
	}
	recorded := len(w.records.String())
	for _, query := range []string{"?bundle=other", "?service=orders&limit=x", "?limit=\u202e", "?domain=x"} {
		if status, text := w.do("GET", limitsapi.TopPath+query, "", nil, nil); status != http.StatusNotFound || text != "there is no such limit in force" {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	if len(w.records.String()) != recorded {
		t.Error("a look at nothing is recorded")
	}
	for _, n := range []string{"0", "1001", "x", "-1"} {
		if status, _ := w.do("GET", limitsapi.TopPath+"?n="+n, "", nil, nil); status != http.StatusBadRequest {
			t.Errorf("n=%s: %d", n, status)
		}
	}
}

const ordersKey = "&key=client.network=192.0.2.1&key=request.header.x-device=tablet"

// TestLimitsPeekAndUnblock is the way of an operator who lets somebody in again, with counters in memory and in Redis.
// limitStores open the stores that answer the API: none but memory, or Redis.
var limitStores = map[string]func(t *testing.T) ratelimiter.Store{
	"memory": func(*testing.T) ratelimiter.Store { return nil },
	"redis": func(t *testing.T) ratelimiter.Store {
		s, err := redis.New(redis.Options{URL: redistest.Start(t).URL(), Now: time.Now, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	},
}

// TestLimitsOfValuesAndPermits: what is used of them is shown, and cleared.
func TestLimitsOfValuesAndPermits(t *testing.T) {
	for name, open := range limitStores {
		t.Run(name, func(t *testing.T) {
			w := newLimitsWorld(t, open(t), nil)
			run := func() int { return w.get(3, "exports.example.com", "/run", "192.0.2.1", "") }
			see := func() (n int) {
				for _, device := range []string{"a", "a", "b", "c", "d", "a"} {
					n += w.get(1, "exports.example.com", "/see", "192.0.2.1", device)
				}
				return n
			}
			for _, c := range []struct {
				limit, algorithm string
				use              func() int
				passes, count    int64
				retry            int64
			}{{"running", "concurrency", run, 2, 2, 1000}, {"seen", "distinct", see, 5, 3, 30 * 86_400_000}} {
				for _, cleared := range []bool{false, true} { // what is cleared is as good as new
					if n := c.use(); int64(n) != c.passes {
						t.Errorf("%s: %d pass, cleared %v", c.limit, n, cleared)
					}
					var p limitsapi.Peek
					if status, text := w.do("GET", limitsapi.PeekPath+"?limit="+c.limit+"&key=client.network=192.0.2.1", "", nil, &p); status != 200 {
						t.Fatal(status, text)
					}
					if p.Algorithm != c.algorithm || p.Room || p.Used != c.count || p.Burst != c.count || p.Remaining != 0 || p.RetryAfterMS < 1 || p.RetryAfterMS > c.retry || p.FullMS < 1 {
						t.Errorf("%+v", p)
					}
					var u limitsapi.Unblock
					body := `{"limit": "` + c.limit + `", "key": [{"name": "client.network", "value": "192.0.2.1"}]}`
					if status, text := w.do("POST", limitsapi.UnblockPath, body, nil, &u); status != 200 || !u.Cleared || u.Counter != p.Counter {
						t.Errorf("%d %s %+v", status, text, u)
					}
				}
			}
		})
	}
}

func TestLimitsPeekAndUnblock(t *testing.T) {
	for name, open := range limitStores {
		t.Run(name, func(t *testing.T) {
			w := newLimitsWorld(t, open(t), nil)
			if n := w.get(5, "orders.example.com", "/orders", "192.0.2.1", "tablet"); n != 2 {
				t.Fatalf("%d allowed", n)
			}
			peek := func(query string) (p limitsapi.Peek) {
				t.Helper()
				if status, text := w.do("GET", limitsapi.PeekPath+"?"+query, "", nil, &p); status != 200 {
					t.Fatal(query, status, text)
				}
				return p
			}
			p := peek("service=orders&limit=per-address" + ordersKey)
			if p.Room || p.Used != 2 || p.Remaining != 0 || p.RetryAfterMS <= 0 || p.RetryAfterMS > 30_000 || p.FullMS <= 30_000 || p.Count != 2 || p.Degraded || len(p.Counter) != 64 {
				t.Errorf("%+v", p)
			}
			if again := peek("limit=per-address&service=orders&key=request.header.x-device=tablet&key=client.network=192.0.2.1"); again.Remaining != 0 || again.Counter != p.Counter {
				t.Errorf("in another order: %+v", again)
			}
			if other := peek("service=orders&limit=per-address&key=client.network=192.0.2.1&key=request.header.x-device"); !other.Room || other.Remaining != 2 {
				t.Errorf("a missing value is another counter: %+v", other)
			}

			body := `{"service": "orders", "limit": "per-address", "key": [{"name": "client.network", "value": "192.0.2.1"}, {"name": "request.header.x-device", "value": "tablet"}]}`
			var u limitsapi.Unblock
			if status, text := w.do("POST", limitsapi.UnblockPath, body, nil, &u); status != 200 || !u.Cleared || u.Counter != p.Counter || u.StaleMS != 1000 {
				t.Fatalf("%d %s %+v", status, text, u)
			}
			if p := peek("service=orders&limit=per-address" + ordersKey); !p.Room || p.Remaining != 2 || p.RetryAfterMS != 0 {
				t.Errorf("after it: %+v", p)
			}
			if n := w.get(3, "orders.example.com", "/orders", "192.0.2.1", "tablet"); n != 2 {
				t.Errorf("%d allowed after it", n)
			}
			if status, _ := w.do("POST", limitsapi.UnblockPath, strings.ReplaceAll(body, "192.0.2.1", "192.0.2.99"), nil, &u); status != 200 || u.Cleared {
				t.Errorf("nobody's counter: %d %+v", status, u)
			}

			key := func(address string, device any) []any {
				second := map[string]any{"name": "request.header.x-device"}
				if device != nil {
					second["value"] = device
				}
				return []any{map[string]any{"name": "client.network", "value": address}, second}
			}
			event := func(id, what, outcome, address string, device any) map[string]any {
				return map[string]any{
					"event": what, "id": id, "outcome": outcome, "caller": "local", "peer_address": "127.0.0.1", "bundle": "acme", "service": "orders",
					"limit": "per-address", "key": key(address, device),
				}
			}
			// No record shows this header, so no event does.
			const tablet = "sha256:b0462e12dbea1ded3da00e4a9e6a3d1e3f9d4c7b"
			want := []map[string]any{
				event("a", "limits.peek", "done", "192.0.2.1", tablet), event("b", "limits.peek", "done", "192.0.2.1", tablet), event("c", "limits.peek", "done", "192.0.2.1", nil),
				event("d", "limits.unblock", "requested", "192.0.2.1", tablet), event("d", "limits.unblock", "done", "192.0.2.1", tablet),
				event("e", "limits.peek", "done", "192.0.2.1", tablet),
				event("f", "limits.unblock", "requested", "192.0.2.99", tablet), event("f", "limits.unblock", "done", "192.0.2.99", tablet),
			}
			hashed := cmp.FilterValues(func(a, b string) bool { return strings.HasPrefix(a, "sha256:") && strings.HasPrefix(b, "sha256:") }, cmp.Ignore())
			if diff := cmp.Diff(want, w.events(), hashed); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(w.records.String(), "tablet") {
				t.Error("a value that records do not show stands in an event")
			}
		})
	}
}

// TestLimitsMaskCredentials: a limit may count by a header that holds a credential; neither answers nor records show it.
func TestLimitsMaskCredentials(t *testing.T) {
	w := newLimitsWorld(t, nil, nil)
	for range 4 {
		w.engine.Decide(t.Context(), &request.Request{
			Adapter: "native", Method: "GET", Scheme: "https", Host: "keys.example.com", Target: "/keys?access_token=planted-two", Protocol: "HTTP/1.1",
			Client: netip.MustParseAddr("192.0.2.1"), Body: request.Body{Size: -1}, Header: request.Header{{Name: "x-api-key", Value: "planted-one"}},
		})
	}
	var top limitsapi.Top
	if status, text := w.do("GET", limitsapi.TopPath, "", nil, &top); status != 200 || len(top.Keys) != 1 {
		t.Fatal(status, text, top)
	}
	want := []limitsapi.Value{{Name: "request.header.x-api-key", Value: "[masked]"}, {Name: "request.query.access_token", Value: "[masked]"}}
	if diff := cmp.Diff(want, top.Keys[0].Values); diff != "" {
		t.Error(diff)
	}
	// A key goes by what it was counted by, also under a revision that counts by something else.
	w.publish(strings.Replace(limitedKeys, "[request.header.x-api-key, request.query.access_token]", "[request.host, client.network]", 1))
	if status, text := w.do("GET", limitsapi.TopPath, "", nil, &top); status != 200 || len(top.Keys) != 1 {
		t.Fatal(status, text, top)
	}
	if diff := cmp.Diff(want, top.Keys[0].Values); diff != "" {
		t.Error(diff)
	}
	w.publish(limitedKeys)
	var p limitsapi.Peek
	query := "?limit=per-key&key=request.header.x-api-key=planted-one&key=request.query.access_token=planted-two"
	if status, text := w.do("GET", limitsapi.PeekPath+query, "", nil, &p); status != 200 || p.Used != 2 {
		t.Errorf("%d %s %+v", status, text, p)
	}
	if line := w.records.String(); strings.Contains(line, "planted") || strings.Contains(line, "sha256") || strings.Contains(line, p.Counter) || strings.Count(line, "[masked]") != 2 {
		t.Errorf("recorded: %s", line)
	}
}

func TestHoldsCredential(t *testing.T) {
	for _, c := range []struct {
		domain, name string
		want         bool
	}{
		{"", "", true}, // nobody knows what it is
		{"", "subject.key", false},
		{"", "subject.auth_time", false},
		{"", "client.network", false},
		{"", "claims.token_use", false},
		{"", "request.header.authorization", true},
		{"", "request.header.x-device", false},
		{"", "request.query.code", true},
		{"", "params.token", true},
		{"", "params.id", false},
		{"edge", "api_key", true},
		{"edge", "user", false},
	} {
		if got := holdsCredential(c.domain, c.name); got != c.want {
			t.Errorf("%s %s: %t", c.domain, c.name, got)
		}
	}
}

func TestLimitsOfClassesAndDomains(t *testing.T) {
	w := newLimitsWorld(t, nil, nil)
	w.get(1, "bills.example.com", "/bills", "192.0.2.1", "")
	w.descriptor("user", "alice", 2)
	for query, want := range map[string]int64{
		"service=bills&limit=per-address&key=client.network=192.0.2.1":            0,
		"service=bills&limit=per-address&key=client.network=192.0.2.1&class=gold": 0, // the bucket is the same one
		"limit=everybody": 49,
		"service=orders&limit=everybody&bundle=acme": 49,
		"domain=edge&key=user=alice":                 0,
		"domain=edge&key=user=bob":                   2,
	} {
		var p limitsapi.Peek
		if status, text := w.do("GET", limitsapi.PeekPath+"?"+query, "", nil, &p); status != 200 || p.Remaining != want && (want != 49 || p.Remaining != 50) {
			t.Errorf("%s: %d %s %+v, want %d left", query, status, text, p, want)
		}
	}
	var gold limitsapi.Peek
	if w.do("GET", limitsapi.PeekPath+"?service=bills&limit=per-address&key=client.network=192.0.2.1&class=gold", "", nil, &gold); gold.Burst != 3 || gold.Used != 3 {
		t.Errorf("by the rate of a class: %+v", gold)
	}
	var u limitsapi.Unblock
	if status, text := w.do("POST", limitsapi.UnblockPath, `{"domain": "edge", "key": [{"name": "user", "value": "alice"}]}`, nil, &u); status != 200 || !u.Cleared || u.Limit != "edge.user_alice" {
		t.Errorf("%d %s %+v", status, text, u)
	}
	if n := w.descriptor("user", "alice", 3); n != 2 {
		t.Errorf("%d allowed after it", n)
	}
	if strings.Contains(w.records.String(), "alice") {
		t.Error("a descriptor's value stands in an event")
	}
}

func TestLimitsRefuseWhatTheyCannotFind(t *testing.T) {
	w := newLimitsWorld(t, nil, nil)
	for query, want := range map[string]struct {
		status int
		text   string
	}{
		"":                             {400, "name a limit, or a domain"},
		"service=orders":               {400, "name a limit, or a domain"},
		"limit=unknown":                {404, "no such limit"},
		"limit=everybody&bundle=other": {404, "no such limit"},
		"limit=per-address&key=client.network=192.0.2.1":                           {400, "say which bundle and service: acme/bills, acme/orders"},
		"service=orders&limit=per-address":                                         {400, "counts by client.network, request.header.x-device: name each once"},
		"service=orders&limit=per-address&key=client.network=1&key=x=2":            {400, "name each once"},
		"service=orders&limit=per-address&key=client.network=1&key=client.network": {400, "name each once"},
		"service=orders&limit=odd&class=gold&key=request.method=GET":               {400, `has no class "gold"`},
		"limit=everybody&key=x=y":                                                  {400, "counts by nothing"},
		"domain=unknown&key=user=alice":                                            {404, "no such limit"},
		"domain=edge&limit=x&key=user=alice":                                       {400, "a domain stands alone"},
		"domain=edge":                                                              {404, "no limit of the domain holds"},
		"domain=edge&key=closed=x":                                                 {400, "refuses everything"},
	} {
		status, text := w.do("GET", limitsapi.PeekPath+"?"+query, "", nil, nil)
		if status != want.status || !strings.Contains(text, want.text) {
			t.Errorf("%s: %d %q, want %d %q", query, status, text, want.status, want.text)
		}
	}
	for body, want := range map[string]int{
		`{"limit": "everybody"} {}`:            400,
		`{"limit": "everybody", "unknown": 1}`: 400,
		`[]`:                                   400,
		`{"limit": "` + strings.Repeat("x", 20<<10) + `"}`: 413,
		`{"limit": "unknown"}`:                             404,
	} {
		if status, _ := w.do("POST", limitsapi.UnblockPath, body, nil, nil); status != want {
			t.Errorf("%.40s: %d, want %d", body, status, want)
		}
	}
	for _, path := range []string{limitsapi.ListPath, limitsapi.TopPath, limitsapi.PeekPath} {
		if status, _ := w.do("POST", path, "{}", nil, nil); status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, status)
		}
	}
	if status, _ := w.do("GET", limitsapi.UnblockPath+"?limit=everybody", "", nil, nil); status != http.StatusMethodNotAllowed {
		t.Errorf("GET of what changes: %d", status)
	}
	if lines := w.records.String(); lines != "" {
		t.Errorf("nothing was looked at, and recorded is %s", lines)
	}
}

// TestLimitsBeforeTheFirstBundle: no limits for want of a bundle is no answer.
func TestLimitsBeforeTheFirstBundle(t *testing.T) {
	w := newLimitsWorld(t, nil, nil)
	w.engine.Publish(nil)
	for method, path := range map[string]string{"GET": limitsapi.ListPath, "POST": limitsapi.UnblockPath} {
		if status, text := w.do(method, path, `{"limit": "everybody"}`, nil, nil); status != http.StatusServiceUnavailable || !strings.HasPrefix(text, "no bundle is in force yet") {
			t.Errorf("%s %s: %d %s", method, path, status, text)
		}
	}
}

// TestLimitsNeedARecord: where the record cannot be written, nothing is shown and nothing is changed.
func TestLimitsNeedARecord(t *testing.T) {
	w := newLimitsWorld(t, nil, nil)
	hang := make(chan struct{})
	w.records.hang.Store(&hang)
	defer close(hang)
	w.get(2, "orders.example.com", "/orders", "192.0.2.1", "tablet")
	var p limitsapi.Peek
	if status, text := w.do("GET", limitsapi.PeekPath+"?service=orders&limit=per-address"+ordersKey, "", nil, &p); status != 503 || text != "it cannot be recorded who does this" {
		t.Errorf("peek: %d %s", status, text)
	}
	if status, text := w.do("GET", limitsapi.TopPath, "", nil, nil); status != 503 || text != "it cannot be recorded who does this" {
		t.Errorf("top: %d %s", status, text)
	}
	body := `{"service": "orders", "limit": "per-address", "key": [{"name": "client.network", "value": "192.0.2.1"}, {"name": "request.header.x-device", "value": "tablet"}]}`
	if status, text := w.do("POST", limitsapi.UnblockPath, body, nil, nil); status != 503 || text != "it cannot be recorded who does this" {
		t.Errorf("unblock: %d %s", status, text)
	}
	if n := w.get(1, "orders.example.com", "/orders", "192.0.2.1", "tablet"); n != 0 {
		t.Error("the counter was cleared without a record")
	}
}

// TestLimitsOutOfRedis: an operator is told when the shared counters do not answer.
func TestLimitsOutOfRedis(t *testing.T) {
	server := redistest.Start(t)
	s, err := redis.New(redis.Options{URL: server.URL(), Now: time.Now, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := newLimitsWorld(t, s, nil)
	w.get(2, "orders.example.com", "/orders", "192.0.2.1", "tablet")
	server.Kill()
	var p limitsapi.Peek
	if status, text := w.do("GET", limitsapi.PeekPath+"?service=orders&limit=per-address"+ordersKey, "", nil, &p); status != 200 || !p.Degraded {
		t.Errorf("peek: %d %s %+v", status, text, p)
	}
	body := `{"service": "orders", "limit": "per-address", "key": [{"name": "client.network", "value": "192.0.2.1"}, {"name": "request.header.x-device", "value": "tablet"}]}`
	if status, text := w.do("POST", limitsapi.UnblockPath, body, nil, nil); status != 503 || !strings.Contains(text, "may be there still") {
		t.Errorf("unblock: %d %s", status, text)
	}
	events := w.events()
	if len(events) != 3 || events[1]["outcome"] != "requested" || events[2]["outcome"] != "failed" {
		t.Errorf("%v", events)
	}
}
