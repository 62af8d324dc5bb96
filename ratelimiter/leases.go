package ratelimiter

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

// askingFor bounds how long one caller of a key keeps the others from asking for a lease too, whatever becomes of it.
const askingFor = time.Second

// leases are the units that this replica has taken in advance, by the local clock. A unit is good for as long as the
// shared counter counts it in full: to use it then is what the algorithm would have admitted then.
type leases struct {
	seed   maphash.Seed
	shards [16]leaseShard
	bound  int // per shard
}

type leaseShard struct {
	mu   sync.Mutex
	held map[Key]*lease
}

// lease is what is held of one counter. Instants are microseconds.
type lease struct {
	limit *Limit  // whose definition it was taken under; units of another are worth nothing
	left  int64   // units, the last ones of what was taken
	end   int64   // of GCRA: the TAT behind the last unit; else when the window ends
	rest  int64   // of windows: what else would have passed when they were taken
	back  []given // what was drawn and given back
	asked int64   // until when somebody asks for more
}

// given are units that a decision gave back, and the last microsecond at which they are good.
type given struct{ units, until int64 }

// draw is what a decision has got of a lease, and what the lease was then.
type draw struct {
	units int64
	until int64 // the last microsecond at which all of them are good
	ask   bool  // the decision is to ask for a lease

	left, end, rest int64
}

func newLeases(bound int) *leases {
	s := &leases{seed: maphash.MakeSeed()}
	s.bound = max(1, bound/len(s.shards))
	for i := range s.shards {
		s.shards[i].held = make(map[Key]*lease)
	}
	return s
}

func (s *leases) shard(key Key) *leaseShard {
	return &s.shards[maphash.String(s.seed, string(key))%uint64(len(s.shards))]
}

// forget drops what is held of a counter.
func (s *leases) forget(key Key) {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.held, key)
}

// look returns what draw would take, and takes nothing.
func (s *leases) look(c *Charge, now int64) draw {
	sh := s.shard(c.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(c)
	if e == nil {
		return draw{}
	}
	same := *e
	same.back = slices.Clone(e.back)
	return same.take(c.Cost, now)
}

// draw takes up to the cost of a charge. Who finds less, and nobody asking, is told to ask for a lease.
func (s *leases) draw(c *Charge, now int64) draw {
	sh := s.shard(c.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var d draw
	e := sh.find(c)
	if e != nil {
		d = e.take(c.Cost, now)
	}
	if d.units == c.Cost {
		return d
	}
	if e == nil {
		if e = sh.add(c, now, s.bound); e == nil {
			return d
		}
	}
	if d.ask = now >= e.asked; d.ask {
		e.asked = now + askingFor.Microseconds()
	}
	return d
}

// giveBack returns units of a decision that came to nothing, while they are good.
func (s *leases) giveBack(c *Charge, d *draw, now int64) {
	if d.units == 0 || now > d.until {
		return
	}
	sh := s.shard(c.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(c)
	if e == nil {
		if e = sh.add(c, now, s.bound); e == nil {
			return
		}
	}
	if units := min(d.units, e.limit.def.Lease-e.given()); units > 0 {
		e.back = append(e.back, given{units: units, until: d.until})
	}
}

// put keeps what a caller that was told to ask has got: perhaps nothing. The answer was given after sent, by a clock that is
// not ours: only its durations count, from sent on, so that no unit is kept too long.
func (s *leases) put(c *Charge, got *Status, sent int64) {
	sh := s.shard(c.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.find(c)
	if e == nil {
		return // another definition has come meanwhile
	}
	e.asked = 0
	if got.Ahead > 0 {
		e.left, e.end, e.rest = got.Ahead, sent+got.Full.Microseconds(), got.Remaining
		switch c.Limit.def.Algorithm {
		case GCRA:
			e.end-- // Full was rounded up
		case SlidingWindow:
			e.end -= c.Limit.window.Length() // it counts for a window longer than it takes units
		default:
		}
	}
	if e.left == 0 && len(e.back) == 0 {
		delete(sh.held, c.Key)
	}
}

// find returns what is held for a charge. The lock is held.
func (sh *leaseShard) find(c *Charge) *lease {
	e := sh.held[c.Key]
	if e == nil || e.limit == c.Limit {
		return e
	}
	if e.limit.def != c.Limit.def {
		delete(sh.held, c.Key)
		return nil
	}
	e.limit = c.Limit // of a new revision, and the same
	return e
}

// add makes room for a lease, or returns nil: units in hand are never dropped for others, for they are charged. The lock
// is held.
func (sh *leaseShard) add(c *Charge, now int64, bound int) *lease {
	if len(sh.held) >= bound {
		sh.sweep(now)
	}
	if len(sh.held) >= bound {
		return nil
	}
	e := &lease{limit: c.Limit}
	sh.held[c.Key] = e
	return e
}

// sweep forgets, among a few entries, those that hold nothing that is good.
func (sh *leaseShard) sweep(now int64) {
	looked := 0
	for key, e := range sh.held {
		if now >= e.asked && e.good(now) == 0 && !e.keeps(now) {
			delete(sh.held, key)
		}
		if looked++; looked == 8 {
			return
		}
	}
}

// take takes up to cost units, those first that end first.
func (e *lease) take(cost, now int64) draw {
	var d draw
	if len(e.back) > 0 {
		d = e.takeBack(cost, now)
	}
	e.left = e.good(now) // the rest has drained from the counter
	if n := min(cost-d.units, e.left); n > 0 {
		until := e.goodUntil()
		if d.units > 0 {
			until = min(until, d.until)
		}
		d.units, d.until = d.units+n, until
		e.left -= n
	}
	d.left, d.end, d.rest = e.left+e.given(), e.end, e.rest
	return d
}

// takeBack takes up to cost units that were given back, and forgets those that are no longer good.
func (e *lease) takeBack(cost, now int64) draw {
	var d draw
	kept := e.back[:0]
	for _, g := range e.back {
		if g.until < now {
			continue
		}
		if n := min(cost-d.units, g.units); n > 0 {
			if d.units == 0 || g.until < d.until {
				d.until = g.until
			}
			d.units += n
			g.units -= n
		}
		if g.units > 0 {
			kept = append(kept, g)
		}
	}
	e.back = kept
	return d
}

// good returns how many of the left units are good at now.
func (e *lease) good(now int64) int64 {
	switch {
	case e.left == 0:
		return 0
	case e.limit.def.Algorithm == GCRA:
		return min(e.left, e.limit.rate.Units(e.end+e.limit.grace-now))
	case now < e.end:
		return e.left
	}
	return 0
}

// goodUntil returns the last microsecond at which all of the left units are good.
func (e *lease) goodUntil() int64 {
	if e.limit.def.Algorithm != GCRA {
		return e.end - 1
	}
	places := e.limit.rate.Step(e.left)
	if places.Part > 0 {
		places.Micros++
	}
	return e.end + e.limit.grace - places.Micros
}

// given returns how many units were given back.
func (e *lease) given() (units int64) {
	for _, g := range e.back {
		units += g.units
	}
	return units
}

// keeps reports whether a unit that was given back is good at now.
func (e *lease) keeps(now int64) bool {
	return slices.ContainsFunc(e.back, func(g given) bool { return g.until >= now })
}

// status explains a decision that was paid in full. What remains is a bound from what the store last said: others may have
// charged since then.
func (d *draw) status(c *Charge, now int64) Status {
	if c.Limit.def.Algorithm == GCRA {
		s := c.Status(&Reading{Now: now, TAT: gcra.Instant{Micros: max(d.end, 0)}, Room: true, Charged: true})
		s.Remaining, s.Retry, s.Never, s.Leased = s.Remaining+d.left, 0, false, true
		return s
	}
	wait := time.Duration(max(d.end-now, 0)) * time.Microsecond
	s := Status{Limit: c.Limit, Key: c.Key, Cost: c.Cost, Room: true, Charged: true, Leased: true, Remaining: d.rest + d.left, More: wait, Full: wait}
	if c.Limit.def.Algorithm == SlidingWindow {
		s.Full += c.Limit.def.Window
	}
	return s
}
