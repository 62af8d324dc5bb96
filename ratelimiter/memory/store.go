// Package memory keeps the counters of package ratelimiter in this process: the primary store where there is no Redis,
// and the local share while Redis does not answer. It gives the same answers as package redis for the same instants.
//
// Any user of package ratelimiter may import it. It never grows beyond its bound, does no I/O and starts no goroutine;
// counters are lost with the process.
package memory

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math/bits"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
)

const (
	defaultMaxKeys = 1 << 20
	maxShards      = 64 // one bit each in the set of locks that a decision holds
)

// Options configure a Store.
type Options struct {
	// Now is the clock; it is mandatory.
	Now func() time.Time
	// MaxKeys bounds the counters kept; 0 means 1,048,576 (about 200 bytes each with a key of 80). 25 units in sliding logs,
	// or values in sets, count as one more, as do 8 permits; a sketch of more than 1,000 values counts as 82. Beyond it a counter that would have expired soonest among a few is forgotten, which gives its key
	// a full bucket again.
	MaxKeys int
}

// Store is a bounded map of counters, safe for concurrent use. It implements ratelimiter.Store and never fails on
// valid charges.
type Store struct {
	now    func() time.Time
	base   time.Time
	seed   maphash.Seed
	salt   uint64 // of sketches of distinct values
	shards []shard
}

// New returns an empty store.
func New(o Options) (*Store, error) {
	if o.Now == nil {
		return nil, errors.New("memory store of limits: no clock")
	}
	if o.MaxKeys < 0 {
		return nil, errors.New("memory store of limits: negative bound of keys")
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = defaultMaxKeys
	}
	n := 1
	if o.MaxKeys >= maxShards*maxShards {
		n = maxShards
	}
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // it never fails
	s := &Store{now: o.Now, base: o.Now(), seed: maphash.MakeSeed(), salt: binary.BigEndian.Uint64(salt[:]), shards: make([]shard, n)}
	for i := range s.shards {
		s.shards[i].init(o.MaxKeys / n)
	}
	return s, nil
}

// Take implements ratelimiter.Store.
func (s *Store) Take(_ context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.run(charges, take)
}

// Settle implements ratelimiter.Store.
func (s *Store) Settle(_ context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.run(charges, settle)
}

// Peek implements ratelimiter.Store.
func (s *Store) Peek(_ context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.run(charges, peek)
}

// Clear forgets a counter, and reports whether there was one.
func (s *Store) Clear(_ context.Context, key ratelimiter.Key) (bool, error) {
	sh := &s.shards[s.shardOf(key)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.index[key]
	if ok {
		sh.drop(i)
	}
	return ok, nil
}

// Stats returns how many counters are kept and how many were forgotten for want of room since the start.
func (s *Store) Stats() (keys int, evicted uint64) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		keys += len(sh.index)
		evicted += sh.evicted
		sh.mu.Unlock()
	}
	return keys, evicted
}

type operation uint8

const (
	take operation = iota
	settle
	peek
)

// pending is one charge between reading and writing.
type pending struct {
	found value // of the counter, after the charge if it was charged
	next  value // when charged
	shard int
	room  bool
	ahead int64 // units of a lease within next
	stray bool  // what is stored must give way to found
}

func (s *Store) run(charges []ratelimiter.Charge, op operation) (ratelimiter.Decision, error) {
	if err := ratelimiter.Check(charges); err != nil {
		return ratelimiter.Decision{}, err
	}
	var all [ratelimiter.MaxCharges]pending
	work := all[:len(charges)]
	var locks uint64
	for i := range charges {
		work[i].shard = s.shardOf(charges[i].Key)
		locks |= 1 << work[i].shard
	}
	d := ratelimiter.Decision{Allowed: true, Limits: make([]ratelimiter.Status, len(charges))}

	s.lock(locks)
	// Read under the locks, so that no counter sees time run backwards.
	now := s.micros()
	for i := range charges {
		d.Allowed = s.look(&charges[i], &work[i], now, op) && d.Allowed
	}
	for i := range charges {
		d.Limits[i].Charged = charged(&charges[i], &work[i], op, d.Allowed)
		switch {
		case charges[i].Limit.Algorithm() == ratelimiter.SlidingLog: // read here, for others may write to it later
			d.Limits[i] = s.finishLog(&charges[i], &work[i], now, d.Limits[i].Charged)
		case charges[i].Limit.Algorithm() == ratelimiter.Distinct:
			d.Limits[i] = s.finishSet(&charges[i], &work[i], now, d.Limits[i].Charged)
		case charges[i].Limit.Algorithm() == ratelimiter.Concurrency:
			d.Limits[i] = s.finishPermits(&charges[i], &work[i], now, d.Limits[i].Charged)
		case d.Limits[i].Charged:
			if op == take && d.Allowed {
				work[i].ahead = work[i].lease(&charges[i], now)
			}
			s.shards[work[i].shard].put(charges[i].Key, work[i].next, now)
			work[i].found = work[i].next
		case op != peek && work[i].stray:
			s.shards[work[i].shard].put(charges[i].Key, work[i].found, now)
		}
	}
	s.unlock(locks)

	for i := range charges {
		r := ratelimiter.Reading{Now: now, Room: work[i].room, Charged: d.Limits[i].Charged, Ahead: work[i].ahead}
		switch charges[i].Limit.Algorithm() {
		case ratelimiter.GCRA:
			r.TAT = work[i].found.instant()
		case ratelimiter.FixedWindow, ratelimiter.SlidingWindow, ratelimiter.Quota:
			r.Window = work[i].found.counter()
		case ratelimiter.SlidingLog, ratelimiter.Distinct, ratelimiter.Concurrency:
			continue
		}
		d.Limits[i] = charges[i].Status(&r)
	}
	return d, nil
}

func (s *Store) shardOf(key ratelimiter.Key) int {
	return int(maphash.String(s.seed, string(key)) % uint64(len(s.shards))) //nolint:gosec // less than the number of shards
}

// look reads one counter and reports whether it lets the decision pass.
func (s *Store) look(c *ratelimiter.Charge, w *pending, now int64, op operation) bool {
	switch c.Limit.Algorithm() {
	case ratelimiter.GCRA:
		s.lookBucket(c, w, now, op)
	case ratelimiter.FixedWindow, ratelimiter.SlidingWindow, ratelimiter.Quota:
		s.lookWindow(c, w, now, op)
	case ratelimiter.SlidingLog:
		s.lookLog(c, w, now)
	case ratelimiter.Distinct:
		s.lookSet(c, w, now)
	case ratelimiter.Concurrency:
		s.lookPermits(c, w, now)
	}
	return w.room || op == settle || c.Limit.Definition().Shadow
}

// charged is the rule of ratelimiter.Store for one charge.
func charged(c *ratelimiter.Charge, w *pending, op operation, allowed bool) bool {
	if c.Cost == 0 || op == peek {
		return false
	}
	if op == settle {
		return true
	}
	counting := c.Limit.Definition().Counting
	return w.room && counting != ratelimiter.CountDenied && (allowed || counting == ratelimiter.CountAll)
}

// micros follows the monotonic clock where the clock has one: a step of the wall clock moves no counter.
func (s *Store) micros() int64 {
	return s.base.UnixMicro() + s.now().Sub(s.base).Microseconds()
}

// lock takes the shards in ascending order, so that two decisions never wait for each other.
func (s *Store) lock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].mu.Lock()
	}
}

func (s *Store) unlock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].mu.Unlock()
	}
}
