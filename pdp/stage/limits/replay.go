package limits

import (
	"context"

	"github.com/durward-pdp/durward/pdp/pipeline"
)

// Replay takes the limits of a request that was decided before, as gate, Take and Settle would: denied says that something
// other than a limit denied it, so that it is charged as a denial. Limits for which without is true are left out. The
// stage must have been made to wait.
func (s *Stage) Replay(ctx context.Context, c *pipeline.Case, denied bool, without func(limit string) bool) (pipeline.Outcome, error) {
	all, err := limitsOf(c)
	if err != nil {
		return pipeline.Stop, err
	}
	r := all.without(without)
	if outcome, err := s.passGate(ctx, c, r); err != nil || outcome == pipeline.Stop {
		return outcome, err
	}
	if denied {
		s.settle(c, r)
		return pipeline.Stop, nil
	}
	return s.ask(ctx, c, r.take)
}

// without returns the limits but those that are left out.
func (r *routeLimits) without(out func(limit string) bool) *routeLimits {
	keep := func(list []*binding) (kept []*binding) {
		for _, b := range list {
			if !out(b.limit.Definition().Name) {
				kept = append(kept, b)
			}
		}
		return kept
	}
	return &routeLimits{all: keep(r.all), gate: keep(r.gate), take: keep(r.take)}
}
