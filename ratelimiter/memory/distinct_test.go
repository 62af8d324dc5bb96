package memory_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
)

// see takes one unit for a value.
func see(t testing.TB, s *memory.Store, l *ratelimiter.Limit, key string, value int) ratelimiter.Decision {
	t.Helper()
	m := ratelimiter.Value{Text: fmt.Sprint(value)}.Member()
	d, err := s.Take(t.Context(), []ratelimiter.Charge{{Limit: l, Key: ratelimiter.Key(key), Cost: 1, Member: m}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fill takes n units at once, or one for each of n values.
func fill(t testing.TB, s *memory.Store, l *ratelimiter.Limit, key string, n int) {
	t.Helper()
	if l.Algorithm() != ratelimiter.Distinct {
		take(t, s, l, key, int64(n))
		return
	}
	for i := range n {
		see(t, s, l, key, 1+i) // take sees the value 0
	}
}

func perHour(t testing.TB, count int64) *ratelimiter.Limit {
	t.Helper()
	return compiled(t, ratelimiter.Definition{Name: "distinct", Count: count, Window: time.Hour, Algorithm: ratelimiter.Distinct})
}

func TestStatusOfDistinct(t *testing.T) {
	s, c := newStore(t, 0)
	c.at = c.at.Truncate(time.Hour).Add(20 * time.Minute)
	l := perHour(t, 2)
	for i, want := range []struct {
		value     int
		allowed   bool
		remaining int64
		more      time.Duration
		retry     time.Duration
	}{
		{7, true, 1, 40 * time.Minute, 0},
		{7, true, 1, 40 * time.Minute, 0},
		{8, true, 0, 40 * time.Minute, 0},
		{9, false, 0, 40 * time.Minute, 40 * time.Minute},
		{7, true, 0, 40 * time.Minute, 0},
	} {
		d := see(t, s, l, "k", want.value)
		got := d.Limits[0]
		if d.Allowed != want.allowed || got.Room != want.allowed || got.Charged != want.allowed || got.Remaining != want.remaining || got.More != want.more || got.Retry != want.retry || got.Full != 40*time.Minute || got.Never {
			t.Errorf("step %d: %+v", i, got)
		}
	}
	if d := see(t, s, l, "another", 9); !d.Allowed {
		t.Error("keys share a set")
	}
}

// Sets and sketches cannot make the store larger than its bound: what they hold counts as keys.
func TestSetsAreBounded(t *testing.T) {
	const bound = 2000 // 50,000 values, or 24 sketches
	s, _ := newStore(t, bound)
	l := perHour(t, 10_000)
	for key := range 60 {
		for i := range 1200 {
			see(t, s, l, fmt.Sprint("set-", key), i)
		}
	}
	keys, evicted := s.Stats()
	if keys > bound*25/2048 || keys < 10 || evicted == 0 {
		t.Errorf("%d keys of 16 KiB each, where %d fit; %d forgotten", keys, bound*25/2048, evicted)
	}
	got := float64(10_000 - see(t, s, l, "set-59", 0).Limits[0].Remaining)
	if math.Abs(got/1200-1) > 0.03 {
		t.Errorf("the last set counts %v values: it was forgotten for its own sake", got)
	}
}
