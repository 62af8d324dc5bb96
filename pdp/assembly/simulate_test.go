package assembly

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
)

const simulatedService = `service: orders
match: [{host: orders.example.com}]
identity: {mode: optional, accept: [corp], audiences: [orders-api]}
limit_definitions:
  per-subject: {rate: 2/min, by: [subject.key], missing: skip}
  lockout: {rate: 1/min, by: [client.network], count: denied}
  per-device: {rate: 1/min, by: [request.header.x-device], when: {request.query.kind: {present: true}}, missing: share, count: allowed}
  trial: {rate: 1/min, by: [], shadow: true, count: allowed}
  needed: {rate: 9/min, by: [request.header.x-needed]}
routes:
  - {name: read, path: "/orders/{id}", methods: [GET], access: public, limits: [everybody, per-subject, lockout, per-device, trial]}
  - {name: log-in, path: /login, methods: [POST], access: public, limits: [needed]}
`

func simulationOf(t *testing.T) *Simulation {
	t.Helper()
	off, err := NewOffline(OfflineOptions{Contents: map[string][]byte{
		"bundle.yaml": []byte(limitedBundle + "  everybody-else: {rate: 1/min, by: []}\n" +
			"authenticators:\n  corp: {kind: jwt, issuer: \"https://idp.example.com\", algorithms: [ES256], jwks: {file: keys/corp.jwks.json}}\n"),
		"keys/corp.jwks.json":          []byte(`{"keys":[{"kty":"EC","use":"sig","alg":"ES256","kid":"a","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}`),
		"services/orders/service.yaml": []byte(simulatedService),
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := off.Simulate()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestSimulateValuesAndPermits: a value that nobody knows leaves its limit out, and so do limits on concurrency, for no record says
// when a request ended.
func TestSimulateValuesAndPermits(t *testing.T) {
	off, err := NewOffline(OfflineOptions{Contents: map[string][]byte{"bundle.yaml": []byte(limitedBundle), "services/exports/service.yaml": []byte(limitedExports)}})
	if err != nil {
		t.Fatal(err)
	}
	s := off.Simulate()
	t.Cleanup(func() { _ = s.Close() })
	take := func(path, device string) string {
		t.Helper()
		a, err := s.Take(t.Context(), &SimulatedRequest{
			Request: &request.Request{
				Method: "GET", Scheme: "https", Host: "exports.example.com", Target: path, Protocol: "HTTP/1.1", Client: netip.MustParseAddr("192.0.2.1"),
				Header: request.Header{{Name: "x-device", Value: device}}, Body: request.Body{Size: -1},
			},
			Time: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), Unknown: func(name string) bool { return device == "" && name == "request.header.x-device" },
		})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%v %s %v", a.Refused, a.Reason, a.LeftOut)
	}
	for i, c := range []struct{ path, device, want string }{
		{"/run", "a", "[]  map[{exports running}:[the end]]"},
		{"/see", "", "[]  map[{exports seen}:[request.header.x-device]]"},
		{"/see", "a", "[]  map[]"},
		{"/see", "b", "[]  map[]"},
		{"/see", "c", "[]  map[]"},
		{"/see", "d", "[{exports seen}] limit_exceeded map[]"},
		{"/see", "a", "[]  map[]"},
	} {
		if got := take(c.path, c.device); got != c.want {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
}

func TestSimulate(t *testing.T) {
	s := simulationOf(t)
	var names []string
	for _, l := range s.Limits() {
		names = append(names, strings.TrimSpace(l.Service+" "+l.Name))
	}
	if diff := cmp.Diff([]string{"everybody", "orders lockout", "orders needed", "orders per-device", "orders per-subject", "orders trial"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"request.header.x-device", "request.query.kind"}, s.Reads(LimitID{"orders", "per-device"})); diff != "" {
		t.Error(diff)
	}

	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	alice := subject.Subject{Key: "user:corp:alice", Kind: subject.KindUser, Authenticator: "corp", ID: "alice"}
	known := func(string) bool { return false }
	device := func(name string) bool { return name == "request.header.x-device" }
	take := func(after time.Duration, path string, who subject.Subject, denied bool, unknown func(string) bool) string {
		t.Helper()
		method := "GET"
		if path == "/login" {
			method = "POST"
		}
		a, err := s.Take(t.Context(), &SimulatedRequest{
			Request: &request.Request{
				Method: method, Scheme: "https", Host: "orders.example.com", Target: path, Protocol: "HTTP/1.1",
				Client: netip.MustParseAddr("192.0.2.1"), Body: request.Body{Size: -1},
			},
			Time: start.Add(after), Subject: who, Denied: denied, Unknown: unknown,
		})
		if err != nil {
			t.Fatal(err)
		}
		if !a.Routed {
			return "no route"
		}
		return fmt.Sprintf("%d %v %s %v %v", len(a.Limits), a.Refused, a.Reason, a.By, a.LeftOut)
	}
	nobody := subject.Anonymous()
	for i, c := range []struct {
		after   time.Duration
		path    string
		who     subject.Subject
		denied  bool
		unknown func(string) bool
		want    string
	}{
		{0, "/elsewhere", nobody, false, known, "no route"},
		{0, "/orders/1", alice, false, known, "5 []  { } map[]"},
		{0, "/orders/1?kind=x", alice, false, device, "5 [{orders trial}]  { } map[{orders per-device}:[request.header.x-device]]"}, // left out, not refused
		{0, "/orders/1", alice, false, known, "5 [{orders per-subject} {orders trial}] limit_exceeded {orders per-subject} map[]"},
		{time.Second, "/orders/1?kind=x", nobody, false, known, "5 [{orders trial}]  { } map[]"}, // skips what has no subject
		{time.Second, "/orders/1?kind=x", nobody, false, known, "5 [{orders per-device} {orders trial}] limit_exceeded {orders per-device} map[]"},
		{-time.Hour, "/orders/1", alice, false, known, "5 [{orders per-subject} {orders trial}] limit_exceeded {orders per-subject} map[]"}, // no time to fill
		{2 * time.Minute, "/orders/1", alice, true, known, "5 []  { } map[]"},                                                               // a denial fills the lockout
		{2 * time.Minute, "/orders/1", alice, false, known, "5 [{orders lockout}] limit_exceeded {orders lockout} map[]"},
		{4 * time.Minute, "/login", nobody, false, known, "1 [] attribute_missing {orders needed} map[]"},
	} {
		if got := take(c.after, c.path, c.who, c.denied, c.unknown); got != c.want {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
	top := s.Top(LimitID{"orders", "per-subject"}, 5)
	if len(top) != 1 || top[0].Refused != 2 || top[0].Values[0].Value != "user:corp:alice" || s.Forgotten() != 0 {
		t.Errorf("%+v", top)
	}
	if len(s.Top(LimitID{"orders", "per-subject"}, 0)) != 0 || len(s.Top(LimitID{"", "per-subject"}, 5)) != 0 {
		t.Error("keys that nobody asked for")
	}
}
