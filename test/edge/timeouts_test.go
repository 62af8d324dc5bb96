package edge

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/deploy/quickstart/stack"
)

// TestSlowRedis stops Redis where it stands, with connections open: every request gets a verdict of Durward's own,
// by its limits' on_error, before the gateway's second is over. The gateway is told to let pass what is not answered,
// and never does.
func TestSlowRedis(t *testing.T) {
	t.Parallel()
	e := own(t, stack.Options{Envoy: func(text string) string {
		return anyHost(swap(text, "failure_mode_allow: false", "failure_mode_allow: true"))
	}}).watch(t)
	reader := bearer(e.issuer.token(t, "slow", "reader"))
	ask := func(target string) *reply {
		return e.send(t, edgeDoor, request("GET", "plain.example.com", target, reader))
	}
	for _, target := range []string{"/shared", "/open", "/strict", "/a/b"} {
		e.until(t, "a sound decision about "+target, func() (string, bool) { return "", e.sound(t, ask(target)) })
	}
	if err := e.Redis.Pause(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var longest time.Duration
	answered := map[string]int{}
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 12 {
				for _, target := range []string{"/shared", "/open", "/strict", "/a/b"} {
					began := time.Now()
					got, err := e.trySend(t, edgeDoor, request("GET", "plain.example.com", target, reader))
					took := time.Since(began)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					longest = max(longest, took)
					mu.Unlock()
					if got.id == "" {
						t.Errorf("%s: status %d without a decision", target, got.status)
						continue
					}
					switch found := e.record(t, got.id); {
					case found.text("reason") == "deadline": // a verdict too, on a machine that is too busy
						e.denied(t, got, 503, "deadline", "temporarily_unavailable")
						continue
					case target == "/strict":
						e.denied(t, got, 503, "limits_unavailable", "temporarily_unavailable")
					case target != "/a/b" && found.text("degraded") != "true":
						t.Errorf("%s: the record does not say that limits were out of reach: %v", target, found)
					default:
						e.allowed(t, got)
					}
					mu.Lock()
					answered[target]++
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	if err := e.Redis.Resume(); err != nil {
		t.Fatal(err)
	}
	if len(answered) != 4 {
		t.Errorf("decided in time: %v", answered)
	}
	e.until(t, "limits that work again", func() (string, bool) { return "", e.sound(t, ask("/strict")) })
	t.Logf("longest answer through the gateway %v, longest decision %v", longest.Round(time.Millisecond), e.longestDecision())
}

// sound says whether a request was allowed with limits that were in reach.
func (e *edge) sound(t *testing.T, r *reply) bool {
	t.Helper()
	return r.arrived != nil && e.record(t, r.id).text("degraded") != "true"
}

// longestDecision is the longest time of a decision among the records that were read.
func (e *edge) longestDecision() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []time.Duration
	for _, records := range e.records {
		for _, r := range records {
			micros, _ := strconv.ParseFloat(r.text("took_us"), 64)
			all = append(all, time.Duration(micros)*time.Microsecond)
		}
	}
	return slices.Max(all)
}
