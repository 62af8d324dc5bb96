// Package limits is the stage that says which limits apply to a request, what each counts by and what the request
// costs there, and asks the rate limiter whether all of them have room.
//
// It stands at two points of the pipeline and charges denials behind them: Gate refuses before a credential is worth
// looking at, Take charges all limits of the decision together, Settle charges the limits that count denials. Only the
// assembly imports it. It holds no counter and no clock, grants nothing, and tells clients the names of limits and
// their numbers, never what a counter is keyed by.
package limits

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// Name is the stage's name: the key of its part in a compiled service.
const Name = "limits"

// margin is kept free before the decision's deadline, so that on_error answers for a store that hangs and not the
// deadline.
const margin = 2 * time.Millisecond

// ErrNotCompiled is returned for a case whose service or route this stage did not compile.
var ErrNotCompiled = errors.New("take the limits: the route has no compiled limits")

// errUndecided is returned when a store answered nothing at all, which no limit has a failure mode for.
var errUndecided = errors.New("take the limits: no answer")

// Options configure a Stage.
type Options struct {
	// Limiter counts. It is mandatory. Its stores bound the time of their calls; closing it charges what waits.
	Limiter *ratelimiter.Limiter
	// Dropped, if not nil, is told of each denial that was not charged because too many waited. It must not block.
	Dropped func()
	// Random is where the ids of permits come from; nil is the system's source, and nothing that can be guessed will do.
	Random io.Reader
	// Wait charges denials before the decision ends, for tools whose next decision must see the charge. Servers leave it.
	Wait bool
}

// Stage is the limits stage. It is safe for concurrent use.
type Stage struct {
	limiter *ratelimiter.Limiter
	dropped func()
	random  io.Reader
	wait    bool
}

// New returns the stage.
func New(o Options) (*Stage, error) {
	if o.Limiter == nil {
		return nil, errors.New("limits stage: no limiter")
	}
	if o.Dropped == nil {
		o.Dropped = func() {}
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	return &Stage{limiter: o.Limiter, dropped: o.Dropped, random: o.Random, wait: o.Wait}, nil
}

// Name returns the stage's name.
func (*Stage) Name() string { return Name }

// Gate returns the point before identity. It refuses what this process knows to have no room, without I/O, and then
// takes the limits that are marked `at: gate`.
// What it refuses from memory is charged nowhere: a limit that counts all decisions counts those that reach Take.
func (s *Stage) Gate() pipeline.Stage { return gate{s} }

// Take returns the point after policy. It charges all other limits of the decision together, or refuses.
func (s *Stage) Take() pipeline.Stage { return take{s} }

// Report returns the point of reported failures. It denies, so that Settle charges the limits that count denials alone; the others
// were charged by the decision that allowed the request.
func (s *Stage) Report() pipeline.Stage { return report{} }

type report struct{}

// Evaluate implements pipeline.Stage.
func (report) Evaluate(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	if _, err := limitsOf(c); err != nil {
		return pipeline.Stop, err
	}
	return c.Deny(verdict.ReportedFailure), nil
}

type gate struct{ *Stage }

// Evaluate implements pipeline.Stage.
func (g gate) Evaluate(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	r, err := limitsOf(c)
	if err != nil {
		return pipeline.Stop, err
	}
	return g.passGate(ctx, c, r)
}

func (s *Stage) passGate(ctx context.Context, c *pipeline.Case, r *routeLimits) (pipeline.Outcome, error) {
	if known := r.known(&c.Facts); len(known) > 0 {
		if d := s.limiter.Gate(known); !d.Allowed {
			return refuse(c, &d)
		}
	}
	return s.ask(ctx, c, r.gate)
}

type take struct{ *Stage }

// Evaluate implements pipeline.Stage.
func (t take) Evaluate(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	r, err := limitsOf(c)
	if err != nil {
		return pipeline.Stop, err
	}
	outcome, err := t.ask(ctx, c, r.take)
	if err == nil && outcome == pipeline.Continue {
		c.MarkSettled() // what denies after this point is no denial by identity, inspection or policy
	}
	return outcome, err
}

// ask takes limits, all or none. A dry decision looks and charges nothing.
func (s *Stage) ask(ctx context.Context, c *pipeline.Case, bindings []*binding) (pipeline.Outcome, error) {
	charges, wrong := charge(&c.Facts, bindings)
	if wrong.is() {
		c.Verdict.Explanation.Limit = wrong.limit
		c.Verdict.Explanation.Detail = wrong.detail
		return c.Deny(wrong.reason), nil
	}
	if len(charges) == 0 {
		return pipeline.Continue, nil
	}
	if err := s.draw(charges); err != nil {
		return pipeline.Stop, err
	}
	ctx, cancel := ahead(ctx)
	defer cancel()
	call := s.limiter.Take
	if c.Request.Mode == request.Dry {
		call = s.limiter.Peek
	}
	d, err := call(ctx, charges)
	if err != nil {
		return pipeline.Stop, fmt.Errorf("take the limits: %w", err)
	}
	if !d.Allowed {
		return refuse(c, &d)
	}
	c.Verdict.Degraded = c.Verdict.Degraded || d.Degraded
	if c.Request.Mode != request.Dry {
		c.Verdict.Permits = append(c.Verdict.Permits, held(charges, &d)...)
	}
	explain(c, d.Limits)
	publish(c, d.Limits)
	return pipeline.Continue, nil
}

// ahead ends the call a little before the decision ends.
func ahead(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline.Add(-margin))
	}
	return ctx, func() {}
}

// Settle charges the limits that count denials for a request that identity, inspection or policy denied, or whose failure the API
// reported. It does no
// I/O of its own and never waits, unless the stage was told to: when too many denials wait to be charged, this one is
// not, and Dropped is told.
func (s *Stage) Settle(c *pipeline.Case) {
	if r, err := limitsOf(c); err == nil && c.Request.Mode != request.Dry {
		s.settle(c, r)
	}
}

func (s *Stage) settle(c *pipeline.Case, r *routeLimits) {
	var due []ratelimiter.Charge
	for _, b := range r.all {
		counting := b.limit.Definition().Counting
		if counting == ratelimiter.CountAllowed || c.Request.Failure != nil && counting != ratelimiter.CountDenied || b.charged(c) {
			continue
		}
		// What the request lacks, for instance a subject, is not counted by.
		if charge, applies, wrong := b.charge(&c.Facts); applies && !wrong.is() {
			due = append(due, charge)
		}
	}
	if s.wait {
		if err := s.limiter.Settle(context.Background(), due); err != nil { //nolint:forbidigo // stores have deadlines of their own
			s.dropped()
		}
		return
	}
	if queued, err := s.limiter.TrySettle(due); err != nil || !queued {
		s.dropped()
	}
}

// charged reports whether the gate charged the limit already. What it took stands in the explanation; limits that count
// denials alone were only looked at there.
func (b *binding) charged(c *pipeline.Case) bool {
	d := b.limit.Definition()
	return d.Counting == ratelimiter.CountAll &&
		slices.ContainsFunc(c.Verdict.Explanation.Limits, func(l verdict.LimitState) bool { return l.Name == d.Name })
}

// limitsOf returns the limits of the case's route.
func limitsOf(c *pipeline.Case) (*routeLimits, error) {
	p, ok := pipeline.Part[*part](c, Name)
	if !ok || c.Match.Route == nil || c.Match.Route.Index < 0 || c.Match.Route.Index >= len(p.routes) {
		return nil, ErrNotCompiled
	}
	return &p.routes[c.Match.Route.Index], nil
}
