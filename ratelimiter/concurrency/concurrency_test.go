package concurrency_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/concurrency"
)

const epoch = int64(1_790_000_000_000_000)

func must(t testing.TB, count int64, expiry time.Duration) concurrency.Rate {
	t.Helper()
	r, err := concurrency.New(count, expiry)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func id(n int) concurrency.ID { return concurrency.ID{byte(n), byte(n >> 8), 1} }

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		count  int64
		expiry time.Duration
	}{{0, time.Second}, {concurrency.MaxCount + 1, time.Second}, {1, 0}, {1, time.Second + 1}, {1, concurrency.MaxExpiry + time.Microsecond}} {
		if _, err := concurrency.New(c.count, c.expiry); !errors.Is(err, concurrency.ErrRate) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if (concurrency.Rate{}).Acquire(&concurrency.Set{}, epoch, id(1), 1) {
		t.Error("the zero rate admits")
	}
}

func TestVectors(t *testing.T) {
	const s = time.Second
	r := must(t, 2, 10*s)
	set := &concurrency.Set{}
	for i, step := range []struct {
		at         time.Duration
		id         int // negative: release
		ok         bool
		remaining  int64
		more, full time.Duration
	}{
		{0, 1, true, 1, 10 * s, 10 * s},
		{4 * s, 2, true, 0, 6 * s, 10 * s},
		{4 * s, 3, false, 0, 6 * s, 10 * s},
		{5 * s, -1, true, 1, 9 * s, 9 * s},
		{5 * s, -1, false, 1, 9 * s, 9 * s}, // again is no harm
		{5 * s, -7, false, 1, 9 * s, 9 * s}, // nor is one that was never given
		{5 * s, 3, true, 0, 9 * s, 10 * s},
		{14*s - 1000, 4, false, 0, 1000, s + 1000},
		{14 * s, 4, true, 0, s, 10 * s}, // one has expired
		{15 * s, -2, false, 1, 9 * s, 9 * s},
		{24 * s, 5, true, 1, 10 * s, 10 * s},
		{-1 * s, 6, true, 1, 10 * s, 10 * s}, // 25 s back: what expires in 35 s is dropped
		{-6 * s, 7, true, 0, 10 * s, 15 * s}, // 5 s: it counts
		{-6 * s, -6, true, 1, 10 * s, 10 * s},
	} {
		now := epoch + step.at.Microseconds()
		var ok bool
		if step.id < 0 {
			ok = set.Release(id(-step.id))
		} else {
			ok = r.Acquire(set, now, id(step.id), 1)
		}
		v := r.View(set, now)
		if ok != step.ok || r.Remaining(v) != step.remaining || r.More(v, now) != step.more || r.Full(v, now) != step.full {
			t.Errorf("step %d: %v, %d remain, more %v, full %v", i, ok, r.Remaining(v), r.More(v, now), r.Full(v, now))
		}
	}
	var none *concurrency.Set
	if v := r.View(none, epoch); none.Release(id(1)) || none.Size() != 0 || none.Until() != 0 || v != (concurrency.View{}) || r.Full(v, epoch) != 0 {
		t.Error("no set")
	}
}

// TestAgainstMap: random acquires and releases at rising times, beside a map of who holds what until when.
func TestAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int64{1, 7, 100} {
		expiry := 10 * time.Second
		r := must(t, count, expiry)
		set, held, now, next := &concurrency.Set{}, map[concurrency.ID]int64{}, epoch, 0
		refused, expired := 0, 0
		for range 5000 {
			for id, until := range held {
				if until <= now {
					delete(held, id)
					expired++
				}
			}
			if rng.IntN(8) > 0 {
				next++
				ok := r.Acquire(set, now, id(next), 1)
				if ok != (int64(len(held)) < count) {
					t.Fatalf("acquired %v with %d of %d held", ok, len(held), count)
				}
				if ok {
					held[id(next)] = now + expiry.Microseconds()
				} else {
					refused++
				}
			} else {
				for id := range held {
					if !set.Release(id) {
						t.Fatal("what is held cannot be released")
					}
					delete(held, id)
					break
				}
			}
			v := r.View(set, now)
			if v.Used != int64(len(held)) {
				t.Fatalf("%d are held, the set says %d", len(held), v.Used)
			}
			if size := set.Size(); size > 3*(4*int(count)+8) {
				t.Fatalf("%d numbers for %d permits", size, count)
			}
			now += rng.Int64N([]int64{1000, 12_000_000 / count}[rng.IntN(2)])
		}
		if refused < 50 || expired < 50 {
			t.Errorf("count %d: %d refused, %d expired", count, refused, expired)
		}
	}
}

func TestSeeded(t *testing.T) {
	r := must(t, 3, time.Minute)
	s := r.Seed(&concurrency.Set{}, epoch, epoch, 1)
	if !r.Acquire(s, epoch, id(1), 1) || r.Acquire(s, epoch, id(2), 1) || !r.Acquire(s, epoch+60_000_000, id(2), 1) {
		t.Error("one permit as of then, and the others when all that could be held have expired")
	}
	s = must(t, 1, time.Minute).Seed(nil, epoch, epoch, 1)
	if s.Until() != 0 {
		t.Error("of one permit none is taken for held")
	}
}

// TestSeedKeeps: permits that are held stay held, others are taken for held, and when those would have expired nothing changes.
func TestSeedKeeps(t *testing.T) {
	r := must(t, 5, time.Minute)
	s := &concurrency.Set{}
	r.Acquire(s, epoch-90_000_000, id(1), 1) // which has expired
	r.Acquire(s, epoch-10_000_000, id(2), 1)
	seeded := r.Seed(s, epoch, epoch, 1)
	if got := r.View(seeded, epoch); got.Used != 4 || r.View(s, epoch).Used != 1 {
		t.Fatalf("%+v", got)
	}
	if !r.Acquire(seeded, epoch+1, id(3), 1) || r.Acquire(seeded, epoch+1, id(4), 1) {
		t.Error("not one permit")
	}
	if r.Seed(seeded, epoch, epoch+2, 1) != seeded {
		t.Error("seeded again")
	}
	if !seeded.Release(id(2)) || r.Remaining(r.View(r.Seed(seeded, epoch, epoch+3, 1), epoch+3)) != 1 {
		t.Error("a permit that was released is not one that can be acquired")
	}
	if r.Seed(s, epoch, epoch+60_000_000, 1) != s || r.View(seeded, epoch+60_000_000).Used != 1 {
		t.Error("what was taken for held counts when it would have expired")
	}
}

// A permit that takes the place of several is acquired, released and expires as one.
func TestWeight(t *testing.T) {
	r, s := must(t, 7, time.Minute), &concurrency.Set{}
	if !r.Acquire(s, epoch, id(1), 3) || !r.Acquire(s, epoch+1, id(2), 3) || r.Acquire(s, epoch+2, id(3), 3) || !r.Acquire(s, epoch+2, id(3), 1) {
		t.Fatal("7 hold two of 3, and one of 1")
	}
	if got := r.View(s, epoch+2).Used; got != 7 {
		t.Errorf("%d used", got)
	}
	if !s.Release(id(1)) || s.Release(id(1)) || r.View(s, epoch+2).Used != 4 {
		t.Errorf("%+v after a release", r.View(s, epoch+2))
	}
	if got := r.View(s, epoch+1+60_000_000).Used; got != 1 {
		t.Errorf("%d used when the second has expired", got)
	}
	if s := r.Seed(nil, epoch, epoch, 3); !r.Acquire(s, epoch, id(1), 3) || r.Acquire(s, epoch, id(2), 1) {
		t.Error("a seeded set has room for one of 3")
	}
}

// FuzzSet: whatever is acquired and released, whenever, never more than the count is held, and a set stays in order.
func FuzzSet(f *testing.F) {
	f.Add([]byte{0, 1, 5, 2, 9, 0x81}, uint8(2))
	f.Fuzz(func(t *testing.T, steps []byte, count uint8) {
		r := must(t, 1+int64(count%8), time.Second)
		s, now := &concurrency.Set{}, epoch
		for ; len(steps) >= 2; steps = steps[2:] {
			now += (int64(steps[0]) - 20) * 20_000
			if n := int(steps[1]); n >= 0x80 {
				s.Release(id(n - 0x80))
			} else {
				r.Acquire(s, now, id(n), 1+int64(steps[0]%3))
			}
			v := r.View(s, now)
			if v.Used > r.Count() || v.Used > 0 && (v.First <= now || v.Last < v.First || v.Last > s.Until()) {
				t.Fatalf("%+v at %d", v, now)
			}
		}
	})
}
