package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
)

// TestPatternsThatWouldNotDo: that an attribute matched a pattern is told only where every value that does would be
// allowed. Each of these rules wants more of the same attribute, by another way than the field that the pattern reads.
func TestPatternsThatWouldNotDo(t *testing.T) {
	conditional := "[request_definition]\nr = obj, again, act\n[policy_definition]\np = obj, act, cond\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = "
	fields := map[string]string{"obj": "resource.id", "again": "resource.id", "act": "action"}
	roles := setup{model: rbacWith(matcher, "g(r.sub, p.sub) && keyMatch2(r.obj, p.obj)"),
		rules: "p, reader, admin/*, read\n", request: map[string]string{"sub": "subject.key", "obj": "claims.role", "act": "action"}, tokens: &format.TokenRoles{From: "claims.role", Relation: "g"}}
	for _, x := range []struct {
		name  string
		setup setup
		asks  asks
		want  string
	}{
		{"nothing else reads it", setup{model: conditional + "keyMatch2(r.obj, p.obj) && r.act == p.act && eval(p.cond)\n", request: fields, rules: "p, /b/:id, read, r.act == 'read'\n"},
			asks{obj: "/a/1", act: "read"}, "would be allowed if resource.id matched /b/:id"},
		{"the rule's own expression does", setup{model: conditional + "keyMatch2(r.obj, p.obj) && r.act == p.act && eval(p.cond)\n", request: fields, rules: "p, /b/:id, read, r.obj == '/a/1'\n"},
			asks{obj: "/a/1", act: "read"}, ""},
		{"the rule's own expression does, in Casbin's spelling", setup{model: conditional + "keyMatch2(r.obj, p.obj) && r.act == p.act && eval(p.cond)\n", request: fields, rules: "p, /b/:id, read, r_obj == '/a/1'\n"},
			asks{obj: "/a/1", act: "read"}, ""},
		{"its negation does", setup{model: conditional + "keyMatch2(r.obj, p.obj) && r.act == p.act && !eval(p.cond)\n", request: fields, rules: "p, /b/:id, read, r.obj != '/a/1'\n"},
			asks{obj: "/a/1", act: "read"}, ""},
		{"another field of the same attribute does", setup{model: conditional + "keyMatch2(r.obj, p.obj) && r.act == p.act && r.again != \"/b/2\" && p.cond != \"\"\n", request: fields, rules: "p, /b/:id, read, x\n"},
			asks{obj: "/a/1", act: "read"}, ""},
		{"the roles come from it", roles, asks{sub: "user:corp:alice", act: "read", claims: map[string]any{"role": "reader"}}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := x.setup.mustCompile(t)
			f := x.asks.facts()
			d, err := p.policies[0].decide(t.Context(), &f)
			if err != nil || d.allowed || d.failure != nil {
				t.Fatalf("%+v, %v", d, err)
			}
			q := inquiry{wanted: request.ExplainDecision, answers: []response{{policy: p.policies[0], decision: d}}}
			if got := q.explain(t.Context(), &f)[0].Change; got != x.want {
				t.Errorf("got %q, want %q", got, x.want)
			}
		})
	}
}

// TestLongChangesAreNotTold: a sentence that an adapter would cut off is none.
func TestLongChangesAreNotTold(t *testing.T) {
	for _, length := range []int{10, 180} {
		resource, action, role := strings.Repeat("o", length), strings.Repeat("a", length), strings.Repeat("r", length)
		p := setup{rules: "p, " + role + ", " + resource + ", " + action + "\n"}.mustCompile(t)
		got := explained(t, p, asks{sub: "user:corp:alice", obj: "/a", act: "read"}, request.ExplainDecision)
		if told := strings.Contains(got, "would be allowed if roles contained "+role+" and resource.id were "+resource+" and action were "+action+"\n"); told != (length == 10) {
			t.Errorf("values of %d bytes:\n%s", length, got)
		}
		if strings.Contains(got, "would be allowed") != (length == 10) {
			t.Errorf("values of %d bytes, a part of the change:\n%s", length, got)
		}
	}
}

// TestSuppositionsOfManyDomains: to look what a role would change costs nothing for each domain that rules name.
func TestSuppositionsOfManyDomains(t *testing.T) {
	var rules strings.Builder
	for i := range 200 {
		fmt.Fprintf(&rules, "p, reader, d%d, /a, read\n", i)
	}
	p := setup{model: strings.Replace(tenantModel, "g(r.sub, p.sub, r.dom) && r.dom == p.dom", "g(r.sub, p.sub, p.dom) && r.dom == p.obj", 1), rules: rules.String() + "g, user:corp:bob, reader, d0\n",
		request: map[string]string{"sub": "subject.key", "dom": "resource.type", "obj": "resource.id", "act": "action"}}.mustCompile(t).policies[0]
	f := asks{sub: "user:corp:alice", obj: "/a", act: "read"}.facts()
	s := newSearch(p, &f)
	s.supposed = []supposition{{relation: p.relations["g"], name: "user:corp:alice", role: "reader", domain: "elsewhere"}}
	if allowed, err := s.rule(t.Context(), ruleRef{}); err != nil || allowed || len(s.ways) > 1 {
		t.Errorf("allowed %v, %v; the ways in %d domains were looked for", allowed, err, len(s.ways))
	}
}

// TestRolesThatAreNotSeen: no role is told where the matcher asks for roles in a way that a change cannot follow, however
// often it asks in others.
func TestRolesThatAreNotSeen(t *testing.T) {
	const seen = "(r.obj == p.obj || r.act == p.act) && g(r.sub, p.sub)"
	for conditions, want := range map[string]string{
		seen:                          "would be allowed if roles contained manager",
		seen + " && !g(r.sub, p.ban)": "",
		seen + " && (g(r.sub, p.ban) ? 1 == 2 : 1 == 1)":    "",
		seen + " && (g(r.sub, p.sub) || p.sub == 'nobody')": "would be allowed if roles contained manager",
	} {
		model := strings.Replace(strings.Replace(rbacModel, "p = sub, obj, act", "p = sub, obj, act, ban", 1), "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", conditions, 1)
		p := setup{model: model, rules: "p, manager, /a, read, employee\ng, manager, employee\n"}.mustCompile(t)
		got := explained(t, p, asks{sub: "user:corp:alice", obj: "/a", act: "read"}, request.ExplainDecision)
		change := ""
		if i := strings.Index(got, "would be allowed"); i >= 0 {
			change = strings.TrimSuffix(got[i:], "\n")
		}
		if change != want {
			t.Errorf("%s: %q, want %q", conditions, change, want)
		}
	}
}

// TestSmallestChange: which change is told of those that would do, and that none is told that would not.
func TestSmallestChange(t *testing.T) {
	either := "[request_definition]\nr = obj, act\n[policy_definition]\np = obj, act, net\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = keyMatch2(r.obj, p.obj) && r.act == p.act || ipMatch(r.obj, p.net)\n"
	evaluated := strings.Replace(conditionModel, "p = cond, act", "p = cond, act, obj", 1)
	evaluated = strings.Replace(strings.Replace(evaluated, "r = sub, obj, act", "r = claims, obj, act", 1), "r.act == p.act", "keyMatch2(r.obj, p.obj) && r.act == p.act", 1)
	alone := map[string]string{"obj": "resource.id", "act": "action"}
	deepest := withEffect(rbacModel, "subjectPriority(p.eft) || deny")
	for _, x := range []struct {
		name  string
		setup setup
		asks  asks
		want  string
	}{
		{"another value before another subject", setup{rules: "p, user:corp:bob, /a, read\np, staff, /b, read\ng, user:corp:alice, staff\n"},
			asks{sub: alice, obj: "/a", act: "read"}, "would be allowed if resource.id were /b"},
		{"another subject where nothing else does", setup{rules: "p, user:corp:bob, /a, read\n"},
			asks{sub: alice, obj: "/a", act: "read"}, "would be allowed if subject.key were user:corp:bob"},
		{"a value that no request has", setup{rules: "p, staff, \"\", read\ng, user:corp:alice, staff\n"},
			asks{sub: alice, obj: "/a", act: "read"}, ""},
		{"a value on which an earlier rule fails", setup{model: either, request: alone, rules: "p, /c/:id, read, 10.0.0.0/8\np, /b/:id, read, 10.0.0.0/8\n"},
			asks{obj: "192.168.1.1", act: "read"}, ""},
		{"a value for which an earlier rule lacks a claim", setup{model: evaluated, request: map[string]string{"claims": "claims", "obj": "resource.id", "act": "action"},
			rules: "p, r.claims.level == 'high', read, /b/:id\np, r.act == 'read', read, /b/*\n"}, asks{obj: "/a", act: "read", claims: map[string]any{}}, ""},
		{"a role that brings another rule before", setup{model: deepest, rules: "p, reader, /a, write, allow\np, user:corp:alice, /a, write, deny\np, other, /b, read, allow\ng, user:corp:bob, reader\n"},
			asks{sub: alice, obj: "/a", act: "read"}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			got := ""
			text := explained(t, x.setup.mustCompile(t), x.asks, request.ExplainDecision)
			if i := strings.Index(text, "would be allowed"); i >= 0 {
				got = strings.TrimSuffix(text[i:], "\n")
			}
			if got != x.want {
				t.Errorf("got %q, want %q:\n%s", got, x.want, text)
			}
		})
	}
}
