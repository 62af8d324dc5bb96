package redis

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
)

// part is a question about some charges of a decision, and what came of it.
type part struct {
	question
	at     []int // their places in the decision
	answer ratelimiter.Decision
	err    error
}

// slot returns the slot of the charges, and false if they lie in several.
func (s *Store) slot(charges []ratelimiter.Charge) (int, bool) {
	if !s.directory.clustered() {
		return 0, true
	}
	first, slot := charges[0].Key, slotOf(string(charges[0].Key))
	for i := range charges {
		if k := charges[i].Key; !sharedTag(first, k) && slotOf(string(k)) != slot {
			return 0, false
		}
	}
	return slot, true
}

// split divides the charges of a decision by slot. All stores take the slots in the same order.
func (s *Store) split(charges []ratelimiter.Charge) []*part {
	var parts []*part
	for i := range charges {
		slot := slotOf(string(charges[i].Key))
		at, found := slices.BinarySearchFunc(parts, slot, func(p *part, slot int) int { return p.slot - slot })
		if !found {
			parts = slices.Insert(parts, at, &part{question: question{slot: slot}})
		}
		parts[at].add(&charges[i], i)
	}
	return parts
}

// add adds a charge. Nothing is taken in advance by a decision that may have to give back what it takes.
func (p *part) add(c *ratelimiter.Charge, at int) {
	charge := *c
	charge.Lease = ratelimiter.Lease{}
	p.charges = append(p.charges, charge)
	p.found = append(p.found, ratelimiter.Reading{})
	p.at = append(p.at, at)
}

// whole makes a part of a question about all charges of a decision.
func whole(q question) *part {
	p := &part{question: question{slot: q.slot}}
	for i := range q.charges {
		p.add(&q.charges[i], i)
	}
	return p
}

// singles divides a part into charges, by key: while a slot moves, its nodes run no call for a counter that they hold and one
// that they do not.
func singles(p *part) []*part {
	var parts []*part
	for i := range p.charges {
		one := &part{question: question{slot: p.slot}}
		one.add(&p.charges[i], p.at[i])
		parts = append(parts, one)
	}
	slices.SortFunc(parts, func(a, b *part) int { return strings.Compare(string(a.charges[0].Key), string(b.charges[0].Key)) })
	return parts
}

// divides reports whether a part was not run because its slot moves, and can be asked charge by charge.
func (p *part) divides() bool { return goredis.IsTryAgainError(p.err) && len(p.charges) > 1 }

// into puts the answers of a part in their places.
func (p *part) into(d *ratelimiter.Decision) {
	for i, at := range p.at {
		d.Limits[at] = p.answer.Limits[i]
	}
}

// spread decides what no single call can.
func (s *Store) spread(ctx context.Context, op operation, charges []ratelimiter.Charge, parts []*part) (ratelimiter.Decision, error) {
	d := ratelimiter.Decision{Allowed: true, Limits: make([]ratelimiter.Status, len(charges))}
	start := s.opt.Now()
	for _, p := range parts {
		p.start = start
	}
	var err error
	if op == take {
		err = s.inTurn(ctx, parts, &d)
	} else {
		err = s.atOnce(ctx, op, parts, &d)
	}
	if err != nil {
		return ratelimiter.Decision{}, err
	}
	return d, nil
}

func (s *Store) put(ctx context.Context, op operation, p *part) {
	p.op = op
	p.answer, p.err = s.ask(ctx, p.question)
}

// atOnce asks all parts at a time: none depends on another.
func (s *Store) atOnce(ctx context.Context, op operation, parts []*part, d *ratelimiter.Decision) error {
	var errs []error
	for len(parts) > 0 {
		var asked sync.WaitGroup
		for _, p := range parts {
			asked.Go(func() { s.put(ctx, op, p) })
		}
		asked.Wait()
		var again []*part
		for _, p := range parts {
			switch {
			case p.divides():
				again = append(again, s.restart(singles(p), p)...)
			case p.err != nil:
				errs = append(errs, p.err)
			default:
				p.into(d)
				d.Allowed = d.Allowed && p.answer.Allowed
			}
		}
		parts = again
	}
	return errors.Join(errs...)
}

func (s *Store) restart(parts []*part, of *part) []*part {
	for _, p := range parts {
		p.start = of.start
	}
	return parts
}

// inTurn takes part after part. Once one has refused, the others are only charged where a limit counts all decisions, and
// what was charged before is given back; so it is if one was certainly not run. If it is unknown whether one was run, the
// decision counts as charged.
func (s *Store) inTurn(ctx context.Context, parts []*part, d *ratelimiter.Decision) error {
	var paid []*part
	op := take
	for len(parts) > 0 {
		p := parts[0]
		parts = parts[1:]
		s.put(ctx, op, p)
		switch {
		case p.divides():
			parts = append(s.restart(singles(p), p), parts...)
			continue
		case p.err != nil && op == refused:
			p.answer = unanswered(p.charges) // the decision stands
		case p.err != nil:
			if notRun(p.err) {
				s.giveBack(ctx, paid, func(*ratelimiter.Status) bool { return true })
			}
			return p.err
		default:
			paid = append(paid, p)
		}
		p.into(d)
		if !p.answer.Allowed {
			op, d.Allowed = refused, false
		}
	}
	if !d.Allowed {
		s.giveBack(ctx, paid, func(st *ratelimiter.Status) bool { return st.Limit.Definition().Counting != ratelimiter.CountAll })
		for _, p := range paid {
			p.into(d)
		}
	}
	return nil
}

// unanswered is what is known of limits that nobody answered for in a decision that others have refused.
func unanswered(charges []ratelimiter.Charge) ratelimiter.Decision {
	d := ratelimiter.Decision{Allowed: true}
	for i := range charges {
		d.Limits = append(d.Limits, ratelimiter.Status{
			Limit: charges[i].Limit, Key: charges[i].Key, Cost: charges[i].Cost, Room: true, Degraded: true, Unavailable: true,
		})
	}
	return d
}

// giveBack refunds charges of parts that were answered. It waits for the answers as long as the decision may take; the
// refunds are made all the same. One that fails leaves its charge: limits then refuse early.
func (s *Store) giveBack(ctx context.Context, parts []*part, due func(*ratelimiter.Status) bool) {
	if len(parts) == 0 {
		return
	}
	now := s.opt.Now()
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout-now.Sub(parts[0].start))
	defer cancel()
	var asked sync.WaitGroup
	for _, p := range parts {
		for i := range p.charges {
			if st := &p.answer.Limits[i]; st.Charged && due(st) {
				asked.Go(func() {
					charge := p.charges[i]
					if charge.Limit.Definition().Lease > 0 {
						charge.Lease = ratelimiter.Lease{Units: 1, Share: math.MaxInt32} // for the script: others may hold units
					}
					q := question{op: refund, slot: p.slot, charges: []ratelimiter.Charge{charge}, start: now, found: p.found[i : i+1]}
					if d, err := s.ask(ctx, q); err == nil {
						*st = d.Limits[0]
					}
				})
			}
		}
	}
	asked.Wait()
}
