package ratelimiter

import "context"

// hasLease reports whether a decision can be paid, in part at least, with units that were taken in advance.
func (l *Limiter) hasLease(charges []Charge) bool {
	if l.leases == nil {
		return false
	}
	for i := range charges {
		if charges[i].drawable() {
			return true
		}
	}
	return false
}

// drawable reports whether units that were taken in advance can pay for a charge.
func (c *Charge) drawable() bool {
	return c.Limit.def.Lease > 0 && c.Cost > 0 && c.Cost <= c.Limit.def.Burst
}

// askLeased takes or peeks where a limit has a lease. Units in hand are set aside first; the store is asked for what they do not
// pay, if anything, and for a new lease of limits that have none. Where the decision comes to nothing they go back.
func (l *Limiter) askLeased(ctx context.Context, charges []Charge, do operation) Decision {
	now := l.micros()
	var all [MaxCharges]draw
	draws, paid := all[:len(charges)], 0
	for i := range charges {
		c := &charges[i]
		switch {
		case !c.drawable():
			continue
		case do == take:
			draws[i] = l.leases.draw(c, now)
		default:
			draws[i] = l.leases.look(c, now)
		}
		if draws[i].units == c.Cost {
			paid++
		}
	}
	d := Decision{Allowed: true}
	if paid < len(charges) {
		d = l.askRest(ctx, charges, draws, do)
	}
	l.conclude(&d, charges, draws, do)
	return d
}

// paid reports whether what was drawn pays for all of a charge.
func (d *draw) paid(c *Charge) bool { return d.units > 0 && d.units == c.Cost }

// askRest asks the store for what the draws do not pay.
func (l *Limiter) askRest(ctx context.Context, charges []Charge, draws []draw, do operation) Decision {
	rest := make([]Charge, 0, len(charges))
	for i := range charges {
		if draws[i].paid(&charges[i]) {
			continue
		}
		c := charges[i]
		c.Cost -= draws[i].units
		if draws[i].ask {
			c.Lease = Lease{Units: c.Limit.def.Lease, Share: int64(max(l.Replicas(), leaseOfBurst))}
		}
		rest = append(rest, c)
	}
	sent := l.micros()
	d := l.ask(ctx, rest, do)
	if len(d.Limits) != len(rest) { // no answer at all
		d.Allowed, d.Limits = false, make([]Status, len(rest))
		for i := range rest {
			d.Limits[i] = Status{Limit: rest[i].Limit, Key: rest[i].Key, Unavailable: true}
		}
	}
	next := 0
	for i := range charges {
		if draws[i].paid(&charges[i]) {
			continue
		}
		if draws[i].ask {
			l.leases.put(&charges[i], &d.Limits[next], sent)
		}
		next++
	}
	return d
}

// conclude puts the answers of the store and of the draws in the order of the charges, and gives back what a decision that
// came to nothing has drawn. A limit that counts all decisions keeps it, as it does in the store.
func (l *Limiter) conclude(d *Decision, charges []Charge, draws []draw, do operation) {
	asked := d.Limits
	d.Limits = make([]Status, len(charges))
	now := l.micros()
	for i := range charges {
		c, w, s := &charges[i], &draws[i], &d.Limits[i]
		if w.paid(c) {
			*s = w.status(c, now)
			s.Charged = do == take && (d.Allowed || c.Limit.def.Counting == CountAll)
		} else {
			*s, asked = asked[0], asked[1:]
			s.Cost, s.Remaining = c.Cost, s.Remaining+s.Ahead
		}
		if w.units > 0 && !s.Charged {
			if do == take {
				l.leases.giveBack(c, w, now)
			}
			s.Remaining += w.units
		}
	}
}
