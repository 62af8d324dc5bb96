package ratelimiter_test

import (
	"context"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// others are limits of 240 a minute, or a day, that do not count by GCRA.
func others() map[string]ratelimiter.Definition {
	return map[string]ratelimiter.Definition{
		"fixed":   {Count: 240, Algorithm: ratelimiter.FixedWindow},
		"sliding": {Count: 240, Algorithm: ratelimiter.SlidingWindow},
		"log":     {Count: 240, Algorithm: ratelimiter.SlidingLog},
		"quota":   {Count: 240, Algorithm: ratelimiter.Quota, Calendar: window.Day},
	}
}

// While the store is away each of four replicas gives a quarter of the count in a window, and one unit in that in which it
// failed. The clock of the bench is 20 s into a minute, and at 14:13:20.
func TestLocalShareOfAnyAlgorithm(t *testing.T) {
	for name, steps := range map[string][]struct {
		at     time.Duration
		passed int
	}{
		"fixed":   {{0, 1}, {40*time.Second - 1000, 0}, {40 * time.Second, 60}, {100 * time.Second, 60}},
		"sliding": {{0, 1}, {40 * time.Second, 0}, {70 * time.Second, 30}, {130 * time.Second, 45}},
		"log":     {{0, 1}, {60*time.Second - 1000, 0}, {60 * time.Second, 60}, {100 * time.Second, 0}},
		"quota":   {{0, 1}, {35200*time.Second - 1000, 0}, {35200 * time.Second, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 4 })
			c := charge(t, others()[name], "k")
			b.shared.down = true
			start := b.at
			for _, s := range steps {
				b.at = start.Add(s.at)
				if got := b.passed(200, c); got != s.passed {
					t.Errorf("%d passed after %v, want %d", got, s.at, s.passed)
				}
			}
			// The next failure starts over.
			b.shared.down = false
			b.at = b.at.Add(25 * time.Hour)
			b.take(c)
			b.shared.down = true
			for _, key := range []string{"another", "k"} { // what is known of a failure before says nothing of this one
				if got := b.passed(200, charge(t, others()[name], key)); got != 1 {
					t.Errorf("%d passed at the start of the next failure, for %s", got, key)
				}
			}
		})
	}
}

func TestShareIsAtLeastOne(t *testing.T) {
	for name, d := range others() {
		d.Count = 2
		b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 5 })
		b.shared.down = true
		c := charge(t, d, name)
		if got := b.passed(3, c); got != 1 {
			t.Errorf("%s: %d passed", name, got)
		}
		c.Cost = 2
		if d := b.take(c); d.Allowed || d.Limits[0].Never || d.Limits[0].Retry == 0 {
			t.Errorf("%s: a cost above the share, within the limit: %+v", name, d)
		}
	}
}

func TestDenyIsFreeForAnyAlgorithm(t *testing.T) {
	for name, d := range others() {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			c := charge(t, d, "k")
			large := c
			large.Cost = 50
			if got := b.passed(200, c); got != 200 || b.take(large).Allowed {
				t.Fatalf("%d passed", got)
			}
			before := b.shared.calls
			for range 100 {
				d := b.take(large)
				s := d.Limits[0]
				if d.Allowed || s.Charged || s.Remaining != 40 || s.Retry <= 0 || s.More > s.Retry || s.Full < s.Retry || s.Never {
					t.Fatalf("%+v", s)
				}
				if b.limiter.Gate([]ratelimiter.Charge{large}).Allowed {
					t.Fatal("the gate lets it pass")
				}
			}
			if b.shared.calls != before {
				t.Fatalf("%d calls for refusals that were known", b.shared.calls-before)
			}
			if got := b.passed(40, c); got != 40 {
				t.Fatalf("smaller costs were answered from the refusal of a larger one: %d", got)
			}
			large.Cost = 241
			if d := b.take(large); d.Allowed || !d.Limits[0].Never || d.Limits[0].Retry != 0 {
				t.Fatalf("%+v", d)
			}
			larger := d
			larger.Count = 300
			if !b.take(charge(t, larger, "k")).Allowed {
				t.Fatal("a limit that was made larger is answered from what was known of the smaller")
			}
		})
	}
}

// A counter that is exhausted by its last unit needs no refusal to be known, and is known no longer than it is exhausted.
func TestKnownUntilTheWindowEnds(t *testing.T) {
	for name, full := range map[string]time.Duration{"fixed": 100 * time.Millisecond, "log": 100 * time.Millisecond, "sliding": 102 * time.Millisecond} {
		b := newBench(t, nil)
		d := others()[name]
		d.Count, d.Window = 50, 100*time.Millisecond
		c := charge(t, d, "k")
		b.passed(50, c)
		before := b.shared.calls
		b.at = b.at.Add(full - 2*time.Microsecond)
		if b.take(c).Allowed || b.shared.calls != before {
			t.Errorf("%s: a call before the time", name)
		}
		b.at = b.at.Add(2 * time.Microsecond)
		if !b.take(c).Allowed || b.shared.calls == before {
			t.Errorf("%s: refused after the time", name)
		}
	}
}

func TestShadowsAndPeeksOfAnyAlgorithm(t *testing.T) {
	for name, d := range others() {
		b := newBench(t, nil)
		d.Count, d.Shadow = 2, true
		c := charge(t, d, "k")
		if got := b.passed(5, c); got != 5 || b.shared.calls != 5 {
			t.Errorf("%s: a shadow let %d pass with %d calls", name, got, b.shared.calls)
		}
		d, err := b.limiter.Peek(context.Background(), []ratelimiter.Charge{c})
		if s := d.Limits[0]; err != nil || !d.Allowed || s.Room || s.Remaining != 0 || s.Charged {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}
