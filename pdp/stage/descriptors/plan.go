package descriptors

import (
	"slices"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// plan is what a request's rules cost, and what came of it.
type plan struct {
	*part
	rules []descriptor.Rule
	// charges are the counters, each once, with what the request costs there; at has each rule's place among them, -1 for
	// none. A cost of 0 only looks.
	charges []ratelimiter.Charge
	at      []int
	// lookFirst is set where a charge before a look could be one too many: some rules only look, or there are several
	// quotas, of which one without room refuses nothing.
	lookFirst bool
	// tooMuch is set for charges of more hits than can be counted at once; nil where there is none. They have no room.
	tooMuch []bool

	statuses []*ratelimiter.Status // by charge; nil before there is one
	exceeds  []bool                // by rule, for over
	degraded bool
}

// newPlan makes the charges of rules.
func newPlan(rules []descriptor.Rule, of *part) (*plan, error) {
	p := &plan{part: of, rules: rules, at: make([]int, len(rules)), exceeds: make([]bool, len(rules)), charges: make([]ratelimiter.Charge, 0, min(len(rules), ratelimiter.MaxCharges))}
	quotas := 0
	for i := range rules {
		if rules[i].Quota {
			quotas++
		}
	}
	p.lookFirst = quotas > 1 && !p.compat.ShadowMode
	for i := range rules {
		r := &rules[i]
		if p.at[i] = -1; r.Limit == nil || closed(r) {
			continue
		}
		p.lookFirst = p.lookFirst || r.Hits == 0
		if err := p.add(i, p.compat.ShadowMode || r.Shadow || r.Quota && quotas > 1); err != nil {
			return nil, err
		}
	}
	p.statuses = make([]*ratelimiter.Status, len(p.charges))
	return p, nil
}

// add charges what a rule costs to its counter. A counter that the request names twice is charged for both, and bound by
// the stricter of both.
func (p *plan) add(i int, shadow bool) error {
	r := &p.rules[i]
	limit, err := p.limitOf(r, r.Limit.RequestsPerUnit, shadow)
	if err != nil {
		return err
	}
	j := slices.IndexFunc(p.charges, func(c ratelimiter.Charge) bool { return c.Key == r.Key })
	if j < 0 {
		j = len(p.charges)
		p.charges = append(p.charges, ratelimiter.Charge{Key: r.Key, Limit: limit})
	} else if other := p.charges[j].Limit; other != limit {
		had := other.Definition()
		if p.charges[j].Limit, err = p.limitOf(r, min(had.Count, r.Limit.RequestsPerUnit), had.Shadow && shadow); err != nil {
			return err
		}
	}
	p.at[i] = j
	room := uint64(ratelimiter.MaxCost - p.charges[j].Cost) //nolint:gosec // no cost is above it
	p.charges[j].Cost += int64(min(r.Hits, room))           //nolint:gosec // at most MaxCost
	if r.Hits > room {
		if p.tooMuch == nil {
			p.tooMuch = make([]bool, len(p.rules))
		}
		p.tooMuch[j] = true
	}
	return nil
}

// beyond reports whether a charge is of more hits than can be counted at once.
func (p *plan) beyond(j int) bool { return p.tooMuch != nil && p.tooMuch[j] }

// limitOf returns a rule's limit with a count: one that is prepared, but for overrides and for the stricter of two.
func (p *plan) limitOf(r *descriptor.Rule, count int64, shadow bool) (*ratelimiter.Limit, error) {
	prepared, ok := p.limits[r.Limit]
	switch {
	case !ok || count != r.Limit.RequestsPerUnit:
		return p.limit(r.Limit, r.Path, count, shadow)
	case shadow:
		return prepared.shadow, nil
	}
	return prepared.enforced, nil
}

// closed reports whether a rule refuses everything: that needs no counter.
func closed(r *descriptor.Rule) bool { return r.Limit.RequestsPerUnit == 0 }

// looks are the charges for a look. What costs nothing asks whether one unit would pass.
func (p *plan) looks() []ratelimiter.Charge {
	out := append([]ratelimiter.Charge(nil), p.charges...)
	for i := range out {
		out[i].Cost = max(1, out[i].Cost)
	}
	return out
}

// due are the charges that cost something and may have room.
func (p *plan) due() []ratelimiter.Charge {
	if p.tooMuch == nil && !slices.ContainsFunc(p.charges, func(c ratelimiter.Charge) bool { return c.Cost == 0 }) {
		return p.charges
	}
	out := make([]ratelimiter.Charge, 0, len(p.charges))
	for j, c := range p.charges {
		if c.Cost > 0 && !p.beyond(j) {
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
			if p.charges[j].Key == d.Limits[i].Key {
				p.statuses[j] = &d.Limits[i]
			}
		}
	}
}

// over reports whether the request is refused, by what is known.
func (p *plan) over() bool {
	if p.compat.ShadowMode {
		return false
	}
	for i := range p.rules {
		p.exceeds[i] = p.exceeded(i)
	}
	return descriptor.Over(p.rules, p.exceeds)
}

// unavailable reports whether the shared counters did not answer and the domain wants an error then, of whatever mode the
// rules are.
func (p *plan) unavailable() bool { return p.degraded && p.base.OnError == ratelimiter.Deny }

// exceeded reports whether a rule has no room. What is not known yet has.
func (p *plan) exceeded(i int) bool {
	switch {
	case p.rules[i].Limit == nil:
		return false
	case p.at[i] < 0 || p.beyond(p.at[i]):
		return true
	}
	s := p.statuses[p.at[i]]
	return s != nil && !s.Room
}

// explain tells the caller and the record what each descriptor met. What was not looked at is not shown: a refusal that
// needed no store knows only the limits that refuse.
func (p *plan) explain(c *pipeline.Case) {
	e := &c.Verdict.Explanation
	e.Limits = make([]verdict.LimitState, 0, len(p.charges))
	for i := range p.rules {
		r, state := &p.rules[i], &c.Verdict.Descriptors[i]
		state.Rule, state.RuleByRequest, state.Hits = r.Path, r.PathByRequest, r.Hits
		if state.Unlimited = r.Unlimited; r.Limit == nil {
			continue
		}
		s, exceeded := p.status(i), p.exceeded(i)
		if s == nil && !exceeded {
			continue
		}
		state.Limit = &verdict.DescriptorLimit{Name: r.Limit.Name, RequestsPerUnit: r.Limit.RequestsPerUnit, Unit: r.Limit.Unit.String()}
		state.Exceeded, state.Over, state.Quota, state.Metadata = exceeded, exceeded && !r.Shadow, r.Quota, r.Metadata
		state.Shadow = r.Shadow || p.compat.ShadowMode
		state.Reset = reset(s, r.Limit.Unit, c.Now)
		record := verdict.LimitState{Name: r.Path, Quota: r.Limit.RequestsPerUnit, Window: r.Limit.Unit.Duration(), Refused: exceeded, Shadow: state.Shadow}
		if s != nil {
			state.Remaining, state.Charged = s.Remaining, s.Charged
			if exceeded {
				state.Remaining = 0 // none of what may be left is enough
			}
			record.Remaining, record.Reset, record.RetryAfter, record.Degraded = s.Remaining, s.Full, s.Retry, s.Degraded
		}
		e.Limits = append(e.Limits, record)
		if state.Over && !p.compat.ShadowMode {
			c.Verdict.RetryAfter = max(c.Verdict.RetryAfter, whole(record.RetryAfter))
			if e.Limit == "" || !r.Quota {
				e.Limit = r.Path
			}
		}
	}
}

// reset is when the window ends, in whole seconds: by the clock of the counter, or by ours where there is none in the window.
func reset(s *ratelimiter.Status, unit descriptor.Unit, now time.Time) time.Duration {
	if s != nil && max(s.Full, s.Retry) > 0 {
		return whole(max(s.Full, s.Retry))
	}
	length := unit.Duration().Microseconds()
	return whole(time.Duration(length-now.UnixMicro()%length) * time.Microsecond)
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
