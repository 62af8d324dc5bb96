package ratelimiter_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// ofAny returns a limit of 240 a minute, or a day, that counts by an algorithm.
func ofAny(a ratelimiter.Algorithm) ratelimiter.Definition {
	d := ratelimiter.Definition{Name: a.String(), Count: 240, Algorithm: a}
	if a == ratelimiter.Quota {
		d.Calendar = window.Day
	}
	return d
}

// later lets so much time pass that whatever was charged is forgotten, and a share is whole.
func (b *bench) later() { b.at = b.at.Add(48 * time.Hour) }

// eachAlgorithm runs a test on every algorithm that counts units. Values and permits have tests of their own
// (TestNoBurstOfValuesAndPermits, TestLocalShareOfDistinct, TestPermitsWithoutStore).
func eachAlgorithm(t *testing.T, test func(*testing.T, *bench, ratelimiter.Charge)) {
	for a := ratelimiter.GCRA; a <= ratelimiter.Quota; a++ {
		t.Run(a.String(), func(t *testing.T) {
			b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 2 })
			b.shared.down = true
			test(t, b, charge(t, ofAny(a), "k"))
		})
	}
}

// A share follows the number of replicas that live, and is never larger than the configured number makes it.
func TestShareFollowsTheReplicas(t *testing.T) {
	eachAlgorithm(t, func(t *testing.T, b *bench, c ratelimiter.Charge) {
		b.take(c)
		for _, step := range []struct{ live, passed int }{{4, 60}, {8, 30}, {3, 80}, {1, 120}, {0, 120}, {1000, 1}, {2, 120}} {
			b.later()
			b.limiter.SetReplicas(step.live)
			if got := b.passed(241, c); got != step.passed {
				t.Errorf("%d passed with %d replicas, want %d", got, step.live, step.passed)
			}
		}
		if got := b.limiter.Replicas(); got != 2 {
			t.Errorf("%d replicas", got)
		}
	})
}

// A counter that is empty when the number of replicas changes stays empty: neither fewer replicas, nor more and then fewer,
// give anybody a burst, whatever is settled meanwhile.
func TestNoBurstWhenTheReplicasChange(t *testing.T) {
	eachAlgorithm(t, func(t *testing.T, b *bench, c ratelimiter.Charge) {
		def := c.Limit.Definition()
		def.Counting = ratelimiter.CountAll
		if def.Algorithm == ratelimiter.Quota {
			def.Window = 0
		}
		if def.Algorithm != ratelimiter.GCRA {
			def.Burst = 0
		}
		c = charge(t, def, "k")
		b.take(c)
		for _, live := range [][]int{{8, 2}, {2, 239, 2}, {3, 200, 7, 2}} {
			b.later()
			b.limiter.SetReplicas(live[0])
			b.passed(241, c)
			for _, n := range live[1:] {
				b.limiter.SetReplicas(n)
				if err := b.limiter.Settle(context.Background(), []ratelimiter.Charge{c}); err != nil {
					t.Fatal(err)
				}
				if got := b.passed(10, c); got != 0 {
					t.Errorf("%v: %d passed at the change to %d", live, got, n)
				}
			}
		}
	})
}

// Values and permits weigh in a share what they weighed when they came: fewer replicas give nobody a burst, and what is released,
// or a new window, is shared among those that live.
func TestNoBurstOfValuesAndPermits(t *testing.T) {
	for _, a := range []ratelimiter.Algorithm{ratelimiter.Distinct, ratelimiter.Concurrency} {
		t.Run(a.String(), func(t *testing.T) {
			b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 2 })
			b.shared.down = true
			next := uint64(0)
			passed := func() (n int) {
				for range 300 {
					next++
					c := charge(t, ofAny(a), "k")
					c.Member = next
					binary.BigEndian.PutUint64(c.Permit[:], next)
					if b.take(c).Allowed {
						n++
					}
				}
				return n
			}
			if got := passed(); got != 1 {
				t.Fatalf("%d passed as the store began to fail", got)
			}
			for _, step := range []struct{ live, passed, then, more int }{{8, 30, 2, 0}, {7, 34, 2, 1}, {2, 120, 8, 0}, {1000, 1, 2, 0}} {
				b.later()
				b.limiter.SetReplicas(step.live)
				if got := passed(); got != step.passed {
					t.Errorf("%d passed with %d replicas, want %d", got, step.live, step.passed)
				}
				b.limiter.SetReplicas(step.then)
				if got := passed(); got != step.more {
					t.Errorf("%d passed at the change from %d to %d replicas, want %d", got, step.live, step.then, step.more)
				}
			}
		})
	}
}

// What is left of a share is told in whole costs of this replica, and the wait is that after which one passes.
func TestWhatIsLeftOfAShare(t *testing.T) {
	eachAlgorithm(t, func(t *testing.T, b *bench, c ratelimiter.Charge) {
		b.take(c)
		b.later()
		b.limiter.SetReplicas(100) // 240 units are two costs of 100 and a part
		for _, left := range []int64{1, 0} {
			if s := b.take(c).Limits[0]; !s.Room || s.Remaining != left || s.Cost != 1 {
				t.Fatalf("%+v, want %d left", s, left)
			}
		}
		s := b.take(c).Limits[0]
		if s.Room || s.Never || s.Retry <= 0 || s.More != s.Retry || s.Full < s.Retry {
			t.Fatalf("%+v", s)
		}
		b.at = b.at.Add(s.Retry - time.Microsecond)
		if b.take(c).Allowed {
			t.Fatal("passed before the wait was over")
		}
		b.at = b.at.Add(time.Microsecond)
		if !b.take(c).Allowed {
			t.Fatal("did not pass after the wait")
		}
	})
}
