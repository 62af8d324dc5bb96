package ratelimiter

import "context"

// degrade answers for a shared store that failed: each limit does what it says. An enforced Deny refuses the decision,
// and then local shares are only looked at.
func (l *Limiter) degrade(ctx context.Context, charges []Charge, do operation, cause error) Decision {
	if l.onDegraded != nil {
		l.onDegraded(cause)
	}
	since := l.failingSince()
	d := Decision{Allowed: true, Degraded: true, Limits: make([]Status, len(charges))}
	var shares []Charge
	for i := range charges {
		c := &charges[i]
		d.Limits[i] = Status{Limit: c.Limit, Key: c.Key, Cost: c.Cost, Degraded: true, Unavailable: true}
		switch c.Limit.def.OnError {
		case LocalShare:
			shares = append(shares, l.share(c, since))
		case Allow:
			d.Limits[i].Room = true
		default:
			d.Unavailable = d.Unavailable || !c.Limit.def.Shadow
		}
	}
	d.Allowed = !d.Unavailable
	if len(shares) == 0 {
		return d
	}
	if d.Unavailable && do == take { // what settles is denied already, and may be of several requests
		do = peek
	}
	local, err := do.on(ctx, l.local, shares)
	if err != nil || len(local.Limits) != len(shares) {
		return Decision{Degraded: true, Unavailable: true, Limits: d.Limits}
	}
	d.Allowed = d.Allowed && local.Allowed
	fill(d.Limits, local.Limits)
	return d
}

// fill puts the answers of the local shares in the places of their limits.
func fill(all, shares []Status) {
	next := 0
	for i := range all {
		limit := all[i].Limit
		if limit.def.OnError != LocalShare {
			continue
		}
		s := shares[next]
		next++
		if s.Never && s.Cost <= limit.def.Burst { // too large for a share only: it passes when the store is back
			s.Never, s.Retry = false, s.Full
		}
		s.Limit, s.Degraded = limit, true
		all[i] = s
	}
}

// failingSince returns when the shared store began to fail. A success meanwhile does not make it zero: that would be a
// full bucket in every share.
func (l *Limiter) failingSince() int64 {
	if since := l.since.Load(); since != 0 {
		return since
	}
	return l.micros()
}

// share is a charge on this replica's part of a limit. What the shared counter held is not known, so a full local
// bucket would be a free burst for everybody each time that the store fails: a counter, be it new or left from a failure
// before, has room for a cost of one at most as of the moment at which this one began, and fills from there, a window as of
// its end.
func (l *Limiter) share(c *Charge, since int64) Charge {
	return Charge{
		Limit: c.Limit.share(l.Replicas()), Key: c.Key, Cost: c.Cost, Member: c.Member, Permit: c.Permit, Release: c.Release, Seed: since,
	}
}
