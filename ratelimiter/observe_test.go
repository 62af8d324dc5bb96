package ratelimiter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/ratelimiter"
)

// observed collects what a limiter tells, as "KEY room" or "KEY none", and "settled" behind it.
type observed []string

func (o *observed) hear(s *ratelimiter.Status, settled bool) {
	name := "(no key)"
	if values, _ := s.Key.Values(); len(values) > 0 {
		name = values[0].Text
	}
	text := fmt.Sprintf("%s %s", name, map[bool]string{true: "room", false: "none"}[s.Room])
	if settled {
		text += " settled"
	}
	if s.Degraded {
		text += " degraded"
	}
	*o = append(*o, text)
}

func (o *observed) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, []string(*o)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
	*o = nil
}

func TestObserve(t *testing.T) {
	var seen observed
	b := newBench(t, func(o *ratelimiter.Options) { o.Observe = seen.hear })
	wide := charge(t, ratelimiter.Definition{Name: "wide", Count: 100, Window: time.Minute}, "wide")
	tight := charge(t, ratelimiter.Definition{Name: "tight", Count: 1, Window: time.Minute}, "tight")
	shadow := charge(t, ratelimiter.Definition{Name: "shadow", Count: 1, Window: time.Minute, Shadow: true}, "shadow")
	denied := charge(t, ratelimiter.Definition{Name: "denied", Count: 9, Window: time.Minute, Counting: ratelimiter.CountDenied}, "denied")
	strict := charge(t, ratelimiter.Definition{Name: "strict", Count: 9, Window: time.Minute, OnError: ratelimiter.Deny}, "strict")

	b.take(wide, shadow, tight)
	seen.expect(t, "all have room", "wide room", "shadow room", "tight room")
	b.take(wide, shadow)
	seen.expect(t, "a shadow without room lets pass", "wide room", "shadow none")
	if d := b.limiter.Gate([]ratelimiter.Charge{wide}); !d.Allowed {
		t.Error("the gate refuses")
	}
	seen.expect(t, "a gate that lets pass is not the answer yet")
	b.shared.down = false
	b.take(wide, tight) // asks the store
	seen.expect(t, "a refusal tells of who refuses", "tight none")
	b.take(wide, tight) // from memory
	seen.expect(t, "a refusal from memory", "tight none")
	if d := b.limiter.Gate([]ratelimiter.Charge{wide, tight}); d.Allowed {
		t.Error("the gate lets pass")
	}
	seen.expect(t, "a refusal by the gate", "tight none")
	if _, err := b.limiter.Peek(t.Context(), []ratelimiter.Charge{wide}); err != nil {
		t.Fatal(err)
	}
	seen.expect(t, "a look")
	if err := b.limiter.Settle(context.Background(), []ratelimiter.Charge{wide, denied}); err != nil {
		t.Fatal(err)
	}
	seen.expect(t, "a settled denial", "denied room settled")

	b.shared.down = true
	b.take(wide)
	seen.expect(t, "a share", "wide room degraded")
	b.take(charge(t, ratelimiter.Definition{Name: "fresh", Count: 100, Window: time.Minute}, "fresh"), strict)
	seen.expect(t, "what is refused by decree is nobody's count")
}

// TestObserveOfLeases: what is paid in advance is heard as what the store is asked for, whatever the limit counts by.
func TestObserveOfLeases(t *testing.T) {
	for _, algorithm := range []ratelimiter.Algorithm{ratelimiter.GCRA, ratelimiter.FixedWindow, ratelimiter.SlidingWindow} {
		t.Run(algorithm.String(), func(t *testing.T) {
			var seen observed
			b := newBench(t, func(o *ratelimiter.Options) { o.Observe = seen.hear })
			c := charge(t, ratelimiter.Definition{Name: "l", Count: 100, Window: time.Minute, Algorithm: algorithm, Lease: 5}, "k")
			for i := range 4 {
				d := b.take(c)
				seen.expect(t, fmt.Sprintf("decision %d", i), "k room")
				if s := &d.Limits[0]; s.Leased != (i > 0) || s.Key != c.Key {
					t.Errorf("decision %d: %+v", i, s)
				}
			}
		})
	}
}

func TestClear(t *testing.T) {
	b := newBench(t, nil)
	one := charge(t, ratelimiter.Definition{Name: "one", Count: 1, Window: time.Minute}, "k")
	other := charge(t, ratelimiter.Definition{Name: "one", Count: 1, Window: time.Minute}, "other")
	clearKey := func(want bool) {
		t.Helper()
		if had, err := b.limiter.Clear(t.Context(), one.Key); err != nil || had != want {
			t.Errorf("clear: %t, %v; want %t", had, err, want)
		}
	}
	clearKey(false)
	if n := b.passed(3, one) + b.passed(3, other); n != 2 {
		t.Fatalf("%d passed", n)
	}
	clearKey(true)
	if d := b.limiter.Gate([]ratelimiter.Charge{one}); !d.Allowed {
		t.Error("the refusal is remembered here")
	}
	if n := b.passed(3, one); n != 1 {
		t.Errorf("%d passed after the clear", n)
	}
	if b.passed(1, other) != 0 {
		t.Error("another counter was cleared")
	}

	// The local share goes with it.
	b.shared.down = true
	b.at = b.at.Add(2 * time.Second) // the refusal is forgotten by now
	if n := b.passed(5, one); n != 1 {
		t.Fatalf("%d passed of a share", n)
	}
	if _, err := b.limiter.Clear(t.Context(), one.Key); err == nil {
		t.Error("cleared while the store is down")
	}
	if n := b.passed(1, one); n != 0 {
		t.Error("a clear that failed has cleared the share")
	}
	b.shared.down = false
	clearKey(true)
	b.shared.down = true
	if n := b.passed(5, one); n != 1 {
		t.Errorf("%d passed of a share after the clear", n)
	}
}

// Another replica notices within a second.
func TestClearElsewhere(t *testing.T) {
	b := newBench(t, nil)
	other, err := ratelimiter.New(ratelimiter.Options{Shared: b.shared, Local: b.store(), Now: func() time.Time { return b.at }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close(other) })
	one := charge(t, ratelimiter.Definition{Name: "one", Count: 1, Window: time.Hour}, "k")
	elsewhere := func() bool {
		d, err := other.Take(t.Context(), []ratelimiter.Charge{one})
		if err != nil {
			t.Fatal(err)
		}
		return d.Allowed
	}
	b.take(one)
	if elsewhere() {
		t.Fatal("two units of one")
	}
	if _, err := b.limiter.Clear(t.Context(), one.Key); err != nil {
		t.Fatal(err)
	}
	if elsewhere() {
		t.Error("the other replica knows at once, so this test shows nothing")
	}
	b.at = b.at.Add(time.Second)
	if !elsewhere() {
		t.Error("a second later the other replica still refuses")
	}
}

// What was taken in advance of a counter goes with it.
func TestClearDropsLeases(t *testing.T) {
	b := newBench(t, nil)
	one := charge(t, ratelimiter.Definition{Name: "one", Count: 100, Window: time.Minute, Lease: 10}, "k")
	b.take(one)
	calls := b.shared.calls
	if b.take(one); b.shared.calls != calls {
		t.Fatal("nothing was taken in advance")
	}
	if _, err := b.limiter.Clear(t.Context(), one.Key); err != nil {
		t.Fatal(err)
	}
	calls = b.shared.calls
	if b.take(one); b.shared.calls != calls+1 {
		t.Error("units of the counter that is gone are still in hand")
	}
}

// bare is a store that forgets nothing.
type bare struct{ ratelimiter.Store }

func TestClearNeedsAStoreThatForgets(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Shared = bare{o.Shared} })
	if _, err := b.limiter.Clear(t.Context(), "k"); err == nil {
		t.Error("cleared")
	}
}
