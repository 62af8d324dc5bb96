package ratelimiter_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
)

// seen is a charge for one value of a limit on ten of them a minute.
func seen(t testing.TB, value int, change func(*ratelimiter.Definition)) ratelimiter.Charge {
	t.Helper()
	d := ratelimiter.Definition{Count: 10, Window: time.Minute, Algorithm: ratelimiter.Distinct}
	if change != nil {
		change(&d)
	}
	c := charge(t, d, "k")
	c.Member = ratelimiter.Value{Text: strconv.Itoa(value)}.Member()
	return c
}

func TestMembersDiffer(t *testing.T) {
	all := map[uint64]bool{}
	for _, v := range []ratelimiter.Value{{}, {Missing: true}, {Text: "-"}, {Text: "0:"}, {Text: "a"}, {Text: "A"}, {Text: "a "}} {
		all[v.Member()] = true
	}
	if len(all) != 7 {
		t.Errorf("%d of 7 values are told apart", len(all))
	}
}

func TestDistinctCostsOne(t *testing.T) {
	c := seen(t, 1, nil)
	c.Cost = 2
	if err := ratelimiter.Check([]ratelimiter.Charge{c}); !errors.Is(err, ratelimiter.ErrCharges) {
		t.Errorf("a cost of 2: %v", err)
	}
}

// A refusal of one value says nothing about another: it may have been seen before. So none is answered from memory.
func TestRefusedValuesAreNotRemembered(t *testing.T) {
	b := newBench(t, nil)
	for i := range 10 {
		b.take(seen(t, i, nil))
	}
	if d := b.take(seen(t, 10, nil)); d.Allowed || d.Limits[0].Retry != 40*time.Second {
		t.Fatalf("%+v", d)
	}
	if b.limiter.Remembered() != 0 {
		t.Error("the refusal is remembered")
	}
	for _, value := range []int{3, 9} {
		if !b.limiter.Gate([]ratelimiter.Charge{seen(t, value, nil)}).Allowed || !b.take(seen(t, value, nil)).Allowed {
			t.Errorf("the value %d, seen before, is refused", value)
		}
	}
}

// Denials that are settled together are of different values of one counter, or of one value many times.
func TestSettledValues(t *testing.T) {
	c := seen(t, 0, func(d *ratelimiter.Definition) { d.Counting = ratelimiter.CountDenied })
	b := newBench(t, nil)
	b.shared.hold = make(chan struct{})
	for i := range 40 {
		c.Member = uint64(i / 5)
		if queued, err := b.limiter.TrySettle([]ratelimiter.Charge{c}); err != nil || !queued {
			t.Fatal(queued, err)
		}
	}
	close(b.shared.hold)
	b.close(b.limiter)
	d, err := b.limiter.Peek(t.Context(), []ratelimiter.Charge{c})
	if err != nil || d.Limits[0].Remaining != 2 {
		t.Errorf("8 values in 40 denials: %+v, %v", d, err)
	}
}

// While the store is away nobody knows what it has seen: one new value passes in the window of the failure, and then this
// replica's part.
func TestLocalShareOfDistinct(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 4 })
	for i := range 5 {
		b.take(seen(t, i, nil))
	}
	b.shared.down = true
	passed := func() (n int) {
		for range 2 { // what passes passes again
			n = 0
			for i := range 10 {
				if b.take(seen(t, i, nil)).Allowed {
					n++
				}
			}
		}
		return n
	}
	if got := passed(); got != 1 {
		t.Errorf("%d values pass in the window of the failure", got)
	}
	b.at = b.at.Add(40 * time.Second)
	if got := passed(); got != 2 {
		t.Errorf("%d values pass in the next window, a quarter of 10 is 2", got)
	}
	b.shared.down = false
	if got := passed(); got != 10 {
		t.Errorf("%d values pass when the store is back", got)
	}
	for _, later := range []time.Duration{0, time.Hour} { // in the same window, where two are known, and in another
		b.shared.down = false
		b.at = b.at.Add(later)
		passed()
		b.shared.down = true
		if got := passed(); got > 2 || later > 0 && got != 1 {
			t.Errorf("%d values pass in the window of the next failure, %v later", got, later)
		}
	}
}
