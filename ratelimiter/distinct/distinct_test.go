package distinct_test

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/distinct"
)

const epoch = int64(1_790_000_000_000_000) // 20 s into a minute

func must(t testing.TB, count int64, window time.Duration) distinct.Rate {
	t.Helper()
	r, err := distinct.New(count, window)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func member(i int) uint64 { return distinct.Member([]byte(strconv.Itoa(i))) }

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		count  int64
		window time.Duration
	}{{0, time.Second}, {-1, time.Second}, {distinct.MaxCount + 1, time.Second}, {1, 0}, {1, time.Second + 1}, {1, 366*24*time.Hour + time.Microsecond}} {
		if _, err := distinct.New(c.count, c.window); !errors.Is(err, distinct.ErrRate) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if v := (distinct.Rate{}).View(nil, epoch, 1, 1); v.Room {
		t.Error("the zero rate admits")
	}
}

// The first eight bytes of SHA-256, as any tool computes them.
func TestMember(t *testing.T) {
	for text, want := range map[string]uint64{"": 0xe3b0c44298fc1c14, "abc": 0xba7816bf8f01cfea} {
		if got := distinct.Member([]byte(text)); got != want {
			t.Errorf("%q: %x", text, got)
		}
	}
}

func TestVectors(t *testing.T) {
	r := must(t, 2, time.Minute)
	s := &distinct.Set{}
	for i, step := range []struct {
		at            time.Duration
		member        uint64
		room, changed bool
		remaining     int64
		wait, full    time.Duration
	}{
		{0, 7, true, true, 1, 40 * time.Second, 40 * time.Second},
		{0, 7, true, false, 1, 40 * time.Second, 40 * time.Second},
		{10 * time.Second, math.MaxUint64, true, true, 0, 30 * time.Second, 30 * time.Second},
		{10 * time.Second, 8, false, false, 0, 30 * time.Second, 30 * time.Second},
		{10 * time.Second, 7, true, false, 0, 30 * time.Second, 30 * time.Second}, // seen before
		{40*time.Second - time.Microsecond, 8, false, false, 0, time.Microsecond, time.Microsecond},
		{40 * time.Second, 8, true, true, 1, time.Minute, time.Minute}, // another window
		{40 * time.Second, 7, true, true, 0, time.Minute, time.Minute},
		{40 * time.Second, 9, false, false, 0, time.Minute, time.Minute},
		{-21 * time.Second, 9, true, true, 1, time.Second, time.Second},        // two windows back: the counter is dropped
		{-81 * time.Second, 9, true, false, 1, time.Second, 1 * time.Second},   // one: it counts
		{-81 * time.Second, 10, true, true, 0, time.Second, 1 * time.Second},   // and ends with this one
		{-80 * time.Second, 11, true, true, 1, 60 * time.Second, time.Minute},  // which it does
		{-80 * time.Second, 11, true, false, 1, 60 * time.Second, time.Minute}, //
	} {
		now := epoch + step.at.Microseconds()
		v := r.View(s, now, step.member, 1)
		changed := r.Charge(s, now, step.member, 1, 0)
		after := r.View(s, now, step.member, 1)
		if v.Room != step.room || changed != step.changed || r.Remaining(after) != step.remaining || r.Wait(after, now) != step.wait || r.Full(after, now) != step.full {
			t.Errorf("step %d: room %v, changed %v, %d remain, wait %v, full %v", i, v.Room, changed, r.Remaining(after), r.Wait(after, now), r.Full(after, now))
		}
	}
	if v := r.View(nil, epoch, 7, 1); r.Full(v, epoch) != 0 || r.Remaining(v) != 2 {
		t.Error("a set that has seen nothing")
	}
}

// TestExactAgainstMap: as long as no more than 1,000 values pass, a set is a map.
func TestExactAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int64{1, 30, 999, 1000} {
		r := must(t, count, time.Hour)
		s, seen, refused := &distinct.Set{}, map[uint64]bool{}, 0
		for range 8000 {
			m := member(rng.IntN(int(count)*3/2 + 1))
			want := seen[m] || int64(len(seen)) < count
			if got := r.View(s, epoch, m, 1); got.Room != want || got.Count != int64(len(seen)) {
				t.Fatalf("count %d: %+v with %d seen, want room %v", count, got, len(seen), want)
			}
			if r.Charge(s, epoch, m, 1, 0) != (want && !seen[m]) {
				t.Fatal("a charge is told wrongly")
			}
			if want {
				seen[m] = true
			} else {
				refused++
			}
		}
		if refused < 200 || int64(len(seen)) != count {
			t.Errorf("count %d: %d refused, %d seen", count, refused, len(seen))
		}
	}
}

// TestSketchError: over many sketches the estimate is unbiased and has the documented standard error, at every size.
func TestSketchError(t *testing.T) {
	const runs = 60
	r := must(t, distinct.MaxCount, time.Hour)
	rng := rand.New(rand.NewPCG(3, 4))
	sizes := []int{1000, 1001, 2000, 5000, 16_384, 40_000, 100_000}
	sum, squares := map[int]float64{}, map[int]float64{}
	for range runs {
		s, salt, n := &distinct.Set{}, rng.Uint64(), 0
		for _, size := range sizes {
			for ; n < size; n++ {
				r.Charge(s, epoch, rng.Uint64(), 1, salt)
			}
			relative := float64(r.View(s, epoch, 0, 1).Count)/float64(size) - 1
			sum[size] += relative
			squares[size] += relative * relative
		}
	}
	for _, size := range sizes {
		bias, deviation := sum[size]/runs, math.Sqrt(squares[size]/runs)
		t.Logf("%7d values: bias %+.3f %%, standard error %.3f %%", size, 100*bias, 100*deviation)
		if math.Abs(bias) > 0.003 || deviation > 0.009 {
			t.Errorf("%d values: too far off", size)
		}
		if size == 1000 && deviation != 0 {
			t.Error("1,000 values are counted exactly")
		}
	}
}

// TestFullSketchRefusesAll: what a sketch has seen it cannot tell from what is new.
func TestFullSketchRefusesAll(t *testing.T) {
	const count = 20_000
	r := must(t, count, time.Hour)
	s := &distinct.Set{}
	passed := 0
	for i := 0; r.View(s, epoch, member(i), 1).Room; i++ {
		r.Charge(s, epoch, member(i), 1, 99)
		passed++
	}
	if math.Abs(float64(passed)/count-1) > 0.03 {
		t.Errorf("%d values passed", passed)
	}
	if r.View(s, epoch, member(0), 1).Room || r.Charge(s, epoch, member(0), 1, 99) || r.Remaining(r.View(s, epoch, 0, 1)) != 0 {
		t.Error("a value that was seen passes a full sketch")
	}
	if smaller := must(t, 500, time.Hour); smaller.View(s, epoch, member(0), 1).Room {
		t.Error("it passes under a smaller limit")
	}
	if v := r.View(s, epoch+time.Hour.Microseconds(), member(0), 1); !v.Room || v.Count != 0 {
		t.Errorf("the next window: %+v", v)
	}
	// A repeated value costs a sketch nothing.
	again, other := &distinct.Set{}, must(t, 1_000_000, time.Hour)
	for range 3 {
		for i := range 5000 {
			other.Charge(again, epoch, member(i), 1, 99)
		}
	}
	if got := other.View(again, epoch, 0, 1).Count; math.Abs(float64(got)/5000-1) > 0.03 {
		t.Errorf("5,000 values thrice are counted as %d", got)
	}
}

func TestSeeded(t *testing.T) {
	for _, count := range []int64{1, 5, 5000} {
		r := must(t, count, time.Minute)
		s := r.Seed(&distinct.Set{}, epoch, 1)
		if got := r.Remaining(r.View(s, epoch, 0, 1)); got != 1 {
			t.Errorf("%d remain of %d", got, count)
		}
		if !r.Charge(s, epoch, member(1), 1, 0) || r.Charge(s, epoch, member(2), 1, 0) || !r.View(s, epoch, member(1), 1).Room {
			t.Errorf("count %d: one new value passes, and passes again", count)
		}
		if got := r.Remaining(r.View(s, epoch+60_000_000, 0, 1)); got != count {
			t.Errorf("%d remain in the next window", got)
		}
	}
}

// TestSeedKeeps: a set that was kept counts where it has less room than a seeded one, or came later, and else not.
func TestSeedKeeps(t *testing.T) {
	r := must(t, 3, time.Minute)
	for _, row := range []struct {
		values  uint64
		at      int64
		want    int64
		because string
	}{
		{1, epoch, 1, "values of the same window are no sign of a full set"},
		{3, epoch, 0, "nothing was left"},
		{3, epoch - 60_000_000, 1, "they count no more"},
		{1, epoch + 60_000_000, 2, "it is of a later window"},
	} {
		s := &distinct.Set{}
		for i := range row.values {
			r.Charge(s, row.at, member(int(i)), 1, 0)
		}
		if got := r.Remaining(r.View(r.Seed(s, epoch, 1), max(epoch, row.at), 0, 1)); got != row.want {
			t.Errorf("%s: %d remain, want %d", row.because, got, row.want)
		}
	}
}

// A value counts as what it weighed when it came, in a set and in a sketch.
func TestWeight(t *testing.T) {
	r, s := must(t, 7, time.Minute), &distinct.Set{}
	for i, passes := range []bool{true, true, false} {
		if got := r.View(s, epoch, member(i), 3).Room; got != passes || r.Charge(s, epoch, member(i), 3, 0) != passes {
			t.Errorf("value %d of 3 in 7: %v", i, got)
		}
	}
	if !r.View(s, epoch, member(0), 3).Room || r.Charge(s, epoch, member(0), 3, 0) || !r.Charge(s, epoch, member(9), 1, 0) || r.View(s, epoch, 0, 1).Count != 7 {
		t.Errorf("%+v", r.View(s, epoch, 0, 1))
	}
	if s := r.Seed(nil, epoch, 3); !r.Charge(s, epoch, member(1), 3, 0) || r.Charge(s, epoch, member(2), 1, 0) {
		t.Error("a seeded set has room for one of 3")
	}
	r, s = must(t, 100_000, time.Minute), &distinct.Set{}
	n := 0
	for ; r.View(s, epoch, member(n), 10).Room; n++ {
		r.Charge(s, epoch, member(n), 10, 99)
	}
	if math.Abs(float64(n)/10_000-1) > 0.03 {
		t.Errorf("%d values of 10 passed", n)
	}
	r, s = must(t, distinct.MaxCount, time.Minute), &distinct.Set{}
	for i := range distinct.MaxExact + 50 {
		r.Charge(s, epoch, member(i), distinct.MaxCount/1010, 99)
	}
	if got := r.View(s, epoch, 0, 1).Count; got > distinct.MaxCount || got < distinct.MaxCount/1010*1009 {
		t.Errorf("%d of at most %d", got, distinct.MaxCount)
	}
}

// A set takes eight bytes a value, a sketch 16 KiB.
func TestSize(t *testing.T) {
	r := must(t, 1_000_000, time.Hour)
	s := &distinct.Set{}
	for i := range 1500 {
		r.Charge(s, epoch, member(i), 1, 0)
		if n := i + 1; n <= distinct.MaxExact && (s.Size() < n || s.Size() > 2*n+8) || n > distinct.MaxExact && s.Size() != 2048 {
			t.Fatalf("%d values take %d numbers", n, s.Size())
		}
	}
	if got := testing.AllocsPerRun(100, func() { r.View(s, epoch, 5, 1); r.Charge(s, epoch, 5, 1, 0) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// FuzzSet: whatever comes, at whatever time, a set stays within its limit and an exact one never forgets within a window.
func FuzzSet(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x02\x10\x01"), uint8(2))
	f.Fuzz(func(t *testing.T, steps []byte, count uint8) {
		r := must(t, 1+int64(count), time.Second)
		s := &distinct.Set{}
		seen, window := map[uint64]bool{}, int64(0)
		now := epoch
		for ; len(steps) >= 2; steps = steps[2:] {
			now += int64(steps[0]) * 10_000
			m := uint64(binary.BigEndian.Uint16([]byte{0, steps[1]}))
			if w := now / 1_000_000; w != window {
				seen, window = map[uint64]bool{}, w
			}
			room := r.View(s, now, m, 1).Room
			if room != (seen[m] || len(seen) < 1+int(count)) {
				t.Fatalf("room %v with %d seen", room, len(seen))
			}
			if r.Charge(s, now, m, 1, 0); room {
				seen[m] = true
			}
		}
	})
}
