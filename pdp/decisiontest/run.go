package decisiontest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/suite"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Lab is an engine that holds one bundle, with throw-away keys in the place of the bundle's.
type Lab interface {
	// Mint signs a token as an authenticator's issuer would.
	Mint(authenticator string, header, claims map[string]any) (string, error)
	// Open begins a session with a frozen clock and counters that nobody has touched.
	Open(now time.Time) (Session, error)
}

// Session decides, with counters and a clock of its own.
type Session interface {
	// Decide answers a request, of the subject that is given where there is one.
	Decide(ctx context.Context, r *request.Request, as *subject.Subject) Answer
	// Set sets the clock, and takes the shared counters away or gives them back.
	Set(now time.Time, redisDown bool)
	// Close ends the session.
	Close() error
}

// Answer is a verdict and what it was about.
type Answer struct {
	// Verdict is the answer.
	Verdict verdict.Verdict
	// Service and Route are where the request led; "" where nobody answers for it.
	Service, Route string
}

// Options say what is run.
type Options struct {
	// Lab decides and Bundle is what it decides on.
	Lab    Lab
	Bundle *format.Bundle
	// Suites are what Load returned.
	Suites []*Suite
	// Filter chooses cases by "SUITE/CASE"; nil takes all.
	Filter *regexp.Regexp
}

// ErrNothingRun is returned when no case was chosen: a run that checks nothing is no success.
var ErrNothingRun = errors.New("no case to run")

// Run runs the cases, each in a session of its own. The error is for what cannot be run; a case that fails is in the
// report.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &runner{options: o, report: &Report{Goldens: map[string][]byte{}}, coverage: newCoverage(o.Bundle)}
	for _, s := range o.Suites {
		for i := range s.written.Cases {
			if c := &s.written.Cases[i]; r.chosen(s, c.Name) {
				result, err := r.runCase(ctx, s, i)
				if err != nil {
					return nil, err
				}
				r.report.Results = append(r.report.Results, *result)
			}
		}
		if s.written.Matrix != nil && r.chosen(s, matrixCase) {
			if err := r.runMatrix(ctx, s); err != nil {
				return nil, err
			}
		}
	}
	if len(r.report.Results) == 0 {
		return nil, ErrNothingRun
	}
	r.report.Coverage = r.coverage.result()
	return r.report, nil
}

type runner struct {
	options  Options
	report   *Report
	coverage *coverage
}

func (r *runner) chosen(s *Suite, name string) bool {
	return r.options.Filter == nil || r.options.Filter.MatchString(s.written.Suite+"/"+name)
}

// world is where a case stands between its steps.
type world struct {
	session Session
	suite   *Suite
	now     time.Time
	down    bool
	proofs  proofs
}

func (r *runner) runCase(ctx context.Context, s *Suite, index int) (*Result, error) {
	c, at := &s.written.Cases[index], fmt.Sprintf("$.cases[%d]", index)
	result := &Result{Suite: s.written.Suite, Case: c.Name, Position: s.file.At(at + ".name")}
	session, err := r.options.Lab.Open(s.now)
	if err != nil {
		return nil, fmt.Errorf("begin the case %q: %w", c.Name, err)
	}
	w := &world{session: session, suite: s, now: s.now}
	if len(c.Steps) == 0 {
		result.Failure, err = r.runStep(ctx, w, at, &suite.Step{Given: c.Given, Request: c.Request, Expect: c.Expect})
		return result, errors.Join(err, session.Close())
	}
	w.given(&suite.Step{Given: c.Given})
	for i := range c.Steps {
		if result.Failure, err = r.runStep(ctx, w, fmt.Sprintf("%s.steps[%d]", at, i), &c.Steps[i]); err != nil || result.Failure != nil {
			if result.Failure != nil {
				result.Failure.Step = i + 1
			}
			break // what follows builds on it
		}
	}
	return result, errors.Join(err, session.Close())
}

// given takes over how a step wants the world to be.
func (w *world) given(step *suite.Step) {
	if step.Given != nil {
		w.down = step.Given.Redis == "down"
	}
}

// runStep makes a step's requests until one is not answered as expected.
func (r *runner) runStep(ctx context.Context, w *world, at string, step *suite.Step) (*Failure, error) {
	if step.At != nil {
		w.now = step.At.After(w.suite.now)
	}
	w.given(step)
	w.session.Set(w.now, w.down)
	times := 1
	if step.Repeat != nil {
		times = *step.Repeat
	}
	for i := range times {
		question, as, err := w.suite.request(r.options, step.Request, w.now, &w.proofs)
		if err != nil {
			return nil, err
		}
		question.Explain = request.ExplainDecision
		answer := w.session.Decide(ctx, question, as)
		w.proofs.see(&answer.Verdict)
		if err := ctx.Err(); err != nil { // then the answer may be a denial that no policy gave
			return nil, fmt.Errorf("run the tests: %w", err)
		}
		r.coverage.see(&answer)
		differences := compare(step.Expect, question, &answer.Verdict)
		if len(differences) == 0 {
			continue
		}
		for d := range differences {
			place := w.suite.file.At(at + ".expect." + differences[d].Key)
			differences[d].Line, differences[d].Column = place.Line, place.Column
		}
		failure := &Failure{Differences: differences, Request: describe(w.suite, step.Request, question), Verdict: sentence(&answer.Verdict)}
		failure.Explanation = explain(&answer.Verdict)
		if times > 1 {
			failure.Time = i + 1
		}
		return failure, nil
	}
	return nil, nil
}

// request builds the engine's request for one in YAML.
func (s *Suite) request(o Options, in *suite.Request, now time.Time, made *proofs) (*request.Request, *subject.Subject, error) {
	parts := Parts{Time: now}
	var as *subject.Subject
	if in.Token != "" {
		raw, err := s.people[in.Token].mint(o.Lab, s.file)
		if err != nil {
			return nil, nil, err
		}
		parts.Token = raw
		if err := s.people[in.Token].prove(&parts, in, made); err != nil {
			return nil, nil, err
		}
	}
	if in.Certificate != "" {
		parts.Certificate = s.people[in.Certificate].certificate
	}
	if in.Subject != "" {
		as = s.people[in.Subject].subject
	}
	if in.BodyFile != "" {
		if file, ok := o.Bundle.Files.Get(path.Dir(s.file.Path), in.BodyFile); ok {
			parts.BodyFile = file.Data
		}
	}
	question, err := NewRequest(in, parts)
	return question, as, err
}

// describe says a request in one line, without its token.
func describe(s *Suite, in *suite.Request, r *request.Request) string {
	var b strings.Builder
	if r.Descriptors != nil {
		return describeDescriptors(r.Descriptors)
	}
	if op := r.Operation; op != nil {
		fmt.Fprintf(&b, "%s on %s %s of %s", shown(op.Action), shown(op.ResourceType), shown(op.ResourceID), shown(op.Service))
	} else {
		fmt.Fprintf(&b, "%s %s", shown(r.Method), shown(r.Scheme+"://"+r.Host+r.Target))
	}
	switch {
	case in.Token != "" && s.people[in.Token].token == nil:
		fmt.Fprintf(&b, ", raw token %s", in.Token)
	case in.Token != "":
		fmt.Fprintf(&b, ", token %s", in.Token)
	case in.Subject != "":
		fmt.Fprintf(&b, ", subject %s", in.Subject)
	case in.Certificate == "":
		b.WriteString(", no credentials")
	}
	if in.Certificate != "" {
		fmt.Fprintf(&b, ", certificate %s", in.Certificate)
	}
	if r.Client.IsValid() {
		fmt.Fprintf(&b, ", from %s", r.Client)
	}
	if names := headerNames(in); len(names) > 0 {
		fmt.Fprintf(&b, ", headers %s", strings.Join(names, " "))
	}
	if len(r.Body.Bytes) > 0 {
		fmt.Fprintf(&b, ", a body of %d bytes", len(r.Body.Bytes))
	}
	return b.String()
}

// describeDescriptors says a request for limits in one line.
func describeDescriptors(d *request.Descriptors) string {
	var all []string
	for i := range d.List {
		var pairs []string
		for _, p := range d.List[i].Pairs {
			pairs = append(pairs, shown(p.Key+"="+p.Value))
		}
		all = append(all, strings.Join(pairs, ", "))
	}
	return "limits of " + shown(d.Domain) + " for " + strings.Join(all, "; ")
}

// headerNames are the names of the header lines that a request says itself. Their values may be credentials.
func headerNames(in *suite.Request) []string {
	names := slices.Sorted(maps.Keys(in.Headers))
	for _, line := range in.Lines {
		names = append(names, line.Name)
	}
	for i, name := range names {
		names[i] = shown(name)
	}
	return names
}
