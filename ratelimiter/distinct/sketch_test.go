package distinct

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Registers and ranks computed with another program from SHA-1 of salt and value: the first 14 bits are the register, the
// place of the first 1 in the next 37 the rank.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		salt, member uint64
		index        int
		rank         uint8
	}{
		{0, 0, 14410, 2},
		{1, 2, 8614, 1},
		{0xdeadbeef00c0ffee, math.MaxUint64, 7663, 1},
		{99, 0xe3b0c44298fc1c14, 6122, 3},
		{7, 694703, 5798, 20},
		{7, 2732157, 10707, 23},
	} {
		k := newSketch(nil, 0, c.salt)
		if index, rank := k.place(c.member); index != c.index || rank != c.rank {
			t.Errorf("%+v: register %d, rank %d", c, index, rank)
		}
	}
}

// TestEstimates pins the arithmetic: the first change of a sketch counts as one value, one of a sketch whose registers all have
// rank 1 as two, and a saturated one stops at its bound.
func TestEstimates(t *testing.T) {
	k := newSketch(nil, 0, 7)
	if !k.add(694703, 1) || k.parts != 1<<partBits || k.weight != 1<<52-1<<38+1<<18 || k.add(694703, 1) {
		t.Errorf("the first value: %d parts, weight %d", k.parts, k.weight)
	}
	k = newSketch(nil, 0, 7)
	k.weight /= 2
	for i := range k.ranks {
		k.ranks[i] = 1
	}
	if !k.add(694703, 1) || k.count() != 2 {
		t.Errorf("a value that shows once in two is counted as %d", k.count())
	}
	k.weight, k.parts = 3<<50, 0
	if !k.add(2732157, 1) || k.parts != 1398101 { // 4/3, rounded down
		t.Errorf("%d parts", k.parts)
	}
	k.weight = registers
	for i := range k.ranks {
		k.ranks[i] = 37
	}
	k.ranks[10707] = 0
	if !k.add(2732157, 1) || k.count() != MaxCount {
		t.Errorf("beyond the bound: %d", k.count())
	}
	if k := newSketch([]uint64{1, 2, 3}, 40, 0); k.count() != 43 || k.parts != 43<<partBits {
		t.Errorf("three values and forty others: %d", k.count())
	}
}

// TestUnknownSaltDefeatsChosenValues: who knows the salt can choose values that are hardly counted; for any other salt they are.
func TestUnknownSaltDefeatsChosenValues(t *testing.T) {
	const chosen = 20_000
	rng := rand.New(rand.NewPCG(5, 6))
	known, unknown := newSketch(nil, 0, 1), newSketch(nil, 0, 2)
	for n := 0; n < chosen; {
		m := rng.Uint64()
		if index, _ := known.place(m); index >= registers/64 {
			continue
		}
		known.add(m, 1)
		unknown.add(m, 1)
		n++
	}
	if got := known.count(); got > chosen/10 {
		t.Errorf("chosen for the salt, yet %d are counted: the test chooses badly", got)
	}
	if got := unknown.count(); math.Abs(float64(got)/chosen-1) > 0.03 {
		t.Errorf("%d values chosen for another salt are counted as %d", chosen, got)
	}
}
