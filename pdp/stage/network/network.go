// Package network is the stage that refuses clients of blocked networks, on every route and before anything else is asked.
//
// It looks at the client's address as the listener's rule finds it, and at nothing of the bundle. A client whose address is unknown
// is in no network. What the replica knows counts, however old it is: a flood is not let in because Redis is down. Only the assembly
// imports the package. It will not count, and it keeps nothing.
package network

import (
	"context"

	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Stage refuses clients of blocked networks. It is safe for concurrent use.
type Stage struct {
	blocks *blocks.List
}

// New returns the stage. With nil nothing is blocked, as for tools that decide without a server.
func New(list *blocks.List) *Stage { return &Stage{blocks: list} }

// Evaluate denies clients of blocked networks. Such a denial charges no limit: what is blocked is to cost nothing.
func (s *Stage) Evaluate(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	if s.blocks == nil {
		return pipeline.Continue, nil
	}
	b := s.blocks.Network(c.Request.Client, c.Now)
	if b == nil {
		return pipeline.Continue, nil
	}
	c.Verdict.Explanation.Detail = b.Detail()
	c.MarkSettled()
	return c.Deny(verdict.NetworkBlocked), nil
}
