package ratelimiter

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

// staleAfter bounds how long a refusal is remembered, and so how late a reset of the shared store, or a changed limit that
// rewrote the counter, is noticed.
const staleAfter = time.Second

// exhausted remembers the counters that left no room for another charge of the same cost, by the local clock. Others can
// only charge the counter further. GCRA keeps a lower bound of the TAT: whatever has no room by the bound has none in the
// shared store, and a cost that was not refused before is judged by the same bound. For the other algorithms it keeps the
// cost, and the instant until which that cost, and any that is as high, has no room even if nobody charges any more.
type exhausted struct {
	seed   maphash.Seed
	shards [16]exhaustedShard
	bound  int // per shard
}

type exhaustedShard struct {
	mu   sync.Mutex
	seen map[Key]debt
}

// debt is what is known of a counter. Instants are microseconds.
type debt struct {
	tat   int64 // a bound of the TAT; for other algorithms of the instant from which nothing counts
	until int64 // when it is forgotten

	// Of other algorithms than GCRA: the limit as it was, for another count knows nothing from this; the cost without room,
	// until when it has none, and how many units would have passed.
	limit              *Limit
	cost, closed, left int64
}

func newExhausted(bound int) *exhausted {
	e := &exhausted{seed: maphash.MakeSeed()}
	e.bound = max(1, bound/len(e.shards))
	for i := range e.shards {
		e.shards[i].seen = make(map[Key]debt)
	}
	return e
}

func (e *exhausted) shard(key Key) *exhaustedShard {
	return &e.shards[maphash.String(e.seed, string(key))%uint64(len(e.shards))]
}

func (e *exhausted) get(key Key, now int64) (debt, bool) {
	s := e.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.seen[key]
	return d, ok && now < d.until
}

func (e *exhausted) put(key Key, d debt, now int64) {
	s := e.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[key]; !ok && len(s.seen) >= e.bound {
		s.makeRoom(now)
	}
	s.seen[key] = d
}

func (e *exhausted) forget(key Key) {
	s := e.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, key)
}

// makeRoom drops the stale among a few entries, or any one: an entry that is missing costs a call, nothing else.
func (s *exhaustedShard) makeRoom(now int64) {
	looked, dropped := 0, false
	var last Key
	for key, d := range s.seen {
		if last = key; d.until <= now {
			delete(s.seen, key)
			dropped = true
		}
		if looked++; looked == 8 {
			break
		}
	}
	if !dropped {
		delete(s.seen, last)
	}
}

// remember keeps what a decision of the shared store says about exhausted counters. It was made after sent, by a clock
// that is not ours: only its durations count, from sent on, so that the bound is never too high.
func (l *Limiter) remember(charges []Charge, d *Decision, sent int64) {
	for i := range d.Limits {
		s := &d.Limits[i]
		if s.Retry == 0 || s.Limit.def.Shadow || s.Limit.def.Lease > 0 || !s.Limit.def.Algorithm.closes() { // with a lease there may be room where the store has none
			continue
		}
		now := l.micros()
		kept := debt{tat: sent + s.Full.Microseconds() - 1, until: now + staleAfter.Microseconds()} // Full was rounded up
		if s.Limit.def.Algorithm != GCRA {
			kept.limit, kept.cost, kept.closed, kept.left = s.Limit, s.Cost, sent+s.Retry.Microseconds()-1, s.Remaining
		}
		l.exhausted.put(charges[i].Key, kept, now)
	}
}

// refuses reports whether a counter surely has no room for the charge, and what a client is told then.
func (d debt) refuses(c *Charge, now int64) (Status, bool) {
	if c.Limit.def.Algorithm == GCRA {
		tat, room := c.Limit.rate.Take(gcra.Instant{Micros: d.tat}, now, c.Cost)
		if room {
			return Status{}, false
		}
		return c.Status(&Reading{Now: now, TAT: tat}), true
	}
	if c.Cost < d.cost || now >= d.closed || d.limit == nil || d.limit.def != c.Limit.def {
		return Status{}, false
	}
	wait := time.Duration(d.closed-now) * time.Microsecond
	s := Status{Limit: c.Limit, Key: c.Key, Cost: c.Cost, Remaining: d.left, More: wait, Retry: wait}
	s.Full = max(wait, time.Duration(d.tat-now)*time.Microsecond)
	if c.Cost > c.Limit.def.Count {
		s.Never, s.Retry = true, 0
	}
	return s, true
}

// recall decides from memory: it refuses if an enforced limit has no room by its bound.
func (l *Limiter) recall(charges []Charge) Decision {
	d := Decision{Allowed: true}
	now := l.micros()
	for i := range charges {
		c := &charges[i]
		if c.Limit.def.Shadow || c.Limit.def.Lease > 0 || c.Cost == 0 {
			continue
		}
		seen, ok := l.exhausted.get(c.Key, now)
		if !ok {
			continue
		}
		if s, refused := seen.refuses(c, now); refused {
			d.Allowed = false
			d.Limits = append(d.Limits, s)
		}
	}
	return d
}

// countsRefusal reports whether a refusal that was answered from memory would leave out a charge: a limit that counts
// all decisions and is not itself the exhausted one.
func (l *Limiter) countsRefusal(charges []Charge) bool {
	now := l.micros()
	for i := range charges {
		c := &charges[i]
		if c.Limit.def.Counting != CountAll || c.Cost == 0 {
			continue
		}
		seen, ok := l.exhausted.get(c.Key, now)
		if !ok {
			return true
		}
		if _, refused := seen.refuses(c, now); !refused {
			return true
		}
	}
	return false
}
