package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// stageName is the stage's name, by which its part of a service is found.
const stageName = "policy"

// ErrNoPart is reported for a service of which no policy was compiled; the request is denied.
var ErrNoPart = errors.New("the service has no compiled policy")

// Stage asks the service's guards and policies. It is safe for concurrent use.
type Stage struct {
	guards guardCache
}

// New returns the stage.
func New() *Stage { return &Stage{} }

// Name returns "policy".
func (*Stage) Name() string { return stageName }

// part is what the stage compiled for one service.
type part struct {
	guards, policies []*compiled
	// granted and observing are the grants that the policies and observe give.
	granted, observing pipeline.Grant
	// same are the attributes that must be equal, by route index.
	same [][]attribute.Accessor
	// candidate is the next version of a policy; nil for none.
	candidate *nextVersion
	// observed is until when denials by policies are alarms only, by route index.
	observed []time.Time
}

// Compile compiles the guards of the bundle, and the policies and the routes' same of the service.
func (st *Stage) Compile(b *format.Bundle, s *format.Service) (any, format.Problems) {
	p := &part{same: make([][]attribute.Accessor, len(s.Routes)), observing: pipeline.Grant{By: "observe"}}
	var problems format.Problems
	p.guards, problems = st.guards.compile(b)
	params := serviceParams(s)
	names := map[string]bool{}
	for i := range s.Policies {
		path := fmt.Sprintf("$.policies[%d]", i)
		policy, policyProblems := compilePolicy(&source{policy: &s.Policies[i], files: b.Files, dir: s.Dir, file: s.File, path: path, params: params})
		problems = append(problems, policyProblems...)
		p.policies = append(p.policies, policy)
		if names[s.Policies[i].Name] {
			problems = append(problems, s.File.Problem(path+".name", "two policies have this name"))
		}
		names[s.Policies[i].Name] = true
	}
	var more format.Problems
	p.candidate, more = compileCandidate(b, s, p.policies, params)
	problems = append(problems, more...)
	p.observed, more = compileObserve(s)
	problems = append(problems, more...)
	problems = append(problems, checkService(s)...)
	for i := range s.Routes {
		same, sameProblems := compileSame(s, i)
		problems = append(problems, sameProblems...)
		p.same[i] = same
	}
	if len(problems) > 0 {
		return nil, problems
	}
	for _, policy := range p.policies {
		policy.rules.forgetFiles()
	}
	return p, nil
}

// checkService refuses services that could never allow.
func checkService(s *format.Service) format.Problems {
	var problems format.Problems
	for i := range s.Routes {
		if len(s.Policies) == 0 && s.Routes[i].Access != "public" {
			problems = append(problems, s.File.Problem(fmt.Sprintf("$.routes[%d]", i), "the service has no policy, so this route could never be allowed: add one, or access: public"))
		}
	}
	return problems
}

// compileSame compiles the attributes of a route that must be equal.
func compileSame(s *format.Service, route int) ([]attribute.Accessor, format.Problems) {
	r := &s.Routes[route]
	if len(r.Same) == 0 {
		return nil, nil
	}
	path := fmt.Sprintf("$.routes[%d].same", route)
	if r.Access == "public" {
		return nil, format.Problems{s.File.Problem(path, "a public route has no policy, so same would not be checked")}
	}
	if len(r.Same) < 2 {
		return nil, format.Problems{s.File.Problem(path, "same needs at least two attributes")}
	}
	var problems format.Problems
	var accessors []attribute.Accessor
	for i, a := range r.Same {
		at := fmt.Sprintf("%s[%d]", path, i)
		accessor, err := attribute.Compile(a.Name, templateParams(r.Path))
		k := kindUnknown
		if err == nil {
			k = kindOfAttribute(accessor, false)
		}
		switch {
		case err != nil:
			problems = append(problems, s.File.Problem(at, err.Error()))
		case a.Missing != nil:
			problems = append(problems, s.File.Problem(at, "same wants the attribute to be present, so missing has no meaning here"))
		case k == kindList || k == kindObject:
			problems = append(problems, s.File.Problem(at, fmt.Sprintf("%s is %s; same compares single values", accessor.Name(), k)))
		}
		accessors = append(accessors, accessor)
	}
	return accessors, problems
}

// serviceParams returns the path parameters of all routes of a service.
func serviceParams(s *format.Service) []string {
	params := []string{}
	for i := range s.Routes {
		params = append(params, templateParams(s.Routes[i].Path)...)
	}
	return params
}

// templateParams returns the parameters of a path template: {name} and {name...}.
func templateParams(path string) []string {
	params := []string{}
	for segment := range strings.SplitSeq(path, "/") {
		name, isParam := strings.CutPrefix(segment, "{")
		if name, closed := strings.CutSuffix(name, "}"); isParam && closed {
			params = append(params, strings.TrimSuffix(name, "..."))
		}
	}
	return params
}

// Evaluate asks the guards, then compares what must be the same, then asks the policies, which must all allow. It is
// the only stage that sets a grant. On public routes the guards alone are asked.
func (*Stage) Evaluate(ctx context.Context, c *pipeline.Case) (pipeline.Outcome, error) {
	p, found := pipeline.Part[*part](c, stageName)
	if !found || c.Match.Route == nil || c.Match.Route.Index >= len(p.same) {
		return pipeline.Stop, ErrNoPart
	}
	q := inquiryOf(c.Request)
	outcome, err := p.evaluate(ctx, c, &q)
	if err == nil && q.wanted != request.ExplainNone {
		c.Verdict.Explanation.Policies = q.explain(ctx, &c.Facts)
	}
	return outcome, err
}

func (p *part) evaluate(ctx context.Context, c *pipeline.Case, q *inquiry) (pipeline.Outcome, error) {
	for _, guard := range p.guards {
		d, err := guard.decide(ctx, &c.Facts)
		if err != nil {
			return pipeline.Stop, fmt.Errorf("evaluate guard %s: %w", guard.name, err)
		}
		q.add(guard, true, d)
		if !d.allowed {
			if d.failure == nil {
				d.reason = verdict.GuardDenied
			}
			return deny(c, guard, d), nil
		}
	}
	if c.Match.Route.Public {
		return pipeline.Continue, nil
	}
	same := p.same[c.Match.Route.Index]
	if reason := compareSame(&c.Facts, same); reason != "" {
		c.Verdict.Explanation.Detail = sameDetail(same, reason)
		q.addSame(&c.Facts, same)
		return c.Deny(reason), nil
	}
	return p.ask(ctx, c, q)
}

// ask asks the policies, and grants when there is one and all allow.
func (p *part) ask(ctx context.Context, c *pipeline.Case, q *inquiry) (pipeline.Outcome, error) {
	for _, policy := range p.policies {
		d, err := policy.decide(ctx, &c.Facts)
		if err != nil {
			return pipeline.Stop, fmt.Errorf("evaluate policy %s: %w", policy.name, err)
		}
		q.add(policy, false, d)
		if p.candidate != nil && p.candidate.of == policy {
			p.candidate.ask(ctx, c, d)
		}
		if !d.allowed {
			if !p.observes(c, d.reason) {
				return deny(c, policy, d), nil
			}
			explain(c, policy, d)
			c.Verdict.Explanation.Observed = d.reason
			c.Grant = &p.observing
			return pipeline.Continue, nil
		}
		explain(c, policy, d)
	}
	if len(p.policies) == 0 {
		return c.Deny(verdict.NotGranted), nil
	}
	c.Grant = &p.granted
	return pipeline.Continue, nil
}

func deny(c *pipeline.Case, policy *compiled, d decision) pipeline.Outcome {
	explain(c, policy, d)
	return c.Deny(d.reason)
}

// explain says in the case which policy and rule decided.
func explain(c *pipeline.Case, policy *compiled, d decision) {
	e := &c.Verdict.Explanation
	e.Policy = policy.name
	c.SetRule(nil, 0)
	if d.rule.valid() {
		c.SetRule(d.rule.set, d.rule.row)
	}
	if d.failure != nil {
		e.Detail = d.failure.Error()
	}
}

// compareSame returns why the attributes are not all present and equal, or "".
func compareSame(f *attribute.Facts, accessors []attribute.Accessor) verdict.Reason {
	first := ""
	for i, a := range accessors {
		value, presence := a.Get(f)
		if presence == attribute.Ambiguous {
			return verdict.AttributeMany
		}
		if presence != attribute.Present {
			return verdict.AttributeMissing
		}
		s, isText := value.Text()
		if !isText {
			return verdict.PolicyError
		}
		if i == 0 {
			first = s
		} else if s != first {
			return verdict.SameMismatch
		}
	}
	return ""
}
