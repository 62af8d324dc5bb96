package memory

import (
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/concurrency"
	"github.com/durward-pdp/durward/ratelimiter/distinct"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// countBits is where a value keeps the units of the window before; counts need 30 bits.
const countBits = 32

func ofInstant(i gcra.Instant) value { return value{until: i.Micros, more: i.Part} }

func (v value) instant() gcra.Instant { return gcra.Instant{Micros: v.until, Part: v.more} }

func ofCounter(c window.Counter) value {
	return value{until: c.Until, more: c.Before<<countBits | c.Used}
}

func (v value) counter() window.Counter {
	return window.Counter{Until: v.until, Used: v.more & (1<<countBits - 1), Before: v.more >> countBits}
}

// lookBucket finds a bucket of GCRA and what a charge would make of it.
func (s *Store) lookBucket(c *ratelimiter.Charge, w *pending, now int64, op operation) {
	rate := c.Limit.Rate()
	tat := s.shards[w.shard].get(c.Key).instant()
	if c.Seed != 0 {
		tat = rate.Seed(tat, c.Seed, c.Limit.Weight())
	}
	w.stray = rate.Stray(tat, now)
	tat = rate.Bound(tat, now)
	next, room := rate.Take(tat, now, c.Units())
	if op == settle && !room {
		next = rate.Charge(tat, now, c.Units())
	}
	w.found, w.next, w.room = ofInstant(tat), ofInstant(next), room
}

// lookWindow is lookBucket for counters of windows.
func (s *Store) lookWindow(c *ratelimiter.Charge, w *pending, now int64, op operation) {
	rate := c.Limit.Window()
	counter := s.shards[w.shard].get(c.Key).counter()
	if c.Seed != 0 {
		counter = rate.Seed(counter, c.Seed, c.Limit.Weight())
	}
	counter = rate.Bound(counter, now)
	next, room := rate.Take(counter, now, c.Units())
	if op == settle && !room {
		next = rate.Charge(counter, now, c.Units())
	}
	w.found, w.next, w.room = ofCounter(counter), ofCounter(next), room
}

// lease adds units in advance to what a charge leaves, and returns how many.
func (w *pending) lease(c *ratelimiter.Charge, now int64) (ahead int64) {
	if c.Lease.Units == 0 {
		return 0
	}
	if c.Limit.Algorithm() == ratelimiter.GCRA {
		next, n := c.Limit.Rate().Lease(w.next.instant(), now, c.Lease.Units, c.Lease.Share)
		w.next = ofInstant(next)
		return n
	}
	next, n := c.Limit.Window().Lease(w.next.counter(), now, c.Lease.Units, c.Lease.Share)
	w.next = ofCounter(next)
	return n
}

// log returns the log of a charge. A new one belongs to nobody until it is put.
func (s *Store) log(c *ratelimiter.Charge, shard int) *slidinglog.Log {
	log, _ := s.shards[shard].kept(c.Key).(*slidinglog.Log)
	if c.Seed != 0 {
		log = c.Limit.Log().Seed(log, c.Seed, c.Limit.Weight())
	}
	return log
}

// lookLog only looks: a log is charged in its place.
func (s *Store) lookLog(c *ratelimiter.Charge, w *pending, now int64) {
	rate := c.Limit.Log()
	w.room = rate.Room(rate.View(s.log(c, w.shard), now, c.Units()), c.Units())
}

// finishLog charges a log, if it is to be charged, and explains it.
func (s *Store) finishLog(c *ratelimiter.Charge, w *pending, now int64, charged bool) ratelimiter.Status {
	rate, log := c.Limit.Log(), s.log(c, w.shard)
	if charged {
		if log == nil {
			log = &slidinglog.Log{}
		}
		rate.Charge(log, now, c.Units()) // all of it where it had room
		s.shards[w.shard].putKept(c.Key, log, log.Last()+rate.Window(), now)
	}
	view := rate.View(log, now, c.Units())
	if weight := c.Limit.Weight(); weight > 1 { // one more takes several units
		view.More = rate.View(log, now, (rate.Remaining(view)/weight+1)*weight).Enough
	}
	return c.Status(&ratelimiter.Reading{Now: now, Log: view, Room: w.room, Charged: charged})
}

// set is log for a set of distinct values.
func (s *Store) set(c *ratelimiter.Charge, shard int) *distinct.Set {
	set, _ := s.shards[shard].kept(c.Key).(*distinct.Set)
	if c.Seed != 0 {
		set = c.Limit.Distinct().Seed(set, c.Seed, c.Limit.Weight())
	}
	return set
}

// lookSet only looks, as lookLog does.
func (s *Store) lookSet(c *ratelimiter.Charge, w *pending, now int64) {
	w.room = c.Cost == 0 || c.Limit.Distinct().View(s.set(c, w.shard), now, c.Member, c.Limit.Weight()).Room
}

// finishSet adds the value to a set, if it is to be charged, and explains it.
func (s *Store) finishSet(c *ratelimiter.Charge, w *pending, now int64, charged bool) ratelimiter.Status {
	rate, set := c.Limit.Distinct(), s.set(c, w.shard)
	if charged {
		if set == nil {
			set = &distinct.Set{}
		}
		if rate.Charge(set, now, c.Member, c.Limit.Weight(), s.salt) {
			s.shards[w.shard].putKept(c.Key, set, set.Until(), now)
		}
	}
	return c.Status(&ratelimiter.Reading{Now: now, Set: rate.View(set, now, c.Member, c.Limit.Weight()), Room: w.room, Charged: charged})
}

// permits is log for the permits of a limit on concurrency.
func (s *Store) permits(c *ratelimiter.Charge, shard int, now int64) *concurrency.Set {
	set, _ := s.shards[shard].kept(c.Key).(*concurrency.Set)
	if c.Seed != 0 {
		set = c.Limit.Concurrency().Seed(set, c.Seed, now, c.Limit.Weight())
	}
	return set
}

// lookPermits only looks, as lookLog does.
func (s *Store) lookPermits(c *ratelimiter.Charge, w *pending, now int64) {
	rate := c.Limit.Concurrency()
	w.room = c.Cost == 0 || c.Release || rate.Remaining(rate.View(s.permits(c, w.shard, now), now)) >= c.Limit.Weight()
}

// finishPermits acquires or releases a permit, if it is to be charged, and explains the set.
func (s *Store) finishPermits(c *ratelimiter.Charge, w *pending, now int64, charged bool) ratelimiter.Status {
	rate, set := c.Limit.Concurrency(), s.permits(c, w.shard, now)
	if charged {
		if set == nil {
			set = &concurrency.Set{}
		}
		if c.Release && set.Release(c.Permit) || !c.Release && rate.Acquire(set, now, c.Permit, c.Limit.Weight()) {
			s.shards[w.shard].putKept(c.Key, set, set.Until(), now)
		}
	}
	return c.Status(&ratelimiter.Reading{Now: now, Held: rate.View(set, now), Room: w.room, Charged: charged})
}
