// Package gcra is the arithmetic of the generic cell rate algorithm, exact in integers: a rate of N in a window W lets
// a burst B pass at once and after it one unit every W/N, so that no span of length t ever admits more than B + t*N/W.
//
// A counter is one instant, the theoretical arrival time (TAT): the moment at which the bucket is full again. W/N is
// seldom a whole number of microseconds, so instants carry a remainder in units of 1/N microsecond and nothing is ever
// rounded; a store that cannot divide (a Redis script counts in doubles) only has to add and compare.
//
// Package ratelimiter and its stores may import it. It reads no clock, does no I/O and keeps no state.
package gcra

import (
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// Bounds of the inputs. They keep every instant below 2^53 microseconds, the largest integer that a double holds
// exactly, for clocks up to the year 2112.
const (
	// MaxCount bounds counts, bursts and costs.
	MaxCount int64 = 1_000_000_000
	// MaxWindow bounds the window, and the time that a burst takes to come back.
	MaxWindow = 10 * 366 * 24 * time.Hour

	maxSpan = int64(MaxWindow / time.Microsecond)
	maxNow  = int64(1) << 52
)

// ErrRate is wrapped by every error of New.
var ErrRate = errors.New("invalid rate")

// Instant is a time or a length of time: whole microseconds (since 1970 for a time) and Part further units of 1/count
// microsecond. The zero Instant as a TAT is a full bucket.
type Instant struct {
	Micros int64
	Part   int64
}

// Rate is a compiled rate. The zero Rate admits nothing; use New.
type Rate struct {
	count  int64
	window int64 // microseconds
	burst  int64
	span   Instant // burst * window / count: how far the TAT may lie ahead
}

// New compiles count units per window with the given burst. Counts and bursts lie between 1 and MaxCount, windows
// are whole microseconds up to MaxWindow, and a burst must come back within MaxWindow.
func New(count int64, window time.Duration, burst int64) (Rate, error) {
	switch {
	case count < 1 || count > MaxCount:
		return Rate{}, fmt.Errorf("%w: count %d is not between 1 and %d", ErrRate, count, MaxCount)
	case burst < 1 || burst > MaxCount:
		return Rate{}, fmt.Errorf("%w: burst %d is not between 1 and %d", ErrRate, burst, MaxCount)
	case window < time.Microsecond || window > MaxWindow:
		return Rate{}, fmt.Errorf("%w: window %v is not between 1µs and %v", ErrRate, window, MaxWindow)
	case window%time.Microsecond != 0:
		return Rate{}, fmt.Errorf("%w: window %v is not a whole number of microseconds", ErrRate, window)
	}
	r := Rate{count: count, window: int64(window / time.Microsecond), burst: burst}
	hi, lo := bits.Mul64(uint64(burst), uint64(r.window))
	if hi >= uint64(count) {
		return Rate{}, fmt.Errorf("%w: a burst of %d takes too long to come back", ErrRate, burst)
	}
	q, rem := bits.Div64(hi, lo, uint64(count))
	if q > uint64(maxSpan) {
		return Rate{}, fmt.Errorf("%w: a burst of %d takes longer than %v to come back", ErrRate, burst, MaxWindow)
	}
	r.span = Instant{Micros: int64(q), Part: int64(rem)}
	return r, nil
}

// Count returns the units per window, which is also the denominator of Part.
func (r Rate) Count() int64 { return r.count }

// Burst returns how many units pass at once from a full bucket.
func (r Rate) Burst() int64 { return r.burst }

// Span returns how far ahead of now the TAT may lie: the time in which an empty bucket fills.
func (r Rate) Span() Instant { return r.span }

// Step returns how far cost units move the TAT. A cost above the burst can never pass; its step is one microsecond
// more than the span, which no comparison admits and no addition overflows. Negative costs count as zero.
func (r Rate) Step(cost int64) Instant {
	if cost <= 0 {
		return Instant{}
	}
	if cost > r.burst {
		return Instant{Micros: r.span.Micros + 1, Part: r.span.Part}
	}
	hi, lo := bits.Mul64(uint64(cost), uint64(r.window))
	q, rem := bits.Div64(hi, lo, uint64(r.count))
	return Instant{Micros: int64(q), Part: int64(rem)}
}

// Bound brings a stored TAT into the range that the algorithm works in: not before now, not beyond now + span. Together with
// Stray it heals counters after a clock was set back or a limit was made smaller.
func (r Rate) Bound(tat Instant, now int64) Instant {
	now = clamp(now, 0, maxNow)
	if tat.Part >= r.count || tat.Part < 0 { // written under another count
		tat = Instant{Micros: clamp(tat.Micros, 0, maxNow+maxSpan) + 1}
	}
	if tat.Micros < now {
		return Instant{Micros: now}
	}
	if last := (Instant{Micros: now + r.span.Micros, Part: r.span.Part}); last.before(tat) {
		return last
	}
	return tat
}

// Stray reports whether a stored TAT lies more than two spans ahead, as after a clock was set back or a limit got a much shorter
// span. A store that finds one keeps what Bound makes of it, charged or not: else it would lie as far beyond now + span at the
// next look, and nothing would pass until its time came. So nobody waits longer than two spans.
func (r Rate) Stray(tat Instant, now int64) bool {
	if tat.Part >= r.count || tat.Part < 0 {
		tat.Micros++ // as Bound reads it
	}
	return tat.Micros > clamp(now, 0, maxNow)+2*r.span.Micros
}

// Take charges cost at now if it has room and reports whether it had; without room the TAT returned is the one found
// (brought into range). A cost of zero always has room and charges nothing.
func (r Rate) Take(tat Instant, now, cost int64) (Instant, bool) {
	now = clamp(now, 0, maxNow)
	tat = r.Bound(tat, now)
	next := r.add(tat, r.Step(cost))
	last := Instant{Micros: now + r.span.Micros, Part: r.span.Part}
	if last.before(next) {
		return tat, false
	}
	return next, true
}

// Charge charges cost at now whether or not it has room. It stops at an empty bucket: a flood of charges never makes
// anybody wait longer than one span.
func (r Rate) Charge(tat Instant, now, cost int64) Instant {
	now = clamp(now, 0, maxNow)
	next, ok := r.Take(tat, now, cost)
	if !ok {
		return Instant{Micros: now + r.span.Micros, Part: r.span.Part}
	}
	return next
}

// Remaining returns how many units would pass at now.
func (r Rate) Remaining(tat Instant, now int64) int64 {
	if r.window == 0 {
		return 0
	}
	now = clamp(now, 0, maxNow)
	tat = r.Bound(tat, now)
	free := r.sub(Instant{Micros: now + r.span.Micros, Part: r.span.Part}, tat)
	hi, lo := bits.Mul64(uint64(free.Micros), uint64(r.count))
	lo, carry := bits.Add64(lo, uint64(free.Part), 0)
	q, _ := bits.Div64(hi+carry, lo, uint64(r.window)) // at most burst, for free <= span
	return int64(q)
}

// Wait returns how long after now cost units would pass, rounded up to a microsecond, and false if they never can.
func (r Rate) Wait(tat Instant, now, cost int64) (time.Duration, bool) {
	if cost > r.burst {
		return 0, false
	}
	now = clamp(now, 0, maxNow)
	next := r.add(r.Bound(tat, now), r.Step(cost))
	return r.ceil(r.sub(next, Instant{Micros: now + r.span.Micros, Part: r.span.Part})), true
}

// Full returns how long after now the bucket is full again, rounded up to a microsecond.
func (r Rate) Full(tat Instant, now int64) time.Duration {
	now = clamp(now, 0, maxNow)
	return r.ceil(r.sub(r.Bound(tat, now), Instant{Micros: now}))
}

// Seed returns a TAT that has room for at most so many units, up to the burst, as of since, and fills from there: the one that
// is kept, if it is later.
func (r Rate) Seed(tat Instant, since, units int64) Instant {
	seeded := Instant{Micros: since + r.span.Micros - r.Step(units).Micros - 1}
	if tat.before(seeded) {
		return seeded
	}
	return tat
}

// Shift returns the instant moved by d, which is rounded down to a microsecond.
func (i Instant) Shift(d time.Duration) Instant {
	i.Micros = clamp(i.Micros+clamp(d.Microseconds(), -maxNow, maxNow), 0, 2*maxNow)
	return i
}

func (i Instant) before(j Instant) bool {
	return i.Micros < j.Micros || i.Micros == j.Micros && i.Part < j.Part
}

func (r Rate) add(i, j Instant) Instant {
	s := Instant{Micros: i.Micros + j.Micros, Part: i.Part + j.Part}
	if s.Part >= r.count {
		s.Part -= r.count
		s.Micros++
	}
	return s
}

func (r Rate) sub(i, j Instant) Instant {
	d := Instant{Micros: i.Micros - j.Micros, Part: i.Part - j.Part}
	if d.Part < 0 {
		d.Part += r.count
		d.Micros--
	}
	return d
}

// ceil never returns a negative duration; the largest span is far below the largest Duration.
func (r Rate) ceil(i Instant) time.Duration {
	if i.Part > 0 {
		i.Micros++
	}
	return time.Duration(max(i.Micros, 0)) * time.Microsecond
}

func clamp(v, low, high int64) int64 { return min(max(v, low), high) }
