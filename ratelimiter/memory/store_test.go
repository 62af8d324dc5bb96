package memory_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// clock is set by tests.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newStore(t testing.TB, maxKeys int) (*memory.Store, *clock) {
	t.Helper()
	c := &clock{at: time.Unix(1_790_000_000, 0)}
	s, err := memory.New(memory.Options{Now: c.now, MaxKeys: maxKeys})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func perMinute(t testing.TB, count, burst int64) *ratelimiter.Limit {
	t.Helper()
	l, err := ratelimiter.NewLimit(ratelimiter.Definition{Name: "test", Count: count, Burst: burst, Window: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func take(t testing.TB, s *memory.Store, l *ratelimiter.Limit, key string, cost int64) ratelimiter.Decision {
	t.Helper()
	d, err := s.Take(context.Background(), []ratelimiter.Charge{{Limit: l, Key: ratelimiter.Key(key), Cost: cost}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNewRefuses(t *testing.T) {
	if _, err := memory.New(memory.Options{}); err == nil {
		t.Error("no clock: accepted")
	}
	if _, err := memory.New(memory.Options{Now: time.Now, MaxKeys: -1}); err == nil {
		t.Error("negative bound: accepted")
	}
}

func TestStatus(t *testing.T) {
	s, c := newStore(t, 0)
	l := perMinute(t, 60, 3)
	d := take(t, s, l, "k", 2)
	got := d.Limits[0]
	if !d.Allowed || !got.Room || !got.Charged || got.Remaining != 1 || got.More != time.Second || got.Full != 2*time.Second || got.Retry != time.Second {
		t.Fatalf("%+v", got)
	}
	if d = take(t, s, l, "k", 2); d.Allowed || d.Limits[0].Retry != time.Second || d.Limits[0].Charged {
		t.Fatalf("%+v", d)
	}
	c.at = c.at.Add(time.Second)
	if d = take(t, s, l, "k", 2); !d.Allowed || d.Limits[0].Remaining != 0 {
		t.Fatalf("after the time to retry: %+v", d)
	}
}

// What clients are told, for 6 units used of 10 in a minute that is 20 s old, and a cost of 5 that is refused.
func TestStatusOfAnyAlgorithm(t *testing.T) {
	for a, want := range map[ratelimiter.Algorithm][3]time.Duration{ // until one more, until this cost, until full
		ratelimiter.FixedWindow:   {40 * time.Second, 40 * time.Second, 40 * time.Second},
		ratelimiter.SlidingWindow: {50 * time.Second, 50 * time.Second, 100 * time.Second}, // 10 s into the next minute 6 weigh 5
		ratelimiter.SlidingLog:    {59 * time.Second, 59 * time.Second, time.Minute},
		ratelimiter.Quota:         {35200 * time.Second, 35200 * time.Second, 35200 * time.Second},
	} {
		s, c := newStore(t, 0)
		d := ratelimiter.Definition{Name: "test", Count: 10, Window: time.Minute, Algorithm: a}
		if a == ratelimiter.Quota {
			d.Window, d.Calendar = 0, window.Day
		}
		l := compiled(t, d)
		c.at = c.at.Add(-time.Second)
		take(t, s, l, "k", 1)
		c.at = c.at.Add(time.Second)
		take(t, s, l, "k", 5)
		got := take(t, s, l, "k", 5).Limits[0]
		if got.Room || got.Charged || got.Remaining != 4 || got.More != want[0] || got.Retry != want[1] || got.Full != want[2] {
			t.Errorf("%v: %+v", a, got)
		}
	}
}

func TestBound(t *testing.T) {
	for _, bound := range []int{1, 7, 100, 5000} {
		s, c := newStore(t, bound)
		l := perMinute(t, 10, 10)
		for i := range 4 * bound {
			take(t, s, l, "key-"+strconv.Itoa(i), 1)
			c.at = c.at.Add(time.Microsecond)
		}
		keys, evicted := s.Stats()
		if keys > bound || evicted == 0 {
			t.Errorf("bound %d: %d keys, %d evicted", bound, keys, evicted)
		}
	}
}

// Whoever floods the store with new keys cannot make it forget the counter that is furthest in debt.
func TestFloodForgetsTheCheapest(t *testing.T) {
	s, c := newStore(t, 1000)
	l := perMinute(t, 10, 10)
	take(t, s, l, "victim", 10)
	for i := range 20_000 {
		take(t, s, l, "flood-"+strconv.Itoa(i), 1)
		c.at = c.at.Add(time.Microsecond)
	}
	if d := take(t, s, l, "victim", 1); d.Allowed {
		t.Fatal("the exhausted counter was forgotten")
	}
}

func TestExpiredGo(t *testing.T) {
	s, c := newStore(t, 100_000)
	l := perMinute(t, 60, 60) // a counter of one unit is full after a second
	for i := range 50_000 {
		take(t, s, l, "key-"+strconv.Itoa(i), 1)
		c.at = c.at.Add(time.Millisecond) // about a thousand live
	}
	keys, evicted := s.Stats()
	if keys > 5000 || evicted != 0 {
		t.Fatalf("%d keys kept, %d evicted", keys, evicted)
	}
}

func TestSeed(t *testing.T) {
	s, c := newStore(t, 0)
	l := perMinute(t, 60, 10)
	seeded := ratelimiter.Charge{Limit: l, Key: "k", Cost: 1, Seed: c.at.UnixMicro()}
	for want := range 2 {
		d, err := s.Take(context.Background(), []ratelimiter.Charge{seeded})
		if err != nil || d.Allowed != (want == 0) {
			t.Fatalf("take %d of a counter seeded with one unit: %+v, %v", want, d, err)
		}
	}
}

func TestSeedOfAnyAlgorithm(t *testing.T) {
	for a := range ratelimiter.Quota + 1 {
		s, c := newStore(t, 0)
		d := ratelimiter.Definition{Name: "test", Count: 10, Window: time.Minute, Algorithm: a}
		if a == ratelimiter.Quota {
			d.Window, d.Calendar = 0, window.Day
		}
		seeded := []ratelimiter.Charge{{Limit: compiled(t, d), Key: "k", Cost: 1, Seed: c.at.UnixMicro()}}
		for i, want := range []int64{1, 0, 0} {
			left := int64(0)
			if d, err := s.Peek(context.Background(), seeded); err == nil {
				left = d.Limits[0].Remaining
			}
			d, err := s.Take(context.Background(), seeded)
			if err != nil || left != want || d.Allowed != (want == 1) {
				t.Fatalf("%v, take %d: %d left, %+v, %v", a, i, left, d, err)
			}
		}
	}
}

// Decisions over the same shards in different orders neither lock each other out nor race, even where algorithms share a
// key, which no key space does.
func TestDeadlocksAndRaces(t *testing.T) {
	s, err := memory.New(memory.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	limits := []*ratelimiter.Limit{perMinute(t, 1_000_000, 1_000_000)}
	for a := ratelimiter.FixedWindow; a < ratelimiter.Quota; a++ {
		limits = append(limits, compiled(t, ratelimiter.Definition{Name: "test", Count: 1000, Window: time.Millisecond, Algorithm: a}))
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 500 {
				var charges []ratelimiter.Charge
				for j := range 8 {
					charges = append(charges, ratelimiter.Charge{Limit: limits[j%4], Key: ratelimiter.Key(fmt.Sprint((g*i + j*7) % 40 * (j + 1) * 1000 * (j + 1))), Cost: 1})
				}
				if ratelimiter.Check(charges) != nil {
					charges = charges[:1]
				}
				if _, err := s.Take(context.Background(), charges); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocations(t *testing.T) {
	for a := range ratelimiter.Quota + 1 {
		s, clock := newStore(t, 0)
		d := ratelimiter.Definition{Name: "test", Count: 1000, Window: time.Minute, Algorithm: a}
		if a == ratelimiter.Quota {
			d.Window, d.Calendar = 0, window.Month
		}
		l := compiled(t, d)
		charges := []ratelimiter.Charge{{Limit: l, Key: "a", Cost: 1}, {Limit: l, Key: "b", Cost: 1}, {Limit: l, Key: "c", Cost: 1}}
		decide := func() {
			clock.at = clock.at.Add(50 * time.Millisecond)
			if _, err := s.Take(context.Background(), charges); err != nil {
				t.Fatal(err)
			}
		}
		for range 2000 { // a log has grown then
			decide()
		}
		if got := testing.AllocsPerRun(1000, decide); got > 1 { // the statuses
			t.Errorf("%v: %v allocations for a decision", a, got)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	s, err := memory.New(memory.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("limits=%d", n), func(b *testing.B) {
			l := perMinute(b, 1_000_000_000, 1_000_000_000)
			var charges []ratelimiter.Charge
			for i := range n {
				charges = append(charges, ratelimiter.Charge{Limit: l, Key: ratelimiter.Key(strconv.Itoa(i)), Cost: 1})
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Take(context.Background(), charges); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkMillionKeys prints what a counter costs in memory, what a hit costs among a million keys, and how long new keys
// take, at most and in 9,999 of 10,000: a lock is never held longer than that, and on a busy machine the longest is that
// of a goroutine that had to wait for a processor.
func BenchmarkMillionKeys(b *testing.B) {
	const keys = 1_000_000
	names := make([]ratelimiter.Key, keys)
	space := ratelimiter.NewKeySpace("acme", "orders", "per-subject-and-address")
	for i := range names {
		names[i] = space.Key(ratelimiter.Value{Text: fmt.Sprintf("user:corp:%010d", i)}, ratelimiter.Value{Text: "203.0.113.7"})
	}
	took := make([]time.Duration, keys)
	for a := range ratelimiter.SlidingLog + 1 {
		b.Run(a.String(), func(b *testing.B) {
			before := heap()
			s, err := memory.New(memory.Options{Now: time.Now, MaxKeys: 2 * keys})
			if err != nil {
				b.Fatal(err)
			}
			l := compiled(b, ratelimiter.Definition{Name: "test", Count: 1000, Window: 24 * time.Hour, Algorithm: a})
			for i := range keys {
				start := time.Now()
				take(b, s, l, string(names[i]), 1)
				took[i] = time.Since(start)
			}
			bytes := float64(heap()-before) / keys
			slices.Sort(took)
			i := 0
			for b.Loop() {
				take(b, s, l, string(names[i%keys]), 1)
				i += 7919
			}
			b.ReportMetric(bytes, "B/key")
			b.ReportMetric(float64(took[keys-keys/10_000].Nanoseconds())/1000, "µs-p99.99")
			b.ReportMetric(float64(took[keys-1].Nanoseconds())/1000, "µs-longest")
			if n, _ := s.Stats(); n != keys {
				b.Fatalf("%d keys", n)
			}
		})
	}
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
