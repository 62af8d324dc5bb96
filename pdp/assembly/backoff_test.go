package assembly

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// guessing is somebody who guesses passwords from one address, by a clock that stands still between the tries.
type guessing struct {
	t       *testing.T
	session *Session
	at      time.Time
}

func newGuessing(t *testing.T, limits, names string) *guessing {
	t.Helper()
	offline, err := NewOffline(OfflineOptions{Contents: map[string][]byte{
		"bundle.yaml": []byte(emptyBundle),
		"services/login/service.yaml": []byte("service: login\nmatch: [{host: login.example.com}]\nidentity: {mode: none}\nlimit_definitions:\n" + limits +
			"routes:\n  - {name: log-in, path: /login, methods: [POST], access: public, purpose: login, limits: [" + names + "]}\n"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	g := &guessing{t: t, at: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	if g.session, err = offline.Open(g.at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.session.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *guessing) request() *request.Request {
	return &request.Request{Adapter: "native", Method: "POST", Scheme: "https", Host: "login.example.com", Target: "/login", Client: netip.MustParseAddr("192.0.2.1")}
}

// try tries a password that is wrong or right, and returns how long to wait for a try where none is left.
func (g *guessing) try(wrong bool) (wait time.Duration) {
	g.t.Helper()
	g.session.SetTime(g.at)
	v := g.session.Decide(g.t.Context(), g.request())
	switch {
	case v.Reason == verdict.LimitExceeded && v.RetryAfter > 0:
		return v.RetryAfter
	case !v.Allowed():
		g.t.Fatalf("%+v", v)
	case wrong:
		failed := g.request()
		failed.Failure = &request.Failure{DecisionID: v.DecisionID}
		if v := g.session.Decide(g.t.Context(), failed); v.Reason != verdict.ReportedFailure {
			g.t.Fatalf("%+v", v)
		}
	}
	return 0
}

// waits guesses as fast as it can and returns the wait before each of so many tries.
func (g *guessing) waits(tries int) (out []time.Duration) {
	g.t.Helper()
	for range tries {
		waited := time.Duration(0)
		for wait := g.try(true); wait > 0; wait = g.try(true) {
			for range 3 { // tries that are refused cost nothing and win nothing
				if again := g.try(true); again != wait {
					g.t.Fatalf("told to wait %v, then %v", wait, again)
				}
			}
			g.at = g.at.Add(wait - time.Second)
			if g.try(true) == 0 {
				g.t.Fatalf("passed %v before its time", time.Second)
			}
			g.at = g.at.Add(time.Second)
			waited += wait
		}
		out = append(out, waited)
	}
	return out
}

// repeated returns a wait so many times.
func repeated(n int, seconds int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(seconds) * time.Second
	}
	return out
}

// Limits stacked over growing windows let each further failure wait longer: nothing, 12 seconds, 6 minutes, 72 minutes. Who gets the
// password right is not counted, and a day later all is forgotten.
func TestStackedLimitsBackOff(t *testing.T) {
	g := newGuessing(t, `  by-minute: {rate: 5/min, by: [client.network], count: denied}
  by-hour: {rate: 10/h, by: [client.network], count: denied}
  by-day: {rate: 20/d, by: [client.network], count: denied}
`, "by-minute, by-hour, by-day")
	for range 100 {
		if wait := g.try(false); wait != 0 {
			t.Fatalf("a right password waits %v", wait)
		}
	}
	want := append(repeated(5, 0), repeated(5, 12)...)
	want = append(append(want, repeated(1, 300)...), repeated(9, 360)...)
	want = append(append(want, repeated(1, 720)...), repeated(4, 4320)...)
	got := g.waits(len(want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
	for i := 1; i < len(got); i++ {
		if got[i] < got[i-1] {
			t.Errorf("try %d waits %v, after one that waited %v", i, got[i], got[i-1])
		}
	}
	g.at = g.at.Add(24 * time.Hour)
	if got := g.waits(6); got[4] != 0 || got[5] != 12*time.Second {
		t.Errorf("a day later: %v", got)
	}
}

// A sliding log locks out: after five failures at once nothing passes until the first is as old as the window.
func TestLockOut(t *testing.T) {
	g := newGuessing(t, "  failures: {rate: 5/15min, by: [client.network], count: denied, algorithm: sliding_log}\n", "failures")
	want := append(append(repeated(5, 0), repeated(1, 900)...), repeated(4, 0)...)
	want = append(want, repeated(1, 900)...)
	if diff := cmp.Diff(want, g.waits(len(want))); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}
