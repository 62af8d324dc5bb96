// Package descriptors is the stage that takes the limits of a rate limit request: one that brings descriptors, in the
// sense of Envoy's rate limit service, and asks for nothing else.
//
// It compiles the files ratelimits/*.yaml of a bundle, asks package descriptor which limits a request meets, and the rate
// limiter whether they have room. It stands alone in a pipeline of its own. Only the assembly imports it. It holds no
// counter and no clock, and tells nobody what a counter is keyed by.
package descriptors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/descriptor"
)

// Name is the stage's name: the key of its part in a compiled domain.
const Name = "descriptors"

// margin is kept free before the decision's deadline, so that local shares answer for a store that hangs and not the
// deadline.
const margin = 2 * time.Millisecond

var (
	// ErrNotCompiled is returned for a case without descriptors, or whose domain this stage did not compile.
	ErrNotCompiled = errors.New("take the limits of descriptors: not a compiled domain")

	errUndecided = errors.New("take the limits of descriptors: no answer")
)

// Stage is the descriptors stage. It is safe for concurrent use. The zero Stage compiles and takes nothing; use New.
type Stage struct {
	limiter *ratelimiter.Limiter
	wait    bool
}

// Options configure a Stage.
type Options struct {
	// Limiter counts. Closing it charges what waits. It is mandatory.
	Limiter *ratelimiter.Limiter
	// Wait charges what a denial costs before the answer, for tests. A server charges it behind the answer.
	Wait bool
}

// New returns a stage.
func New(o Options) (*Stage, error) {
	if o.Limiter == nil {
		return nil, errors.New("descriptors stage: no limiter")
	}
	return &Stage{limiter: o.Limiter, wait: o.Wait}, nil
}

// Name returns the stage's name.
func (*Stage) Name() string { return Name }

// Evaluate implements pipeline.Stage.
func (s *Stage) Evaluate(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	asked := c.Request.Descriptors
	if asked == nil || s.limiter == nil {
		return pipeline.Stop, ErrNotCompiled
	}
	c.Verdict.Descriptors = make([]verdict.DescriptorState, len(asked.List))
	if c.Service == nil { // no bundle has the domain
		return pipeline.Continue, nil
	}
	p, ok := pipeline.Part[*part](c, Name)
	if !ok {
		return pipeline.Stop, ErrNotCompiled
	}
	rules, err := p.domain.Match(question(asked))
	if err != nil {
		c.Verdict.Explanation.Detail = err.Error()   // it holds no text of the request
		return c.Deny(verdict.MalformedRequest), nil //nolint:nilerr // the caller's mistake, and no outage
	}
	plan, err := newPlan(rules, p)
	if err != nil {
		return pipeline.Stop, err
	}
	if len(plan.charges) > ratelimiter.MaxCharges {
		c.Verdict.Explanation.Detail = fmt.Sprintf("%d limits hold for the request, at most %d can be taken together", len(plan.charges), ratelimiter.MaxCharges)
		return c.Deny(verdict.MalformedRequest), nil
	}
	return s.ask(ctx, c, plan)
}

// question takes a request over.
func question(asked *request.Descriptors) descriptor.Request {
	out := descriptor.Request{Hits: asked.Hits, Descriptors: make([]descriptor.Descriptor, len(asked.List))}
	pairs := 0
	for i := range asked.List {
		pairs += len(asked.List[i].Pairs)
	}
	entries := make([]descriptor.Entry, 0, pairs)
	for i := range asked.List {
		in, d := &asked.List[i], &out.Descriptors[i]
		d.Hits = in.Hits
		first := len(entries)
		for _, pair := range in.Pairs {
			entries = append(entries, descriptor.Entry(pair))
		}
		d.Entries = entries[first:len(entries):len(entries)]
		if in.Override != nil {
			unit, _ := descriptor.ParseUnit(in.Override.Unit) // none of an unknown one, which Match refuses
			d.Override = &descriptor.Override{RequestsPerUnit: in.Override.RequestsPerUnit, Unit: unit}
		}
	}
	return out
}

// ask takes the limits, or looks at them where nothing may be charged.
func (s *Stage) ask(ctx context.Context, c *pipeline.Case, p *plan) (pipeline.Outcome, error) {
	ctx, cancel := ahead(ctx)
	defer cancel()
	dry := c.Request.Mode == request.Dry
	if dry || p.over() || p.lookFirst {
		d, err := s.limiter.Peek(ctx, p.looks())
		if err != nil {
			return pipeline.Stop, fmt.Errorf("look at the limits of descriptors: %w", err)
		}
		p.read(&d)
		if !dry && p.over() {
			s.limiter.Refused(d)
		}
	}
	if !dry && !p.over() && !p.unavailable() {
		d, err := s.limiter.Take(ctx, p.due())
		if err != nil {
			return pipeline.Stop, fmt.Errorf("take the limits of descriptors: %w", err)
		}
		p.read(&d)
		if !d.Allowed && !p.over() && !p.unavailable() {
			return pipeline.Stop, errUndecided
		}
	}
	c.Verdict.Degraded = c.Verdict.Degraded || p.degraded
	p.explain(c)
	if p.unavailable() {
		return c.Outage(verdict.LimitsUnavailable), nil
	}
	if p.compat.ChargeDenied && !dry {
		s.chargeRest(ctx, p.uncharged())
	}
	if p.over() {
		return c.Deny(verdict.LimitExceeded), nil
	}
	return pipeline.Continue, nil
}

// chargeRest charges what was left out: all that a refused request costs, and in one that passes the shadows and quotas
// without room. A server waits for nobody: where too many wait it is not charged.
func (s *Stage) chargeRest(ctx context.Context, charges []ratelimiter.Charge) {
	if len(charges) == 0 {
		return
	}
	if s.wait {
		_ = s.limiter.Settle(ctx, charges)
		return
	}
	_, _ = s.limiter.TrySettle(charges)
}

// ahead ends the call a little before the decision ends.
func ahead(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-margin))
	}
	return ctx, func() {}
}
