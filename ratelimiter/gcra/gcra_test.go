package gcra_test

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

const epoch = int64(1_790_000_000_000_000) // a day in 2026, µs

func mustRate(t testing.TB, count int64, window time.Duration, burst int64) gcra.Rate {
	t.Helper()
	r, err := gcra.New(count, window, burst)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewRefuses(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name   string
		count  int64
		window time.Duration
		burst  int64
	}{
		{"count 0", 0, time.Second, 1},
		{"count negative", -1, time.Second, 1},
		{"count too large", gcra.MaxCount + 1, time.Second, 1},
		{"burst 0", 1, time.Second, 0},
		{"burst too large", 1, time.Second, gcra.MaxCount + 1},
		{"window 0", 1, 0, 1},
		{"window below 1µs", 1, 999, 1},
		{"window with nanoseconds", 1, time.Second + 1, 1},
		{"window too large", 1, gcra.MaxWindow + time.Microsecond, 1},
		{"burst longer than the largest window", 1, 366 * day, 11},
		{"128 bit product", 1, gcra.MaxWindow, gcra.MaxCount},
	} {
		if _, err := gcra.New(c.count, c.window, c.burst); !errors.Is(err, gcra.ErrRate) {
			t.Errorf("%s: got %v, want ErrRate", c.name, err)
		}
	}
	for _, c := range []struct {
		count  int64
		window time.Duration
		burst  int64
	}{{1, 366 * day, 10}, {gcra.MaxCount, 366 * day, gcra.MaxCount}, {gcra.MaxCount, time.Microsecond, 1}, {1, gcra.MaxWindow, 1}} {
		if _, err := gcra.New(c.count, c.window, c.burst); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Vectors worked out by hand: rate, then a sequence of (offset, cost) with what must come out.
func TestVectors(t *testing.T) {
	type step struct {
		at, cost  int64
		ok        bool
		remaining int64
		wait      time.Duration // until the same cost passes, after the step
		full      time.Duration
	}
	for _, c := range []struct {
		name   string
		count  int64
		window time.Duration
		burst  int64
		steps  []step
	}{
		{"10/s burst 2", 10, time.Second, 2, []step{
			{0, 1, true, 1, 0, 100 * time.Millisecond},
			{0, 1, true, 0, 100 * time.Millisecond, 200 * time.Millisecond},
			{0, 1, false, 0, 100 * time.Millisecond, 200 * time.Millisecond},
			{99_999, 1, false, 0, time.Microsecond, 100_001 * time.Microsecond},
			{100_000, 1, true, 0, 100 * time.Millisecond, 200 * time.Millisecond},
			{300_000, 2, true, 0, 200 * time.Millisecond, 200 * time.Millisecond},
			{10_000_000, 0, true, 2, 0, 0},
		}},
		{"3 in 1s: a third of a second is no whole number of µs", 3, time.Second, 3, []step{
			{0, 3, true, 0, time.Second, time.Second},
			{333_333, 1, false, 0, time.Microsecond, 666_667 * time.Microsecond},
			{333_334, 1, true, 0, 333_333 * time.Microsecond, time.Second}, // a third of a µs is left over from before
			{666_667, 1, true, 0, 333_333 * time.Microsecond, time.Second},
			{1_000_000, 1, true, 0, 333_334 * time.Microsecond, time.Second},
			{1_000_000, 1, false, 0, 333_334 * time.Microsecond, time.Second},
		}},
		{"cost above the burst never passes", 5, time.Minute, 4, []step{
			{0, 5, false, 4, -1, 0},
			{1 << 50, 5, false, 4, -1, 0},
			{1 << 50, 4, true, 0, 48 * time.Second, 48 * time.Second},
		}},
		{"after a clock was set back a bucket is empty, not in debt", 1, time.Minute, 1, []step{
			{3_600_000_000, 1, true, 0, time.Minute, time.Minute},
			{0, 1, false, 0, time.Minute, time.Minute},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := mustRate(t, c.count, c.window, c.burst)
			var tat gcra.Instant
			for i, s := range c.steps {
				now := epoch + s.at
				next, ok := r.Take(tat, now, s.cost)
				tat = next
				wait, can := r.Wait(tat, now, s.cost)
				if !can {
					wait = -1
				}
				if ok != s.ok || r.Remaining(tat, now) != s.remaining || wait != s.wait || r.Full(tat, now) != s.full {
					t.Fatalf("step %d %+v: got ok=%v remaining=%d wait=%v full=%v", i, s, ok, r.Remaining(tat, now), wait, r.Full(tat, now))
				}
			}
		})
	}
}

func TestStray(t *testing.T) {
	r := mustRate(t, 3, time.Second, 2) // a span of 666,666 and two thirds
	for _, row := range []struct {
		tat  gcra.Instant
		want bool
	}{
		{gcra.Instant{}, false},
		{gcra.Instant{Micros: epoch + 1_333_332, Part: 2}, false},
		{gcra.Instant{Micros: epoch + 1_333_333}, true},
		{gcra.Instant{Micros: epoch + 1_333_331, Part: 3}, false}, // of another count: one more
		{gcra.Instant{Micros: epoch + 1_333_332, Part: 3}, true},
		{gcra.Instant{Micros: 1 << 53}, true},
	} {
		if got := r.Stray(row.tat, epoch); got != row.want {
			t.Errorf("%+v: %v", row.tat, got)
		}
	}
}

// TestSeed: at most one unit as of an instant, and no more than is left.
func TestSeed(t *testing.T) {
	r := mustRate(t, 10, time.Second, 5)
	full := gcra.Instant{}
	empty := r.Charge(full, epoch, 5)
	for _, row := range []struct {
		tat        gcra.Instant
		now, since int64
		want       int64
	}{
		{full, epoch, epoch, 1},
		{full, epoch + 200_001, epoch, 3},
		{full, epoch + 10_000_000, epoch, 5},
		{empty, epoch, epoch, 0},
		{empty, epoch + 200_000, epoch + 200_000, 1},
		{empty, epoch + 300_000, epoch, 3},
		{empty, epoch + 10_000_000, epoch + 10_000_000, 1},
	} {
		if got := r.Remaining(r.Seed(row.tat, row.since, 1), row.now); got != row.want {
			t.Errorf("%+v: %d left", row, got)
		}
	}
}

func TestExactlyNPassAtOnce(t *testing.T) {
	for _, n := range []int64{1, 3, 7, 99, 100, 997} {
		for _, w := range []time.Duration{time.Microsecond, time.Second, 15 * time.Minute, 24 * time.Hour, 366 * 24 * time.Hour} {
			r := mustRate(t, n, w, n)
			var tat gcra.Instant
			passed := int64(0)
			for range n + 10 {
				next, ok := r.Take(tat, epoch, 1)
				if ok {
					passed++
				}
				tat = next
			}
			if passed != n {
				t.Errorf("%d per %v: %d passed at once", n, w, passed)
			}
			if got, want := r.Full(tat, epoch), w; got != want {
				t.Errorf("%d per %v: full after %v", n, w, got)
			}
		}
	}
}

// No drift: whoever takes each unit at the first microsecond at which it passes gets, over many windows, exactly the
// rate. A per-unit rounding of the interval would lose a seventh of a microsecond each time. (The burst of two keeps
// the fraction of a microsecond between a unit's due time and the next tick of the clock from being lost.)
func TestNoDrift(t *testing.T) {
	r := mustRate(t, 7, time.Second, 2)
	tat, now := gcra.Instant{}, epoch
	const units = 7_000_000
	for range units {
		wait, _ := r.Wait(tat, now, 1)
		now += wait.Microseconds()
		next, ok := r.Take(tat, now, 1)
		if !ok {
			t.Fatalf("refused after its own wait at %d", now-epoch)
		}
		tat = next
	}
	// The first two units pass at 0, the one after k more at ceil(k/7 s).
	if got, want := now-epoch, int64((units-2)*1_000_000+6)/7; got != want {
		t.Fatalf("unit %d passed at %d µs, want %d", units, got, want)
	}
}

func TestChargeSaturates(t *testing.T) {
	r := mustRate(t, 5, 15*time.Minute, 5)
	var tat gcra.Instant
	for range 1000 {
		tat = r.Charge(tat, epoch, 3)
	}
	if got := r.Full(tat, epoch); got != 15*time.Minute {
		t.Fatalf("full after %v", got)
	}
	if wait, ok := r.Wait(tat, epoch, 1); !ok || wait != 3*time.Minute {
		t.Fatalf("wait %v", wait)
	}
	if got := r.Charge(gcra.Instant{}, epoch, 2); r.Remaining(got, epoch) != 3 {
		t.Fatalf("a charge with room leaves %d", r.Remaining(got, epoch))
	}
}

func TestForeignParts(t *testing.T) {
	r := mustRate(t, 3, time.Second, 3)
	for _, tat := range []gcra.Instant{{epoch, 3}, {epoch, 1 << 62}, {epoch, -1}, {-1 << 63, -1 << 63}, {1<<63 - 1, 1<<63 - 1}, {1<<63 - 1, 0}, {-1 << 63, 2}} {
		got := r.Bound(tat, epoch)
		if got.Micros < epoch || got.Micros > epoch+1_000_000 || got.Part < 0 || got.Part >= 3 {
			t.Errorf("%+v became %+v", tat, got)
		}
	}
}

// The model is the textbook bucket in exact rationals.
func TestAgainstRationals(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		count, burst := 1+rng.Int64N(1000), 1+rng.Int64N(50)
		window := time.Duration(1+rng.Int64N(100_000_000)) * time.Microsecond
		r := mustRate(t, count, window, burst)
		perMicro := big.NewRat(count, window.Microseconds())
		full := big.NewRat(burst, 1)
		level := new(big.Rat).Set(full)
		tat, now := gcra.Instant{}, epoch
		for range 200 {
			gap := rng.Int64N(2*window.Microseconds()/count + 2)
			now += gap
			level.Add(level, new(big.Rat).Mul(perMicro, big.NewRat(gap, 1)))
			if level.Cmp(full) > 0 {
				level.Set(full)
			}
			cost := rng.Int64N(burst + 2)
			want := level.Cmp(big.NewRat(cost, 1)) >= 0
			if want {
				level.Sub(level, big.NewRat(cost, 1))
			}
			next, ok := r.Take(tat, now, cost)
			if !ok && next != r.Bound(tat, now) {
				t.Fatal("a refusal charged")
			}
			tat = next
			whole := new(big.Int).Quo(level.Num(), level.Denom()).Int64()
			if ok != want || r.Remaining(tat, now) != whole {
				t.Fatalf("%d/%v burst %d cost %d: got %v %d, want %v %d", count, window, burst, cost, ok, r.Remaining(tat, now), want, whole)
			}
			if wait, can := r.Wait(tat, now, cost); can && wait > 0 {
				if _, ok := r.Take(tat, now+wait.Microseconds()-1, cost); ok {
					t.Fatal("passes before its wait is over")
				}
				if _, ok := r.Take(tat, now+wait.Microseconds(), cost); !ok {
					t.Fatal("does not pass after its wait")
				}
			}
		}
	}
}

func TestZeroRateAdmitsNothing(t *testing.T) {
	var r gcra.Rate
	if _, ok := r.Take(gcra.Instant{}, epoch, 1); ok {
		t.Fatal("admitted")
	}
	if r.Remaining(gcra.Instant{}, epoch) != 0 {
		t.Fatal("remaining")
	}
}

// FuzzGCRA: for any rate and any sequence of instants and costs the sum admitted in [first, t] stays within
// burst + count*(t-first)/window, refusals leave the TAT, and nothing overflows.
func FuzzGCRA(f *testing.F) {
	f.Add(int64(100), int64(60_000_000), int64(20), epoch, []byte{1, 2, 3, 0, 255, 9})
	f.Add(gcra.MaxCount, int64(366*24*3600)*1_000_000, gcra.MaxCount, epoch, []byte{255, 255})
	f.Add(int64(1), int64(366*24*3600)*1_000_000, int64(1), int64(1)<<62, []byte{0, 1})
	f.Add(int64(7), int64(1), int64(3), int64(-1), []byte{7, 7, 7})
	f.Fuzz(func(t *testing.T, count, window, burst, start int64, ops []byte) {
		if window < 1 || window > int64(gcra.MaxWindow/time.Microsecond) {
			return
		}
		r, err := gcra.New(count, time.Duration(window)*time.Microsecond, burst)
		if err != nil {
			return
		}
		if start < 0 || start > 1<<51 {
			r.Take(gcra.Instant{Micros: start}, start, count) // must not panic
			r.Remaining(gcra.Instant{Micros: start, Part: start}, start)
			return
		}
		var tat gcra.Instant
		now, admitted := start, new(big.Int)
		for i, b := range ops {
			now += int64(b) * (window/count/16 + 1)
			cost := min(1+burst*int64(i%7)/5, gcra.MaxCount)
			next, ok := r.Take(tat, now, cost)
			if ok {
				admitted.Add(admitted, big.NewInt(cost))
			} else if next != r.Bound(tat, now) {
				t.Fatal("a refusal charged")
			}
			if ok && cost > burst {
				t.Fatal("a cost above the burst passed")
			}
			tat = next
			if left := r.Remaining(tat, now); left < 0 || left > burst {
				t.Fatalf("remaining %d of %d", left, burst)
			}
			// admitted*window <= burst*window + count*(now-start)
			lhs := new(big.Int).Mul(admitted, big.NewInt(window))
			rhs := new(big.Int).Mul(big.NewInt(burst), big.NewInt(window))
			rhs.Add(rhs, new(big.Int).Mul(big.NewInt(count), big.NewInt(now-start)))
			if lhs.Cmp(rhs) > 0 {
				t.Fatalf("admitted %v by %d", admitted, now-start)
			}
		}
	})
}
