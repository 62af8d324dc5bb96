package pdp

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestDenialsHoldNoPermits: whatever makes a denial of a decision that acquired a permit, the permit is given back and not
// handed out.
func TestDenialsHoldNoPermits(t *testing.T) {
	for name, c := range map[string]struct {
		policy   func(context.Context, *pipeline.Case) (pipeline.Outcome, error)
		unable   error // to record
		released int
	}{
		"allowed": {policy: grant},
		"denied": {policy: func(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
			return c.Deny(verdict.HeaderUnsafe), nil
		}, released: 1},
		"not granted": {policy: func(context.Context, *pipeline.Case) (pipeline.Outcome, error) { return pipeline.Continue, nil }, released: 1},
		"panic":       {policy: func(context.Context, *pipeline.Case) (pipeline.Outcome, error) { panic("a fault") }, released: 1},
		"no record":   {policy: grant, unable: errors.New("no space"), released: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var released []string
			f := newFixture(t, func(o *Options) { o.Release = func(p []string) { released = append(released, p...) } })
			f.publish(t)
			f.recorder.err = c.unable
			f.policy = func(ctx context.Context, pc *pipeline.Case) (pipeline.Outcome, error) {
				pc.Verdict.Permits = []string{"p1"}
				return c.policy(ctx, pc)
			}
			v := f.engine.Decide(t.Context(), get("/orders/7"))
			if len(released) != c.released || v.Allowed() != (c.released == 0) || slices.Contains(v.Permits, "p1") != v.Allowed() {
				t.Errorf("%v, permits %v, released %v", v.Reason, v.Permits, released)
			}
		})
	}
}

// TestNobodyHoldsPermitsForWhoLeft: a caller that has left before its answer cannot give back what that holds.
func TestNobodyHoldsPermitsForWhoLeft(t *testing.T) {
	var released []string
	f := newFixture(t, func(o *Options) { o.Release = func(p []string) { released = append(released, p...) } })
	f.publish(t)
	ctx, leave := context.WithCancel(t.Context())
	f.policy = func(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
		c.Verdict.Permits = []string{"p1"}
		return grant(ctx, c)
	}
	f.recorder.during = leave
	v := f.engine.Decide(ctx, get("/orders/7"))
	if !slices.Equal(released, []string{"p1"}) || len(v.Permits) != 0 {
		t.Errorf("%v, permits %v, released %v", v.Reason, v.Permits, released)
	}
}

func grant(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	c.Grant = &pipeline.Grant{By: "main"}
	return pipeline.Continue, nil
}
