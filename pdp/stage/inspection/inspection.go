// Package inspection is the stage that asks whether a request is well formed: transport, header fields, and the
// size, type and encoding of the body.
//
// It stands at two points. Shape runs before anybody is identified and costs no more than reading the header; Body
// runs after policy, when a subject has earned the work. Only the assembly imports it. It does not rewrite what it
// finds, looks at no credential, and does not look inside bodies.
package inspection

import (
	"context"
	"fmt"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// name is the stage's name: the key of its parts and the first half of its points.
const name = "inspection"

// bounds of a request's header: its lines, the bytes of all names and values, and those of one value.
type bounds struct {
	lines, bytes, value int
}

// Stage compiles body rules and is the source of the stages of both points. It is immutable.
type Stage struct {
	bounds bounds
}

// New returns the stage, which takes 100 header lines, 32 KiB of header and 16 KiB of one value.
func New() *Stage {
	return &Stage{bounds{lines: 100, bytes: 32 << 10, value: 16 << 10}}
}

// Name returns the name under which services keep the compiled part.
func (s *Stage) Name() string { return name }

// Shape returns the stage of the point inspection.shape.
func (s *Stage) Shape() pipeline.Stage { return shape{s.bounds} }

// Body returns the stage of the point inspection.body.
func (s *Stage) Body() pipeline.Stage { return body{} }

// part holds a service's body rules by route index; nil for routes without one.
type part struct {
	bodies []*bodyRule
}

// Compile checks the body rules of a service and its routes. What a route leaves out comes from the defaults.
func (*Stage) Compile(_ *format.Bundle, s *format.Service) (any, format.Problems) {
	var problems format.Problems
	report := func(yamlPath, message string) { problems = append(problems, problem(s, yamlPath, message)) }
	checkBody(s.Defaults.Body, "$.defaults.body", report)
	p := &part{bodies: make([]*bodyRule, len(s.Routes))}
	for n := range s.Routes {
		own := s.Routes[n].Body
		checkBody(own, fmt.Sprintf("$.routes[%d].body", n), report)
		p.bodies[n] = newBodyRule(own, s.Defaults.Body)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return p, nil
}

func problem(s *format.Service, yamlPath, message string) format.Problem {
	if s.File == nil {
		return format.Problem{Message: message}
	}
	return s.File.Problem(yamlPath, message)
}

// rule returns the body rule of the case's route. ok is false when nothing was compiled for the route: then
// nobody knows what it allows.
func rule(c *pipeline.Case) (r *bodyRule, ok bool) {
	p, ok := pipeline.Part[*part](c, name)
	if !ok || c.Match.Route == nil || c.Match.Route.Index < 0 || c.Match.Route.Index >= len(p.bodies) {
		return nil, false
	}
	return p.bodies[c.Match.Route.Index], true
}

// decide turns a reason into the stage's outcome; "" goes on.
func decide(c *pipeline.Case, reason verdict.Reason) (pipeline.Outcome, error) {
	if reason != "" {
		return c.Deny(reason), nil
	}
	return pipeline.Continue, nil
}

// shape is the first point.
type shape struct {
	bounds bounds
}

// Evaluate refuses requests whose transport or header fields are not sound, and bodies that are declared too large.
func (s shape) Evaluate(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	if c.Request.Operation != nil {
		return decide(c, s.operation(c.Request.Operation))
	}
	if c.Match.Service == nil {
		return pipeline.Stop, errPart
	}
	if c.Match.Service.TLSRequired && !encrypted(c.Request) {
		return c.Deny(verdict.PlainText), nil
	}
	if reason := s.header(c.Request); reason != "" {
		return c.Deny(reason), nil
	}
	r, ok := rule(c)
	if !ok {
		return pipeline.Stop, errPart
	}
	return decide(c, r.declared(c.Request))
}

// body is the second point.
type body struct{}

// Evaluate holds the body against the route's rule.
func (body) Evaluate(_ context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	if c.Request.Operation != nil {
		return pipeline.Continue, nil
	}
	r, ok := rule(c)
	if !ok {
		return pipeline.Stop, errPart
	}
	return decide(c, r.check(c.Request))
}
