package policy

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// TestAnalyse: tools see the matcher's conditions, the rules in the order in which they are tried, and the links.
func TestAnalyse(t *testing.T) {
	contents := map[string][]byte{
		"bundle.yaml":                  []byte("name: acme\nguards: [{name: stop, model: shared/stop.conf, rules: [shared/stop.csv], request: {sub: subject.key}}]\n"),
		"shared/stop.conf":             []byte("[request_definition]\nr = sub\n[policy_definition]\np = sub, eft\n[policy_effect]\ne = !some(where (p.eft == deny))\n[matchers]\nm = r.sub == p.sub\n"),
		"shared/stop.csv":              []byte("p, user:corp:mallory, deny\n"),
		"services/orders/service.yaml": []byte("service: orders\npolicies: [{name: main, model: m.conf, rules: [p.csv], request: {sub: subject.key, dom: subject.tenant, obj: request.path, act: action}, token_roles: {from: subject.roles, relation: g, domain: subject.tenant}}]\n"),
		"services/orders/m.conf": []byte("[request_definition]\nr = sub, dom, obj, act\n[policy_definition]\np = priority, sub, dom, obj, act, eft\n[role_definition]\ng = _, _, _\n[policy_effect]\ne = priority(p.eft) || deny\n[matchers]\n" +
			`m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && keyMatch2(r.obj, p.obj) && (r.act == p.act || p.act == "*") && p.obj != p.act && r.act != "x" || p.sub == "root"` + "\n"),
		"services/orders/p.csv": []byte("p, 20, reader, acme, /b, read, deny\np, 10, writer, acme, /a, *, allow\ng, writer, reader, acme\n"),
	}
	b := &format.Bundle{Files: format.NewFiles(contents)}
	s := &format.Service{Dir: "services/orders"}
	b.File, _ = b.Files.Get("", "bundle.yaml")
	s.File, _ = b.Files.Get("", "services/orders/service.yaml")
	if problems := append(format.Decode(b.File, b), format.Decode(s.File, s)...); len(problems) > 0 {
		t.Fatal(problems)
	}
	guards, problems := Analyse(b, nil)
	if len(problems) > 0 || len(guards) != 1 || !guards[0].Guard || guards[0].Service != "" || guards[0].Effect != "deny-override" || !guards[0].Rules.Denies(0) {
		t.Fatalf("guards: %+v, %v", guards, problems)
	}
	all, problems := Analyse(b, s)
	if len(problems) > 0 || len(all) != 1 {
		t.Fatal(problems)
	}
	a := &all[0]
	want := [][]Condition{
		{
			{Kind: Role, Source: "g(r.sub, p.sub, r.dom)", Column: 1, Attribute: "subject.key", Relation: "g", Domain: "subject.tenant", DomainColumn: -1},
			{Kind: Equal, Source: "r.dom == p.dom", Column: 2, Attribute: "subject.tenant", DomainColumn: -1},
			{Kind: Pattern, Source: "keyMatch2(r.obj, p.obj)", Column: 3, Attribute: "request.path", DomainColumn: -1, Function: "keyMatch2"},
			{Kind: Any, Source: `(r.act == p.act || p.act == "*")`, Column: 4, DomainColumn: -1, Any: []Condition{
				{Kind: Equal, Column: 4, Attribute: "action", DomainColumn: -1}, {Kind: Constant, Column: 4, DomainColumn: -1, Text: "*"}}},
			{Kind: Opaque, Source: "p.obj != p.act", Column: -1, Columns: []int{3, 4}, DomainColumn: -1},
			{Kind: Request, Source: `r.act != "x"`, Column: -1, DomainColumn: -1},
		},
		{{Kind: Constant, Source: `p.sub == "root"`, Column: 1, DomainColumn: -1, Text: "root"}},
	}
	if diff := cmp.Diff(want, a.Alternatives); diff != "" {
		t.Error(diff)
	}
	if a.Service != "orders" || a.Effect != "priority" || a.Rules.Len() != 2 || a.Rules.Text(a.Rules.Value(0, 1)) != "writer" || a.Rules.Denies(0) || !a.Rules.Denies(1) {
		t.Errorf("the rules are not in their order: %+v", a)
	}
	if at := a.Rules.Problem(0, 3, "x").Position.String(); at != "services/orders/p.csv:2:22" || a.Rules.Position(1).Line != 1 {
		t.Errorf("the first rule's object is at %s", at)
	}
	links := a.Links("g")
	if links.Len() != 1 || links.Value(0, 1) != a.Rules.Value(1, 1) || a.TokenRoles("g") != "subject.roles" || a.DomainPatterns("g") {
		t.Errorf("the links are %+v", links)
	}
	match, err := a.Alternatives[0][2].Matcher([]string{"/a/:id", "/b", "/a/7"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint32{0, 2}, slices.Sorted(slices.Values(match("/a/7")))); diff != "" {
		t.Error(diff)
	}
}
