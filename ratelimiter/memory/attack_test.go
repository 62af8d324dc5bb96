package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
)

// trace is what attackers try: it calls take, which tries one unit and reports whether it passed, and moves the clock.
type trace func(at func(ms int64), take func() bool)

// all takes until nothing is left.
func all(take func() bool) {
	for take() {
	}
}

// flood tries every millisecond for ten windows.
func flood(at func(int64), take func() bool) {
	for ms := range int64(10_000) {
		at(ms)
		all(take)
	}
}

// edge takes all that there is at one moment of the window, and again somewhat later.
func edge(first, later int64) trace {
	return func(at func(int64), take func() bool) {
		at(first)
		all(take)
		at(first + later)
		all(take)
	}
}

// edgeAndFlood takes all at one moment and then whatever there is.
func edgeAndFlood(first int64) trace {
	return func(at func(int64), take func() bool) {
		for ms := first; ms < first+3000; ms++ {
			at(ms)
			all(take)
		}
	}
}

// TestAdversarialTraces holds each algorithm against its documented maximum in any window, in any hundredth of one, and in
// the long run: the traces reach them and never pass them. With N = 100 in W = 1000 ms.
func TestAdversarialTraces(t *testing.T) {
	const n, w = 100, 1000
	var traces []trace
	traces = append(traces, flood)
	for first := int64(0); first < w; first += 37 {
		traces = append(traces, edgeAndFlood(first))
	}
	for _, first := range []int64{0, 1, 500, 989, 990, 991, 998, 999} {
		for _, later := range []int64{0, 1, 2, 9, 10, 11, 500, 990, 998, 999, 1000} {
			traces = append(traces, edge(first, later))
		}
	}
	t.Logf("%-18s %8s %8s %12s", "algorithm", "in any W", "in W/100", "flood per W")
	for _, c := range []struct {
		name                    string
		limit                   ratelimiter.Definition
		window, instant, steady float64
	}{
		{"fixed window", ratelimiter.Definition{Algorithm: ratelimiter.FixedWindow}, 2 * n, 2 * n, n},
		{"sliding counter", ratelimiter.Definition{Algorithm: ratelimiter.SlidingWindow}, 2*n - 1, n, n},
		{"sliding log", ratelimiter.Definition{Algorithm: ratelimiter.SlidingLog}, n, n, n},
		{"gcra burst N", ratelimiter.Definition{}, 2*n - 1, n, n + n/10.0},
		{"gcra burst N/10", ratelimiter.Definition{Burst: n / 10}, n + n/10 - 1, n / 10, n + n/10/10.0},
		{"gcra N/2, N/2", ratelimiter.Definition{Count: n / 2, Burst: n / 2}, n - 1, n / 2, n/2 + n/2/10.0},
	} {
		d := c.limit
		d.Name, d.Window = "attacked", w*time.Millisecond
		if d.Count == 0 {
			d.Count = n
		}
		l := compiled(t, d)
		inWindow, inInstant, steady := 0, 0, 0.0
		for i, tr := range traces {
			passed := play(t, l, tr)
			inWindow, inInstant = max(inWindow, most(passed, w)), max(inInstant, most(passed, w/100))
			if i == 0 {
				steady = float64(len(passed)) / 10
			}
		}
		t.Logf("%-18s %8d %8d %12.1f", c.name, inWindow, inInstant, steady)
		if float64(inWindow) != c.window || float64(inInstant) != c.instant {
			t.Errorf("%s: reached %d in a window and %d in a hundredth, the maxima are %v and %v", c.name, inWindow, inInstant, c.window, c.instant)
		}
		if steady > c.steady || steady < 0.98*float64(d.Count) {
			t.Errorf("%s: a flood got %v a window, at most %v", c.name, steady, c.steady)
		}
	}
}

// play returns the milliseconds at which a unit passed.
func play(t *testing.T, l *ratelimiter.Limit, tr trace) []int64 {
	t.Helper()
	s, clock := newStore(t, 0)
	start := clock.at
	now := int64(0)
	var passed []int64
	tr(func(ms int64) {
		now = ms
		clock.at = start.Add(time.Duration(ms) * time.Millisecond)
	}, func() bool {
		ok := take(t, s, l, "k", 1).Allowed
		if ok {
			passed = append(passed, now)
		}
		return ok
	})
	return passed
}

// most returns the largest number of passed units in any span of a length, half open.
func most(passed []int64, length int64) int {
	best, first := 0, 0
	for i, at := range passed {
		for passed[first] <= at-length {
			first++
		}
		best = max(best, i-first+1)
	}
	return best
}

// Logs cannot make the store larger than its bound: what they hold counts as keys.
func TestLogsAreBounded(t *testing.T) {
	const bound, units = 2000, 1000
	s, clock := newStore(t, bound)
	l := compiled(t, ratelimiter.Definition{Name: "log", Count: units, Window: time.Hour, Algorithm: ratelimiter.SlidingLog})
	plain := perMinute(t, 10, 10)
	for i := range 500 {
		take(t, s, l, fmt.Sprint("log-", i), units)
		take(t, s, plain, fmt.Sprint("plain-", i), 1)
		clock.at = clock.at.Add(time.Millisecond)
		keys, _ := s.Stats()
		if keys > bound || i > 100 && keys > 2*bound/(units/25)+bound/2 {
			t.Fatalf("%d keys, each second one a log of %d units", keys, units)
		}
	}
	if d := take(t, s, l, "log-499", 1); d.Allowed {
		t.Error("a log was forgotten for its own sake")
	}
	// A hit never forgets the log that it was charged to.
	tiny, _ := newStore(t, 1)
	if !take(t, tiny, l, "k", units).Allowed || take(t, tiny, l, "k", 1).Allowed {
		t.Error("a log that is larger than the bound does not count")
	}
	// Once its units are gone the log goes too.
	clock.at = clock.at.Add(2 * time.Hour)
	for i := range 2000 {
		take(t, s, plain, fmt.Sprint("later-", i), 1)
	}
	if keys, evicted := s.Stats(); keys != 2000 || evicted == 0 {
		t.Errorf("%d keys after all logs have expired", keys)
	}
}

// Logs that grow make room by others, and never by the one that is charged, even if it expires first.
func TestGrowingLogsAreBounded(t *testing.T) {
	const units = 1000
	s, clock := newStore(t, 200)
	l := compiled(t, ratelimiter.Definition{Name: "log", Count: units, Window: 24 * time.Hour, Algorithm: ratelimiter.SlidingLog})
	for range units {
		for key := range 20 {
			take(t, s, l, fmt.Sprint("log-", key), 1)
		}
		clock.at = clock.at.Add(time.Millisecond)
	}
	if keys, _ := s.Stats(); keys > 20 {
		t.Errorf("%d keys with up to %d units each, where 5,000 units fit", keys, units)
	}
	var left int64
	for key := range 20 {
		d, err := s.Peek(t.Context(), []ratelimiter.Charge{{Limit: l, Key: ratelimiter.Key(fmt.Sprint("log-", key)), Cost: 1}})
		if err != nil {
			t.Fatal(err)
		}
		left += units - d.Limits[0].Remaining
	}
	if left > 5000 {
		t.Errorf("%d units are kept, where 5,000 fit", left)
	}

	small, _ := newStore(t, 50)
	soon := compiled(t, ratelimiter.Definition{Name: "soon", Count: units, Window: time.Hour, Algorithm: ratelimiter.SlidingLog})
	take(t, small, l, "late", units/2)
	take(t, small, soon, "soon", units/2)
	take(t, small, soon, "soon", units/2)
	if d := take(t, small, soon, "soon", 1); d.Allowed {
		t.Error("a log was forgotten for its own sake")
	}
}

// A counter stays until it means nothing: new ones sweep away only those that have expired.
func TestOnlyTheExpiredGo(t *testing.T) {
	for a := range ratelimiter.Distinct + 1 {
		if a == ratelimiter.Quota {
			continue // its windows begin with the calendar
		}
		s, clock := newStore(t, 4000) // so few that they lie in one shard: how keys spread is chance
		clock.at = clock.at.Truncate(time.Hour)
		l := compiled(t, ratelimiter.Definition{Name: "kept", Count: 10, Window: time.Hour, Algorithm: a})
		fill(t, s, l, "kept", 10)
		clock.at = clock.at.Add(time.Minute)
		for i := range 1000 {
			take(t, s, l, fmt.Sprint(i), 1)
		}
		if d := take(t, s, l, "kept", 1); d.Allowed {
			t.Errorf("%v: swept away after a minute of an hour", a)
		}
		clock.at = clock.at.Add(2 * time.Hour)
		for i := range 1000 {
			take(t, s, l, fmt.Sprint("later-", i), 1)
		}
		if keys, _ := s.Stats(); keys > 1000 {
			t.Errorf("%v: %d keys, the old ones have expired", a, keys)
		}
	}
}
