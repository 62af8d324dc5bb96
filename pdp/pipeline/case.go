// Package pipeline runs the stages of a decision in order and owns what is the same for all of them: deadlines,
// failure modes, timing, and the rule that nothing is allowed without a grant.
//
// Stages import it to read the Case and to say how it goes on; the engine imports it to run them. It knows no
// stage by name and no wire protocol.
package pipeline

import (
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Case is one request on its way through the stages. One goroutine owns it.
type Case struct {
	attribute.Facts
	// Given is the subject that stands for the request's credentials; nil for all that adapters bring. Only the engine
	// sets it.
	Given *subject.Subject
	// Service is the compiled policy of the request's service.
	Service *Service
	// Grant is the policy's yes. Only the policy stage sets it, and the pipeline for public routes.
	Grant *Grant
	// Verdict collects obligations and explanation, and the reason when a stage stops. Its Effect is set by the
	// pipeline alone.
	Verdict verdict.Verdict
	// Trace says how long each step took, in order.
	Trace []StepTime

	settled bool
	outage  bool
	rules   RuleNames
	rule    uint32
}

// RuleNames names the rules of a compiled policy by their numbers. It is immutable.
type RuleNames interface {
	// Position is where the rule stands, file:line.
	Position(rule uint32) string
	// ID is the rule's stable hash.
	ID(rule uint32) string
}

// SetRule notes the rule that decided; nil is none. Its names are made by NameRule, so that whoever needs none pays for none.
func (c *Case) SetRule(names RuleNames, rule uint32) {
	c.Verdict.Explanation.Rule, c.Verdict.Explanation.RuleID = "", ""
	c.rules, c.rule = names, rule
}

// NameRule writes the names of the rule that decided into the verdict. The engine calls it before anybody reads the verdict.
func (c *Case) NameRule() {
	if c.rules != nil {
		c.Verdict.Explanation.Rule, c.Verdict.Explanation.RuleID = c.rules.Position(c.rule), c.rules.ID(c.rule)
		c.rules = nil
	}
}

// Grant is the policy's yes. It is immutable: a stage may give the same one to many cases.
type Grant struct {
	// By is "public" or the name of the policy that granted last.
	By string
}

// StepTime is how long one step took.
type StepTime struct {
	Point string
	Took  time.Duration
}

// Deny records why the request stops here and returns Stop, so that a stage ends with `return c.Deny(reason), nil`.
func (c *Case) Deny(reason verdict.Reason) Outcome {
	c.Verdict.Reason = reason
	return Stop
}

// Outage records that a dependency failed and its failure mode denies; the denial is then not counted against the client.
func (c *Case) Outage(reason verdict.Reason) Outcome {
	c.outage = true
	c.Verdict.Degraded = true
	c.Verdict.Reason = reason
	return Stop
}

// IsOutage reports whether the case ended for a fault that is not the client's.
func (c *Case) IsOutage() bool { return c.outage }

// MarkSettled says that this case's limits are charged and must not be charged again.
func (c *Case) MarkSettled() { c.settled = true }

// Service is one service's compiled policy: immutable, part of a Snapshot.
type Service struct {
	// Route holds the service's routes; Record what may appear in its records.
	Route  *route.Service
	Record RecordNames
	// Resources are the resource templates by route index; nil entries take the route itself.
	Resources []*attribute.ResourceTemplate
	// Parts are what each stage compiled, by the stage's name.
	Parts map[string]any
	// Report is what the parts have to say about themselves, as how a policy will run.
	Report []string
}

// RecordNames are the request parts that the bundle's owner wants to see in records.
type RecordNames struct {
	Headers, Query, Params, Claims []string
}

// Part returns what the stage compiled for the case's service; false when it compiled nothing of that type,
// which a stage must treat as a reason to stop.
func Part[T any](c *Case, stage string) (T, bool) {
	var zero T
	if c.Service == nil {
		return zero, false
	}
	part, ok := c.Service.Parts[stage].(T)
	return part, ok
}

// Snapshot is the compiled form of all bundles. It is immutable; a decision keeps the one it began with.
type Snapshot struct {
	// Routes finds the service and route of a request.
	Routes *route.Table
	// Services are the compiled services by the service that Routes returns.
	Services map[*route.Service]*Service
	// Domains are the domains of rate limit descriptors by name, each compiled like a service with one public route.
	Domains map[string]*Service
	// Bundles are the bundles in the snapshot, ordered by name.
	Bundles []BundleInfo
}

// BundleInfo names a bundle's revision.
type BundleInfo struct {
	// Name is the bundle's name, Revision its content hash, Sequence its count of changes since the start.
	Name, Revision string
	Sequence       uint64
	// Loaded is when the revision became active.
	Loaded time.Time
	// Load says what it took.
	Load LoadInfo
}

// LoadInfo says what it took to load a revision.
type LoadInfo struct {
	// Compiled services were new or had changed; Reused ones came from the revision before as they were.
	Compiled, Reused int
	// Took is the time from the reading of the first file until the revision was compiled.
	Took time.Duration
}
