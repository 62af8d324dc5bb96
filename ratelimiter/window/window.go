// Package window is the arithmetic of limits that count units in windows: fixed windows, the sliding window counter of two
// windows, and quotas by calendar.
//
// Windows of a length begin at multiples of it since 1970, quotas where the calendar (UTC) says. A fixed window and a quota
// admit N units in each window, so up to 2N around a border. The sliding counter adds to the units of this window those
// of the window before, weighed by the part of it that a window's length, ending now, still covers: never more than N at
// once, and at most 2N-1 in any span of that length. All is in integers below 2^53 or in operations on doubles that are
// spelled out, so that a Redis script, which counts in doubles, repeats it exactly.
//
// Package ratelimiter and its stores may import it. It reads no clock, does no I/O and keeps no state.
package window

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Bounds of the inputs. They keep every instant below 2^53 microseconds, the largest integer that a double holds
// exactly, for clocks up to the year 2112.
const (
	// MaxCount bounds counts and costs.
	MaxCount int64 = 1_000_000_000
	// MaxLength bounds windows.
	MaxLength = 366 * 24 * time.Hour

	maxNow = int64(1) << 52
	// inexact is where the product of two integers, and its quotient, may no longer be exact in a double.
	inexact = float64(int64(1) << 52)
)

// ErrWindow is wrapped by every error of the constructors.
var ErrWindow = errors.New("invalid window")

// Counter is what is kept of one counter. The zero Counter is one that nothing was charged to.
type Counter struct {
	// Until is the instant, in microseconds since 1970, from which the counter means nothing: the end of its window, and one
	// length later for the sliding counter.
	Until int64
	// Used are the units charged in the window, Before those of the window before (sliding counter).
	Used, Before int64
}

// Rate is a compiled rate. The zero Rate admits nothing; use a constructor.
type Rate struct {
	count    int64
	length   int64 // microseconds; for a calendar, of the longest window
	calendar Calendar
	sliding  bool
}

// NewFixed compiles count units per window of a length. Counts lie between 1 and MaxCount, lengths are whole microseconds
// up to MaxLength.
func NewFixed(count int64, length time.Duration) (Rate, error) {
	switch {
	case count < 1 || count > MaxCount:
		return Rate{}, fmt.Errorf("%w: count %d is not between 1 and %d", ErrWindow, count, MaxCount)
	case length < time.Microsecond || length > MaxLength:
		return Rate{}, fmt.Errorf("%w: length %v is not between 1µs and %v", ErrWindow, length, MaxLength)
	case length%time.Microsecond != 0:
		return Rate{}, fmt.Errorf("%w: length %v is not a whole number of microseconds", ErrWindow, length)
	}
	return Rate{count: count, length: length.Microseconds()}, nil
}

// NewSliding compiles the sliding window counter, within the bounds of NewFixed.
func NewSliding(count int64, length time.Duration) (Rate, error) {
	r, err := NewFixed(count, length)
	r.sliding = err == nil
	return r, err
}

// NewQuota compiles count units per window of a calendar.
func NewQuota(count int64, c Calendar) (Rate, error) {
	if c == None || c > Year {
		return Rate{}, fmt.Errorf("%w: a quota is per day, week, month or year", ErrWindow)
	}
	r, err := NewFixed(count, c.Longest())
	if err == nil {
		r.calendar = c
	}
	return r, err
}

// Count returns the units per window.
func (r Rate) Count() int64 { return r.count }

// Length returns the length of a window in microseconds, of the longest one for a calendar.
func (r Rate) Length() int64 { return r.length }

// Calendar returns what bounds the windows.
func (r Rate) Calendar() Calendar { return r.calendar }

// Sliding reports whether the units of the window before count too.
func (r Rate) Sliding() bool { return r.sliding }

// Bound returns the counter as it stands in the window of now. One that ends up to a window later than it should, after a
// clock was set back or a limit got a shorter window, counts in this window; one that ends later still is dropped, so that
// nobody waits longer than two windows for a wrong clock. A limit is not part of the counter: a new count holds at once.
func (r Rate) Bound(c Counter, now int64) Counter {
	now = clamp(now, 0, maxNow)
	_, end := r.bounds(now)
	tail := r.tail()
	at := Counter{Until: end + tail}
	switch {
	case c.Until <= now || c.Until > at.Until+r.length:
	case r.sliding && c.Until <= end: // of the window before
		at.Before = clamp(c.Used, 0, r.count)
	default:
		at.Used = clamp(c.Used, 0, r.count)
		if r.sliding {
			at.Before = clamp(c.Before, 0, r.count)
		}
	}
	return at
}

// Take charges cost at now if it has room and reports whether it had; without room the Counter returned is the one found,
// brought into the window. A cost of zero always has room and charges nothing.
func (r Rate) Take(c Counter, now, cost int64) (Counter, bool) {
	c = r.Bound(c, now)
	cost = max(cost, 0)
	if cost > r.free(c, now) {
		return c, false
	}
	c.Used += cost
	return c, true
}

// Charge charges cost at now whether or not it has room. It stops where nothing is left: a flood of charges never makes
// anybody wait longer.
func (r Rate) Charge(c Counter, now, cost int64) Counter {
	c = r.Bound(c, now)
	c.Used += min(max(cost, 0), r.free(c, now))
	return c
}

// Remaining returns how many units would pass at now.
func (r Rate) Remaining(c Counter, now int64) int64 { return r.free(r.Bound(c, now), now) }

// Wait returns how long after now cost units would pass, if nothing else is charged, and false if they never can.
func (r Rate) Wait(c Counter, now, cost int64) (time.Duration, bool) {
	if cost > r.count {
		return 0, false
	}
	now = clamp(now, 0, maxNow)
	c = r.Bound(c, now)
	if cost <= r.free(c, now) {
		return 0, true
	}
	_, end := r.bounds(now)
	if !r.sliding {
		return micros(end - now), true
	}
	// While this window lasts the units of the one before weigh less and less; in the next window those of this one do.
	if rest := r.rest(c.Before, r.count-c.Used-cost, end-now); rest > 0 {
		return micros(end - rest - now), true
	}
	return micros(end + r.length - r.rest(c.Used, r.count-cost, r.length) - now), true
}

// Full returns how long after now nothing is left of what was charged. A single unit weighs one, rounded up, to the end.
func (r Rate) Full(c Counter, now int64) time.Duration {
	now = clamp(now, 0, maxNow)
	c = r.Bound(c, now)
	switch {
	case c.Used > 0:
		return micros(c.Until - now)
	case c.Before > 0:
		return micros(c.Until - r.length - now)
	}
	return 0
}

// Seed returns a counter that has room for at most so many units in the window of since, and counts from there: the one that
// is kept, if it has no more room, or is of a later window.
func (r Rate) Seed(c Counter, since, units int64) Counter {
	seeded := r.Bound(Counter{}, since)
	if c.Until > seeded.Until || r.Remaining(c, since) <= units {
		return c
	}
	seeded.Used = max(r.count-units, 0)
	return seeded
}

func (r Rate) bounds(now int64) (start, end int64) {
	if r.calendar != None {
		return r.calendar.Bounds(now)
	}
	length := max(r.length, 1) // the zero Rate has none
	start = now - now%length
	return start, start + length
}

// tail is how long a counter matters after its window.
func (r Rate) tail() int64 {
	if r.sliding {
		return r.length
	}
	return 0
}

// free returns the units that are left at now in a counter of its window.
func (r Rate) free(c Counter, now int64) int64 {
	used := c.Used
	if c.Before > 0 {
		now = clamp(now, 0, maxNow)
		_, end := r.bounds(now)
		used += r.weight(c.Before, end-now)
	}
	return max(r.count-used, 0)
}

// weight returns the part of the units of the window before that counts when rest is left of this one: before*rest/length,
// rounded up. The product of such numbers may exceed 2^53. Both operations are then defined in doubles, each rounded once,
// as Lua does them; from 2^52 on, where rounding could lose a part of a unit, one unit is added.
func (r Rate) weight(before, rest int64) int64 {
	product := float64(before) * float64(rest)
	units := math.Ceil(float64(product) / float64(r.length))
	if product >= inexact {
		units++
	}
	return min(int64(units), before)
}

// rest returns the longest rest of a window, from most down, at which the units before weigh no more than weight; 0 if they
// weigh more as long as the window lasts. The weight never grows while the rest shrinks.
func (r Rate) rest(before, weight, most int64) int64 {
	low, high := int64(0), most
	for low < high {
		middle := low + (high-low+1)/2
		if r.weight(before, middle) <= weight {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func clamp(v, low, high int64) int64 { return min(max(v, low), high) }
