package bench

import (
	"context"
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/policy"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const modelText = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && MATCH && r.act == p.act
`

// question is what both engines are asked, over the same model and rules: always the same one, as a hot request.
type question struct {
	name, model, rules string
	sub, obj, act      string
	allowed            bool
}

// runPolicy compares the policy stage with casbin's Enforcer, both in process.
func runPolicy(ctx context.Context, s Setup) ([]Row, error) {
	var questions []question
	for _, size := range []int{100, 1000, 10000} {
		questions = append(questions, rbac(size)...)
	}
	questions = append(questions, rest(1000)...)
	var matches []match
	for i := range questions {
		ours, err := questions[i].stage()
		if err != nil {
			return nil, err
		}
		theirs, err := questions[i].enforcer()
		if err != nil {
			return nil, err
		}
		matches = append(matches, match{name: "policy/" + questions[i].name, rounds: s.Rounds, contenders: []contender{
			repeated("durward", s.Span, ours),
			repeated("casbin", s.Span, theirs),
		}})
	}
	return runAll(ctx, matches)
}

// rbac are questions over n rules of n/10 roles, each held by one user.
func rbac(n int) []question {
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, "p, role%d, order%d, read\n", i/10, i)
	}
	for i := range n / 10 {
		fmt.Fprintf(&rules, "g, user:corp:user%d, role%d\n", i, i)
	}
	q := question{model: strings.Replace(modelText, "MATCH", "r.obj == p.obj", 1), rules: rules.String(),
		sub: fmt.Sprint("user:corp:user", n/10-1), act: "read"}
	return q.lastAndDeny(fmt.Sprintf("rbac_%d", n), fmt.Sprint("order", n-1), "order0")
}

// rest are questions over n path patterns of one role.
func rest(n int) []question {
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, "p, reader, /service%d/items/:id, GET\n", i)
	}
	rules.WriteString("g, user:corp:alice, reader\n")
	q := question{model: strings.Replace(modelText, "MATCH", "keyMatch2(r.obj, p.obj)", 1), rules: rules.String(), sub: "user:corp:alice", act: "GET"}
	return q.lastAndDeny(fmt.Sprintf("rest_keymatch2_%d", n), fmt.Sprintf("/service%d/items/7", n-1), "/elsewhere/items/7")
}

// lastAndDeny asks for an object of the last rule, and for one that no rule gives to the subject.
func (q question) lastAndDeny(name, last, denied string) []question {
	hit, miss := q, q
	hit.name, hit.obj, hit.allowed = name+"_last", last, true
	miss.name, miss.obj = name+"_deny", denied
	return []question{hit, miss}
}

// enforcer asks casbin.
func (q *question) enforcer() (func(context.Context) error, error) {
	m, err := model.NewModelFromString(q.model)
	if err != nil {
		return nil, fmt.Errorf("%s: reading the model with casbin: %w", q.name, err)
	}
	// The string adapter panics on a blank line, and so on a line break at the end.
	enforcer, err := casbin.NewEnforcer(m, stringadapter.NewAdapter(strings.TrimSpace(q.rules)))
	if err != nil {
		return nil, fmt.Errorf("%s: loading the rules into casbin: %w", q.name, err)
	}
	return func(context.Context) error {
		allowed, err := enforcer.Enforce(q.sub, q.obj, q.act)
		if err != nil {
			return err
		}
		return q.check(allowed)
	}, nil
}

// stage asks the policy stage, with what the stages before it would have found out.
func (q *question) stage() (func(context.Context) error, error) {
	stage := policy.New()
	part, problems := stage.Compile(q.bundle())
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: compiling the policy: %w", q.name, problems)
	}
	c := &pipeline.Case{
		Service: &pipeline.Service{Parts: map[string]any{stage.Name(): part}},
		Facts: attribute.Facts{
			Request:  &request.Request{Method: q.act, Body: request.Body{Size: -1}},
			Match:    route.Match{Route: &route.Route{Name: "any"}, Path: q.obj},
			Subject:  subject.Subject{Key: q.sub, Kind: subject.KindUser},
			Action:   q.act,
			Resource: attribute.Resource{Type: "order", ID: q.obj},
		},
	}
	return func(ctx context.Context) error {
		c.Grant, c.Verdict = nil, verdict.Verdict{}
		outcome, err := stage.Evaluate(ctx, c)
		if err != nil {
			return err
		}
		if !q.allowed && c.Verdict.Reason != verdict.NoMatchingRule {
			return fmt.Errorf("%w: denied %q", errAnswer, c.Verdict.Reason)
		}
		return q.check(outcome == pipeline.Continue && c.Grant != nil)
	}, nil
}

func (q *question) bundle() (*format.Bundle, *format.Service) {
	files := format.NewFiles(map[string][]byte{
		"bundle.yaml":                  []byte("format: 1\n"),
		"services/orders/service.yaml": []byte("service: orders\n"),
		"services/orders/model.conf":   []byte(q.model),
		"services/orders/policy.csv":   []byte(q.rules),
	})
	b := &format.Bundle{Files: files}
	b.File, _ = files.Get("", "bundle.yaml")
	s := &format.Service{Name: "orders", Dir: "services/orders", Routes: []format.Route{{Name: "any", Path: "/{rest...}"}}}
	s.File, _ = files.Get(s.Dir, "service.yaml")
	object := format.Attribute{Name: "resource.id"}
	if strings.HasPrefix(q.obj, "/") {
		object.Name = "request.path"
	}
	s.Policies = []format.Policy{{Name: "main", Model: "model.conf", Rules: []string{"policy.csv"},
		Request: map[string]format.Attribute{"sub": {Name: "subject.key"}, "obj": object, "act": {Name: "action"}}}}
	return b, s
}

func (q *question) check(allowed bool) error {
	if allowed != q.allowed {
		return fmt.Errorf("%w: allowed is %t", errAnswer, allowed)
	}
	return nil
}
