package slidinglog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
)

const epoch = int64(1_790_000_000_000_000)

func must(t testing.TB, count int64, window time.Duration) slidinglog.Rate {
	t.Helper()
	r, err := slidinglog.New(count, window)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		count  int64
		window time.Duration
	}{{0, time.Second}, {slidinglog.MaxCount + 1, time.Second}, {1, 0}, {1, time.Second + 1}, {1, slidinglog.MaxWindow + time.Microsecond}} {
		if _, err := slidinglog.New(c.count, c.window); !errors.Is(err, slidinglog.ErrRate) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestVectors(t *testing.T) {
	const ms = time.Millisecond
	r := must(t, 3, time.Second)
	l := &slidinglog.Log{}
	for i, s := range []struct {
		at, cost         int64
		ok               bool
		remaining        int64
		wait, more, full time.Duration // wait -1: never
	}{
		{0, 1, true, 2, 0, time.Second, time.Second},
		{400_000, 2, true, 0, time.Second, 600 * ms, time.Second},
		{400_000, 1, false, 0, 600 * ms, 600 * ms, time.Second},
		{999_999, 1, false, 0, time.Microsecond, time.Microsecond, 400_001 * time.Microsecond},
		{1_000_000, 2, false, 1, 400 * ms, 400 * ms, 400 * ms}, // the first is out; a window is half open
		{1_000_000, 1, true, 0, 400 * ms, 400 * ms, time.Second},
		{1_400_000, 4, false, 2, -1, 600 * ms, 600 * ms},
		{1_400_000, 0, true, 2, 0, 600 * ms, 600 * ms},
		{9_000_000, 3, true, 0, time.Second, time.Second, time.Second},
		{20_000_000, 0, true, 3, 0, 0, 0},
	} {
		now := epoch + s.at
		ok := r.Take(l, now, s.cost)
		v := r.View(l, now, s.cost)
		wait, can := r.Wait(v, now, s.cost)
		if !can {
			wait = -1
		}
		if ok != s.ok || r.Remaining(v) != s.remaining || wait != s.wait || r.More(v, now) != s.more || r.Full(v, now) != s.full {
			t.Errorf("step %d %+v: got ok=%v remaining=%d wait=%v more=%v full=%v", i, s, ok, r.Remaining(v), wait, r.More(v, now), r.Full(v, now))
		}
	}
}

// TestAgainstBruteForce: random hits and times beside a list of all units that ever passed.
func TestAgainstBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 7))
	for range 300 {
		count := 1 + rng.Int64N([]int64{5, 50, slidinglog.MaxCount}[rng.IntN(3)])
		window := 1 + rng.Int64N(5000)
		r := must(t, count, time.Duration(window)*time.Microsecond)
		l := &slidinglog.Log{}
		var units []int64
		used := func(now int64) (n int64) {
			for _, u := range units {
				if now < u+window {
					n++
				}
			}
			return n
		}
		now := epoch
		for range 300 {
			now += rng.Int64N(2*window/min(count, 20) + 2)
			cost := []int64{0, 1, 1 + rng.Int64N(count), count + 1}[rng.IntN(4)]
			v := r.View(l, now, cost)
			if r.Remaining(v) != count-used(now) {
				t.Fatalf("%d left, want %d", r.Remaining(v), count-used(now))
			}
			room := cost <= count-used(now)
			if r.Room(v, cost) != room {
				t.Fatalf("cost %d: room %v", cost, !room)
			}
			if wait, can := r.Wait(v, now, cost); can != (cost <= count) || can && cost > count-used(now+wait.Microseconds()) || can && wait > 0 && cost <= count-used(now+wait.Microseconds()-1) {
				t.Fatalf("cost %d: wrong wait %v, %v", cost, wait, can)
			}
			if more := r.More(v, now).Microseconds(); v.Used > 0 && (used(now+more) >= v.Used || used(now+more-1) != v.Used) {
				t.Fatalf("wrong time until one more: %d", more)
			}
			if full := r.Full(v, now).Microseconds(); used(now+full) != 0 || full > 0 && used(now+full-1) == 0 {
				t.Fatalf("wrong time until full: %d", full)
			}
			if rng.IntN(8) == 0 {
				r.Charge(l, now, cost)
				cost = min(cost, count-used(now))
			} else if r.Take(l, now, cost) != (room || cost == 0) {
				t.Fatalf("cost %d: taken against %v", cost, room)
			} else if !room {
				cost = 0
			}
			for range cost {
				units = append(units, now)
			}
			if int64(l.Size()) > max(count, 8) {
				t.Fatalf("memory for %d units of %d", l.Size(), count)
			}
		}
	}
}

// A clock that was set back, or a limit that was made smaller or larger, does neither harm for longer than two windows nor
// forget what lies close.
func TestOddLogs(t *testing.T) {
	large, small := must(t, 10, time.Minute), must(t, 4, time.Second)
	l := &slidinglog.Log{}
	for i := range int64(8) {
		if !large.Take(l, epoch+i, 1) {
			t.Fatal("refused")
		}
	}
	now := epoch + 100
	v := small.View(l, now, 2) // 8 used of 4
	if wait, _ := small.Wait(v, now, 2); small.Remaining(v) != 0 || small.More(v, now) != time.Second-96*time.Microsecond || wait != time.Second-95*time.Microsecond {
		t.Errorf("made smaller: %+v, %v", v, wait)
	}
	back := epoch - 500_000
	if v := small.View(l, back, 1); small.Remaining(v) != 0 {
		t.Errorf("half a second back: %+v", v)
	}
	if v := small.View(l, epoch-2_000_000, 1); small.Remaining(v) != 4 {
		t.Errorf("two seconds back: %+v", v)
	}
	if !large.Take(l, epoch-30_000_000, 2) || large.Take(l, epoch-30_000_000, 1) || l.Last() < epoch {
		t.Errorf("units went out of order: %d", l.Last())
	}
	var none *slidinglog.Log
	if v := small.View(none, now, 1); small.Remaining(v) != 4 || none.Size() != 0 || none.Last() != 0 {
		t.Errorf("no log: %+v", v)
	}
	if (slidinglog.Rate{}).Take(&slidinglog.Log{}, now, 1) {
		t.Error("the zero rate admits")
	}
}

func TestSeeded(t *testing.T) {
	for _, n := range []int64{1, 2, 1000} {
		r := must(t, n, time.Minute)
		l := r.Seed(&slidinglog.Log{}, epoch, 1)
		if !r.Take(l, epoch, 1) || r.Take(l, epoch, 1) || !r.Take(l, epoch+60_000_000, n) {
			t.Errorf("%d: not one unit, and then all", n)
		}
	}
}

// TestSeedKeeps: a log that was kept counts where it has less room than a seeded one, or was charged later, and else not.
func TestSeedKeeps(t *testing.T) {
	r := must(t, 5, time.Minute)
	for _, row := range []struct {
		at, units, want int64
		because         string
	}{
		{epoch - 1, 2, 1, "units of the same window are no sign of a full log"},
		{epoch - 1, 5, 0, "nothing was left"},
		{epoch - 60_000_000, 5, 1, "they count no more"},
		{epoch + 1, 2, 3, "it was seeded, and has filled since"},
	} {
		l := &slidinglog.Log{}
		r.Charge(l, row.at, row.units)
		before := l.Last()
		if got := r.Remaining(r.View(r.Seed(l, epoch, 1), epoch+1, 1)); got != row.want || l.Last() != before {
			t.Errorf("%s: %d left, want %d", row.because, got, row.want)
		}
	}
}

// A steady log allocates nothing.
func TestAllocations(t *testing.T) {
	r := must(t, 100, time.Second)
	l := &slidinglog.Log{}
	now := epoch
	take := func() {
		now += 9_000
		r.Take(l, now, 1)
		r.View(l, now, 1)
	}
	for range 1000 {
		take()
	}
	if got := testing.AllocsPerRun(1000, take); got != 0 {
		t.Fatalf("%v allocations", got)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, n := range []int64{100, 1000} {
		b.Run(fmt.Sprintf("units=%d", n), func(b *testing.B) {
			r := must(b, n, time.Second)
			l := &slidinglog.Log{}
			now := epoch
			for b.Loop() {
				now += 1_100_000 / n
				r.Take(l, now, 1)
				r.View(l, now, 1)
			}
		})
	}
}
