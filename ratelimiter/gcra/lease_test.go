package gcra

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A lease fits whatever the rate: it takes the TAT as far as its units do, leaves what it must, and never more than fits.
func TestLease(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const now = int64(1_790_000_000_000_000)
	granted := 0
	for range 200_000 {
		count := 1 + rng.Int64N([]int64{3, 1000, MaxCount}[rng.IntN(3)])
		window := time.Duration(1+rng.Int64N([]int64{3, 1_000_000, 366 * 86_400_000_000}[rng.IntN(3)])) * time.Microsecond
		burst := 1 + rng.Int64N(count)
		r, err := New(count, window, burst)
		if err != nil {
			t.Fatal(err)
		}
		tat, _ := r.Take(Instant{}, now, rng.Int64N(burst+1))
		want, share := 1+rng.Int64N(10_000), 4+rng.Int64N(100)
		left := r.Remaining(tat, now)
		next, n := r.Lease(tat, now, want, share)
		if n < 0 || n > want || n > left/share {
			t.Fatalf("%d in %v, burst %d: %d of %d left, wanted %d, one part in %d", count, window, burst, n, left, want, share)
		}
		if n < min(want, (left-r.Units(2)-2)/share)-1 { // what comes back in two microseconds may be lost
			t.Fatalf("%d in %v, burst %d: only %d of %d left, wanted %d, one part in %d", count, window, burst, n, left, want, share)
		}
		if one, ok := r.Take(tat, now, n); !ok || one != next {
			t.Fatalf("%d units leave %+v, and the lease %+v", n, one, next)
		}
		if n > 0 {
			granted++
		}
	}
	if granted < 50_000 {
		t.Errorf("%d leases", granted)
	}
	if next, n := (Rate{}).Lease(Instant{}, now, 5, 4); n != 0 {
		t.Errorf("the zero rate gave %d and %+v", n, next)
	}
}

func TestUnits(t *testing.T) {
	r, err := New(3, time.Second, 3)
	if err != nil {
		t.Fatal(err)
	}
	for micros, want := range map[int64]int64{-1: 0, 0: 0, 333_333: 0, 333_334: 1, 666_666: 1, 666_667: 2, 999_999: 2, 1_000_000: 3, 10_000_000: 30} {
		if got := r.Units(micros); got != want {
			t.Errorf("in %d µs %d units, want %d", micros, got, want)
		}
	}
	fast, err := New(MaxCount, time.Microsecond, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := fast.Units(1 << 62); got != 1<<63-1 {
		t.Errorf("%d", got)
	}
	if got := (Rate{}).Units(5); got != 0 {
		t.Errorf("the zero rate: %d", got)
	}
}
