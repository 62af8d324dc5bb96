package ratelimiter

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/concurrency"
)

// Options configure a Limiter.
type Options struct {
	// Shared is the store that all replicas share; nil makes Local the only one.
	Shared Store
	// Local counts this replica's share while Shared does not answer. It is mandatory and must not do I/O.
	Local Store
	// Now is the clock; it is mandatory and should be Local's.
	Now func() time.Time
	// Replicas is how many replicas divide the limits among them in local shares, at least; 0 means 1. See SetReplicas.
	Replicas int
	// DenyCache bounds the counters that are remembered as exhausted; 0 means 65,536.
	DenyCache int
	// Leases bounds the counters of which units are held in advance; 0 means 65,536. Beyond it limits with a lease are asked
	// for each decision.
	Leases int
	// NoLeases makes limits with a lease ask for each decision, as where there is no Shared.
	NoLeases bool
	// Queue bounds the calls of SettleLater that wait; 0 means 4,096. Beyond it callers settle themselves.
	Queue int
	// OnDegraded, if set, hears the cause each time that Shared fails. It must not block.
	OnDegraded func(cause error)
	// OnUnsettled, if set, hears how many units denials would have cost each time that Shared fails to settle them: local shares
	// take theirs, other limits take none. It must not block.
	OnUnsettled func(units int64)
	// Observe, if set, hears what each limit answered: of Take, of a Gate that refuses, and of what settles. Of a refusal it
	// hears only the limits without room, and never of one that was not counted. It must not block or keep the status.
	Observe func(s *Status, settled bool)
}

// Limiter answers whether limits have room: from the shared store, and without it by what each limit says. It is safe
// for concurrent use.
type Limiter struct {
	shared      Store
	local       Store
	now         func() time.Time
	base        time.Time
	configured  int          // replicas, at least
	replicas    atomic.Int64 // that divide local shares
	exhausted   *exhausted
	leases      *leases // nil where none are taken
	settler     *settler
	onDegraded  func(error)
	onUnsettled func(int64)
	observe     func(*Status, bool)
	releasing   *Limit       // stands for the limit of a permit that is given back
	since       atomic.Int64 // microseconds at which the shared store began to fail; 0 while it answers
}

// New returns a Limiter. Close it to settle what waits.
func New(o Options) (*Limiter, error) {
	switch {
	case o.Local == nil:
		return nil, errors.New("limiter: no local store")
	case o.Now == nil:
		return nil, errors.New("limiter: no clock")
	case o.Replicas < 0 || o.DenyCache < 0 || o.Leases < 0 || o.Queue < 0:
		return nil, errors.New("limiter: negative number of replicas, entries or calls")
	}
	l := &Limiter{shared: o.Shared, local: o.Local, now: o.Now, base: o.Now(), onDegraded: o.OnDegraded, observe: o.Observe}
	if l.onUnsettled = o.OnUnsettled; l.onUnsettled == nil {
		l.onUnsettled = func(int64) {}
	}
	l.configured = max(o.Replicas, 1)
	l.SetReplicas(0)
	l.exhausted = newExhausted(orDefault(o.DenyCache, 1<<16))
	if o.Shared != nil && !o.NoLeases {
		l.leases = newLeases(orDefault(o.Leases, 1<<16))
	}
	var err error
	if l.releasing, err = NewLimit(Definition{Name: "release", Count: concurrency.MaxCount, Window: concurrency.MaxExpiry, Algorithm: Concurrency}); err != nil {
		return nil, err
	}
	l.settler = newSettler(orDefault(o.Queue, 1<<12), l.settle)
	return l, nil
}

// SetReplicas tells how many replicas live. Local shares divide by that number, or by Options.Replicas where that is more,
// and it holds until the next call: the last number that is known is the best one while the shared store is away.
func (l *Limiter) SetReplicas(live int) { l.replicas.Store(int64(max(live, l.configured))) }

// Replicas returns the number that local shares divide by.
func (l *Limiter) Replicas() int { return int(l.replicas.Load()) }

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// Close stops SettleLater's worker after it has settled what waits, or when ctx ends. Other methods keep working. Units of
// leases stay charged: a bucket regains them at its rate, a window with its end.
func (l *Limiter) Close(ctx context.Context) error { return l.settler.close(ctx) }

// Gate answers without I/O, before it is worth verifying a credential. It refuses only what the shared store would
// refuse too, as far as this replica has seen within the last second; nothing is charged. The decision lists at least
// the limits that refuse.
func (l *Limiter) Gate(charges []Charge) Decision {
	if Check(charges) != nil {
		return Decision{}
	}
	d := l.glance(charges)
	if !d.Allowed {
		l.tell(&d, false)
	}
	return d
}

// glance decides without I/O.
func (l *Limiter) glance(charges []Charge) Decision {
	if l.shared != nil {
		return l.recall(charges)
	}
	d, err := l.local.Peek(context.Background(), charges) //nolint:forbidigo // the local store does no I/O
	if err != nil {
		return Decision{}
	}
	return d
}

// Take decides and charges. The error is ErrCharges; a store that fails makes the decision degraded, never an error.
func (l *Limiter) Take(ctx context.Context, charges []Charge) (Decision, error) {
	if err := Check(charges); err != nil {
		return Decision{}, err
	}
	if len(charges) == 0 {
		return Decision{Allowed: true}, nil
	}
	if l.shared != nil && !l.countsRefusal(charges) {
		if d := l.recall(charges); !d.Allowed {
			l.tell(&d, false)
			return d, nil
		}
	}
	d := l.put(ctx, charges, take)
	l.tell(&d, false)
	return d, nil
}

// Peek answers what Take would and charges nothing.
func (l *Limiter) Peek(ctx context.Context, charges []Charge) (Decision, error) {
	if err := Check(charges); err != nil {
		return Decision{}, err
	}
	if len(charges) == 0 {
		return Decision{Allowed: true}, nil
	}
	return l.put(ctx, charges, peek), nil
}

// put takes or peeks, with leases where limits have them.
func (l *Limiter) put(ctx context.Context, charges []Charge, do operation) Decision {
	if l.hasLease(charges) {
		return l.askLeased(ctx, charges, do)
	}
	return l.ask(ctx, charges, do)
}

// Refused tells Observe of a request that its caller has refused by what Peek answered.
func (l *Limiter) Refused(d Decision) {
	d.Allowed = false
	l.tell(&d, false)
}

// Settle charges the limits that count denials (CountDenied and CountAll; others are passed over) for a request that
// something other than a limit denied.
func (l *Limiter) Settle(ctx context.Context, charges []Charge) error {
	if err := Check(charges); err != nil {
		return err
	}
	l.settle(ctx, countingDenials(charges))
	return nil
}

// SettleLater is Settle without waiting: a worker charges the counters together with those of other requests. When too
// many wait the caller settles itself, within ctx, so that a flood loses no count.
func (l *Limiter) SettleLater(ctx context.Context, charges []Charge) error {
	queued, err := l.TrySettle(charges)
	if err == nil && !queued {
		l.settle(ctx, countingDenials(charges))
	}
	return err
}

// TrySettle is SettleLater for callers that must not wait at all: when too many wait, or after Close, it charges
// nothing and reports false.
func (l *Limiter) TrySettle(charges []Charge) (bool, error) {
	if err := Check(charges); err != nil {
		return false, err
	}
	due := countingDenials(charges) // a copy: the caller may reuse its slice
	if len(due) == 0 {
		return true, nil
	}
	if l.shared == nil {
		l.settle(context.Background(), due) //nolint:forbidigo // the local store does no I/O
		return true, nil
	}
	return l.settler.offer(due), nil
}

func (l *Limiter) settle(ctx context.Context, charges []Charge) {
	if len(charges) == 0 {
		return
	}
	d := l.ask(ctx, charges, settle)
	l.tell(&d, true)
	if !d.Degraded {
		return
	}
	units := int64(0)
	for i := range charges {
		if !charges[i].Release {
			units += charges[i].Cost
		}
	}
	if units > 0 {
		l.onUnsettled(units)
	}
}

func countingDenials(charges []Charge) []Charge {
	var due []Charge
	for _, c := range charges {
		if c.Limit.def.Counting != CountAllowed {
			due = append(due, c)
		}
	}
	return due
}

// operation is one method of a Store.
type operation uint8

const (
	take operation = iota
	settle
	peek
)

func (o operation) on(ctx context.Context, s Store, charges []Charge) (Decision, error) {
	switch o {
	case take:
		return s.Take(ctx, charges)
	case settle:
		return s.Settle(ctx, charges)
	case peek:
	}
	return s.Peek(ctx, charges)
}

// ask puts one call to the store that is in charge.
func (l *Limiter) ask(ctx context.Context, charges []Charge, do operation) Decision {
	if l.shared == nil {
		d, err := do.on(ctx, l.local, charges)
		if err != nil {
			return Decision{}
		}
		return d
	}
	sent := l.micros()
	d, err := do.on(ctx, l.shared, charges)
	if err != nil {
		if !errors.Is(err, context.Canceled) { // a caller that leaves says nothing about the store
			l.since.CompareAndSwap(0, sent) // what was sent then got no answer
		}
		d := l.degrade(ctx, charges, do, err)
		if do == take && !d.Allowed {
			l.abandon(charges, err)
		}
		return d
	}
	if l.since.Load() != 0 {
		l.since.Store(0)
	}
	l.remember(charges, &d, sent)
	return d
}

// tell hands the answers on to whoever observes.
func (l *Limiter) tell(d *Decision, settled bool) {
	if l.observe == nil {
		return
	}
	for i := range d.Limits {
		if s := &d.Limits[i]; !s.Unavailable && (d.Allowed || settled || !s.Room) {
			l.observe(s, settled)
		}
	}
}

// micros follows the monotonic clock, where the clock has one.
func (l *Limiter) micros() int64 {
	return l.base.UnixMicro() + l.now().Sub(l.base).Microseconds()
}
