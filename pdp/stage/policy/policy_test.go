package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const rbacModel = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
`

// setup is a service with one policy, and what can be changed about it.
type setup struct {
	model, rules      string
	request           map[string]string
	defaults          map[string]string
	tokens            *format.TokenRoles
	matching          map[string]functions
	guard, guardModel string
	guardRequest      map[string]string
	routes            []format.Route
	withoutPolicy     bool
	maxCost           *format.Duration
	// next are the rules of a candidate; extra is YAML with candidate and observe.
	next, extra string
}

func attributes(names, defaults map[string]string) map[string]format.Attribute {
	out := map[string]format.Attribute{}
	for name, a := range names {
		out[name] = format.Attribute{Name: a}
		if value, found := defaults[name]; found {
			out[name] = format.Attribute{Name: a, Missing: &value}
		}
	}
	return out
}

// compile compiles the setup's service.
func (s setup) compile() (*part, format.Problems) {
	if s.model == "" {
		s.model = rbacModel
	}
	if s.request == nil {
		s.request = map[string]string{"sub": "subject.key", "obj": "resource.id", "act": "action"}
	}
	contents := map[string][]byte{
		"bundle.yaml":                  []byte("format: 1\n"),
		"services/orders/service.yaml": []byte("service: orders\n"),
		"services/orders/model.conf":   []byte(s.model),
		"services/orders/policy.csv":   []byte(s.rules),
		"guard.conf":                   []byte(s.guardModel),
		"guard.csv":                    []byte(s.guard),
		"services/orders/next.csv":     []byte(s.next),
	}
	files := format.NewFiles(contents)
	bundleFile, _ := files.Get("", "bundle.yaml")
	serviceFile, _ := files.Get("services/orders", "service.yaml")
	b := &format.Bundle{Files: files, File: bundleFile}
	if s.guard != "" {
		b.Guards = []format.Policy{{Name: "fence", Model: "guard.conf", Rules: []string{"guard.csv"}, Request: attributes(s.guardRequest, nil)}}
	}
	service := &format.Service{Name: "orders", Dir: "services/orders", File: serviceFile, Routes: s.routes}
	if !s.withoutPolicy {
		service.Policies = []format.Policy{{Name: "main", Model: "model.conf", Rules: []string{"policy.csv"},
			Request: attributes(s.request, s.defaults), TokenRoles: s.tokens, MaxCost: s.maxCost}}
		declare(&service.Policies[0], s.matching)
	}
	if service.Routes == nil {
		service.Routes = []format.Route{{Name: "read", Path: "/orders/{id}"}}
	}
	if s.extra != "" {
		var more format.Service
		extra, _ := format.NewFiles(map[string][]byte{"service.yaml": []byte(s.extra)}).Get("", "service.yaml")
		if problems := format.Decode(extra, &more); len(problems) > 0 {
			return nil, problems
		}
		service.Candidate, service.Observe, service.File = more.Candidate, more.Observe, extra
	}
	compiled, problems := New().Compile(b, service)
	p, _ := compiled.(*part)
	return p, problems
}

func (s setup) mustCompile(t testing.TB) *part {
	t.Helper()
	p, problems := s.compile()
	if len(problems) > 0 {
		t.Fatalf("the setup does not compile:\n%v", problems)
	}
	return p
}

// asks is one question.
type asks struct {
	sub, obj, act string
	roles         []string
	tenant        string
	claims        map[string]any
	properties    map[string]string
	public        bool
	header        request.Header
	params        []route.Param
}

func (a asks) newCase(p *part) *pipeline.Case {
	c := &pipeline.Case{Service: &pipeline.Service{Parts: map[string]any{}}}
	if p != nil {
		c.Service.Parts["policy"] = p
	}
	c.Facts = a.facts()
	return c
}

func (a asks) facts() attribute.Facts {
	return attribute.Facts{
		Request:  &request.Request{Method: "GET", Header: a.header, Body: request.Body{Size: -1}},
		Match:    route.Match{Route: &route.Route{Name: "read", Public: a.public}, Path: a.obj, Params: a.params},
		Subject:  subject.Subject{Key: a.sub, Kind: subject.KindUser, Roles: a.roles, Tenant: a.tenant, Claims: a.claims},
		Action:   a.act,
		Resource: attribute.Resource{Type: "order", ID: a.obj, Properties: a.properties},
	}
}

// answer is what a test wants to know of a case.
type answer struct {
	Allowed bool
	Reason  verdict.Reason
	Rule    string
}

func evaluate(t testing.TB, p *part, a asks) answer {
	t.Helper()
	c := a.newCase(p)
	outcome, err := New().Evaluate(t.Context(), c)
	if err != nil {
		t.Fatalf("evaluate %+v: %v", a, err)
	}
	if (outcome == pipeline.Continue) != (c.Grant != nil) && !a.public {
		t.Fatalf("outcome %v with grant %v", outcome, c.Grant)
	}
	c.NameRule()
	rule := c.Verdict.Explanation.Rule
	if (rule == "") != (c.Verdict.Explanation.RuleID == "") {
		t.Fatalf("rule %q with id %q", rule, c.Verdict.Explanation.RuleID)
	}
	return answer{outcome == pipeline.Continue, c.Verdict.Reason, strings.TrimPrefix(rule, "services/orders/policy.csv:")}
}

type example struct {
	name string
	asks asks
	want answer
}

func runExamples(t *testing.T, s setup, examples []example) {
	t.Helper()
	p := s.mustCompile(t)
	for _, x := range examples {
		t.Run(x.name, func(t *testing.T) {
			if diff := cmp.Diff(x.want, evaluate(t, p, x.asks)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRBAC(t *testing.T) {
	runExamples(t, setup{rules: `
# readers and writers
p, reader, order, read
p, writer, order, write
g, writer, reader
g, user:corp:alice, writer
p, user:corp:bob, order, read
`}, []example{
		{"role", asks{sub: "user:corp:alice", obj: "order", act: "write"}, answer{true, "", "4"}},
		{"inherited role", asks{sub: "user:corp:alice", obj: "order", act: "read"}, answer{true, "", "3"}},
		{"own rule", asks{sub: "user:corp:bob", obj: "order", act: "read"}, answer{true, "", "7"}},
		{"no rule", asks{sub: "user:corp:bob", obj: "order", act: "write"}, answer{false, verdict.NoMatchingRule, ""}},
		{"nobody", asks{sub: "anonymous", obj: "order", act: "read"}, answer{false, verdict.NoMatchingRule, ""}},
		{"a missing attribute", asks{sub: "user:corp:bob", act: "read"}, answer{false, verdict.AttributeMissing, ""}},
	})
}

func TestTokenRoles(t *testing.T) {
	s := setup{tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}, rules: "p, reader, order, read\np, user:corp:boss, order, fire\ng, editor, reader\n"}
	runExamples(t, s, []example{
		{"role of the token", asks{sub: "user:corp:eve", roles: []string{"reader"}, obj: "order", act: "read"}, answer{true, "", "1"}},
		{"role of a role of the token", asks{sub: "user:corp:eve", roles: []string{"x", "editor"}, obj: "order", act: "read"}, answer{true, "", "1"}},
		{"no role", asks{sub: "user:corp:eve", obj: "order", act: "read"}, answer{false, verdict.NoMatchingRule, ""}},
		{"a role shaped like a subject", asks{sub: "user:corp:eve", roles: []string{"user:corp:boss"}, obj: "order", act: "fire"}, answer{false, verdict.NoMatchingRule, ""}},
	})
}

const domainModel = `[request_definition]
r = sub, dom, obj, act
[policy_definition]
p = sub, dom, obj, act
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act
`

func TestDomains(t *testing.T) {
	s := setup{
		model:   domainModel,
		rules:   "p, admin, t1, order, read\np, admin, t2, order, read\ng, user:corp:alice, admin, t1\n",
		request: map[string]string{"sub": "subject.key", "dom": "resource.properties.tenant", "obj": "resource.id", "act": "action"},
		tokens:  &format.TokenRoles{From: "subject.roles", Relation: "g", Domain: "subject.tenant"},
	}
	in := func(tenant string) map[string]string { return map[string]string{"tenant": tenant} }
	runExamples(t, s, []example{
		{"own domain", asks{sub: "user:corp:alice", properties: in("t1"), obj: "order", act: "read"}, answer{true, "", "1"}},
		{"other domain", asks{sub: "user:corp:alice", properties: in("t2"), obj: "order", act: "read"}, answer{false, verdict.NoMatchingRule, ""}},
		{"token role at home", asks{sub: "user:corp:bob", roles: []string{"admin"}, tenant: "t2", properties: in("t2"), obj: "order", act: "read"}, answer{true, "", "2"}},
		{"token role abroad", asks{sub: "user:corp:bob", roles: []string{"admin"}, tenant: "t2", properties: in("t1"), obj: "order", act: "read"}, answer{false, verdict.NoMatchingRule, ""}},
		{"token role nowhere", asks{sub: "user:corp:bob", roles: []string{"admin"}, properties: in("t1"), obj: "order", act: "read"}, answer{false, verdict.AttributeMissing, "1"}},
	})
}

func TestREST(t *testing.T) {
	model := strings.Replace(rbacModel, "r.obj == p.obj && r.act == p.act", "keyMatch2(r.obj, p.obj) && regexMatch(r.act, p.act)", 1)
	s := setup{model: model, request: map[string]string{"sub": "subject.key", "obj": "request.path", "act": "request.method"},
		rules: "p, reader, /orders/:id, ^(GET|HEAD)$\np, reader, /files/*, ^GET$\ng, user:corp:alice, reader\n"}
	runExamples(t, s, []example{
		{"parameter", asks{sub: "user:corp:alice", obj: "/orders/7", act: "x"}, answer{true, "", "1"}},
		{"rest", asks{sub: "user:corp:alice", obj: "/files/a/b", act: "x"}, answer{true, "", "2"}},
		{"too deep", asks{sub: "user:corp:alice", obj: "/orders/7/refund", act: "x"}, answer{false, verdict.NoMatchingRule, ""}},
	})
}

func TestABAC(t *testing.T) {
	model := `[request_definition]
r = sub, obj, claims, act
[policy_definition]
p = act, level
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && r.sub.tenant == r.obj.properties.tenant && (p.level == "any" || r.claims.level >= 3) && !(r.claims.name == 'mallory') && 'staff' in r.claims.groups
`
	s := setup{model: model, rules: "p, read, any\np, write, high\n",
		request: map[string]string{"sub": "subject", "obj": "resource", "claims": "claims", "act": "action"}}
	with := func(level, groups any) asks {
		return asks{sub: "user:corp:a", tenant: "t1", act: "write", properties: map[string]string{"tenant": "t1"},
			claims: map[string]any{"level": level, "name": "alice", "groups": groups}}
	}
	reader := with("n/a", []any{"staff"})
	reader.act = "read"
	abroad, unnamed := with(3.0, []any{"staff"}), with(3.0, []any{"staff"})
	abroad.tenant, unnamed.claims = "t2", map[string]any{"level": 3.0, "groups": []any{"staff"}}
	nowhere := with(3.0, []any{"staff"})
	nowhere.tenant = ""
	runExamples(t, s, []example{
		{"high", with(3.0, []any{"dev", "staff"}), answer{true, "", "2"}},
		{"low", with(2.0, []any{"staff"}), answer{false, verdict.NoMatchingRule, ""}},
		{"the other branch does not read the level", reader, answer{true, "", "1"}},
		{"another tenant", abroad, answer{false, verdict.NoMatchingRule, ""}},
		{"a missing member", nowhere, answer{false, verdict.AttributeMissing, ""}},
		{"a missing claim", unnamed, answer{false, verdict.AttributeMissing, ""}},
		{"a null claim", with(nil, []any{"staff"}), answer{false, verdict.AttributeMissing, "2"}},
		{"unlike types", with("3", []any{"staff"}), answer{false, verdict.PolicyError, "2"}},
		{"unlike types for equality", asks{sub: "user:corp:a", tenant: "t1", act: "read", properties: map[string]string{"tenant": "t1"},
			claims: map[string]any{"level": 1.0, "name": 7.0, "groups": []any{"staff"}}}, answer{false, verdict.PolicyError, ""}},
		{"not a list", with(3.0, "staff"), answer{false, verdict.PolicyError, ""}},
		{"a list of other things", with(3.0, []any{map[string]any{}, 1.0}), answer{false, verdict.PolicyError, ""}},
	})
}

func withEffect(model, effect string) string {
	model = strings.Replace(model, "p = sub, obj, act", "p = sub, obj, act, eft", 1)
	return strings.Replace(model, "some(where (p.eft == allow))", effect, 1)
}

func TestDenyRules(t *testing.T) {
	s := setup{model: withEffect(rbacModel, "some(where (p.eft == allow)) && !some(where (p.eft == deny))"),
		rules: "p, reader, order, read, allow\np, banned, order, read, deny\ng, user:corp:alice, reader\ng, user:corp:bob, reader\ng, user:corp:bob, banned\n"}
	runExamples(t, s, []example{
		{"allowed", asks{sub: "user:corp:alice", obj: "order", act: "read"}, answer{true, "", "1"}},
		{"denied", asks{sub: "user:corp:bob", obj: "order", act: "read"}, answer{false, verdict.RuleDenied, "2"}},
		{"neither", asks{sub: "user:corp:bob", obj: "order", act: "write"}, answer{false, verdict.NoMatchingRule, ""}},
	})
}

func TestPriorities(t *testing.T) {
	implicit := withEffect(rbacModel, "priority(p.eft) || deny")
	rules := "p, reader, order, read, allow\np, banned, order, read, deny\np, user:corp:eve, order, read, deny\n" +
		"g, user:corp:bob, reader\ng, user:corp:bob, banned\ng, user:corp:eve, reader\n"
	runExamples(t, setup{model: implicit, rules: rules}, []example{
		{"first rule wins", asks{sub: "user:corp:bob", obj: "order", act: "read"}, answer{true, "", "1"}},
	})
	explicit := strings.Replace(implicit, "p = sub", "p = priority, sub", 1)
	numbered := "p, 10, reader, order, read, allow\np, 9, banned, order, read, deny\ng, user:corp:bob, reader\ng, user:corp:bob, banned\ng, user:corp:a, reader\n"
	runExamples(t, setup{model: explicit, rules: numbered}, []example{
		{"lowest number wins", asks{sub: "user:corp:bob", obj: "order", act: "read"}, answer{false, verdict.RuleDenied, "2"}},
		{"lowest number that matches", asks{sub: "user:corp:a", obj: "order", act: "read"}, answer{true, "", "1"}},
	})
	bySubject := strings.Replace(implicit, "priority(", "subjectPriority(", 1)
	runExamples(t, setup{model: bySubject, rules: rules[:strings.Index(rules, "g, user:corp:bob, banned")] + "g, user:corp:eve, reader\n"}, []example{
		{"deepest subject wins", asks{sub: "user:corp:eve", obj: "order", act: "read"}, answer{false, verdict.RuleDenied, "3"}},
	})
}

const guardModel = `[request_definition]
r = net, path
[policy_definition]
p = net, path, eft
[policy_effect]
e = !some(where (p.eft == deny))
[matchers]
m = r.net == p.net && keyMatch(r.path, p.path)
`

func TestGuards(t *testing.T) {
	s := setup{rules: "p, user:corp:a, /x, read\n", guardModel: guardModel, guard: "p, bad, /*, deny\np, internal, /x, allow\n",
		guardRequest: map[string]string{"net": "resource.properties.net", "path": "request.path"}}
	from := func(net string, public bool) asks {
		return asks{sub: "user:corp:a", obj: "/x", act: "read", public: public, properties: map[string]string{"net": net}}
	}
	runExamples(t, s, []example{
		{"a guard denies", from("bad", false), answer{false, verdict.GuardDenied, "guard.csv:1"}},
		{"a guard denies on public routes", from("bad", true), answer{false, verdict.GuardDenied, "guard.csv:1"}},
		{"a guard lets pass", from("good", false), answer{true, "", "1"}},
		{"a guard lets pass on public routes", from("good", true), answer{true, "", ""}},
		{"a guard cannot be evaluated", from("", true), answer{false, verdict.AttributeMissing, ""}},
	})
	t.Run("a guard never grants", func(t *testing.T) {
		p := s.mustCompile(t)
		other := from("internal", false)
		other.act = "write"
		if diff := cmp.Diff(answer{false, verdict.NoMatchingRule, ""}, evaluate(t, p, other)); diff != "" {
			t.Error(diff)
		}
		p.policies = nil
		if diff := cmp.Diff(answer{false, verdict.NotGranted, ""}, evaluate(t, p, from("internal", false))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEveryPolicyMustAllow(t *testing.T) {
	first := setup{rules: "p, user:corp:a, x, read\np, user:corp:b, x, read\n"}.mustCompile(t)
	second := setup{rules: "p, user:corp:a, x, read\n"}.mustCompile(t)
	second.policies[0].name = "second"
	first.policies = append(first.policies, second.policies...)
	if got := evaluate(t, first, asks{sub: "user:corp:a", obj: "x", act: "read"}); !got.Allowed {
		t.Errorf("both allow: got %+v", got)
	}
	c := asks{sub: "user:corp:b", obj: "x", act: "read"}.newCase(first)
	outcome, err := New().Evaluate(t.Context(), c)
	if outcome != pipeline.Stop || err != nil || c.Grant != nil || c.Verdict.Explanation.Policy != "second" || c.Verdict.Explanation.Rule != "" {
		t.Errorf("one allows: got %v, %v, %+v", outcome, err, c.Verdict.Explanation)
	}
}

func TestSame(t *testing.T) {
	s := setup{rules: "p, user:corp:a, x, read\n", routes: []format.Route{{Name: "read", Path: "/t/{tenant}/{rest...}",
		Same: []format.Attribute{{Name: "subject.tenant"}, {Name: "params.tenant"}}}}}
	at := func(own, path string) asks {
		a := asks{sub: "user:corp:a", obj: "x", act: "read", tenant: own}
		if path != "" {
			a.params = []route.Param{{Name: "tenant", Value: path}}
		}
		return a
	}
	runExamples(t, s, []example{
		{"equal", at("t1", "t1"), answer{true, "", "1"}},
		{"different", at("t1", "t2"), answer{false, verdict.SameMismatch, ""}},
		{"one missing", at("t1", ""), answer{false, verdict.AttributeMissing, ""}},
		{"both missing", at("", ""), answer{false, verdict.AttributeMissing, ""}},
	})
}

func TestAmbiguousAttribute(t *testing.T) {
	s := setup{rules: "p, user:corp:a, x, read\n", request: map[string]string{"sub": "subject.key", "obj": "request.header.x-thing", "act": "action"}}
	twice := request.Header{{Name: "x-thing", Value: "x"}, {Name: "x-thing", Value: "x"}}
	runExamples(t, s, []example{
		{"once", asks{sub: "user:corp:a", act: "read", header: twice[:1]}, answer{true, "", "1"}},
		{"twice", asks{sub: "user:corp:a", act: "read", header: twice}, answer{false, verdict.AttributeMany, ""}},
	})
}

func TestNoPart(t *testing.T) {
	for name, c := range map[string]*pipeline.Case{
		"no part":    asks{sub: "user:corp:a"}.newCase(nil),
		"no service": {},
	} {
		outcome, err := New().Evaluate(t.Context(), c)
		if outcome != pipeline.Stop || err == nil || c.Grant != nil {
			t.Errorf("%s: got %v, %v, %v", name, outcome, err, c.Grant)
		}
	}
}

// TestRuleID pins the ids: records name rules by them.
func TestRuleID(t *testing.T) {
	p := setup{rules: "p, a, b, c\n\"p\", \"a\", b, d\n"}.mustCompile(t)
	moved := setup{rules: "# moved\n\np, a, b, c\n"}.mustCompile(t)
	first := p.policies[0].rules.ref(0).id("p")
	if first != moved.policies[0].rules.ref(0).id("p") || first != "07edd955b281722c" {
		t.Errorf("the id of a rule that moved changed: %s, %s", first, moved.policies[0].rules.ref(0).id("p"))
	}
	if first == p.policies[0].rules.ref(1).id("p") {
		t.Error("two rules have one id")
	}
}

// TestTokenRolesAreTheSubjects: what the token holds is true of its subject alone, not of other names in the relation.
func TestTokenRolesAreTheSubjects(t *testing.T) {
	s := setup{model: rbacWith("r.obj == p.obj", "g(r.obj, p.obj)"), tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"},
		rules: "p, reader, public, read\ng, page, public\n"}
	runExamples(t, s, []example{
		{"both by rules", asks{sub: "user:corp:eve", roles: []string{"reader"}, obj: "page", act: "read"}, answer{true, "", "1"}},
		{"the object by the token", asks{sub: "user:corp:eve", roles: []string{"reader", "public"}, obj: "secret", act: "read"}, answer{false, verdict.NoMatchingRule, ""}},
	})
}

// TestDomainOfTheRule: the roles of one name differ from rule to rule when the rule names the domain.
func TestDomainOfTheRule(t *testing.T) {
	s := setup{
		model:   strings.Replace(domainModel, "r.dom) && r.dom == p.dom", "p.dom)", 1),
		rules:   "p, admin, t1, order, read\np, admin, t2, order, read\ng, user:corp:alice, admin, t2\n",
		request: map[string]string{"sub": "subject.key", "dom": "action", "obj": "resource.id", "act": "action"},
	}
	runExamples(t, s, []example{
		{"the second domain", asks{sub: "user:corp:alice", obj: "order", act: "read"}, answer{true, "", "2"}},
	})
}
