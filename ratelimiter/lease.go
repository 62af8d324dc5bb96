package ratelimiter

import (
	"errors"
	"fmt"
	"time"
)

const (
	// MaxLease bounds the units that a replica takes in advance.
	MaxLease = 10_000

	leaseOfBurst = 4                // a lease is at most this part of what passes at once
	graceOfBurst = 8                // the part of the burst that a lease sets aside
	maxGrace     = 10 * time.Second // and at most what comes back in that time
)

// ErrLease is wrapped by the errors of NewLimit that are about the lease.
var ErrLease = errors.New("invalid lease")

// leased checks the lease of a compiled limit and returns the limit with it.
//
// A unit of GCRA occupies a place in time, W/N long, between the moments at which the TAT passes its beginning and its
// end; no two units share one. A unit that passes at u from the store alone lies between u and u + the bucket's span. One
// that was taken in advance is good until u = the beginning of its place + grace, so it may begin up to grace earlier:
// a bucket that is shorter by grace keeps all that pass within [u - grace, u - grace + burst*W/N], and so no span of
// length t has more than burst + t*N/W of them.
func (l *Limit) leased() (*Limit, error) {
	d := l.def
	switch {
	case d.Lease < 0 || d.Lease > MaxLease:
		return nil, fmt.Errorf("%w: %d units are not between 1 and %d", ErrLease, d.Lease, MaxLease)
	case !d.Algorithm.hasLeases():
		return nil, fmt.Errorf("%w: leases are for gcra, fixed_window, sliding_window and quota; what %v counts cannot be known in advance", ErrLease, d.Algorithm)
	case d.Counting == CountDenied:
		return nil, fmt.Errorf("%w: a limit that counts denials is charged behind them; there is nothing to take in advance", ErrLease)
	case d.Shadow:
		return nil, fmt.Errorf("%w: a shadow shows what would be refused, and units taken in advance would blur it", ErrLease)
	case d.Lease > d.Burst/leaseOfBurst:
		return nil, fmt.Errorf("%w: %d units are more than a quarter of the %d that pass at once, and one replica would hold what the others need", ErrLease, d.Lease, d.Burst)
	case d.Algorithm != GCRA:
		return l, nil
	}
	aside := min(d.Burst/graceOfBurst, l.rate.Units(maxGrace.Microseconds()))
	grace := l.rate.Step(aside).Micros
	d.Burst -= aside
	l, err := compile(d)
	if err != nil {
		return nil, err
	}
	l.grace = grace
	return l, nil
}

// hasLeases reports whether a unit that passes later than it was charged passes as if it were charged then. A sliding log counts
// each from the instant at which it was charged, and would forget it too early.
func (a Algorithm) hasLeases() bool {
	return a == GCRA || a == FixedWindow || a == SlidingWindow || a == Quota
}

// check reports a lease that no store grants.
func (r Lease) check(l *Limit) error {
	if r.Units != 0 && (r.Units < 0 || r.Units > MaxLease || r.Share < leaseOfBurst || !l.def.Algorithm.hasLeases()) {
		return fmt.Errorf("%w: %d units in advance, one part in %d, for limit %q", ErrCharges, r.Units, r.Share, l.def.Name)
	}
	return nil
}
