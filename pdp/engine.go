package pdp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/audit"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// replyMargin is kept free before the caller's deadline, so that the verdict is there before the caller gives up
// and follows its own failure mode, which may be open.
const replyMargin = 5 * time.Millisecond

// Recorder keeps the records of decisions.
type Recorder interface {
	// Record keeps one record. It must be safe for concurrent use and must not block longer than ctx allows. An error
	// means that the record is lost and that the configuration forbids to decide without one.
	Record(ctx context.Context, entry *audit.Entry) error
}

// Options configure an Engine. All but Descriptors, Reports, Release and Observe are mandatory.
type Options struct {
	// Pipeline holds the stages.
	Pipeline *pipeline.Pipeline
	// Descriptors, if not nil, holds those for requests that bring descriptors; without it they are denied.
	Descriptors *pipeline.Pipeline
	// Reports, if not nil, holds those for failures that APIs report; without it they are denied.
	Reports *pipeline.Pipeline
	// Recorder keeps records.
	Recorder Recorder
	// Clock is the time of decisions; Random the source of decision ids.
	Clock  func() time.Time
	Random io.Reader
	// Budget bounds every decision.
	Budget time.Duration
	// Release, if not nil, gets the permits that a decision acquired before it became a denial, or its caller left. It must not block.
	Release func(permits []string)
	// Observe is told of every decision. It must not block or keep what it is given.
	Observe func(Observation)
}

// Observation is what metrics need of a decision.
type Observation struct {
	// Adapter and Caller say who asked; Service and Route are "" when unknown.
	Adapter, Caller, Service, Route string
	// Verdict is the answer.
	Verdict *verdict.Verdict
	// Took is the time from the call to the verdict.
	Took time.Duration
	// Dry is set for a decision that was asked for without effect.
	Dry bool
	// Report is set for the report of a failure, which is no decision.
	Report bool
	// Panic is set when a stage panicked and the decision was denied for it.
	Panic bool
}

// Engine decides requests. It is safe for concurrent use.
type Engine struct {
	options  Options
	snapshot atomic.Pointer[pipeline.Snapshot]
}

// ErrOptions is returned for incomplete options.
var ErrOptions = errors.New("incomplete engine options")

// New returns an engine without a snapshot: it denies everything until Publish.
func New(options Options) (*Engine, error) {
	if options.Pipeline == nil || options.Recorder == nil || options.Clock == nil || options.Random == nil || options.Budget <= 0 {
		return nil, fmt.Errorf("new engine: %w", ErrOptions)
	}
	return &Engine{options: options}, nil
}

// Publish makes a snapshot the one that new decisions use. Decisions in flight keep theirs.
func (e *Engine) Publish(s *pipeline.Snapshot) { e.snapshot.Store(s) }

// Snapshot returns the snapshot in force; nil before the first.
func (e *Engine) Snapshot() *pipeline.Snapshot { return e.snapshot.Load() }

// Decide answers a request. It returns no error: what cannot be established is a denial with a reason. The answer
// leaves before the caller's deadline.
func (e *Engine) Decide(ctx context.Context, r *request.Request) verdict.Verdict {
	return e.decide(ctx, r, nil)
}

// Given is what a decision takes for granted that it would else establish itself. It is for replay and tests: no adapter
// may import this package, so none can name it, and nothing that arrives can bring it.
type Given struct {
	// Subject stands for whatever credentials the request holds. Whether the route needs one, which authenticators and
	// roles it takes, and which scopes it asks for, hold as always.
	Subject subject.Subject
}

// DecideGiven is Decide for a subject that needs no credentials.
func (e *Engine) DecideGiven(ctx context.Context, r *request.Request, given Given) verdict.Verdict {
	return e.decide(ctx, r, &given.Subject)
}

func (e *Engine) decide(ctx context.Context, r *request.Request, given *subject.Subject) verdict.Verdict {
	began, caller := e.options.Clock(), ctx
	ctx, cancel := e.withDeadline(ctx)
	defer cancel()

	c := &pipeline.Case{Facts: attribute.Facts{Request: r, Now: began, Subject: subject.Anonymous()}, Given: given}
	id, ok := e.newID()
	c.Verdict.DecisionID = id
	panicked := false
	if ok {
		panicked = e.run(ctx, c)
	} else {
		c.Outage(verdict.Internal)
	}
	if r.Descriptors == nil { // who asks for limits alone speaks for nobody
		c.Verdict.Subject = c.Subject.Key
	}
	if e.record(ctx, c, began) {
		panicked = true
	}
	e.release(caller, c)
	e.observe(c, began, panicked)
	return c.Verdict
}

// release gives back what a denial holds, or an answer whose caller has left: what it is about never runs.
func (e *Engine) release(caller context.Context, c *pipeline.Case) {
	if len(c.Verdict.Permits) == 0 || c.Verdict.Allowed() && caller.Err() == nil {
		return
	}
	if e.options.Release != nil {
		e.options.Release(c.Verdict.Permits)
	}
	c.Verdict.Permits = nil
}

// Refuse answers, records and counts a message that an adapter could not turn into a request. What is known of it
// stands in r; reason is one of the list.
func (e *Engine) Refuse(ctx context.Context, r *request.Request, reason verdict.Reason) verdict.Verdict {
	refused := *r
	refused.Invalid = string(reason)
	return e.Decide(ctx, &refused)
}

func (e *Engine) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	end := time.Now().Add(e.options.Budget) // contexts know the wall clock alone
	if deadline, ok := ctx.Deadline(); ok && deadline.Add(-replyMargin).Before(end) {
		end = deadline.Add(-replyMargin)
	}
	return context.WithDeadline(ctx, end)
}

// newID returns 128 random bits in hexadecimal.
func (e *Engine) newID() (string, bool) {
	var raw [16]byte
	if _, err := io.ReadFull(e.options.Random, raw[:]); err != nil {
		return "", false
	}
	return hex.EncodeToString(raw[:]), true
}

// run finds the route and runs the stages. A panic denies.
func (e *Engine) run(ctx context.Context, c *pipeline.Case) (panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			// The value may hold request text: it is counted, and never logged or shown.
			panicked = true
			withdraw(c, verdict.Internal)
		}
	}()
	if reason := e.place(c); reason != "" {
		c.Verdict.Effect = verdict.Deny
		c.Verdict.Stage = "route"
		c.Deny(reason)
		return false
	}
	line := e.options.Pipeline
	switch {
	case c.Request.Descriptors != nil:
		line = e.options.Descriptors
	case c.Request.Failure != nil:
		line = e.options.Reports
	}
	line.Run(ctx, c)
	c.NameRule()
	return false
}

// place finds the case's service, route, action and resource. It returns the reason when there is none.
func (e *Engine) place(c *pipeline.Case) verdict.Reason {
	if c.Request.Invalid != "" {
		return verdict.Reason(c.Request.Invalid)
	}
	snapshot := e.snapshot.Load()
	if snapshot == nil {
		c.Verdict.Degraded = true
		return verdict.NoSnapshot
	}
	if c.Request.Descriptors != nil {
		return e.placeDescriptors(c, snapshot)
	}
	if c.Request.Failure != nil && e.options.Reports == nil {
		return verdict.NotGranted
	}
	c.Match = snapshot.Routes.Match(c.Request)
	if c.Match.Service != nil {
		c.Service = snapshot.Services[c.Match.Service]
		c.Verdict.Explanation.Bundle = c.Match.Service.Bundle
		c.Verdict.Explanation.Revision = c.Match.Service.Revision
	}
	if c.Match.Reason != "" {
		c.Verdict.Status = c.Match.Status
		if len(c.Match.Allow) > 0 {
			c.Verdict.Obligations.SetResponse = append(c.Verdict.Obligations.SetResponse,
				verdict.Field{Name: "allow", Value: strings.Join(c.Match.Allow, ", ")})
		}
		return c.Match.Reason
	}
	if c.Service == nil || c.Match.Route == nil {
		return verdict.NoRoute
	}
	c.Action = c.Match.Route.Action
	if c.Action == "" {
		c.Action = c.Request.Method
	}
	return resolveResource(c)
}

// UnknownDomain is the route of a request with descriptors of a domain that no bundle has.
const UnknownDomain = "unknown_domain"

// placeDescriptors finds the domain of a request's descriptors. Its one route is public: there is no policy to ask. For a
// domain that no bundle has no limit holds: the case has no service then, and the stages are asked all the same.
func (e *Engine) placeDescriptors(c *pipeline.Case, snapshot *pipeline.Snapshot) verdict.Reason {
	if e.options.Descriptors == nil {
		return verdict.NoService
	}
	c.Service = snapshot.Domains[c.Request.Descriptors.Domain]
	if c.Service == nil {
		c.Verdict.Explanation.Detail = "no bundle has this domain: nothing is limited"
		c.Match.Route = &route.Route{Name: UnknownDomain, Public: true}
		return ""
	}
	c.Match.Service = c.Service.Route
	c.Match.Route = c.Match.Service.Routes[0]
	c.Verdict.Explanation.Bundle = c.Match.Service.Bundle
	c.Verdict.Explanation.Revision = c.Match.Service.Revision
	return ""
}

func resolveResource(c *pipeline.Case) verdict.Reason {
	if op := c.Request.Operation; op != nil {
		c.Resource = attribute.Resource{Type: op.ResourceType, ID: op.ResourceID, Properties: op.Properties}
		return ""
	}
	var template *attribute.ResourceTemplate
	if i := c.Match.Route.Index; i < len(c.Service.Resources) {
		template = c.Service.Resources[i]
	}
	if ambiguous := template.Resolve(&c.Facts); ambiguous != "" {
		c.Verdict.Explanation.Detail = ambiguous
		return verdict.AttributeMany
	}
	return ""
}

// record hands the decision to the recorder. A decision that must be recorded and is not is a denial, and so is one
// whose recorder panics.
func (e *Engine) record(ctx context.Context, c *pipeline.Case, began time.Time) (panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			panicked = true
			unrecorded(c)
		}
	}()
	entry := &audit.Entry{
		Time:         began,
		Took:         e.options.Clock().Sub(began),
		Request:      c.Request,
		Match:        &c.Match,
		Subject:      &c.Subject,
		Verdict:      &c.Verdict,
		Action:       c.Action,
		ResourceType: c.Resource.Type,
		ResourceID:   c.Resource.ID,
		Steps:        make([]audit.Step, len(c.Trace)),
	}
	for i, step := range c.Trace {
		entry.Steps[i] = audit.Step(step)
	}
	if c.Service != nil {
		names := &c.Service.Record
		entry.Headers, entry.Query, entry.Params, entry.Claims = names.Headers, names.Query, names.Params, names.Claims
	}
	if err := e.options.Recorder.Record(ctx, entry); err != nil {
		unrecorded(c)
	}
	return false
}

// unrecorded denies what would have been allowed.
func unrecorded(c *pipeline.Case) {
	if c.Verdict.Allowed() {
		withdraw(c, verdict.AuditUnavailable)
		c.Verdict.Stage = "audit"
	}
}

// withdraw turns whatever the stages left in the case into an outage with that reason.
func withdraw(c *pipeline.Case, reason verdict.Reason) {
	c.Verdict.Effect = verdict.Deny
	c.Verdict.Status = 0
	c.Verdict.Obligations = verdict.Obligations{}
	c.Outage(reason)
}

func (e *Engine) observe(c *pipeline.Case, began time.Time, panicked bool) {
	if e.options.Observe == nil {
		return
	}
	o := Observation{
		Adapter: c.Request.Adapter,
		Caller:  c.Request.Caller,
		Verdict: &c.Verdict,
		Took:    e.options.Clock().Sub(began),
		Dry:     c.Request.Mode == request.Dry,
		Report:  c.Request.Failure != nil,
		Panic:   panicked,
	}
	if c.Match.Service != nil {
		o.Service = c.Match.Service.Name
	}
	if c.Match.Route != nil {
		o.Route = c.Match.Route.Name
	}
	e.options.Observe(o)
}
