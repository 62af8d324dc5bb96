// Package distinct is the arithmetic of limits on how many different values are seen in a window: exact sets of up to 1,000
// values, HyperLogLog beyond.
//
// Windows of a length begin at multiples of it since 1970, as those of package window do. At most N different values pass in
// each, so up to 2N around a border. As long as a counter holds an exact set, a value that it has seen costs nothing and always
// passes. With its 1,001st value, which only limits above 1,000 let in, the set becomes a sketch, which cannot tell seen from
// new; once the sketch counts N values, no value passes until the window ends. It then has let in N values with a standard error of 0.65 %.
//
// Package ratelimiter and its stores may import it. It reads no clock, does no I/O and draws no random numbers; a Set is not
// safe for concurrent use.
package distinct

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Bounds of the inputs.
const (
	// MaxCount bounds counts.
	MaxCount int64 = 1_000_000_000
	// MaxExact is how many values a set holds before it becomes a sketch.
	MaxExact = 1000
	// maxWindow bounds windows.
	maxWindow = 366 * 24 * time.Hour

	maxNow = int64(1) << 52
)

// ErrRate is wrapped by every error of New.
var ErrRate = errors.New("invalid rate of distinct values")

// Member returns what stands for a value: 64 bits of its SHA-256. Two values of one counter that share them count as one.
func Member(value []byte) uint64 {
	sum := sha256.Sum256(value)
	return binary.BigEndian.Uint64(sum[:])
}

// Rate is a compiled rate. The zero Rate admits nothing; use New.
type Rate struct {
	count  int64
	window int64 // microseconds
}

// New compiles count values per window. Counts lie between 1 and MaxCount, windows are whole microseconds up to maxWindow.
func New(count int64, window time.Duration) (Rate, error) {
	switch {
	case count < 1 || count > MaxCount:
		return Rate{}, fmt.Errorf("%w: count %d is not between 1 and %d", ErrRate, count, MaxCount)
	case window < time.Microsecond || window > maxWindow:
		return Rate{}, fmt.Errorf("%w: window %v is not between 1µs and %v", ErrRate, window, maxWindow)
	case window%time.Microsecond != 0:
		return Rate{}, fmt.Errorf("%w: window %v is not a whole number of microseconds", ErrRate, window)
	}
	return Rate{count: count, window: window.Microseconds()}, nil
}

// Count returns the values per window.
func (r Rate) Count() int64 { return r.count }

// Window returns the window in microseconds.
func (r Rate) Window() int64 { return r.window }

// Set is what is kept of one counter. A nil or zero Set has seen nothing.
type Set struct {
	until   int64    // the end of its window, in microseconds since 1970
	taken   int64    // values that are taken for seen, though nobody knows which, and what members weigh beyond one each
	members []uint64 // in ascending order
	sketch  *sketch  // in the place of members, once they are too many
}

// Until returns the instant, in microseconds since 1970, from which the set means nothing.
func (s *Set) Until() int64 {
	if s == nil {
		return 0
	}
	return s.until
}

// Size returns how many numbers of eight bytes the set has memory for.
func (s *Set) Size() int {
	switch {
	case s == nil:
		return 0
	case s.sketch != nil:
		return registers / 8
	}
	return cap(s.members)
}

// counts reports whether the set means something in the window that ends at end. One that ends up to a window later, after a
// clock was set back or a limit got a shorter window, does; nobody waits longer than two windows for a wrong clock.
func (s *Set) counts(now, end, window int64) bool {
	return s != nil && s.until > now && s.until <= end+window
}

func (s *Set) count() int64 {
	if s.sketch != nil {
		return s.sketch.count()
	}
	return s.taken + int64(len(s.members))
}

// View is what a set says at an instant about one value.
type View struct {
	// Until is the end of the window, in microseconds since 1970; Count how many values were seen in it.
	Until, Count int64
	// Room is whether the value passes.
	Room bool
}

// View returns what the set says at now about a value that would count as weight of them, 1 or more. It changes nothing.
func (r Rate) View(s *Set, now int64, member uint64, weight int64) View {
	now, end := r.bounds(now)
	v := View{Until: end}
	if !s.counts(now, end, r.window) {
		v.Room = max(weight, 1) <= r.count
		return v
	}
	v.Count = s.count()
	v.Room = max(weight, 1) <= r.count-v.Count
	if !v.Room && s.sketch == nil {
		_, v.Room = slices.BinarySearch(s.members, member)
	}
	return v
}

// Charge adds a value that has room as weight of them, and reports whether that changed the set. The salt, which clients must not
// be able to guess, is that of a sketch which begins with this value.
func (r Rate) Charge(s *Set, now int64, member uint64, weight int64, salt uint64) bool {
	if !r.View(s, now, member, weight).Room {
		return false
	}
	now, end := r.bounds(now)
	if !s.counts(now, end, r.window) {
		*s = Set{}
	}
	if !s.add(member, max(weight, 1), salt) {
		return false
	}
	s.until = end
	return true
}

func (s *Set) add(member uint64, weight int64, salt uint64) bool {
	if s.sketch != nil {
		return s.sketch.add(member, weight)
	}
	i, known := slices.BinarySearch(s.members, member)
	switch {
	case known:
		return false
	case len(s.members) < MaxExact:
		s.members = slices.Insert(s.members, i, member)
		s.taken += weight - 1
		return true
	}
	s.sketch = newSketch(s.members, s.taken, salt)
	s.members = nil
	s.sketch.add(member, weight)
	return true
}

// Remaining returns how many new values of weight 1 would pass.
func (r Rate) Remaining(v View) int64 { return max(r.count-v.Count, 0) }

// Wait returns how long after now the window ends: when a value without room passes.
func (r Rate) Wait(v View, now int64) time.Duration {
	now, _ = r.bounds(now)
	return time.Duration(v.Until-now) * time.Microsecond
}

// Full returns how long after now nothing counts any more.
func (r Rate) Full(v View, now int64) time.Duration {
	if v.Count == 0 {
		return 0
	}
	return r.Wait(v, now)
}

// Seed returns a set that has room for at most one new value of a weight in the window of since, and counts from there: the one that is
// kept, if it has no more room, or is of a later window.
func (r Rate) Seed(s *Set, since, weight int64) *Set {
	_, end := r.bounds(since)
	if s.Until() > end || r.Remaining(r.View(s, since, 0, 1)) <= weight {
		return s
	}
	return &Set{until: end, taken: max(r.count-weight, 0)}
}

// bounds returns now as it counts and the end of its window.
func (r Rate) bounds(now int64) (at, end int64) {
	now = min(max(now, 0), maxNow)
	window := max(r.window, 1) // the zero Rate has none
	return now, now - now%window + window
}
