// Package slidinglog is the arithmetic of the sliding log: the instant of every unit is kept, so that never more than N
// units pass in any window W, exactly. It costs one number a unit, so N is at most 1,000.
//
// A unit that passed at t counts while now < t+W: windows are half open, [t, t+W), and a unit passes at t+W for one that
// passed at t. Package ratelimiter and its stores may import it. It reads no clock and does no I/O; a Log is not safe for
// concurrent use.
package slidinglog

import (
	"errors"
	"fmt"
	"sort"
	"time"
)

// Bounds of the inputs.
const (
	// MaxCount bounds counts.
	MaxCount int64 = 1000
	// MaxWindow bounds windows.
	MaxWindow = 366 * 24 * time.Hour

	maxNow   = int64(1) << 52
	smallest = 8 // units that a log has room for at first
)

// ErrRate is wrapped by every error of New.
var ErrRate = errors.New("invalid rate of a sliding log")

// Rate is a compiled rate. The zero Rate admits nothing; use New.
type Rate struct {
	count  int64
	window int64 // microseconds
}

// New compiles count units per window. Counts lie between 1 and MaxCount, windows are whole microseconds up to MaxWindow.
func New(count int64, window time.Duration) (Rate, error) {
	switch {
	case count < 1 || count > MaxCount:
		return Rate{}, fmt.Errorf("%w: count %d is not between 1 and %d", ErrRate, count, MaxCount)
	case window < time.Microsecond || window > MaxWindow:
		return Rate{}, fmt.Errorf("%w: window %v is not between 1µs and %v", ErrRate, window, MaxWindow)
	case window%time.Microsecond != 0:
		return Rate{}, fmt.Errorf("%w: window %v is not a whole number of microseconds", ErrRate, window)
	}
	return Rate{count: count, window: window.Microseconds()}, nil
}

// Count returns the units per window.
func (r Rate) Count() int64 { return r.count }

// Window returns the window in microseconds.
func (r Rate) Window() int64 { return r.window }

// Log holds the instants of the last units, in order. A nil or zero Log is empty.
type Log struct {
	ring  []int64 // microseconds since 1970
	first int
	n     int
}

// Size returns for how many units the log has memory.
func (l *Log) Size() int {
	if l == nil {
		return 0
	}
	return len(l.ring)
}

// Last returns the newest instant, 0 in an empty log.
func (l *Log) Last() int64 {
	if l == nil || l.n == 0 {
		return 0
	}
	return l.at(l.n - 1)
}

func (l *Log) at(i int) int64 { return l.ring[(l.first+i)%len(l.ring)] }

// counted returns the range of the units that count at now. Units that lie more than a window ahead, after a clock was set
// back, do not: nobody waits longer than two windows for a wrong clock.
func (l *Log) counted(now, window int64) (from, to int) {
	if l == nil {
		return 0, 0
	}
	from = sort.Search(l.n, func(i int) bool { return l.at(i) > now-window })
	to = sort.Search(l.n, func(i int) bool { return l.at(i) > now+window })
	return from, to
}

// keep drops all units but those in the range.
func (l *Log) keep(from, to int) {
	if len(l.ring) > 0 {
		l.first = (l.first + from) % len(l.ring)
	}
	l.n = to - from
}

// add appends units at one instant, which is not before the last.
func (l *Log) add(at int64, units, bound int) {
	if need := l.n + units; need > len(l.ring) {
		ring := make([]int64, max(need, min(max(smallest, 2*len(l.ring)), bound)))
		for i := range l.n {
			ring[i] = l.at(i)
		}
		l.ring, l.first = ring, 0
	}
	for range units {
		l.n++
		l.ring[(l.first+l.n-1)%len(l.ring)] = at
	}
}

// View is what a log says at an instant about one cost.
type View struct {
	// Used are the units that count.
	Used int64
	// More is the instant of the unit that must go for one more to pass; Enough that of the unit that must go for the cost to
	// pass; Last that of the newest. They are 0 where none is.
	More, Enough, Last int64
}

// View returns what the log says at now about a cost. It changes nothing.
func (r Rate) View(l *Log, now, cost int64) View {
	now = clamp(now, 0, maxNow)
	from, to := l.counted(now, r.window)
	v := View{Used: int64(to - from)}
	if v.Used == 0 {
		return v
	}
	v.Last = l.at(to - 1)
	v.More = l.at(from + int(max(v.Used-r.count, 0))) // more than count where the limit was made smaller
	if cost > 0 && cost <= r.count && cost > r.count-v.Used {
		v.Enough = l.at(from + int(v.Used-(r.count-cost)-1))
	}
	return v
}

// Take charges cost at now if it has room and reports whether it had. A cost of zero always has room and charges nothing.
func (r Rate) Take(l *Log, now, cost int64) bool {
	if cost <= 0 {
		return true
	}
	if !r.Room(r.View(l, now, cost), cost) {
		return false
	}
	r.Charge(l, now, cost)
	return true
}

// Charge charges cost at now, or as much of it as has room, and drops what counts no more.
func (r Rate) Charge(l *Log, now, cost int64) {
	now = clamp(now, 0, maxNow)
	from, to := l.counted(now, r.window)
	l.keep(from, to)
	if units := min(cost, r.count-int64(l.n)); units > 0 {
		l.add(max(now, l.Last()), int(units), int(r.count))
	}
}

// Remaining returns how many units would pass.
func (r Rate) Remaining(v View) int64 { return max(r.count-v.Used, 0) }

// Room reports whether a cost has room.
func (r Rate) Room(v View, cost int64) bool { return cost <= r.Remaining(v) }

// Wait returns how long after now the cost that was asked about would pass, and false if it never can.
func (r Rate) Wait(v View, now, cost int64) (time.Duration, bool) {
	if cost > r.count {
		return 0, false
	}
	return r.gone(v.Enough, now), true
}

// More returns how long after now one more unit passes, 0 where nothing is used.
func (r Rate) More(v View, now int64) time.Duration { return r.gone(v.More, now) }

// Full returns how long after now nothing counts any more.
func (r Rate) Full(v View, now int64) time.Duration { return r.gone(v.Last, now) }

// gone returns how long after now the unit of an instant counts.
func (r Rate) gone(at, now int64) time.Duration {
	if at == 0 {
		return 0
	}
	return time.Duration(max(at+r.window-clamp(now, 0, maxNow), 0)) * time.Microsecond
}

// Seed returns a log that has room for at most so many units as of since: the one that is kept, if it has no more room or was
// charged later, or one that takes all others for used then.
func (r Rate) Seed(l *Log, since, units int64) *Log {
	if l.Last() > since || r.Remaining(r.View(l, since, 0)) <= units {
		return l
	}
	l = &Log{}
	l.add(clamp(since, 1, maxNow), int(r.count-units), int(r.count))
	return l
}

func clamp(v, low, high int64) int64 { return min(max(v, low), high) }
