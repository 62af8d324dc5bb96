package window_test

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/window"
)

const (
	epoch = int64(1_790_000_000_000_000) // in 2026, µs; a multiple of a second
	day   = 24 * time.Hour
)

func must(t testing.TB) func(window.Rate, error) window.Rate {
	return func(r window.Rate, err error) window.Rate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

func TestConstructorsRefuse(t *testing.T) {
	for name, make := range map[string]func() (window.Rate, error){
		"count 0":         func() (window.Rate, error) { return window.NewFixed(0, time.Second) },
		"count too large": func() (window.Rate, error) { return window.NewSliding(window.MaxCount+1, time.Second) },
		"no length":       func() (window.Rate, error) { return window.NewFixed(1, 0) },
		"nanoseconds":     func() (window.Rate, error) { return window.NewSliding(1, time.Second+1) },
		"too long":        func() (window.Rate, error) { return window.NewFixed(1, window.MaxLength+time.Microsecond) },
		"no calendar":     func() (window.Rate, error) { return window.NewQuota(1, window.None) },
		"no such one":     func() (window.Rate, error) { return window.NewQuota(1, window.Year+1) },
		"quota of 0":      func() (window.Rate, error) { return window.NewQuota(0, window.Day) },
	} {
		if r, err := make(); !errors.Is(err, window.ErrWindow) || r != (window.Rate{}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

type step struct {
	at, cost  int64
	ok        bool
	remaining int64
	wait      time.Duration // until the same cost passes, after the step; -1: never
	full      time.Duration
}

// Vectors worked out by hand: a sequence of (offset, cost) with what must come out.
func TestVectors(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		rate  window.Rate
		steps []step
	}{
		{"fixed 3 in 1s", must(t)(window.NewFixed(3, time.Second)), []step{
			{0, 1, true, 2, 0, time.Second},
			{999_999, 2, true, 0, time.Microsecond, time.Microsecond},
			{999_999, 1, false, 0, time.Microsecond, time.Microsecond},
			{1_000_000, 3, true, 0, time.Second, time.Second}, // six within a microsecond and a bit
			{1_400_000, 4, false, 0, -1, 600 * ms},
			{1_400_000, 0, true, 0, 0, 600 * ms},
			{5_000_000, 0, true, 3, 0, 0},
			{5_000_000, 4, false, 3, -1, 0},
		}},
		{"sliding 10 in 1s", must(t)(window.NewSliding(10, time.Second)), []step{
			{900_000, 10, true, 0, 1100 * ms, 1100 * ms},                           // no 10 pass while one of these counts
			{900_000, 1, false, 0, 200 * ms, 1100 * ms},                            // at 1,100,000 the ten weigh 9
			{1_000_000, 1, false, 0, 100 * ms, time.Second},                        // the window before weighs 10
			{1_099_999, 1, false, 0, time.Microsecond, 900_001 * time.Microsecond}, // 9.00001, rounded up
			{1_100_000, 1, true, 0, 100 * ms, 1900 * ms},                           // 9 and 1
			{1_500_000, 4, true, 0, 400 * ms, 1500 * ms},                           // 5 and 1 and 4
			{1_999_999, 4, true, 0, 333_335 * time.Microsecond, 1_000_001 * time.Microsecond},
			{2_000_000, 0, true, 1, 0, time.Second},                       // 9 of 10 are in the window before
			{2_999_999, 10, false, 9, time.Microsecond, time.Microsecond}, // a 9 millionth of a unit is one
			{3_000_000, 10, true, 0, 2 * time.Second, 2 * time.Second},
		}},
	} {
		t.Run(c.name, func(t *testing.T) { run(t, c.rate, epoch, c.steps) })
	}
}

func run(t *testing.T, r window.Rate, start int64, steps []step) {
	t.Helper()
	var c window.Counter
	for i, s := range steps {
		now := start + s.at
		next, ok := r.Take(c, now, s.cost)
		if !ok && next != r.Bound(c, now) {
			t.Fatal("a refusal charged")
		}
		c = next
		wait, can := r.Wait(c, now, s.cost)
		if !can {
			wait = -1
		}
		if got := (step{s.at, s.cost, ok, r.Remaining(c, now), wait, r.Full(c, now)}); got != s {
			t.Errorf("step %d:\n got %+v\nwant %+v", i, got, s)
		}
	}
}

func at(t testing.TB, text string) int64 {
	t.Helper()
	m, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return m.UnixMicro()
}

func TestCalendar(t *testing.T) {
	for _, c := range []struct {
		calendar        window.Calendar
		now, start, end string
	}{
		{window.Day, "2026-03-29T01:30:00Z", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"},
		{window.Day, "2026-03-29T23:59:59.999999Z", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"},
		{window.Week, "2026-01-01T00:00:00Z", "2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"},
		{window.Week, "2026-01-04T23:59:59.999999Z", "2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"},
		{window.Week, "2026-01-05T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z"},
		{window.Week, "1970-01-02T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"},
		{window.Month, "2024-02-29T23:59:59.999999Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
		{window.Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{window.Month, "2100-02-28T12:00:00Z", "2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"}, // no leap year
		{window.Year, "2000-12-31T12:00:00Z", "2000-01-01T00:00:00Z", "2001-01-01T00:00:00Z"},
		{window.Year, "2028-01-01T00:00:00Z", "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"},
	} {
		start, end := c.calendar.Bounds(at(t, c.now))
		if start != at(t, c.start) || end != at(t, c.end) {
			t.Errorf("%v of %s: from %v to %v", c.calendar, c.now, time.UnixMicro(start).UTC(), time.UnixMicro(end).UTC())
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		now := rng.Int64N(1 << 52)
		for c := window.Day; c <= window.Year; c++ {
			start, end := c.Bounds(now)
			again, _ := c.Bounds(max(start, 0))
			next, _ := c.Bounds(end)
			if start > now || end <= now || again != start || next != end || end-start > c.Longest().Microseconds() {
				t.Fatalf("%v of %d: %d to %d", c, now, start, end)
			}
		}
	}
}

func TestQuota(t *testing.T) {
	r := must(t)(window.NewQuota(2, window.Month))
	start := at(t, "2026-01-31T23:00:00Z")
	hour := time.Hour.Microseconds()
	run(t, r, start, []step{
		{0, 2, true, 0, time.Hour, time.Hour},
		{hour - 1, 1, false, 0, time.Microsecond, time.Microsecond},
		{hour, 1, true, 1, 0, 28 * day}, // February
		{hour + 28*24*hour, 2, true, 0, 31 * day, 31 * day},
	})
}

// The weight of a window before, in doubles: pinned so that another implementation can repeat it. before, rest and length
// are those of the formula before*rest/length.
func TestWeightIsPinned(t *testing.T) {
	for _, c := range []struct{ before, rest, length, want int64 }{
		{100, 1, 1_000_000, 1},
		{100, 999_999, 1_000_000, 100},
		{100, 990_000, 1_000_000, 99},
		{3, 333_333, 1_000_000, 1},
		{3, 333_334, 1_000_000, 2},
		{1_000_000_000, 15_811_200_000_000, 31_622_400_000_000, 500_000_001}, // exactly a half, and one for safety
		{1_000_000_000, 1, 31_622_400_000_000, 1},
		{999_999_937, 31_622_399_999_999, 31_622_400_000_000, 999_999_937},
		{999_999_937, 7_777_777_777_777, 31_622_400_000_000, 245_957_844},
		{52_125, 86_400_000_000, 86_400_000_000 + 1, 52_125},
		{52_125, 43_200_000_000, 86_400_000_000, 26_063},
	} {
		r := must(t)(window.NewSliding(window.MaxCount, time.Duration(c.length)*time.Microsecond))
		start := epoch - epoch%c.length
		now := start + c.length - c.rest
		counter := window.Counter{Until: start + c.length, Used: c.before} // of the window before
		if got := window.MaxCount - r.Remaining(counter, now); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// The weight is never below the exact one, equals it where the product is below 2^52, and is at most one above.
func TestWeightAgainstIntegers(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	for range 200_000 {
		length := 1 + rng.Int64N(1+rng.Int64N(window.MaxLength.Microseconds()))
		before := 1 + rng.Int64N(1+rng.Int64N(window.MaxCount))
		rest := 1 + rng.Int64N(length)
		r := must(t)(window.NewSliding(window.MaxCount, time.Duration(length)*time.Microsecond))
		start := epoch - epoch%length
		got := window.MaxCount - r.Remaining(window.Counter{Until: start + length, Used: before}, start+length-rest)
		product := new(big.Int).Mul(big.NewInt(before), big.NewInt(rest))
		exact := new(big.Int).Add(product, big.NewInt(length-1))
		want := exact.Quo(exact, big.NewInt(length)).Int64()
		if got < want || got > want+1 || got != want && product.BitLen() <= 52 {
			t.Fatalf("%d*%d/%d: %d, exact %d", before, rest, length, got, want)
		}
	}
}

func randomRate(t testing.TB, rng *rand.Rand) window.Rate {
	count := 1 + rng.Int64N(40)
	length := time.Duration(1+rng.Int64N(2000)) * time.Microsecond
	switch rng.IntN(3) {
	case 0:
		return must(t)(window.NewFixed(count, length))
	case 1:
		return must(t)(window.NewSliding(count, length))
	}
	return must(t)(window.NewQuota(count, window.Calendar(1+rng.IntN(4))))
}

// TestAgainstModel: random hits beside a model that remembers every unit and counts those of a window, and the answers about
// waiting hold: not a microsecond before, and then.
func TestAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 5))
	for range 400 {
		r := randomRate(t, rng)
		type unit struct{ at, cost int64 }
		var units []unit
		sum := func(from, to int64) (n int64) {
			for _, u := range units {
				if u.at >= from && u.at < to {
					n += u.cost
				}
			}
			return n
		}
		var c window.Counter
		now := epoch
		for range 200 {
			if now > 1<<51 {
				break // beyond the clocks that the arithmetic is for
			}
			now += rng.Int64N(2*r.Length()/r.Count() + 2)
			start, end := now-now%r.Length(), now-now%r.Length()+r.Length()
			if r.Calendar() != window.None {
				start, end = r.Calendar().Bounds(now)
			}
			used := sum(start, end)
			if r.Sliding() {
				used += (sum(start-r.Length(), start)*(end-now) + r.Length() - 1) / r.Length()
			}
			if got := r.Remaining(c, now); got != max(r.Count()-used, 0) {
				t.Fatalf("%+v: %d left, want %d", r, got, r.Count()-used)
			}
			cost := rng.Int64N(r.Count() + 2)
			next, ok := r.Take(c, now, cost)
			if want := used+cost <= r.Count() || cost == 0; ok != want {
				t.Fatalf("%+v: cost %d of %d used: %v", r, cost, used, ok)
			}
			if c = next; ok {
				units = append(units, unit{now, cost})
			}
			checkWait(t, r, c, now, cost)
		}
	}
}

func checkWait(t *testing.T, r window.Rate, c window.Counter, now, cost int64) {
	t.Helper()
	passes := func(at int64) bool { _, ok := r.Take(c, at, cost); return ok }
	wait, can := r.Wait(c, now, cost)
	if can != (cost <= r.Count()) {
		t.Fatalf("can %v", can)
	}
	if can && !passes(now+wait.Microseconds()) || can && wait > 0 && passes(now+wait.Microseconds()-1) {
		t.Fatalf("%+v %+v cost %d: wrong wait %v", r, c, cost, wait)
	}
	full := now + r.Full(c, now).Microseconds()
	if r.Remaining(c, full) != r.Count() || full > now && r.Remaining(c, full-1) == r.Count() {
		t.Fatalf("%+v %+v: wrong time until full", r, c)
	}
}

// TestForeignCounters: whatever stands in a store, a window later, two for a clock that was set back, all is well again.
func TestForeignCounters(t *testing.T) {
	const wild = int64(-1) << 63
	for _, r := range []window.Rate{must(t)(window.NewFixed(5, time.Minute)), must(t)(window.NewSliding(5, time.Minute)), must(t)(window.NewQuota(5, window.Week)), {}} {
		for _, c := range []window.Counter{{}, {wild, wild, wild}, {-(wild + 1), -(wild + 1), -(wild + 1)}, {epoch + 1, 1 << 40, 1 << 40}, {epoch + r.Length(), 9, -9}, {epoch - 1, 3, 3}} {
			for _, now := range []int64{wild, -1, 0, epoch, 1 << 52, -(wild + 1)} {
				if left := r.Remaining(c, now); left < 0 || left > r.Count() {
					t.Fatalf("%+v at %d: %d left of %d", c, now, left, r.Count())
				}
				if next := r.Charge(c, now, 1<<62); r.Remaining(next, now) != 0 {
					t.Fatalf("%+v at %d: a flood leaves %d", c, now, r.Remaining(next, now))
				}
				if wait, _ := r.Wait(c, now, r.Count()); wait.Microseconds() > 2*r.Length() {
					t.Fatalf("%+v at %d: waits %v", c, now, wait)
				}
			}
			if r.Count() > 0 && r.Remaining(c, epoch+3*r.Length()) != 5 {
				t.Fatalf("%+v: still charged after three windows", c)
			}
		}
	}
}

func TestSeeded(t *testing.T) {
	for _, r := range []window.Rate{must(t)(window.NewFixed(5, time.Minute)), must(t)(window.NewSliding(5, time.Minute)), must(t)(window.NewQuota(5, window.Day)), must(t)(window.NewFixed(1, time.Minute))} {
		if got := r.Remaining(r.Seed(window.Counter{}, epoch, 1), epoch); got != 1 {
			t.Errorf("%+v: %d left", r, got)
		}
	}
}

// TestSeedKeeps: a counter that was kept counts where it has less room than a seeded one, or came later, and else not.
func TestSeedKeeps(t *testing.T) {
	r := must(t)(window.NewSliding(5, time.Minute))
	minute := time.Minute.Microseconds()
	end := epoch - epoch%minute + minute
	for _, row := range []struct {
		kept    window.Counter
		at      int64
		want    int64
		because string
	}{
		{window.Counter{Until: end + minute, Used: 2}, epoch, 1, "units of the same window are no sign of a full counter"},
		{window.Counter{Until: end + minute, Used: 5}, epoch, 0, "nothing was left"},
		{window.Counter{Until: end, Used: 5}, end - minute, 0, "the window before weighs all"},
		{window.Counter{Until: end, Used: 1}, end - minute, 1, "the window before weighs one"},
		{window.Counter{Until: end - minute, Used: 5}, epoch, 1, "it means nothing any more"},
	} {
		if got := r.Remaining(r.Seed(row.kept, row.at, 1), row.at); got != row.want {
			t.Errorf("%s: %d left, want %d", row.because, got, row.want)
		}
	}
	later := window.Counter{Until: end + 2*minute, Used: 2}
	if got := r.Seed(later, epoch, 1); got != later {
		t.Errorf("a counter of a later window became %+v", got)
	}
}

func TestZeroRateAdmitsNothing(t *testing.T) {
	var r window.Rate
	if _, ok := r.Take(window.Counter{}, epoch, 1); ok || r.Remaining(window.Counter{}, epoch) != 0 {
		t.Fatal("admitted")
	}
}

func TestNoAllocations(t *testing.T) {
	for _, r := range []window.Rate{must(t)(window.NewFixed(5, time.Minute)), must(t)(window.NewSliding(5, time.Minute)), must(t)(window.NewQuota(5, window.Month))} {
		var c window.Counter
		now := epoch
		if got := testing.AllocsPerRun(100, func() {
			now += 10_000_000
			c, _ = r.Take(c, now, 2)
			r.Remaining(c, now)
			r.Full(c, now)
			r.Wait(c, now, 3)
		}); got != 0 {
			t.Errorf("%+v: %v allocations", r, got)
		}
	}
}
