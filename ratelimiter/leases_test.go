package ratelimiter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// day lets nothing come back while a test runs.
const day = 24 * time.Hour

// TestLeaseIsServedHere: one call pays for 1 + 25 decisions, and each says what is left and where it came from.
func TestLeaseIsServedHere(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 1000, Window: day, Lease: 25}, "k")
	for i := range 3 * 26 {
		d := b.take(c)
		s := d.Limits[0]
		if first := i%26 == 0; !d.Allowed || d.Degraded || !s.Room || !s.Charged || s.Leased == first || (s.Ahead == 25) != first {
			t.Fatalf("decision %d: %+v", i, d)
		}
		if want := int64(1000 - 1 - i); s.Remaining != want || s.Retry != 0 || s.Never || s.Cost != 1 {
			t.Fatalf("decision %d: %d remain, want %d; retry %v", i, s.Remaining, want, s.Retry)
		}
	}
	if b.shared.calls != 3 {
		t.Errorf("%d calls", b.shared.calls)
	}
}

// Costs that a lease does not pay are paid in part by it, and by the store for the rest: no unit is lost.
func TestLeasePaysInPart(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 400, Window: day, Lease: 25}, "k")
	c.Cost = 7
	if got := b.passed(100, c); got != 400/7 {
		t.Errorf("%d decisions of 7 units passed of 400", got)
	}
	c.Cost = 1
	if got := b.passed(100, c); got != 400%7 {
		t.Errorf("%d units were left", got)
	}
	c.Cost = 401
	if d := b.take(c); d.Allowed || !d.Limits[0].Never || d.Limits[0].Cost != 401 {
		t.Errorf("more than ever passes: %+v", d)
	}
}

// TestLeaseEndsWithItsWindow, to the microsecond.
func TestLeaseEndsWithItsWindow(t *testing.T) {
	for name, d := range map[string]ratelimiter.Definition{
		"fixed window":   {Count: 100, Lease: 10, Algorithm: ratelimiter.FixedWindow},
		"sliding window": {Count: 100, Lease: 10, Algorithm: ratelimiter.SlidingWindow},
		"quota":          {Count: 100, Lease: 10, Algorithm: ratelimiter.Quota, Calendar: window.Day},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			c := charge(t, d, "k")
			length := time.Minute
			if d.Algorithm == ratelimiter.Quota {
				length = day
			}
			end := b.at.Truncate(length).Add(length)
			b.take(c)
			b.at = end.Add(-time.Microsecond)
			if s := b.take(c).Limits[0]; !s.Leased || b.shared.calls != 1 || s.Remaining != 98 || s.More != time.Microsecond {
				t.Errorf("a microsecond before the end: %+v", s)
			}
			b.at = end
			if s := b.take(c).Limits[0]; s.Leased || b.shared.calls != 2 {
				t.Errorf("at the end: %+v", s)
			}
		})
	}
}

// TestLeaseEndsInTheBucket: a unit is good until its place has drained, and the eighth of the burst that is set aside.
func TestLeaseEndsInTheBucket(t *testing.T) {
	// A unit comes back in a second; 10 are set aside, so that the units are good for 10 seconds and one more each.
	d := ratelimiter.Definition{Count: 80, Window: 80 * time.Second, Lease: 5}
	for after, want := range map[time.Duration]int{0: 5, 10 * time.Second: 5, 11 * time.Second: 5, 12 * time.Second: 4, 14 * time.Second: 2, 15 * time.Second: 1, 16 * time.Second: 0} {
		b := newBench(t, nil)
		c := charge(t, d, "k")
		if s := b.take(c).Limits[0]; s.Ahead != 5 || s.Limit.Definition().Burst != 70 {
			t.Fatalf("%+v", s)
		}
		b.at = b.at.Add(after - 10*time.Microsecond) // what rounding loses
		got := 0
		for b.take(c).Limits[0].Leased {
			got++
		}
		if got != want {
			t.Errorf("after %v %d units were good, want %d", after, got, want)
		}
	}
}

// TestLeasesShrink: a replica takes in advance a quarter of what remains, or its part among more replicas, and at the end
// nothing.
func TestLeasesShrink(t *testing.T) {
	for replicas, part := range map[int]int64{0: 4, 3: 4, 20: 20} {
		b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = replicas })
		c := charge(t, ratelimiter.Definition{Count: 400, Window: day, Lease: 50}, "k")
		left := int64(400)
		for left > 0 {
			calls := b.shared.calls
			d := b.take(c)
			if left--; !d.Allowed || d.Limits[0].Remaining != left {
				t.Fatalf("%d left: %+v", left, d)
			}
			if b.shared.calls > calls {
				if want := min(50, left/part); d.Limits[0].Ahead > want || d.Limits[0].Ahead < want-1 {
					t.Fatalf("%d replicas, %d left: %d in advance, want %d", replicas, left, d.Limits[0].Ahead, want)
				}
			}
		}
		if b.take(c).Allowed {
			t.Error("one too many")
		}
	}
}

// TestRefusalsGiveBack: what a decision has drawn goes back when another limit refuses, unless the limit counts all decisions.
func TestRefusalsGiveBack(t *testing.T) {
	for counting, want := range map[ratelimiter.Counting]int{ratelimiter.CountAllowed: 199, ratelimiter.CountAll: 149} {
		b := newBench(t, nil)
		c := charge(t, ratelimiter.Definition{Name: "leased", Count: 200, Window: day, Lease: 50, Counting: counting}, "k")
		tight := charge(t, ratelimiter.Definition{Name: "tight", Count: 100, Window: day, Algorithm: ratelimiter.FixedWindow}, "tight")
		b.take(c)
		for i := range 50 {
			tight.Cost = 150 - int64(i) // can never pass, and is not remembered
			if d := b.take(c, tight); d.Allowed || !d.Limits[0].Room || d.Limits[0].Charged != (counting == ratelimiter.CountAll) {
				t.Fatalf("%v: %+v", counting, d)
			}
		}
		if got := b.passed(300, c); got != want {
			t.Errorf("%v: %d units were left, want %d", counting, got, want)
		}
	}
}

// A look takes nothing, and sees what is in hand.
func TestPeekSeesLeases(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 40, Window: day, Lease: 10}, "k")
	b.take(c)
	for range 100 {
		d, err := b.limiter.Peek(context.Background(), []ratelimiter.Charge{c})
		if s := d.Limits[0]; err != nil || !d.Allowed || !s.Room || s.Charged || s.Remaining != 39 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	if got := b.passed(100, c); got != 39 {
		t.Errorf("%d passed behind the looks", got)
	}
	if d, _ := b.limiter.Peek(context.Background(), []ratelimiter.Charge{c}); d.Allowed {
		t.Error("nothing is left")
	}
}

// TestPeekKeepsNothingFromOthers: while a look waits for the store, a decision is paid with the units that it has seen.
func TestPeekKeepsNothingFromOthers(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 40, Window: day, Lease: 1}, "k")
	b.take(c)
	var during ratelimiter.Decision
	b.shared.Store = &slowWay{Store: b.shared.Store, move: func() { during = b.take(c) }}
	other := charge(t, ratelimiter.Definition{Name: "other", Count: 40, Window: day}, "other")
	d, err := b.limiter.Peek(context.Background(), []ratelimiter.Charge{c, other})
	if err != nil || !d.Allowed || d.Limits[0].Remaining != 39 {
		t.Errorf("%+v, %v", d, err)
	}
	if !during.Limits[0].Leased {
		t.Errorf("behind the look: %+v", during)
	}
	b.shared.Store = b.store()
	if s := b.take(c).Limits[0]; s.Leased {
		t.Errorf("the look made a unit: %+v", s)
	}
}

// TestGivenBackTogether: what one decision gives back is one entry, however many units they are, and is drawn in parts.
func TestGivenBackTogether(t *testing.T) {
	for _, a := range []ratelimiter.Algorithm{ratelimiter.GCRA, ratelimiter.FixedWindow} {
		b := newBench(t, nil)
		c := charge(t, ratelimiter.Definition{Count: 1_000_000, Window: day, Lease: ratelimiter.MaxLease, Algorithm: a}, "k")
		never := charge(t, ratelimiter.Definition{Name: "never", Count: 1}, "never")
		never.Cost = 2
		b.take(c)
		c.Cost = ratelimiter.MaxLease
		for range 3 {
			if d := b.take(c, never); d.Allowed || !d.Limits[0].Leased || d.Limits[0].Key != c.Key {
				t.Fatalf("%+v", d)
			}
		}
		if got := b.limiter.GivenBack(); got != 1 {
			t.Errorf("%v: %d entries", a, got)
		}
		calls := b.shared.calls
		for _, cost := range []int64{3000, 3000, 3000, 999, 1} {
			c.Cost = cost
			if d, err := b.limiter.Peek(context.Background(), []ratelimiter.Charge{c}); err != nil || !d.Limits[0].Leased {
				t.Errorf("%v: a part of %d is not seen: %+v, %v", a, cost, d, err)
			}
			if !b.take(c).Limits[0].Leased {
				t.Errorf("%v: a part of %d is not paid", a, cost)
			}
		}
		if b.shared.calls != calls || b.take(c).Limits[0].Leased {
			t.Errorf("%v: more or less than was given back", a)
		}
	}
}

// TestNoStampede: while one caller asks for a lease, others of the key ask for what they need and no more.
func TestNoStampede(t *testing.T) {
	b := newBench(t, nil)
	asked := make(chan int64)
	release := make(chan struct{})
	b.shared.Store = &held{Store: b.shared.Store, asked: asked, release: release}
	c := charge(t, ratelimiter.Definition{Count: 1000, Window: day, Lease: 25}, "k")
	var wg sync.WaitGroup
	leases := 0
	for range 10 {
		wg.Go(func() {
			if d, err := b.limiter.Take(context.Background(), []ratelimiter.Charge{c}); err != nil || !d.Allowed {
				t.Errorf("%+v, %v", d, err)
			}
		})
		if <-asked > 0 {
			leases++
		}
	}
	close(release)
	wg.Wait()
	if leases != 1 {
		t.Errorf("%d of 10 callers asked for a lease", leases)
	}
	if d := b.take(c); !d.Limits[0].Leased {
		t.Errorf("behind them: %+v", d)
	}
}

// held is a store that says for which lease it is asked, and waits.
type held struct {
	ratelimiter.Store
	asked   chan int64
	release chan struct{}
}

// Take implements ratelimiter.Store.
func (h *held) Take(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	h.asked <- c[0].Lease.Units
	<-h.release
	return h.Store.Take(ctx, c)
}

// TestLeasedLimitsAreNotRememberedAsExhausted: another replica's units, or this one's, may pass where the store has no room.
func TestLeasedLimitsAreNotRememberedAsExhausted(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 8, Window: day, Lease: 2}, "k")
	b.passed(8, c)
	calls := b.shared.calls
	for range 5 {
		if b.take(c).Allowed || !b.limiter.Gate([]ratelimiter.Charge{c}).Allowed {
			t.Fatal("the gate refuses, or nothing does")
		}
	}
	if got := b.shared.calls - calls; got != 5 || b.limiter.Remembered() != 0 {
		t.Errorf("%d calls for 5 decisions, %d remembered", got, b.limiter.Remembered())
	}
}

// Units of another definition are worth nothing; those of a new revision that says the same are.
func TestLeaseOfAnotherDefinition(t *testing.T) {
	b := newBench(t, nil)
	d := ratelimiter.Definition{Count: 1000, Window: day, Lease: 25}
	b.take(charge(t, d, "k"))
	if !b.take(charge(t, d, "k")).Limits[0].Leased {
		t.Error("the same definition, compiled again, has no lease")
	}
	d.Count = 900
	if b.take(charge(t, d, "k")).Limits[0].Leased {
		t.Error("paid with units of another rate")
	}
}

// TestLeasesAreBounded: beyond the bound each decision asks, and nothing that is held is lost for it.
func TestLeasesAreBounded(t *testing.T) {
	const bound = 64
	b := newBench(t, func(o *ratelimiter.Options) { o.Leases = bound })
	d := ratelimiter.Definition{Count: 100, Window: 100 * time.Second, Lease: 5}
	for i := range 50 * bound {
		if !b.take(charge(t, d, fmt.Sprint(i))).Allowed {
			t.Fatal("refused")
		}
	}
	if got := b.limiter.Leases(); got > bound || got < bound/2 {
		t.Errorf("units of %d counters are held", got)
	}
	b.at = b.at.Add(time.Hour) // all have drained
	for i := range 50 * bound {
		b.take(charge(t, d, fmt.Sprint("later-", i)))
	}
	if got := b.limiter.Leases(); got > bound || got < bound/2 {
		t.Errorf("an hour later units of %d counters are held", got)
	}
	leased := 0
	for i := range 50 * bound {
		if b.take(charge(t, d, fmt.Sprint("later-", i))).Limits[0].Leased {
			leased++
		}
	}
	if leased < bound/2 {
		t.Errorf("%d counters have leases: those that drained keep others out", leased)
	}
}

// Without a shared store, and where leases are switched off, every decision is counted where it always is.
func TestNoLeases(t *testing.T) {
	for name, change := range map[string]func(*ratelimiter.Options){
		"no shared store": func(o *ratelimiter.Options) { o.Shared = nil },
		"switched off":    func(o *ratelimiter.Options) { o.NoLeases = true },
	} {
		b := newBench(t, change)
		c := charge(t, ratelimiter.Definition{Count: 100, Window: day, Lease: 25}, "k")
		for i := range 100 {
			if s := b.take(c).Limits[0]; s.Leased || s.Ahead != 0 || s.Remaining != int64(99-i) {
				t.Fatalf("%s: %+v", name, s)
			}
		}
	}
}

func TestLeaseIsRefused(t *testing.T) {
	for want, d := range map[string]ratelimiter.Definition{
		"between 1 and 10000":          {Count: 100, Lease: -1},
		"are not between 1 and":        {Count: 1_000_000, Lease: 10_001},
		"a quarter of the 100":         {Count: 100, Lease: 26},
		"a quarter of the 40":          {Count: 100, Burst: 40, Lease: 11},
		"what sliding_log counts":      {Count: 100, Lease: 5, Algorithm: ratelimiter.SlidingLog},
		"a limit that counts denials":  {Count: 100, Lease: 5, Counting: ratelimiter.CountDenied},
		"a shadow shows what would be": {Count: 100, Lease: 5, Shadow: true},
	} {
		d.Name, d.Window = "l", time.Minute
		if _, err := ratelimiter.NewLimit(d); !errors.Is(err, ratelimiter.ErrLease) || !errors.Is(err, ratelimiter.ErrLimit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	log := charge(t, ratelimiter.Definition{Count: 100, Algorithm: ratelimiter.SlidingLog}, "k")
	plain := charge(t, ratelimiter.Definition{Count: 100}, "k")
	log.Lease, plain.Lease = ratelimiter.Lease{Units: 5, Share: 4}, ratelimiter.Lease{Units: 5, Share: 3}
	for _, c := range []ratelimiter.Charge{log, plain} {
		if err := ratelimiter.Check([]ratelimiter.Charge{c}); !errors.Is(err, ratelimiter.ErrCharges) {
			t.Errorf("%v takes %+v: %v", c.Limit.Algorithm(), c.Lease, err)
		}
	}
}

// What is set aside is an eighth of the burst, and at most what comes back in ten seconds.
func TestLeaseSetsAside(t *testing.T) {
	for want, d := range map[int64]ratelimiter.Definition{
		875:    {Count: 1000, Window: time.Second},
		99_000: {Count: 100_000, Window: 1000 * time.Second},
		7:      {Count: 100, Window: time.Second, Burst: 7},
	} {
		d.Name, d.Lease = "l", 1
		l, err := ratelimiter.NewLimit(d)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Definition().Burst; got != want || l.Rate().Burst() != want {
			t.Errorf("%d of %d pass at once, want %d", got, d.Count, want)
		}
	}
}

func TestLeasedDecisionsAllocateTheirAnswer(t *testing.T) {
	b := newBench(t, nil)
	charges := []ratelimiter.Charge{
		charge(t, ratelimiter.Definition{Name: "a", Count: 1_000_000, Window: day, Lease: 10_000}, "a"),
		charge(t, ratelimiter.Definition{Name: "b", Count: 1_000_000, Window: day, Lease: 10_000, Algorithm: ratelimiter.FixedWindow}, "b"),
	}
	b.take(charges...)
	if got := testing.AllocsPerRun(1000, func() {
		if d := b.take(charges...); !d.Limits[0].Leased || !d.Limits[1].Leased {
			t.Fatal("not from the leases")
		}
	}); got > 1 {
		t.Errorf("%v allocations", got)
	}
	if b.shared.calls != 1 {
		t.Errorf("%d calls", b.shared.calls)
	}
}

// TestGivenBackTooLate: a unit that was drawn and comes back is good as long as it would have been.
func TestGivenBackTooLate(t *testing.T) {
	for name, row := range map[string]struct {
		limit ratelimiter.Definition
		good  time.Duration // after the lease
	}{
		"window": {ratelimiter.Definition{Count: 100, Lease: 1, Algorithm: ratelimiter.FixedWindow}, time.Minute - time.Microsecond},
		"bucket": {ratelimiter.Definition{Count: 80, Window: 80 * time.Second, Lease: 1}, 11*time.Second - time.Microsecond},
	} {
		for late, want := range map[time.Duration]bool{0: true, time.Microsecond: false} {
			b := newBench(t, nil)
			b.at = b.at.Truncate(time.Minute)
			start, c := b.at, charge(t, row.limit, "k")
			b.take(c)
			way := &slowWay{Store: b.shared.Store}
			b.shared.Store = way
			never := charge(t, ratelimiter.Definition{Name: "never", Count: 1}, "never")
			never.Cost = 2
			way.move = func() { b.at = start.Add(row.good + late) }
			b.at = start.Add(row.good - 5*time.Microsecond)
			if d := b.take(c, never); d.Allowed || !d.Limits[0].Leased {
				t.Fatalf("%s: %+v", name, d)
			}
			way.move = func() {}
			if got := b.take(c).Limits[0].Leased; got != want {
				t.Errorf("%s: a unit that came back %v after its end passes: %v", name, late, got)
			}
		}
	}
}

// slowWay is a store on whose way the clock moves, or something else.
type slowWay struct {
	ratelimiter.Store
	move func()
}

// Take implements ratelimiter.Store.
func (s *slowWay) Take(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	s.move()
	return s.Store.Take(ctx, c)
}

// Peek implements ratelimiter.Store.
func (s *slowWay) Peek(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	s.move()
	return s.Store.Peek(ctx, c)
}
