package ratelimiter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/concurrency"
	"github.com/durward-pdp/durward/ratelimiter/distinct"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

const (
	// MaxCharges bounds the limits of one decision.
	MaxCharges = 32
	// MaxCost bounds the cost of one charge.
	MaxCost = gcra.MaxCount
)

// ErrCharges is wrapped by the errors of Check and of ParsePermit.
var ErrCharges = errors.New("invalid charges")

// Charge is one limit that applies to a decision, its counter and how many units the decision costs there. Cost 0
// looks and charges nothing.
type Charge struct {
	Limit *Limit
	Key   Key
	Cost  int64 // 0 or 1 of a limit on distinct values or on concurrency

	// Member stands for the value that a limit on distinct values sees; see Value.Member.
	Member uint64

	// Lease asks Take for units in advance, which are charged where the cost is charged for an allowed decision.
	Lease Lease

	// Permit is what a limit on concurrency gives: random bits that nobody can guess. Release, for Settle alone, gives it back.
	Permit  concurrency.ID
	Release bool

	// Seed is the instant, in microseconds, as of which a counter of a local store has room for a cost of one at most, whatever
	// it held before. Zero takes counters as they are; a shared store ignores it.
	Seed int64
}

// Lease is how many units a store is asked for in advance. The zero Lease asks for none.
type Lease struct {
	Units int64 // at most, up to MaxLease
	Share int64 // at most one part in Share, 4 or more, of what the cost leaves
}

// Units returns what the charge takes from its counter.
func (c *Charge) Units() int64 { return c.Cost * c.Limit.Weight() }

// Store keeps counters. All three methods treat their charges as one indivisible step, answer one Status for each
// charge in order, and fail as a whole; after an error what was charged is unknown, but for one that has a method
// Uncharged() bool which says that nothing was.
type Store interface {
	// Take asks whether every enforced limit has room. If so it charges all limits but those that count denials, else
	// only those that count all. A limit without room is never charged. When the decision is allowed it charges what it can
	// of the leases that the charges ask for, and says so in Status.Ahead; what it has charged belongs to the caller.
	Take(ctx context.Context, charges []Charge) (Decision, error)
	// Settle charges without refusing; a bucket without room is left empty. Charges that release give their permit back.
	Settle(ctx context.Context, charges []Charge) (Decision, error)
	// Peek answers what Take would and charges nothing.
	Peek(ctx context.Context, charges []Charge) (Decision, error)
}

// Decision is the answer for all limits of a request. The zero Decision refuses.
type Decision struct {
	Allowed bool
	// Limits has one Status per charge. A refusal that needed no store lists only the limits that refuse.
	Limits []Status
	// Degraded is set when the shared store did not answer and limits went by what they say for that case.
	Degraded bool
	// Unavailable is set when an enforced limit refuses only because the shared store did not answer.
	Unavailable bool
}

// Retry returns the longest wait among the enforced limits that refuse, and false if one of them can never pass. An
// allowed decision has no wait.
func (d Decision) Retry() (time.Duration, bool) {
	var wait time.Duration
	for i := range d.Limits {
		if s := &d.Limits[i]; !s.Room && !s.Limit.def.Shadow {
			if s.Never {
				return 0, false
			}
			wait = max(wait, s.Retry)
		}
	}
	return wait, true
}

// Status is one limit's part in a decision, after it. Durations are rounded up to microseconds.
type Status struct {
	Limit       *Limit
	Key         Key // the counter; a limit may be charged in several. It holds values of requests: not for logs
	Cost        int64
	Room        bool          // had room for the cost; a shadow limit reports false and refuses nothing
	Charged     bool          // the cost was charged
	Never       bool          // the cost exceeds the burst (the count, without one) and can never pass
	Remaining   int64         // units that would pass now
	More        time.Duration // until one unit more than Remaining passes; 0 when full
	Full        time.Duration // until nothing is left of what was charged
	Retry       time.Duration // until this cost would pass; 0 if it would now; at most a second of Concurrency, where it may pass at any moment
	Degraded    bool          // not answered by the shared store
	Unavailable bool          // room or no room by decree, not by count
	Ahead       int64         // units that were taken in advance beside the cost
	Leased      bool          // paid with units that had been taken in advance; the shared store was not asked
}

// Reading is what a store found and did for one charge: one of TAT, Window, Log, Set and Held, by the algorithm, after the charge.
type Reading struct {
	Now     int64           // microseconds
	TAT     gcra.Instant    // of GCRA
	Window  window.Counter  // of FixedWindow, SlidingWindow and Quota
	Log     slidinglog.View // of SlidingLog, for the units of the charge
	Set     distinct.View   // of Distinct, but for its Room
	Held    concurrency.View
	Room    bool
	Charged bool
	Ahead   int64 // units of the lease that were charged
}

// Status explains a store's reading.
func (c *Charge) Status(r *Reading) Status {
	s := Status{Limit: c.Limit, Key: c.Key, Cost: c.Cost, Room: r.Room, Charged: r.Charged, Ahead: r.Ahead}
	weight, units := c.Limit.Weight(), c.Units()
	switch c.Limit.def.Algorithm {
	case GCRA:
		rate := c.Limit.rate
		s.Remaining = rate.Remaining(r.TAT, r.Now) / weight
		s.Full = rate.Full(r.TAT, r.Now)
		s.More, _ = rate.Wait(r.TAT, r.Now, (s.Remaining+1)*weight) // none when full: nothing more can come
		if c.Cost > s.Remaining {
			s.Retry, s.Never = orNever(rate.Wait(r.TAT, r.Now, units))
		}
	case FixedWindow, SlidingWindow, Quota:
		rate := c.Limit.window
		s.Remaining = rate.Remaining(r.Window, r.Now) / weight
		s.Full = rate.Full(r.Window, r.Now)
		s.More, _ = rate.Wait(r.Window, r.Now, (s.Remaining+1)*weight)
		if c.Cost > s.Remaining {
			s.Retry, s.Never = orNever(rate.Wait(r.Window, r.Now, units))
		}
	case SlidingLog:
		rate := c.Limit.log
		s.Remaining = rate.Remaining(r.Log) / weight
		s.Full = rate.Full(r.Log, r.Now)
		s.More = rate.More(r.Log, r.Now)
		if c.Cost > s.Remaining {
			s.Retry, s.Never = orNever(rate.Wait(r.Log, r.Now, units))
		}
	case Distinct:
		rate := c.Limit.set
		s.Remaining = rate.Remaining(r.Set) / weight
		s.Full = rate.Full(r.Set, r.Now)
		s.More = s.Full
		if !r.Room {
			s.Retry = rate.Wait(r.Set, r.Now)
		}
	case Concurrency:
		rate := c.Limit.held
		s.Remaining = rate.Remaining(r.Held) / weight
		s.Full = rate.Full(r.Held, r.Now)
		s.More = min(rate.More(r.Held, r.Now), mayRelease)
		if !r.Room {
			s.Retry = s.More
		}
	}
	return s
}

// mayRelease bounds the wait for a permit: most are released long before they expire.
const mayRelease = time.Second

// orNever turns a wait and whether it ends into a wait and whether it never ends.
func orNever(wait time.Duration, can bool) (time.Duration, bool) { return wait, !can }

// Seconds rounds a duration up to whole seconds, as header fields want them.
func Seconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Second - 1) / time.Second)
}

// Check reports charges that no store takes: too many, without a limit or key, costs out of range, one counter twice.
func Check(charges []Charge) error {
	if len(charges) > MaxCharges {
		return fmt.Errorf("%w: %d limits in one decision, at most %d", ErrCharges, len(charges), MaxCharges)
	}
	for i := range charges {
		c := &charges[i]
		switch {
		case c.Limit == nil || c.Key == "":
			return fmt.Errorf("%w: charge %d has no limit or no key", ErrCharges, i)
		case c.Cost < 0 || c.Cost > MaxCost:
			return fmt.Errorf("%w: the cost for limit %q is not between 0 and %d", ErrCharges, c.Limit.def.Name, MaxCost)
		case c.Cost > 1 && (c.Limit.def.Algorithm == Distinct || c.Limit.def.Algorithm == Concurrency):
			return fmt.Errorf("%w: the cost for limit %q, which counts values or permits, is not 0 or 1", ErrCharges, c.Limit.def.Name)
		case c.Release && c.Limit.def.Algorithm != Concurrency:
			return fmt.Errorf("%w: limit %q has no permits to release", ErrCharges, c.Limit.def.Name)
		}
		if err := c.Lease.check(c.Limit); err != nil {
			return err
		}
		for j := range charges[:i] {
			if charges[j].Key == c.Key {
				return fmt.Errorf("%w: limits %q and %q share a counter", ErrCharges, charges[j].Limit.def.Name, c.Limit.def.Name)
			}
		}
	}
	return nil
}
