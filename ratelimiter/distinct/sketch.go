package distinct

import (
	"crypto/sha1" //nolint:gosec // spreads values; nobody relies on collisions being hard to find
	"encoding/binary"
	"math/bits"
)

const (
	indexBits = 14
	registers = 1 << indexBits
	rankBits  = 37 // bits of the hash that a rank is read from; ranks go to 38

	// An estimate is kept in parts of a value, so that a script that counts in doubles repeats it to the last digit.
	partBits = 20
	maxParts = MaxCount << partBits
)

// sketch is a HyperLogLog whose estimate goes along with its registers: a new value changes a register with the probability
// p that they show, so a change counts as 1/p values. This estimator (known as historic inverse probability, or martingale)
// is unbiased at every count and has a standard error of 0.83/√registers. What is merged cannot use it; counters are not.
type sketch struct {
	salt   uint64
	ranks  [registers]uint8
	weight int64 // the sum of 2^(38-rank): p is weight/2^52
	parts  int64 // the estimate
}

// newSketch returns the sketch of known values and of a number of others.
func newSketch(members []uint64, others int64, salt uint64) *sketch {
	k := &sketch{salt: salt, weight: registers << (rankBits + 1)}
	for _, m := range members {
		k.add(m, 1)
	}
	k.parts = min((others+int64(len(members)))<<partBits, maxParts) // these are no estimate
	return k
}

// add counts a value as weight of them, and reports whether that changed the sketch.
func (k *sketch) add(member uint64, weight int64) bool {
	i, rank := k.place(member)
	old := k.ranks[i]
	if rank <= old {
		return false
	}
	// 2^72 over the weight, rounded down: both are exact in a double, and so is the quotient but for one rounding.
	if parts := int64(float64(1<<72) / float64(k.weight)); parts <= (maxParts-k.parts)/weight {
		k.parts += parts * weight
	} else {
		k.parts = maxParts
	}
	k.weight -= 1<<(rankBits+1-old) - 1<<(rankBits+1-rank)
	k.ranks[i] = rank
	return true
}

// place returns the register of a value and its rank there, from 1. The salt keeps clients from choosing values that change
// nothing.
func (k *sketch) place(member uint64) (int, uint8) {
	var text [16]byte
	binary.BigEndian.PutUint64(text[:], k.salt)
	binary.BigEndian.PutUint64(text[8:], member)
	sum := sha1.Sum(text[:]) //nolint:gosec // as above
	hash := binary.BigEndian.Uint64(sum[:])
	rest := hash >> (64 - indexBits - rankBits) & (1<<rankBits - 1)
	return int(hash >> (64 - indexBits)), uint8(rankBits + 1 - bits.Len64(rest)) //nolint:gosec // 14 bits; 1 to 38
}

func (k *sketch) count() int64 { return k.parts >> partBits }
