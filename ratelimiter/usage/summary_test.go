package usage

import (
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/durward-pdp/durward/ratelimiter"
)

// stream feeds n events of up to `kinds` keys, the k-th of which comes as often as 1/(k+1)^skew says, in the worst order of three.
func stream(rng *rand.Rand, n, kinds int, skew float64, order int) []int {
	zipf := rand.NewZipf(rng, max(skew, 1.01), 1, uint64(kinds-1))
	out := make([]int, n)
	for i := range out {
		out[i] = int(zipf.Uint64())
		if skew == 0 {
			out[i] = rng.IntN(kinds)
		}
	}
	switch order {
	case 1: // all rare keys last: each takes somebody's place
		counts := map[int]int{}
		for _, k := range out {
			counts[k]++
		}
		var rare, often []int
		for _, k := range out {
			if counts[k] > n/summaryKeys {
				often = append(often, k)
			} else {
				rare = append(rare, k)
			}
		}
		out = append(often, rare...)
	case 2: // a flood of keys that never come back in front
		for i := range n / 2 {
			out[i] = kinds + i
		}
	}
	return out
}

// The bounds of Space-Saving hold for any stream.
func TestSummaryBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seed := maphash.MakeSeed()
	for round := range 120 {
		n, kinds := 1+rng.IntN(20_000), 1+rng.IntN(5_000)
		var s summary
		truth, refusals := map[ratelimiter.Key]uint64{}, map[ratelimiter.Key]uint64{}
		for _, k := range stream(rng, n, kinds, []float64{0, 1.1, 1.5, 3}[round%4], round%3) {
			key := ratelimiter.Key(strconv.Itoa(k))
			refused := rng.IntN(3) == 0
			s.add(maphash.String(seed, string(key)), met{key: key, refused: refused, percent: uint8(rng.IntN(101))})
			truth[key]++
			if refused {
				refusals[key]++
			}
		}
		total, held := uint64(0), map[ratelimiter.Key]bool{}
		for i := range s.used {
			e, count := &s.rest[i], s.counts[i]
			total += count
			if held[e.key] {
				t.Fatalf("round %d: %q is held twice", round, e.key)
			}
			held[e.key] = true
			if truth[e.key] > count || truth[e.key] < count-e.inherited {
				t.Fatalf("round %d: %q came %d times, the summary says %d to %d", round, e.key, truth[e.key], count-e.inherited, count)
			}
			if e.refused > refusals[e.key] || refusals[e.key] > e.refused+e.inherited {
				t.Fatalf("round %d: %q was refused %d times, the summary says %d and up to %d more", round, e.key, refusals[e.key], e.refused, e.inherited)
			}
			if e.inherited > uint64(n)/summaryKeys {
				t.Fatalf("round %d: %q inherited %d of %d events", round, e.key, e.inherited, n)
			}
		}
		if total != uint64(n) || s.used > summaryKeys {
			t.Fatalf("round %d: %d keys hold %d events of %d", round, s.used, total, n)
		}
		for key, count := range truth {
			if count > uint64(n)/summaryKeys && !held[key] {
				t.Fatalf("round %d: %q came %d times of %d and is not held", round, key, count, n)
			}
			if !held[key] && count > s.floor() {
				t.Fatalf("round %d: %q came %d times and is not held; the floor is %d", round, key, count, s.floor())
			}
		}
	}
}

// Equal hashes do not merge keys.
func TestSummaryTellsKeysApart(t *testing.T) {
	var s summary
	s.add(7, met{key: "a", by: "x", refused: true, percent: 100})
	s.add(7, met{key: "b", by: "x", percent: 80})
	s.add(7, met{key: "a", by: "y", refused: true, percent: 90})
	if s.used != 2 || s.counts[0] != 2 || s.counts[1] != 1 || s.rest[0].percent != 100 || s.rest[0].by != "y" {
		t.Errorf("%d keys, %v, %+v", s.used, s.counts[:2], s.rest[0])
	}
}
