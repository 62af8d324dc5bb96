package redis

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
)

// TestPlainTakes: decisions that the script takes the short way answer and leave what they do the long way, among others of all
// kinds and on counters that somebody else has written. A limit that takes never charge, beside the others, makes the way long.
func TestPlainTakes(t *testing.T) {
	now := time.UnixMicro(1_790_000_000_000_000)
	given := func(o *Options) { o.ScriptTime = func() time.Time { return now } }
	short, long := newStore(t, redistest.Start(t), given), newStore(t, redistest.Start(t), given)
	shortLane, longLane := newLane(short, only(short)), newLane(long, only(long))
	rng := rand.New(rand.NewPCG(23, 29))
	definitions := plainLimits(rng)
	beside := charge(t, ratelimiter.Definition{Name: "beside", Count: 1, Window: time.Hour, Counting: ratelimiter.CountDenied}, "k", 1)
	passed, refused, met := 0, 0, 0
	for step := range 800 {
		keys := map[string]bool{}
		var jobs []*job
		for range 1 + rng.IntN(12) {
			j := plainJob(t, rng, definitions)
			jobs = append(jobs, j)
			for _, c := range j.charges {
				if keys[StoredKey(c)] {
					met++
				}
				keys[StoredKey(c)] = true
				if rng.IntN(10) == 0 {
					plantForeign(t, rng, now, c, short, long)
				}
			}
		}
		shortLane.jobs, longLane.jobs = append(shortLane.jobs[:0], jobs...), longLane.jobs[:0]
		for _, j := range jobs {
			other := newJob(j.op, j.start, append([]ratelimiter.Charge(nil), j.charges...))
			if other.found = j.found; j.op == take {
				other.charges = append(other.charges, beside)
			}
			longLane.jobs = append(longLane.jobs, other)
		}
		others := append([]*job(nil), longLane.jobs...)
		shortLane.answer(time.Now())
		longLane.answer(time.Now())
		for i, j := range jobs {
			if j.err != nil || others[i].err != nil {
				t.Fatal(j.err, others[i].err)
			}
			got, want := decide(j), decide(others[i])
			want.Limits = want.Limits[:len(j.charges)]
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *ratelimiter.Limit) bool { return a == b })); diff != "" {
				t.Fatalf("step %d, decision %d of %d, %s: %s", step, i, len(jobs), j.op, diff)
			}
			switch {
			case others[i].asked() == plain:
				t.Fatal("both went the short way")
			case j.asked() != plain:
			case got.Allowed:
				passed++
			default:
				refused++
			}
		}
		sameValues(t, now, short, long, keys)
		now = now.Add(time.Duration(rng.Int64N([]int64{2, 1000, 1_000_000, 100_000_000}[rng.IntN(4)])) * time.Microsecond)
	}
	t.Logf("the short way passed %d decisions and refused %d; %d charges met a counter that the call had already", passed, refused, met)
	if passed < 500 || refused < 500 || met < 2000 {
		t.Fatal("the sequence tries too little")
	}
}

// plainLimits has two definitions of each name, most of which count parts of microseconds, and one whose units are gone at once.
func plainLimits(rng *rand.Rand) (all []ratelimiter.Definition) {
	for i := range 8 {
		all = append(all, ratelimiter.Definition{
			Name:   fmt.Sprint("limit-", i%4),
			Count:  1 + rng.Int64N(60),
			Window: []time.Duration{7 * time.Microsecond, time.Second, time.Minute, time.Hour}[(i+i/4)%4],
			Burst:  1 + rng.Int64N(6),
		})
	}
	all[0].Count, all[0].Burst = 10, 3 // a cost of 2 is then too much by part of a microsecond, after two of 1
	all[3].Shadow, all[6].Counting = true, ratelimiter.CountAll
	return all
}

// plainJob is mostly a plain take, and sometimes one of the other questions or a take that is not plain.
func plainJob(t *testing.T, rng *rand.Rand, all []ratelimiter.Definition) *job {
	t.Helper()
	op := []operation{take, take, take, take, take, take, peek, settle, refused, refund}[rng.IntN(10)]
	odd, first := rng.IntN(6) == 0, rng.IntN(4)
	j := newJob(op, time.Now(), nil)
	for i := range 1 + rng.IntN(3) {
		c := charge(t, all[(first+i)%4+4*rng.IntN(2)], strconv.Itoa(rng.IntN(3)), 1+rng.Int64N(2))
		if odd && rng.IntN(2) == 0 {
			c.Cost = 0
		} else if odd {
			c.Lease = ratelimiter.Lease{Units: 1 + rng.Int64N(3), Share: 4}
		}
		j.charges = append(j.charges, c)
		if op == refund {
			var paid ratelimiter.Reading
			paid.TAT.Micros = 1_790_000_000_000_000 + rng.Int64N(60_000_000)
			j.found = append(j.found, paid)
		}
	}
	return j
}

// plantForeign puts the same value into both stores that the script has not written, or not under these limits.
func plantForeign(t *testing.T, rng *rand.Rand, now time.Time, c ratelimiter.Charge, stores ...*Store) {
	t.Helper()
	at := float64(now.UnixMicro())
	odd := func() float64 {
		return []float64{0, 1, 59, 1e9, -1, at - 1, at, at + 1, at + 1e6, at + 1e12, math.NaN(), math.Inf(1), math.Inf(-1)}[rng.IntN(13)]
	}
	names, states := RecordName(c), []float64{odd(), odd()}
	for range rng.IntN(3) { // others beside it
		if names, states = names+"beside"+strconv.Itoa(10+rng.IntN(90)), append(states, odd(), odd()); rng.IntN(2) == 0 {
			names = names[len(names)-8:] + names[:len(names)-8]
		}
	}
	value, err := binary.Append([]byte(names), binary.BigEndian, append(states, at+1e9))
	if err != nil {
		t.Fatal(err)
	}
	if rng.IntN(8) == 0 {
		value = value[:rng.IntN(len(value))]
	}
	for _, s := range stores {
		if err := only(s).client.Set(t.Context(), StoredKey(c), value, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// sameValues wants the same counters in both stores. How long their keys live depends on when they were written anew.
func sameValues(t *testing.T, now time.Time, a, b *Store, keys map[string]bool) {
	t.Helper()
	for k := range keys {
		x, y := only(a).client.Get(t.Context(), k).Val(), only(b).client.Get(t.Context(), k).Val()
		lifeX, lifeY := only(a).client.PTTL(t.Context(), k).Val(), only(b).client.PTTL(t.Context(), k).Val()
		if x == y { // which may be foreign
			continue
		}
		diff := cmp.Diff(liveRecords(t, now, x, lifeX), liveRecords(t, now, y, lifeY), cmpopts.EquateNaNs())
		if diff != "" {
			t.Fatalf("%s the long way and the short way: %s", k, diff)
		}
	}
}
