package usage

import (
	"errors"
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
)

// nearPercent is the used part of a limit from which a key is near it.
const nearPercent = 80

// Bounds that options may lower. A summary of 64 keys takes 5 KiB and the keys, of 350 bytes at most; each limit with keys near
// or over it has two.
const (
	defaultLimits = 4096
	defaultRecent = 256
	defaultWindow = 5 * time.Minute
)

// retryAfter is how long nobody looks for room again where there was none: to look goes through all limits, one caller at a time.
const retryAfter = time.Second

// Options configure a Tracker.
type Options struct {
	// Now is the clock; it is mandatory.
	Now func() time.Time
	// Window is how long keys are remembered at least; they are forgotten after twice that. 0 means 5 minutes.
	Window time.Duration
	// Limits bounds the limits that are counted; 0 means 4,096. Recent bounds those whose keys are remembered; 0 means 256.
	// Beyond either, limits for which nobody was near or over in two windows make room, and where there are none, others are
	// left out.
	Limits, Recent int
}

// Tracker counts the decisions of limits. It is safe for concurrent use.
type Tracker struct {
	now    func() time.Time
	seed   maphash.Seed
	window time.Duration
	bounds [2]int // of limits and of those with keys

	limits  atomic.Pointer[map[string]*limit] // by ratelimiter.Key.Limit; replaced, never changed
	leftOut atomic.Uint64
	full    [2]atomic.Int64 // until when there is no room, by the bound; Unix nanoseconds

	mu     sync.Mutex // held by whoever makes room for a limit or its keys
	recent int
	looks  int // through all limits
}

// limit is what is known of one limit.
type limit struct {
	allowed, refused atomic.Uint64
	since            time.Time
	last             atomic.Int64 // when anything was near or over, Unix nanoseconds; only to choose who makes room
	recent           atomic.Pointer[recent]
}

// Totals count the decisions of one limit.
type Totals struct {
	// Allowed is how many decisions the limit had room for and that no other limit refused; Refused how many it had no room for.
	// A shadow limit refuses nothing: it counts what it would have refused.
	Allowed, Refused uint64
	// Since is when counting began.
	Since time.Time
}

// New returns a tracker that knows no limit yet.
func New(o Options) (*Tracker, error) {
	switch {
	case o.Now == nil:
		return nil, errors.New("usage of limits: no clock")
	case o.Window < 0 || o.Limits < 0 || o.Recent < 0:
		return nil, errors.New("usage of limits: a negative window or bound")
	}
	t := &Tracker{now: o.Now, seed: maphash.MakeSeed(), window: o.Window, bounds: [2]int{o.Limits, o.Recent}}
	if t.window == 0 {
		t.window = defaultWindow
	}
	for i, n := range [2]int{defaultLimits, defaultRecent} {
		if t.bounds[i] == 0 {
			t.bounds[i] = n
		}
	}
	t.limits.Store(&map[string]*limit{})
	return t, nil
}

// Window returns how long keys are remembered at least.
func (t *Tracker) Window() time.Duration { return t.window }

// LeftOut returns how many answers were counted nowhere for want of room.
func (t *Tracker) LeftOut() uint64 { return t.leftOut.Load() }

// Observe counts the answer of one limit; settled is set for a charge of a request that something else had denied, which
// is no decision of the limit. It suits ratelimiter.Options.Observe.
func (t *Tracker) Observe(s *ratelimiter.Status, settled bool) {
	name := s.Key.Limit()
	l := (*t.limits.Load())[name]
	if l == nil {
		if l = t.admit(name); l == nil {
			t.leftOut.Add(1)
			return
		}
	}
	refused := !s.Room && !settled
	switch {
	case refused:
		l.refused.Add(1)
	case !settled:
		l.allowed.Add(1)
	}
	percent := used(s)
	// A local share is a small part of the limit: what is used of it says nothing of the whole.
	if refused || percent >= nearPercent && !s.Degraded {
		t.remember(l, met{key: s.Key, by: s.Limit.Definition().By, refused: refused, percent: percent})
	}
}

// used returns the part of a limit that is used, in percent.
func used(s *ratelimiter.Status) uint8 {
	most := s.Limit.Definition().Burst
	if most <= 0 {
		return 0
	}
	left := min(max(s.Remaining, 0), most)
	return uint8(100 * (most - left) / most) //nolint:gosec // from 0 to 100
}

func (t *Tracker) remember(l *limit, m met) {
	at := t.now()
	r := l.recent.Load()
	if r == nil {
		if r = t.begin(l, at); r == nil {
			t.leftOut.Add(1)
			return
		}
	}
	l.last.Store(at.UnixNano())
	r.add(t.seed, m, at, t.window)
}

// admit begins to count a limit. It returns nil where there is no room.
func (t *Tracker) admit(name string) *limit {
	at := t.now()
	if name == "" || t.isFull(0, at) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	known := *t.limits.Load()
	if l := known[name]; l != nil {
		return l
	}
	grown := maps.Clone(known)
	if len(grown) >= t.bounds[0] {
		t.looks++
		maps.DeleteFunc(grown, func(_ string, l *limit) bool { return t.freed(l, at) })
		if len(grown) >= t.bounds[0] {
			t.full[0].Store(at.Add(retryAfter).UnixNano())
			return nil
		}
	}
	l := &limit{since: at}
	l.last.Store(at.UnixNano())
	grown[name] = l
	t.limits.Store(&grown)
	return l
}

// isFull reports whether there was no room a moment ago. A clock that was set back is no reason to wait for it.
func (t *Tracker) isFull(bound int, at time.Time) bool {
	left := t.full[bound].Load() - at.UnixNano()
	return left > 0 && left <= int64(retryAfter)
}

// freed forgets the keys of a limit for which nobody was near or over during two windows, and reports whether it is one. The
// lock is held.
func (t *Tracker) freed(l *limit, at time.Time) bool {
	if at.Sub(time.Unix(0, l.last.Load())) < 2*t.window {
		return false
	}
	if l.recent.Swap(nil) != nil {
		t.recent--
	}
	return true
}

// begin makes room for the keys of a limit, or returns nil.
func (t *Tracker) begin(l *limit, at time.Time) *recent {
	if t.isFull(1, at) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := l.recent.Load(); r != nil {
		return r
	}
	if t.recent >= t.bounds[1] {
		t.looks++
		for _, other := range *t.limits.Load() {
			t.freed(other, at)
		}
		if t.recent >= t.bounds[1] {
			t.full[1].Store(at.Add(retryAfter).UnixNano())
			return nil
		}
	}
	r := newRecent(at)
	l.recent.Store(r)
	t.recent++
	return r
}

// Totals returns the counts of a limit, by ratelimiter.Key.Limit; false for one that nobody met yet.
func (t *Tracker) Totals(name string) (Totals, bool) {
	l := (*t.limits.Load())[name]
	if l == nil {
		return Totals{}, false
	}
	return Totals{Allowed: l.allowed.Load(), Refused: l.refused.Load(), Since: l.since}, true
}

// Keys returns the keys of a limit that were near it or over it in the last window or two, who was refused most first. There
// are at most 128. Who is no heavy hitter among them may be missing: of N such events in a window every key with more than
// N/64 is there.
func (t *Tracker) Keys(name string) []Key {
	l := (*t.limits.Load())[name]
	if l == nil {
		return nil
	}
	r := l.recent.Load()
	if r == nil {
		return nil
	}
	return r.keys(t.now(), t.window)
}
