package gcra

import (
	"math"
	"math/bits"
)

// Lease charges units in advance, behind a charge that left the TAT: at most want, and at most one part in share (4 or more) of
// the units that are left. It returns how many. The quotients are taken in doubles, as a Redis script takes them; what
// they lose is a unit fewer, never one more than fits.
func (r Rate) Lease(tat Instant, now, want, share int64) (Instant, int64) {
	now = clamp(now, 0, maxNow)
	tat = r.Bound(tat, now)
	free := now + r.span.Micros - tat.Micros - 1 // the last microsecond may be a part of one
	step := r.Step(1)
	unit := float64(step.Micros) + float64(step.Part)/float64(r.count)
	n := min(want, int64(math.Floor(float64(free)/unit/float64(max(share, 4)))))
	if n <= 0 {
		return tat, 0
	}
	return r.add(tat, r.Step(n)), n
}

// Units returns how many whole units come back in a number of microseconds.
func (r Rate) Units(micros int64) int64 {
	if micros <= 0 || r.window == 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(micros), uint64(r.count))
	if hi >= uint64(r.window) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(r.window))
	return int64(min(q, math.MaxInt64))
}
