package descriptors

import (
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// plan is what a request's rules cost, and what came of it.
type plan struct {
	rules        []descriptor.Rule
	chargeDenied bool
	// charges are the counters, each once, with what the request costs there; at has each rule's place among them, -1 for
	// none. A cost of 0 only looks.
	charges []ratelimiter.Charge
	at      []int
	// lookFirst is set where a charge before a look could be one too many: some rules only look, or there are several
	// quotas, of which one without room refuses nothing.
	lookFirst bool

	statuses []*ratelimiter.Status // by charge; nil before there is one
	degraded bool
}

// newPlan makes the charges of rules.
func newPlan(rules []descriptor.Rule, chargeDenied bool) (*plan, error) {
	p := &plan{rules: rules, chargeDenied: chargeDenied, at: make([]int, len(rules))}
	quotas := 0
	for i := range rules {
		if rules[i].Quota && rules[i].Limit != nil {
			quotas++
		}
	}
	p.lookFirst = quotas > 1
	place := map[ratelimiter.Key]int{}
	definitions := []ratelimiter.Definition{}
	for i := range rules {
		r := &rules[i]
		if p.at[i] = -1; r.Limit == nil || closed(r) {
			continue
		}
		p.lookFirst = p.lookFirst || r.Hits == 0
		d := p.define(r, r.Shadow || r.Quota && quotas > 1)
		j, repeated := place[r.Key]
		if !repeated {
			j = len(p.charges)
			place[r.Key] = j
			p.charges = append(p.charges, ratelimiter.Charge{Key: r.Key})
			definitions = append(definitions, d)
		}
		p.at[i] = j
		// A counter that the request names twice is charged for both, and bound by the stricter of both.
		definitions[j].Count = min(definitions[j].Count, d.Count)
		definitions[j].Shadow = definitions[j].Shadow && d.Shadow
		p.charges[j].Cost = min(p.charges[j].Cost+int64(r.Hits), ratelimiter.MaxCost) //nolint:gosec // a rule with more hits than MaxRequests is closed
	}
	p.statuses = make([]*ratelimiter.Status, len(p.charges))
	for j := range definitions {
		limit, err := ratelimiter.NewLimit(definitions[j])
		if err != nil {
			return nil, err
		}
		p.charges[j].Limit = limit
	}
	return p, nil
}

// closed reports whether a rule can never have room: that needs no counter.
func closed(r *descriptor.Rule) bool {
	return r.Limit.RequestsPerUnit == 0 || r.Hits > uint64(descriptor.MaxRequests)
}

// define turns a rule into a limit of the rate limiter. As envoyproxy/ratelimit does, it counts in fixed windows that begin at
// multiples of the unit since the epoch; this is the one place that chooses the algorithm.
func (p *plan) define(r *descriptor.Rule, shadow bool) ratelimiter.Definition {
	const longest = 128 // bytes of a limit's name
	d := ratelimiter.Definition{
		Name:  r.Path[:min(len(r.Path), longest)],
		Count: r.Limit.RequestsPerUnit, Window: r.Limit.Unit.Duration(),
		Shadow: shadow, OnError: ratelimiter.LocalShare, Algorithm: ratelimiter.FixedWindow,
	}
	if p.chargeDenied {
		d.Counting = ratelimiter.CountAll
	}
	return d
}

// looks are the charges for a look. What costs nothing asks whether one unit would pass.
func (p *plan) looks() []ratelimiter.Charge {
	out := append([]ratelimiter.Charge(nil), p.charges...)
	for i := range out {
		out[i].Cost = max(1, out[i].Cost)
	}
	return out
}

// due are the charges that cost something.
func (p *plan) due() []ratelimiter.Charge {
	out := make([]ratelimiter.Charge, 0, len(p.charges))
	for _, c := range p.charges {
		if c.Cost > 0 {
			out = append(out, c)
		}
	}
	return out
}

// uncharged are the charges that cost something and were not made.
func (p *plan) uncharged() []ratelimiter.Charge {
	var out []ratelimiter.Charge
	for j, c := range p.charges {
		if s := p.statuses[j]; c.Cost > 0 && (s == nil || !s.Charged) {
			out = append(out, c)
		}
	}
	return out
}

// read keeps the rate limiter's answers. It may leave out those that do not refuse.
func (p *plan) read(d *ratelimiter.Decision) {
	p.degraded = p.degraded || d.Degraded
	for i := range d.Limits {
		for j := range p.charges {
			if p.charges[j].Limit == d.Limits[i].Limit {
				p.statuses[j] = &d.Limits[i]
			}
		}
	}
}

// over reports whether the request is refused, by what is known.
func (p *plan) over() bool {
	over := make([]bool, len(p.rules))
	for i := range p.rules {
		over[i] = p.exceeded(i)
	}
	return descriptor.Over(p.rules, over)
}

// exceeded reports whether a rule has no room. What is not known yet has.
func (p *plan) exceeded(i int) bool {
	switch {
	case p.rules[i].Limit == nil:
		return false
	case p.at[i] < 0:
		return true
	}
	s := p.statuses[p.at[i]]
	return s != nil && !s.Room
}

// explain tells the caller and the record what each descriptor met. What was not looked at is not shown: a refusal that
// needed no store knows only the limits that refuse.
func (p *plan) explain(c *pipeline.Case) {
	e := &c.Verdict.Explanation
	for i := range p.rules {
		r, state := &p.rules[i], &c.Verdict.Descriptors[i]
		if state.Unlimited = r.Unlimited; r.Limit == nil {
			continue
		}
		s, exceeded := p.status(i), p.exceeded(i)
		if s == nil && !exceeded {
			continue
		}
		state.Limit = &verdict.DescriptorLimit{Name: r.Limit.Name, RequestsPerUnit: r.Limit.RequestsPerUnit, Unit: r.Limit.Unit.String()}
		state.Over, state.Quota, state.Metadata = exceeded && !r.Shadow, r.Quota, r.Metadata
		record := verdict.LimitState{Name: r.Path, Quota: r.Limit.RequestsPerUnit, Window: r.Limit.Unit.Duration(), Refused: exceeded, Shadow: r.Shadow}
		if s != nil {
			state.Remaining, state.Reset = s.Remaining, whole(s.Full)
			if exceeded {
				state.Remaining = 0 // none of what may be left is enough
				if !s.Never {
					state.Reset = whole(s.Retry)
				}
			}
			record.Remaining, record.Reset, record.RetryAfter, record.Degraded = s.Remaining, s.Full, s.Retry, s.Degraded
		}
		e.Limits = append(e.Limits, record)
		if state.Over {
			c.Verdict.RetryAfter = max(c.Verdict.RetryAfter, whole(record.RetryAfter))
			if e.Limit == "" || !r.Quota {
				e.Limit = r.Path
			}
		}
	}
}

// whole rounds up to seconds, as callers want them.
func whole(d time.Duration) time.Duration {
	return time.Duration(ratelimiter.Seconds(d)) * time.Second
}

func (p *plan) status(i int) *ratelimiter.Status {
	if p.at[i] < 0 {
		return nil
	}
	return p.statuses[p.at[i]]
}
