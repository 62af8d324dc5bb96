package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// Outcome says how a case goes on after a stage. The zero Outcome stops.
type Outcome uint8

const (
	// Stop ends the case with a denial.
	Stop Outcome = iota
	// Continue hands the case to the next stage.
	Continue
)

// Stage answers one question about a case.
type Stage interface {
	// Evaluate must honour ctx, must be safe for concurrent use, and reports an error only for what it could not
	// establish (an outage); a request that fails the question is c.Deny(reason), nil.
	Evaluate(ctx context.Context, c *Case) (Outcome, error)
}

// Step is one row of the stage table.
type Step struct {
	// Point names the row: the stage's name, and the point where one stage stands at several ("limits.gate").
	Point string
	// Stage is run here.
	Stage Stage
	// Budget bounds the stage's time; 0 leaves it the decision's.
	Budget time.Duration
	// Failure is the reason of the denial when the stage errs; "" is stage_failed.
	Failure verdict.Reason
	// FailOpen lets the case pass when the stage errs. Only limits and inspection can be told to.
	FailOpen bool
}

// Settler charges what a denial costs.
type Settler interface {
	// Settle must be safe for concurrent use and must not block.
	Settle(c *Case)
}

// Options configure a Pipeline.
type Options struct {
	// Steps is the stage table, in order.
	Steps []Step
	// Settler, if not nil, sees every denial that is not an outage, unless the case's limits are settled.
	Settler Settler
	// Clock returns the time, for step times only.
	Clock func() time.Time
	// Observe, if not nil, is told of every step; err is what the stage reported. It must not block.
	Observe func(point string, took time.Duration, outcome Outcome, err error)
}

// Pipeline is an ordered table of stages. It is immutable and safe for concurrent use.
type Pipeline struct {
	options Options
}

// ErrSteps is wrapped by errors about a stage table that cannot be right.
var ErrSteps = errors.New("stage table")

// New checks the table and returns the pipeline.
func New(options Options) (*Pipeline, error) {
	if options.Clock == nil {
		return nil, fmt.Errorf("%w: no clock", ErrSteps)
	}
	seen := map[string]bool{}
	for _, s := range options.Steps {
		if s.Point == "" || s.Stage == nil {
			return nil, fmt.Errorf("%w: a row without a point or a stage", ErrSteps)
		}
		if seen[s.Point] {
			return nil, fmt.Errorf("%w: %q twice", ErrSteps, s.Point)
		}
		if s.FailOpen && !mayFailOpen(s.Point) {
			return nil, fmt.Errorf("%w: %q cannot fail open", ErrSteps, s.Point)
		}
		seen[s.Point] = true
	}
	return &Pipeline{options: options}, nil
}

func mayFailOpen(point string) bool {
	for _, stage := range []string{"limits", "inspection"} {
		if point == stage || len(point) > len(stage) && point[:len(stage)+1] == stage+"." {
			return true
		}
	}
	return false
}

// Run takes the case through the stages and sets the verdict's effect. It is the only place that can allow: every
// stage continued, the deadline holds, and the case holds a grant. What a stage wrote as effect does not count.
func (p *Pipeline) Run(ctx context.Context, c *Case) {
	c.Verdict.Effect = verdict.Deny
	if r := c.Match.Route; r != nil && r.Public {
		c.Grant = &Grant{By: "public"}
	}
	allowed := p.passes(ctx, c)
	c.Verdict.Effect = verdict.Deny
	if !allowed {
		p.settle(c)
		return
	}
	c.Verdict.Effect = verdict.Allow
	c.Verdict.Reason = verdict.Allowed
}

// passes runs the stages and reports whether the case may pass.
func (p *Pipeline) passes(ctx context.Context, c *Case) bool {
	c.Trace = make([]StepTime, 0, len(p.options.Steps))
	for i := range p.options.Steps {
		if !p.step(ctx, &p.options.Steps[i], c) {
			return false
		}
	}
	if c.Grant == nil {
		c.Deny(verdict.NotGranted)
		return false
	}
	return !stopped(ctx, c)
}

// step runs one row and reports whether the case goes on.
func (p *Pipeline) step(ctx context.Context, s *Step, c *Case) bool {
	if stopped(ctx, c) {
		return false
	}
	stepCtx, cancel := ctx, context.CancelFunc(nil)
	if s.Budget > 0 {
		stepCtx, cancel = context.WithTimeout(ctx, s.Budget)
	}
	began := p.options.Clock()
	outcome, err := s.Stage.Evaluate(stepCtx, c)
	took := p.options.Clock().Sub(began)
	if cancel != nil {
		cancel()
	}
	c.Trace = append(c.Trace, StepTime{Point: s.Point, Took: took})
	if p.options.Observe != nil {
		p.options.Observe(s.Point, took, outcome, err)
	}
	if err != nil {
		return p.failed(ctx, s, c)
	}
	if outcome != Continue {
		c.Verdict.Stage = s.Point
		if c.Verdict.Reason == "" {
			c.Verdict.Reason = verdict.NotGranted
		}
		return false
	}
	return true
}

// failed applies the row's failure mode.
func (p *Pipeline) failed(ctx context.Context, s *Step, c *Case) bool {
	c.Verdict.Degraded = true
	if stopped(ctx, c) {
		c.Verdict.Stage = s.Point
		return false
	}
	if s.FailOpen {
		return true
	}
	reason := s.Failure
	if reason == "" {
		reason = verdict.StageFailed
	}
	c.Outage(reason)
	c.Verdict.Stage = s.Point
	return false
}

// stopped reports whether the caller's time is over, and says so in the case.
func stopped(ctx context.Context, c *Case) bool {
	err := ctx.Err()
	if err == nil {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) {
		c.Outage(verdict.Deadline)
	} else {
		c.Outage(verdict.Cancelled)
	}
	return true
}

func (p *Pipeline) settle(c *Case) {
	if p.options.Settler == nil || c.settled || c.outage || c.Service == nil {
		return
	}
	c.settled = true
	p.options.Settler.Settle(c)
}
