package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/lint"
)

// with returns the findings of a code after changes of the example bundle.
func with(t *testing.T, code, changes string) []lint.Finding {
	t.Helper()
	report := look(t, change(t, example(t), changes))
	return slices.DeleteFunc(report.Findings, func(f lint.Finding) bool { return f.Code != code && !isLoadCode(f.Code) })
}

// TestTraps: which patterns of a function have which trap.
func TestTraps(t *testing.T) {
	for _, c := range []struct{ function, pattern, want string }{
		{"keyMatch", "/a/*", ""}, {"keyMatch", "/a.b", ""}, {"keyMatch", "/a/*/b", "keymatch-star"},
		{"keyMatch2", "/a/:id/*", ""}, {"keyMatch2", "/a/:id", ""}, {"keyMatch2", "/a/*/b", "keymatch-star"}, {"keyMatch2", "/a*", "keymatch-star"},
		{"keyMatch2", "/v1.0/a", "keymatch-regex"}, {"keyMatch2", "/:id.json", "keymatch-suffix"}, {"keyMatch2", "/a|/b", "keymatch-bar"},
		{"keyMatch2", "/a/(b)", "keymatch-regex"}, {"keyMatch2", "/a+b", "keymatch-regex"}, {"keyMatch3", "/{id}/x", ""}, {"keyMatch3", "/{id}.json", "keymatch-regex"}, {"keyMatch5", "/a*", "keymatch-star"},
		{"regexMatch", "^/a/[0-9]+$", ""}, {"regexMatch", "/a", "regex-unanchored"}, {"regexMatch", "^/a|/b$", "regex-unanchored"}, {"regexMatch", "^(/a|/b)$", ""}, {"regexMatch", ".*", ""},
		{"globMatch", "/a/*", ""},
	} {
		files := change(t, example(t), "+++ services/orders/service.yaml\n-    request: {sub: subject.key, obj: resource.type, act: action}\n+    request: {sub: subject.key, obj: request.path, act: action}\n")
		files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "r.obj == p.obj", c.function+"(r.obj, p.obj)", 1)
		files["services/orders/policy.csv"] = "p, reader, " + c.pattern + ", read\n"
		var got []string
		for _, code := range codesOf(look(t, files).Findings) {
			if strings.HasPrefix(code, "keymatch-") || code == "regex-unanchored" || isLoadCode(code) {
				got = append(got, code)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %v, want %q", c.function, c.pattern, got, c.want)
		}
	}
}

// TestAnonymous: which limits count whoever calls without a subject.
func TestAnonymous(t *testing.T) {
	for limit, fine := range map[string]bool{
		"{rate: 5/min, by: [client.network]}":                                                                     true,
		"{rate: 5/min, by: [client.network], when: {subject.kind: anonymous}}":                                    true,
		"{rate: 5/min, by: [client.network], when: {subject.kind: [anonymous, user]}}":                            true,
		"{rate: 5/min, by: [client.network], when: {subject.kind: user}}":                                         false,
		"{rate: 5/min, by: [client.network], when: {subject.kind: {not: user}}}":                                  false,
		"{rate: 5/min, by: [client.network], when: {request.method: GET}}":                                        false,
		"{rate: 5/min, by: [client.network], when: {subject.kind: anonymous, request.method: POST}}":              false,
		"{by: [client.network], by_class: {of: request.header.x, first_of: [{a: 20/min}], otherwise: 10/min}}":    true,
		"{by: [client.network], by_class: {of: subject.kind, first_of: [{anonymous: 1/min}], otherwise: 10/min}}": true,
		"{rate: 5/min, by: [client.network], distinct: request.path}":                                             false,
		"{concurrency: 5, expires: 30s, by: [client.network]}":                                                    false,
	} {
		files := change(t, example(t), "+++ services/orders/service.yaml\n limit_definitions:\n+  other: "+limit+"\n-defaults: {limits: [per-address]}\n")
		files["services/orders/service.yaml"] += "  - {name: open, path: /open, methods: [GET], identity: optional, limits: [other]}\n"
		if got := codesOf(look(t, files).Findings); slices.Contains(got, "anonymous-unlimited") == fine || slices.ContainsFunc(got, isLoadCode) {
			t.Errorf("%s: %v", limit, got)
		}
	}
}

// TestLogins: which limits guard a log-in.
func TestLogins(t *testing.T) {
	for limit, fine := range map[string]bool{
		"{rate: 5/15min, by: [client.network], count: all, at: gate}":               true,
		"{rate: 5/15min, by: [client.address, route.name]}":                         true,
		"{rate: 60/min, by: [client.network]}":                                      true,
		"{rate: 61/min, by: [client.network]}":                                      false,
		"{rate: 5/15min, burst: 60, by: [client.network]}":                          true,
		"{rate: 5/15min, burst: 61, by: [client.network]}":                          false,
		"{rate: 5/15min, by: [client.network], on_error: local_share}":              true,
		"{rate: 5/15min, by: [client.network], on_error: allow}":                    false,
		"{rate: 100/s, by: [client.network]}":                                       false,
		"{rate: 5/15min, by: [client.network], shadow: true}":                       false,
		"{rate: 5/15min, by: [client.network], count: allowed}":                     false,
		"{rate: 5/15min, by: [client.network], count: denied}":                      false,
		"{rate: 5/15min, by: [client.network, request.header.x-user]}":              false,
		"{rate: 5/15min, by: [request.header.x-user]}":                              false,
		"{rate: 5/15min, by: [client.network], when: {request.method: POST}}":       false,
		"{rate: 5/15min, by: [client.network], when: {request.header.x: {not: a}}}": false,
		"{by: [client.network], by_class: {of: request.header.x, first_of: [{a: {rate: 60/min, burst: 6}}], otherwise: {rate: 10/min, burst: 1}}}":                               true,
		"{by: [client.network], by_class: {of: request.header.x, first_of: [{a: {rate: 61/min, burst: 61}}], otherwise: 10/min}}":                                                false,
		"{by: [client.network], by_class: {of: request.header.x, first_of: [{b: {rate: 2/min, burst: 6}}, {a: {rate: 1500/h, burst: 75}}], otherwise: {rate: 1/min, burst: 3}}}": false,
		"{by: [client.network], by_class: {of: request.header.x, first_of: [{a: 10/min}], otherwise: 61/min}}":                                                                   false,
		"{rate: 5/15min, by: [client.network], distinct: request.header.x-user}":                                                                                                 false,
		"{concurrency: 5, expires: 30s, by: [client.network]}":                                                                                                                   false,
		"{rate: 5/15min, by: []}": false,
		"{rate: 5/15min, by: [client.network, request.query.user], count: all, at: gate}": false,
	} {
		files := change(t, example(t), "+++ services/orders/service.yaml\n limit_definitions:\n+  logins: "+limit+"\n")
		files["services/orders/service.yaml"] += "  - {name: log-in, path: /login, methods: [POST], access: public, purpose: login, limits: [logins]}\n"
		if got := codesOf(look(t, files).Findings); slices.Contains(got, "login-address-limit") == fine || slices.ContainsFunc(got, isLoadCode) {
			t.Errorf("%s: %v", limit, got)
		}
	}
}

// TestSharedRules: what several policies say is a finding about a rule only if all agree.
func TestSharedRules(t *testing.T) {
	files := example(t)
	files["shared/rules.csv"] = "p, reader, invoice, read\np, reader, ticket, read\ng, user:corp:zoe, auditor\n"
	service := strings.Replace(files["services/orders/service.yaml"], "rules: [policy.csv]", "rules: [policy.csv, /shared/rules.csv]", 1)
	files["services/orders/service.yaml"] = service
	invoices := strings.NewReplacer("orders", "invoices", "type: order", "type: invoice").Replace(service)
	files["services/invoices/service.yaml"] = invoices
	files["services/invoices/model.conf"] = files["services/orders/model.conf"]
	files["services/invoices/policy.csv"] = "p, writer, invoice, write\np, auditor, invoice, read\ng, writer, reader\n"
	var got []string
	for _, f := range look(t, files).Findings {
		if f.File == "shared/rules.csv" {
			got = append(got, fmt.Sprint(f.Code, ":", f.Line))
		}
	}
	if want := []string{"rule-unreachable:2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestShadows: what covers what, by effect.
func TestShadows(t *testing.T) {
	effects := map[string]string{"allow": "some(where (p.eft == allow))", "both": "some(where (p.eft == allow)) && !some(where (p.eft == deny))", "priority": "priority(p.eft) || deny"}
	for _, c := range []struct {
		effect, rules string
		want          []int
	}{
		{"allow", "p, reader, order, read, allow\np, writer, order, read, allow", []int{2}},
		{"allow", "p, writer, order, read, allow\np, reader, order, read, allow", []int{1}},
		{"allow", "p, reader, order, read, deny\np, writer, order, read, allow", nil},
		{"both", "p, reader, order, read, deny\np, writer, order, read, allow", []int{2}},
		{"both", "p, writer, order, read, deny\np, reader, order, read, allow", nil},
		{"both", "p, writer, order, read, deny\np, reader, order, read, deny\np, user:corp:x, order, read, allow", []int{1}},
		{"priority", "p, reader, order, read, deny\np, writer, order, read, allow", []int{2}},
		{"priority", "p, writer, order, read, allow\np, reader, order, read, deny", nil},
		{"priority", "p, reader, order, read, allow\np, reader, order, write, allow", nil},
	} {
		files := change(t, example(t), "+++ services/orders/model.conf\n-p = sub, obj, act\n+p = sub, obj, act, eft\n")
		files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], effects["allow"], effects[c.effect], 1)
		files["services/orders/policy.csv"] = c.rules + "\ng, writer, reader\n"
		var got []int
		for _, f := range look(t, files).Findings {
			if f.Code == "rule-shadowed" || isLoadCode(f.Code) {
				got = append(got, f.Line)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s\n%s\nshadowed: lines %v, want %v", c.effect, c.rules, got, c.want)
		}
	}
}

// TestShadowsOfEquals: of two rules that match the same, the second is reported; roles of one domain say nothing about another.
func TestShadowsOfEquals(t *testing.T) {
	files := change(t, example(t), "+++ services/orders/service.yaml\n-    request: {sub: subject.key, obj: resource.type, act: action}\n+    request: {sub: subject.key, obj: request.path, act: action}\n")
	files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "r.obj == p.obj", "keyMatch2(r.obj, p.obj)", 1)
	files["services/orders/policy.csv"] = "p, reader, /orders/:a, read\np, reader, /orders/:b, read\n"
	var got []int
	for _, f := range look(t, files).Findings {
		if f.Code == "rule-shadowed" || isLoadCode(f.Code) {
			got = append(got, f.Line)
		}
	}
	if !slices.Equal(got, []int{2}) {
		t.Errorf("shadowed: lines %v", got)
	}

	// A text is matched by the prefix that equals it, not the other way.
	files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "keyMatch2", "keyMatch", 1)
	files["services/orders/policy.csv"] = "p, reader, /orders/7*, read\np, writer, /orders/7, read\np, writer, /orders/8, read\np, reader, /orders/8*, read\ng, writer, reader\n"
	got = nil
	for _, f := range look(t, files).Findings {
		if f.Code == "rule-shadowed" || isLoadCode(f.Code) {
			got = append(got, f.Line)
		}
	}
	if !slices.Equal(got, []int{2, 3}) {
		t.Errorf("shadowed: lines %v", got)
	}
	files["services/orders/policy.csv"] = "p, reader, /orders/7, read\np, writer, /orders/7*, read\ng, writer, reader\n"
	if got := codesOf(look(t, files).Findings); slices.Contains(got, "rule-shadowed") {
		t.Errorf("a prefix is no text: %v", got)
	}

	files = change(t, example(t), "+++ services/orders/service.yaml\n-    request: {sub: subject.key, obj: resource.type, act: action}\n-    token_roles: {from: subject.roles, relation: g}\n"+
		"+    request: {sub: subject.key, obj: resource.type, act: action, dom: subject.tenant}\n+    token_roles: {from: subject.roles, relation: g, domain: subject.tenant}\n")
	files["services/orders/model.conf"] = strings.NewReplacer("sub, obj, act", "sub, obj, act, dom", "_, _", "_, _, _", "g(r.sub, p.sub)", "g(r.sub, p.sub, r.dom) && r.dom == p.dom").Replace(files["services/orders/model.conf"])
	files["services/orders/policy.csv"] = "p, reader, order, read, acme\np, writer, order, read, acme\np, writer, order, write, acme\ng, writer, reader, other\n"
	for _, f := range look(t, files).Findings {
		if f.Code == "rule-shadowed" || isLoadCode(f.Code) {
			t.Errorf("with domains: %v", f.Error())
		}
	}
}

// TestGrants: wildcards for objects count where something is changed, those for actions and subjects always.
func TestGrants(t *testing.T) {
	for _, c := range []struct{ matcher, rule, want string }{
		{`g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act`, "reader, /*, read", ""},
		{`g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act`, "reader, /*, write", "grant-broad"},
		{`g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act`, "reader, /orders/*, write", ""},
		{`g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)`, "reader, *, ^(read|write)$", "grant-broad"},
		{`g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)`, "reader, *, ^read$", ""},
		{`g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)`, "reader, /orders/*, .*", "grant-broad"},
		{`g(r.sub, p.sub) && globMatch(r.obj, p.obj) && (r.act == p.act || p.act == "any")`, "reader, /orders/*, any", "grant-broad"},
		{`(g(r.sub, p.sub) || p.sub == "all") && r.obj == p.obj && r.act == p.act`, "all, /orders/7, read", "grant-any-subject"},
		{`(g(r.sub, p.sub) || p.sub == "all") && r.obj == p.obj && r.act == p.act`, "reader, /orders/7, read", ""},
	} {
		files := change(t, example(t), "+++ services/orders/service.yaml\n-    request: {sub: subject.key, obj: resource.type, act: action}\n+    request: {sub: subject.key, obj: request.path, act: action}\n")
		files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", c.matcher, 1)
		files["services/orders/policy.csv"] = "p, " + c.rule + "\n"
		var got []string
		for _, code := range codesOf(look(t, files).Findings) {
			if strings.HasPrefix(code, "grant-") || isLoadCode(code) {
				got = append(got, code)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s\n%s: %v, want %q", c.matcher, c.rule, got, c.want)
		}
	}
}

// TestRolesBetween: a role that no rule mentions is of use where it leads to one that a rule mentions.
func TestRolesBetween(t *testing.T) {
	if found := with(t, "role-unused", "+++ services/orders/policy.csv\n+g, user:corp:erin, lead\n+g, lead, writer\n"); len(found) > 0 {
		t.Errorf("got %v", found)
	}
	if found := with(t, "role-unused", "+++ services/orders/policy.csv\n+g, user:corp:erin, lead\n+g, lead, head\n"); len(found) != 2 {
		t.Errorf("got %v", found)
	}
}

// TestHints: a name that no route has is compared with those that routes have.
func TestHints(t *testing.T) {
	found := with(t, "rule-unreachable", "+++ services/orders/policy.csv\n-p, reader, order, read\n+p, reader, order, raed\n")
	if len(found) != 1 || found[0].Hint != `did you mean "read"?` || found[0].Column != 19 {
		t.Errorf("got %+v", found)
	}
}

// TestLarge: the work grows with the rules and not with their square; at that, this would not end.
func TestLarge(t *testing.T) {
	files := example(t)
	var b strings.Builder
	b.WriteString(files["services/orders/policy.csv"])
	for i := range 100_000 {
		fmt.Fprintf(&b, "p, user:corp:%d, order, read\ng, user:corp:m%d, reader\n", i, i)
	}
	files["services/orders/policy.csv"] = b.String()
	if report := look(t, files); len(report.Findings) > 0 {
		t.Errorf("got %v", report.Findings[:min(3, len(report.Findings))])
	}
}

// TestMatchedNames: patterns in roles that match every name, and what is not said of other patterns.
func TestMatchedNames(t *testing.T) {
	for _, c := range []struct {
		function, rules string
		want            []string
	}{
		{"keyMatch", "g, user:corp:*, reader\ng, eng-*, auditor\ng, /*, auditor\n", nil},
		{"keyMatch", "g, *, reader\n", []string{"role-pattern-any"}},
		{"keyMatch2", "g, boss, *\n", []string{"role-pattern-any"}},
		{"keyMatch", "p, *, order, write\n", []string{"role-pattern-any"}},
		{"regexMatch", "g, .*, reader\n", []string{"role-pattern-any"}},
		{"regexMatch", "g, ^user:corp:, reader\n", nil},
		{"globMatch", "g, **, reader\n", []string{"role-pattern-any"}},
	} {
		files := example(t)
		files["services/orders/service.yaml"] = strings.Replace(files["services/orders/service.yaml"], "    token_roles:", "    matching: {g: {names: "+c.function+"}}\n    token_roles:", 1)
		files["services/orders/policy.csv"] += c.rules
		if got := codesOf(look(t, files).Findings); !slices.Equal(got, c.want) {
			t.Errorf("%s, %q: %v, want %v", c.function, c.rules, got, c.want)
		}
	}
}
