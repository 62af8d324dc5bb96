// Package concurrency is the arithmetic of limits on what goes on at the same time: at most N permits are held, each until it
// is released or expires.
//
// A permit that was acquired at t counts while now < t + expiry, unless it is released. Package ratelimiter and its stores may
// import it. It reads no clock, does no I/O and draws no random numbers; a Set is not safe for concurrent use.
package concurrency

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Bounds of the inputs.
const (
	// MaxCount bounds counts.
	MaxCount int64 = 1000
	// MaxExpiry bounds expiries.
	MaxExpiry = 24 * time.Hour

	maxNow = int64(1) << 52
	// permitNumbers is how many numbers of eight bytes a permit takes.
	permitNumbers = 3
)

// ErrRate is wrapped by every error of New.
var ErrRate = errors.New("invalid limit of concurrency")

// ID names a permit. Whoever knows it can release the permit, so it is drawn at random and used once.
type ID [16]byte

// Rate is a compiled limit. The zero Rate admits nothing; use New.
type Rate struct {
	count  int64
	expiry int64 // microseconds
}

// New compiles a limit of count permits that expire after a time. Counts lie between 1 and MaxCount, expiries are whole
// microseconds up to MaxExpiry.
func New(count int64, expiry time.Duration) (Rate, error) {
	switch {
	case count < 1 || count > MaxCount:
		return Rate{}, fmt.Errorf("%w: count %d is not between 1 and %d", ErrRate, count, MaxCount)
	case expiry < time.Microsecond || expiry > MaxExpiry:
		return Rate{}, fmt.Errorf("%w: expiry %v is not between 1µs and %v", ErrRate, expiry, MaxExpiry)
	case expiry%time.Microsecond != 0:
		return Rate{}, fmt.Errorf("%w: expiry %v is not a whole number of microseconds", ErrRate, expiry)
	}
	return Rate{count: count, expiry: expiry.Microseconds()}, nil
}

// Count returns how many permits are held at most.
func (r Rate) Count() int64 { return r.count }

// Expiry returns after how many microseconds a permit expires.
func (r Rate) Expiry() int64 { return r.expiry }

// Set holds permits in the order in which they expire, one that takes the place of several as so many. A nil or zero Set holds
// none.
type Set struct {
	held []permit
}

type permit struct {
	until int64 // microseconds since 1970
	id    ID
}

// Size returns how many numbers of eight bytes the set has memory for.
func (s *Set) Size() int {
	if s == nil {
		return 0
	}
	return permitNumbers * cap(s.held)
}

// Until returns the instant from which the set means nothing, 0 for an empty one.
func (s *Set) Until() int64 {
	if s == nil || len(s.held) == 0 {
		return 0
	}
	return s.held[len(s.held)-1].until
}

// after returns the first permit that expires after an instant.
func (s *Set) after(instant int64) int {
	return sort.Search(len(s.held), func(i int) bool { return s.held[i].until > instant })
}

// counted returns the range of the permits that count at now. Those that expire more than two expiries ahead, after a clock
// was set back or a limit got a shorter expiry, do not: nobody waits longer for a wrong clock.
func (r Rate) counted(s *Set, now int64) (from, to int) {
	if s == nil {
		return 0, 0
	}
	return s.after(now), s.after(now + 2*r.expiry)
}

// View is what a set says at an instant.
type View struct {
	// Used are the permits that count.
	Used int64
	// First and Last are the instants at which the first and the last of them expire, 0 where there is none.
	First, Last int64
}

// View returns what the set says at now. It changes nothing.
func (r Rate) View(s *Set, now int64) View {
	from, to := r.counted(s, clamp(now))
	if from >= to {
		return View{}
	}
	return View{Used: int64(to - from), First: s.held[from].until, Last: s.held[to-1].until}
}

// Acquire adds a permit that takes the place of weight of them, 1 or more, if there is room, and reports whether there was.
// Permits that count no more are dropped.
func (r Rate) Acquire(s *Set, now int64, id ID, weight int64) bool {
	now = clamp(now)
	if r.Remaining(r.View(s, now)) < max(weight, 1) {
		return false
	}
	from, to := r.counted(s, now)
	s.held = slices.Delete(s.held[:to], 0, from)
	p := permit{until: now + r.expiry, id: id}
	at := s.after(p.until)
	for range max(weight, 1) {
		s.held = slices.Insert(s.held, at, p)
	}
	return true
}

// Release gives a permit back, and reports whether the set held it.
func (s *Set) Release(id ID) bool {
	if s == nil {
		return false
	}
	before := len(s.held)
	s.held = slices.DeleteFunc(s.held, func(p permit) bool { return p.id == id })
	return len(s.held) < before
}

// Remaining returns how many permits of weight 1 can be acquired.
func (r Rate) Remaining(v View) int64 { return max(r.count-v.Used, 0) }

// More returns how long after now the first permit expires; 0 where none is held.
func (r Rate) More(v View, now int64) time.Duration { return until(v.First, now) }

// Full returns how long after now all permits have expired.
func (r Rate) Full(v View, now int64) time.Duration { return until(v.Last, now) }

// Seed returns a set with room for at most one permit of a weight as of since: the one that is kept, if it has no more room, or the same with
// permits that are taken for held until they would expire. At now, when that is over, the set is as it is.
func (r Rate) Seed(s *Set, since, now, weight int64) *Set {
	since = clamp(since)
	free := r.Remaining(r.View(s, since))
	if free <= weight || clamp(now) >= since+r.expiry {
		return s
	}
	from, to := r.counted(s, since)
	seeded := &Set{}
	if s != nil {
		seeded.held = slices.Clone(s.held[from:to])
	}
	taken := slices.Repeat([]permit{{until: since + r.expiry}}, int(free-weight))
	seeded.held = slices.Insert(seeded.held, seeded.after(since+r.expiry), taken...)
	return seeded
}

func until(at, now int64) time.Duration {
	return time.Duration(max(at-clamp(now), 0)) * time.Microsecond
}

func clamp(now int64) int64 { return min(max(now, 0), maxNow) }
