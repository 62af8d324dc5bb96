package policy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// explained asks the stage for an explanation and writes it as text.
func explained(t testing.TB, p *part, a asks, wanted request.Explain) string {
	t.Helper()
	c := a.newCase(p)
	c.Request.Explain = wanted
	if _, err := New().Evaluate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range c.Verdict.Explanation.Policies {
		writeExplanation(&b, &c.Verdict.Explanation.Policies[i])
	}
	return strings.ReplaceAll(b.String(), "services/orders/", "")
}

func writeExplanation(b *strings.Builder, x *verdict.PolicyExplanation) {
	kind := "policy"
	if x.Guard {
		kind = "guard"
	}
	fmt.Fprintf(b, "%s %s: %s\n", kind, x.Policy, x.Effect)
	if x.Decider != nil {
		fmt.Fprintf(b, "  by %s %s: %s\n", x.Decider.Position, x.Decider.Effect, x.Decider.Text)
	}
	for _, r := range x.Roles {
		fmt.Fprintf(b, "  %s(%s): %s by %q\n", r.Relation, r.Domain, strings.Join(r.Names, " > "), r.Positions)
	}
	for _, m := range x.Matching {
		fmt.Fprintf(b, "  matches %s %s\n", m.Position, m.Effect)
	}
	for _, m := range x.Misses {
		fmt.Fprintf(b, "  misses %s: %d failed\n", m.Rule.Position, m.Failed)
		for _, c := range m.Conditions {
			mark := "-"
			if c.Holds {
				mark = "+"
			}
			fmt.Fprintf(b, "    %s %s: wants %s; got %s%s\n", mark, c.Text, c.Wanted, c.Got, strings.TrimRight("; "+c.Error, "; "))
		}
	}
	if x.Change != "" {
		fmt.Fprintf(b, "  %s\n", x.Change)
	}
	if x.Partial {
		b.WriteString("  partial\n")
	}
}

const tenantModel = `[request_definition]
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

const conditionModel = `[request_definition]
r = sub, obj, act
[policy_definition]
p = cond, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && eval(p.cond)
`

// denyModel has rules that deny, and a path pattern.
const denyModel = `[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && (r.act == p.act || p.act == "*")
`

// explanationCase is a question and what is said about its answer.
type explanationCase struct {
	name   string
	setup  setup
	asks   asks
	wanted request.Explain
	want   string
}

func explanationCases() []explanationCase {
	rbac := setup{rules: "p, reader, /a, read\np, writer, /a, write\np, reader, /b, read\ng, user:corp:alice, editor\ng, editor, reader\n",
		tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}
	domains := setup{model: tenantModel, rules: "p, reader, acme, /a, read\np, writer, acme, /a, write\ng, user:corp:alice, reader, acme\ng, user:corp:bob, writer, other\n",
		request: map[string]string{"sub": "subject.key", "dom": "resource.properties.tenant", "obj": "resource.id", "act": "action"},
		tokens:  &format.TokenRoles{From: "subject.roles", Relation: "g", Domain: "subject.tenant"}}
	abac := setup{model: conditionModel, rules: "p, r.sub.tenant == r.obj.properties.tenant, read\np, \"r.sub.tenant == \"\"root\"\" && r.obj.type != \"\"secret\"\"\", write\n",
		request: map[string]string{"sub": "subject", "obj": "resource", "act": "action"}}
	denies := setup{model: denyModel, rules: "p, reader, /a/:id, read, allow\np, banned, /a/*, *, deny\np, reader, /b, write, allow\ng, user:corp:alice, reader\ng, user:corp:bob, banned\ng, user:corp:bob, reader\n"}
	either := setup{model: strings.Replace(rbacModel, "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", `g(r.sub, p.sub) && r.act == p.act || r.obj == p.obj && r.act == p.act && r.sub == p.sub`, 1),
		rules: "p, reader, /a, read\np, writer, /b, write\ng, user:corp:alice, reader\n"}
	ternary := setup{model: strings.Replace(rbacModel, "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", `r.obj == p.obj ? g(r.sub, p.sub) : r.act == p.act + "x"`, 1),
		rules: "p, reader, /a, read\ng, user:corp:alice, reader\n"}
	guarded := rbac
	guarded.guard, guarded.guardRequest = "p, 10.0.0.0/8, deny\n", map[string]string{"ip": "resource.id"}
	guarded.guardModel = "[request_definition]\nr = ip\n[policy_definition]\np = ip, eft\n[policy_effect]\ne = !some(where (p.eft == deny))\n[matchers]\nm = ipMatch(r.ip, p.ip)\n"
	same := rbac
	same.routes = []format.Route{{Name: "read", Path: "/orders/{id}", Same: []format.Attribute{{Name: "subject.tenant"}, {Name: "params.id"}}}}
	alice := "user:corp:alice"
	return []explanationCase{
		{"allowed by a chain of roles", rbac, asks{sub: alice, obj: "/b", act: "read"}, request.ExplainDecision, `policy main: allow
  by policy.csv:3 allow: p, reader, /b, read
  g(): user:corp:alice > editor > reader by ["policy.csv:4" "policy.csv:5"]
`},
		{"allowed by a token's role", rbac, asks{sub: "user:corp:bob", obj: "/a", act: "read", roles: []string{"nothing", "editor"}}, request.ExplainDecision, `policy main: allow
  by policy.csv:1 allow: p, reader, /a, read
  g(): user:corp:bob > editor > reader by ["" "policy.csv:5"]
`},
		{"a role is missing", rbac, asks{sub: alice, obj: "/a", act: "write"}, request.ExplainDecision, `policy main: deny
  misses policy.csv:1: 1 failed
    + g(r.sub, p.sub): wants member of reader; got member of editor, reader
    + r.obj == p.obj: wants /a; got /a
    - r.act == p.act: wants read; got write
  misses policy.csv:2: 1 failed
    - g(r.sub, p.sub): wants member of writer; got member of editor, reader
    + r.obj == p.obj: wants /a; got /a
    + r.act == p.act: wants write; got write
  misses policy.csv:3: 2 failed
    + g(r.sub, p.sub): wants member of reader; got member of editor, reader
    - r.obj == p.obj: wants /b; got /a
    - r.act == p.act: wants read; got write
  would be allowed if roles contained writer
`},
		{"the action is another", rbac, asks{sub: alice, obj: "/b", act: "delete"}, request.ExplainAll, `policy main: deny
  misses policy.csv:3: 1 failed
    + g(r.sub, p.sub): wants member of reader; got member of editor, reader
    + r.obj == p.obj: wants /b; got /b
    - r.act == p.act: wants read; got delete
  misses policy.csv:1: 2 failed
    + g(r.sub, p.sub): wants member of reader; got member of editor, reader
    - r.obj == p.obj: wants /a; got /b
    - r.act == p.act: wants read; got delete
  misses policy.csv:2: 3 failed
    - g(r.sub, p.sub): wants member of writer; got member of editor, reader
    - r.obj == p.obj: wants /a; got /b
    - r.act == p.act: wants write; got delete
  would be allowed if action were read
`},
		{"a role and a resource", rbac, asks{sub: "user:corp:bob", obj: "/c", act: "read"}, request.ExplainDecision, `policy main: deny
  misses policy.csv:1: 2 failed
    - g(r.sub, p.sub): wants member of reader; got no roles
    - r.obj == p.obj: wants /a; got /c
    + r.act == p.act: wants read; got read
  misses policy.csv:3: 2 failed
    - g(r.sub, p.sub): wants member of reader; got no roles
    - r.obj == p.obj: wants /b; got /c
    + r.act == p.act: wants read; got read
  misses policy.csv:2: 3 failed
    - g(r.sub, p.sub): wants member of writer; got no roles
    - r.obj == p.obj: wants /a; got /c
    - r.act == p.act: wants write; got read
  would be allowed if roles contained reader and resource.id were /a
`},
		{"a value that no line can hold", rbac, asks{sub: alice, obj: "/\n\x1b[31m\xff\u202e", act: "delete"}, request.ExplainDecision, `policy main: deny
  misses policy.csv:1: 2 failed
    + g(r.sub, p.sub): wants member of reader; got member of editor, reader
    - r.obj == p.obj: wants /a; got /\n\x1b[31m\xff\u202e
    - r.act == p.act: wants read; got delete
  misses policy.csv:3: 2 failed
    + g(r.sub, p.sub): wants member of reader; got member of editor, reader
    - r.obj == p.obj: wants /b; got /\n\x1b[31m\xff\u202e
    - r.act == p.act: wants read; got delete
  misses policy.csv:2: 3 failed
    - g(r.sub, p.sub): wants member of writer; got member of editor, reader
    - r.obj == p.obj: wants /a; got /\n\x1b[31m\xff\u202e
    - r.act == p.act: wants write; got delete
  would be allowed if resource.id were /a and action were read
`},
		{"allowed in a domain", domains, asks{sub: "user:corp:eve", obj: "/a", act: "write", roles: []string{"writer"}, tenant: "acme", properties: map[string]string{"tenant": "acme"}}, request.ExplainDecision, `policy main: allow
  by policy.csv:2 allow: p, writer, acme, /a, write
  g(acme): user:corp:eve > writer by [""]
`},
		{"a role in another domain", domains, asks{sub: "user:corp:bob", obj: "/a", act: "write", tenant: "other", properties: map[string]string{"tenant": "acme"}}, request.ExplainDecision, `policy main: deny
  misses policy.csv:2: 1 failed
    - g(r.sub, p.sub, r.dom): wants member of writer in acme; got no roles
    + r.dom == p.dom: wants acme; got acme
    + r.obj == p.obj: wants /a; got /a
    + r.act == p.act: wants write; got write
  misses policy.csv:1: 2 failed
    - g(r.sub, p.sub, r.dom): wants member of reader in acme; got no roles
    + r.dom == p.dom: wants acme; got acme
    + r.obj == p.obj: wants /a; got /a
    - r.act == p.act: wants read; got write
  would be allowed if roles in acme contained writer
`},
		{"the token's tenant is missing", domains, asks{sub: "user:corp:eve", obj: "/a", act: "write", roles: []string{"writer"}, properties: map[string]string{"tenant": "acme"}}, request.ExplainDecision, `policy main: deny
  by policy.csv:1 allow: p, reader, acme, /a, read
  misses policy.csv:1: 2 failed
    - g(r.sub, p.sub, r.dom): wants member of reader in acme; got ; attribute subject.tenant is missing
    + r.dom == p.dom: wants acme; got acme
    + r.obj == p.obj: wants /a; got /a
    - r.act == p.act: wants read; got write
  misses policy.csv:2: 1 failed
    - g(r.sub, p.sub, r.dom): wants member of writer in acme; got ; attribute subject.tenant is missing
    + r.dom == p.dom: wants acme; got acme
    + r.obj == p.obj: wants /a; got /a
    + r.act == p.act: wants write; got write
`},
		{"a mapped attribute is missing", domains, asks{sub: alice, obj: "/a", act: "read"}, request.ExplainDecision, `policy main: deny
  misses : 1 failed
    - resource.properties.tenant: wants ; got ; attribute resource.properties.tenant is missing
  misses policy.csv:1: 2 failed
    - g(r.sub, p.sub, r.dom): wants member of reader; got ; attribute resource.properties.tenant is missing
    - r.dom == p.dom: wants acme; got ; attribute resource.properties.tenant is missing
    + r.obj == p.obj: wants /a; got /a
    + r.act == p.act: wants read; got read
  misses policy.csv:2: 3 failed
    - g(r.sub, p.sub, r.dom): wants member of writer; got ; attribute resource.properties.tenant is missing
    - r.dom == p.dom: wants acme; got ; attribute resource.properties.tenant is missing
    + r.obj == p.obj: wants /a; got /a
    - r.act == p.act: wants write; got read
`},
		{"attributes differ", abac, asks{sub: alice, tenant: "acme", obj: "7", act: "read", properties: map[string]string{"tenant": "other"}}, request.ExplainDecision, `policy main: deny
  misses policy.csv:1: 1 failed
    + r.act == p.act: wants read; got read
    - eval(p.cond): wants r.sub.tenant == r.obj.properties.tenant; got r.sub.tenant = acme, r.obj.properties.tenant = other
  misses policy.csv:2: 2 failed
    - r.act == p.act: wants write; got read
    - eval(p.cond): wants r.sub.tenant == "root" && r.obj.type != "secret"; got r.sub.tenant = acme, r.obj.type = order
`},
		{"an attribute that a condition reads is missing", abac, asks{sub: alice, obj: "7", act: "read", properties: map[string]string{"tenant": "other"}}, request.ExplainDecision, `policy main: deny
  by policy.csv:1 allow: p, r.sub.tenant == r.obj.properties.tenant, read
  misses policy.csv:1: 1 failed
    + r.act == p.act: wants read; got read
    - eval(p.cond): wants r.sub.tenant == r.obj.properties.tenant; got r.sub.tenant = (attribute subject.tenant is missing), r.obj.properties.tenant = other; attribute subject.tenant is missing
  misses policy.csv:2: 2 failed
    - r.act == p.act: wants write; got read
    - eval(p.cond): wants r.sub.tenant == "root" && r.obj.type != "secret"; got r.sub.tenant = (attribute subject.tenant is missing), r.obj.type = order; attribute subject.tenant is missing
`},
		{"a rule denies", denies, asks{sub: "user:corp:bob", obj: "/a/7", act: "read"}, request.ExplainAll, `policy main: deny
  by policy.csv:2 deny: p, banned, /a/*, *, deny
  g(): user:corp:bob > banned by ["policy.csv:5"]
  matches policy.csv:1 allow
  matches policy.csv:2 deny
  misses policy.csv:3: 2 failed
    + g(r.sub, p.sub): wants member of reader; got member of banned, reader
    - keyMatch2(r.obj, p.obj): wants /b; got /a/7
    - (r.act == p.act || p.act == "*"): wants write; got read
  would be allowed if rule policy.csv:2 did not deny it
`},
		{"a rule denies what none allows", denies, asks{sub: "user:corp:bob", obj: "/a/7/8", act: "delete"}, request.ExplainDecision, `policy main: deny
  by policy.csv:2 deny: p, banned, /a/*, *, deny
  g(): user:corp:bob > banned by ["policy.csv:5"]
  misses policy.csv:1: 2 failed
    + g(r.sub, p.sub): wants member of reader; got member of banned, reader
    - keyMatch2(r.obj, p.obj): wants /a/:id; got /a/7/8
    - (r.act == p.act || p.act == "*"): wants read; got delete
  misses policy.csv:3: 2 failed
    + g(r.sub, p.sub): wants member of reader; got member of banned, reader
    - keyMatch2(r.obj, p.obj): wants /b; got /a/7/8
    - (r.act == p.act || p.act == "*"): wants write; got delete
`},
		{"a role would be another rule's to deny", denies, asks{sub: "user:corp:eve", obj: "/a/7", act: "read"}, request.ExplainDecision, `policy main: deny
  misses policy.csv:1: 1 failed
    - g(r.sub, p.sub): wants member of reader; got no roles
    + keyMatch2(r.obj, p.obj): wants /a/:id; got /a/7
    + (r.act == p.act || p.act == "*"): wants read; got read
  misses policy.csv:3: 3 failed
    - g(r.sub, p.sub): wants member of reader; got no roles
    - keyMatch2(r.obj, p.obj): wants /b; got /a/7
    - (r.act == p.act || p.act == "*"): wants write; got read
  would be allowed if roles contained reader
`},
		{"the nearer alternative", either, asks{sub: alice, obj: "/b", act: "write"}, request.ExplainDecision, `policy main: deny
  misses policy.csv:1: 1 failed
    + g(r.sub, p.sub): wants member of reader; got member of reader
    - r.act == p.act: wants read; got write
  misses policy.csv:2: 1 failed
    - g(r.sub, p.sub): wants member of writer; got member of reader
    + r.act == p.act: wants write; got write
  would be allowed if roles contained writer
`},
		{"a matcher without conditions of its own", ternary, asks{sub: "user:corp:bob", obj: "/a", act: "read"}, request.ExplainDecision, `policy main: deny
  misses policy.csv:1: 1 failed
    - r.obj == p.obj ? g(r.sub, p.sub) : r.act == p.act + "x": wants r.obj == "/a" ? g(r.sub, "reader") : r.act == "read" + "x"; got r.obj = /a, r.sub = user:corp:bob, r.act = read
`},
		{"a guard denies", guarded, asks{sub: alice, obj: "10.1.2.3", act: "read"}, request.ExplainDecision, `guard fence: deny
  by guard.csv:1 deny: p, 10.0.0.0/8, deny
  would be allowed if rule guard.csv:1 did not deny it
`},
		{"a guard cannot be asked", guarded, asks{sub: alice, obj: "/a", act: "read"}, request.ExplainDecision, `guard fence: deny
  by guard.csv:1 deny: p, 10.0.0.0/8, deny
  misses guard.csv:1: 1 failed
    - ipMatch(r.ip, p.ip): wants 10.0.0.0/8; got /a; a function was called with a value that it cannot take
`},
		{"tenants differ", same, asks{sub: alice, tenant: "acme", params: []route.Param{{Name: "id", Value: "other\n"}}}, request.ExplainDecision, `policy same: deny
  misses : 1 failed
    - subject.tenant == params.id: wants acme; got other\n
`},
		{"a tenant is missing", same, asks{sub: alice, params: []route.Param{{Name: "id", Value: "other"}}}, request.ExplainDecision, `policy same: deny
  misses : 1 failed
    - subject.tenant == params.id: wants ; got other; attribute subject.tenant is missing
`},
	}
}

func TestExplanations(t *testing.T) {
	for _, x := range explanationCases() {
		t.Run(x.name, func(t *testing.T) {
			if diff := cmp.Diff(x.want, explained(t, x.setup.mustCompile(t), x.asks, x.wanted)); diff != "" {
				t.Errorf("explanation (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExplanationChangesNothing compares all else that the stage leaves in the case, with an explanation and without.
func TestExplanationChangesNothing(t *testing.T) {
	for _, x := range explanationCases() {
		p := x.setup.mustCompile(t)
		plain, asked := x.asks.newCase(p), x.asks.newCase(p)
		asked.Request.Explain = request.ExplainAll
		first, firstErr := New().Evaluate(t.Context(), plain)
		second, secondErr := New().Evaluate(t.Context(), asked)
		if plain.Verdict.Explanation.Policies != nil || len(asked.Verdict.Explanation.Policies) == 0 {
			t.Errorf("%s: explained without being asked, or not at all", x.name)
		}
		asked.Verdict.Explanation.Policies = nil
		plain.NameRule()
		asked.NameRule()
		if first != second || firstErr != nil || secondErr != nil || (plain.Grant == nil) != (asked.Grant == nil) {
			t.Errorf("%s: %v (%v), with an explanation %v (%v)", x.name, first, firstErr, second, secondErr)
		}
		if diff := cmp.Diff(plain.Verdict, asked.Verdict); diff != "" {
			t.Errorf("%s (-without +with):\n%s", x.name, diff)
		}
	}
}

// TestAnonymousGetsNoRoles shows that no change is told that could not be made.
func TestAnonymousGetsNoRoles(t *testing.T) {
	p := setup{rules: "p, reader, /a, read\n"}.mustCompile(t)
	for _, sub := range []subject.Subject{subject.Anonymous(), {Key: "user:corp:bob", Kind: subject.KindUser}} {
		f := asks{obj: "/a", act: "read"}.facts()
		f.Subject = sub
		d, err := p.policies[0].decide(t.Context(), &f)
		if err != nil {
			t.Fatal(err)
		}
		q := inquiry{wanted: request.ExplainDecision, answers: []response{{policy: p.policies[0], decision: d}}}
		want := "would be allowed if roles contained reader"
		if sub.IsAnonymous() {
			want = ""
		}
		if x := q.explain(t.Context(), &f)[0]; x.Change != want || len(x.Misses) != 1 {
			t.Errorf("%s: %+v", sub.Key, x)
		}
	}
}

// TestSameNamesNoValues shows what a denial by same leaves for records.
func TestSameNamesNoValues(t *testing.T) {
	same := setup{rules: "p, reader, /a, read\n", routes: []format.Route{{Name: "read", Path: "/orders/{id}", Same: []format.Attribute{{Name: "subject.tenant"}, {Name: "params.id"}}}}}
	p := same.mustCompile(t)
	for tenant, want := range map[string]string{"acme": "same: subject.tenant, params.id differ", "": "same: one of subject.tenant, params.id is missing"} {
		c := asks{sub: "user:corp:alice", tenant: tenant, params: []route.Param{{Name: "id", Value: "other"}}}.newCase(p)
		if outcome, _ := New().Evaluate(t.Context(), c); outcome != pipeline.Stop || c.Verdict.Explanation.Detail != want {
			t.Errorf("outcome %v, detail %q, want %q", outcome, c.Verdict.Explanation.Detail, want)
		}
	}
}

// TestExplanationEndsInTime shows that an explanation without time says so and leaves the decision alone.
func TestExplanationEndsInTime(t *testing.T) {
	p, f := rbacOf(t, 5000)
	f.Action = "nothing"
	d, err := p.decide(t.Context(), f)
	if err != nil || d.allowed {
		t.Fatalf("%+v, %v", d, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q := inquiry{wanted: request.ExplainAll, answers: []response{{policy: p, decision: d}}}
	x := q.explain(ctx, f)[0]
	if !x.Partial || x.Effect != verdict.Deny || len(x.Misses) > 0 {
		t.Errorf("without time: %+v", x)
	}
	// The explanation ends before the decision does, long before.
	hour, end := context.WithTimeout(t.Context(), time.Hour)
	defer end()
	bounded, end := quarter(hour)
	defer end()
	last, _ := hour.Deadline()
	if own, has := bounded.Deadline(); !has || own.After(last.Add(-30*time.Minute)) {
		t.Errorf("of an hour, the explanation ends %v before the decision", last.Sub(own))
	}
	if x = q.explain(overdue{t.Context()}, f)[0]; !x.Partial {
		t.Errorf("at the deadline: %+v", x)
	}
	if x = q.explain(t.Context(), f)[0]; x.Partial || len(x.Misses) != maxMisses {
		t.Errorf("with time: %+v", x)
	}
}

// overdue is a context whose deadline is always now, and never over.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now(), true }

// TestExplanationIsBounded shows that neither many rules nor long values make it long.
func TestExplanationIsBounded(t *testing.T) {
	var rules strings.Builder
	for i := range 300 {
		fmt.Fprintf(&rules, "p, reader, /a, %s%d\n", strings.Repeat("x", 1000), i)
		fmt.Fprintf(&rules, "g, user:corp:alice, role%d\n", i)
	}
	for i := range 200 {
		fmt.Fprintf(&rules, "p, role%d, /a, read\n", i)
	}
	p := setup{rules: rules.String()}.mustCompile(t)
	text := explained(t, p, asks{sub: "user:corp:alice", obj: "/a", act: "read"}, request.ExplainAll)
	if n := strings.Count(text, "matches "); n != maxMatching || !strings.Contains(text, "  partial\n") {
		t.Errorf("%d rules match:\n%s", n, text)
	}
	text = explained(t, p, asks{sub: "user:corp:alice", obj: strings.Repeat("é", 5000), act: "\x00" + strings.Repeat("\x00", 5000)}, request.ExplainDecision)
	if n := strings.Count(text, "misses "); n != maxMisses || len(text) > 20_000 || strings.Contains(text, "\x00") || !strings.Contains(text, "member of role0, role1, role10,") {
		t.Errorf("%d misses in %d bytes:\n%s", n, len(text), text)
	}
}
