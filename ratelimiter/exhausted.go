package ratelimiter

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

// staleAfter bounds how long a refusal is remembered, and so how late a reset of the shared store is noticed.
const staleAfter = time.Second

// exhausted remembers, of the counters that left no room for another charge of the same cost, a lower bound of their
// TAT by the local clock. Others can only charge the counter further, so whatever has no room by the bound has none in
// the shared store; a cost that was not refused before is judged by the same bound.
type exhausted struct {
	seed   maphash.Seed
	shards [16]exhaustedShard
	bound  int // per shard
}

type exhaustedShard struct {
	mu   sync.Mutex
	seen map[Key]debt
}

// debt is a bound of a TAT and the instant at which it is forgotten, both in microseconds.
type debt struct {
	tat   int64
	until int64
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
		s.forget(now)
	}
	s.seen[key] = d
}

// forget drops the stale among a few entries, or any one: an entry that is missing costs a call, nothing else.
func (s *exhaustedShard) forget(now int64) {
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
		if s.Retry == 0 || s.Limit.def.Shadow {
			continue
		}
		now := l.micros()
		tat := sent + s.Full.Microseconds() - 1 // Full was rounded up
		l.exhausted.put(charges[i].Key, debt{tat: tat, until: now + staleAfter.Microseconds()}, now)
	}
}

// recall decides from memory: it refuses if an enforced limit has no room by its bound.
func (l *Limiter) recall(charges []Charge) Decision {
	d := Decision{Allowed: true}
	now := l.micros()
	for i := range charges {
		c := &charges[i]
		if c.Limit.def.Shadow || c.Cost == 0 {
			continue
		}
		seen, ok := l.exhausted.get(c.Key, now)
		if !ok {
			continue
		}
		tat, room := c.Limit.rate.Take(gcra.Instant{Micros: seen.tat}, now, c.Cost)
		if room {
			continue
		}
		d.Allowed = false
		d.Limits = append(d.Limits, c.Status(Reading{Now: now, TAT: tat}))
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
		if _, room := c.Limit.rate.Take(gcra.Instant{Micros: seen.tat}, now, c.Cost); room {
			return true
		}
	}
	return false
}
