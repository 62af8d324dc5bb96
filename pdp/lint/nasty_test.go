package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/lint"
)

// placed are the findings of some codes as CODE:LINE, and what keeps the bundle from loading.
func placed(report *lint.Report, codes ...string) []string {
	var got []string
	for _, f := range report.Findings {
		if slices.Contains(codes, f.Code) || isLoadCode(f.Code) {
			got = append(got, fmt.Sprint(f.Code, ":", f.Line))
		}
	}
	return got
}

// TestNarrowDoesNotCoverWide: where one rule of two matches more, only the other may go, whatever stands first.
func TestNarrowDoesNotCoverWide(t *testing.T) {
	for _, c := range []struct{ function, narrow, wide string }{
		{"keyMatch", "/orders/z*", "/orders/*"},
		{"keyMatch", "/orders/", "/orders/*"},
		{"keyMatch2", "/orders/:id/:line", "/orders/*"},
		{"keyMatch2", "/orders/:id/*", "/orders/*"},
		{"keyMatch2", "/orders/z:id", "/orders/:id"},
		{"keyMatch2", "/orders/zq9", "/orders/:id"},
		{"keyMatch3", "/orders/{id}id", "/orders/{id}"},
		{"keyMatch3", "/orders/z{id}", "/orders/{id}"},
		{"keyMatch4", "/{a}/{a}", "/{a}/{b}"},
		{"keyMatch5", "/orders/{id}/lines", "/orders/*"},
		{"ipMatch", "10.0.0.0/9", "10.0.0.0/8"},
		{"ipMatch", "10.0.0.0", "10.0.0.0/31"},
		{"regexMatch", "^(read|write)$", "^(delete|read|write)$"},
	} {
		files := change(t, example(t), "+++ services/orders/service.yaml\n-    request: {sub: subject.key, obj: resource.type, act: action}\n+    request: {sub: subject.key, obj: resource.id, act: action}\n")
		files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "r.obj == p.obj", c.function+"(r.obj, p.obj)", 1)
		for _, narrowFirst := range []bool{true, false} {
			rules, want := []string{c.wide, c.narrow}, "rule-shadowed:2"
			if narrowFirst {
				rules, want = []string{c.narrow, c.wide}, "rule-shadowed:1"
			}
			files["services/orders/policy.csv"] = fmt.Sprintf("p, reader, %q, read\np, reader, %q, read\n", rules[0], rules[1])
			if got := placed(look(t, files), "rule-shadowed"); !slices.Equal(got, []string{want}) {
				t.Errorf("%s %s: %v, want %s", c.function, rules, got, want)
			}
		}
	}
}

// TestNothingCoversWhatItDoesNot: pairs of rules of which each matches what the other does not.
func TestNothingCoversWhatItDoesNot(t *testing.T) {
	const three = "g(r.sub, p.sub) && r.obj == p.obj && "
	for name, c := range map[string]struct{ matcher, rules string }{
		"an expression for paths":   {three + "regexMatch(r.act, p.act)", "p, reader, order, ^read$\np, reader, order, /.*\n"},
		"an expression of one line": {three + "regexMatch(r.act, p.act)", "p, reader, order, \"^(.|\\n)*$\"\np, reader, order, ^.*$\n"},
		"two relations":             {"(g(r.sub, p.sub) || g2(r.sub, p.sub)) && r.obj == p.obj && r.act == p.act", "p, reader, order, read\np, writer, order, read\ng, writer, reader\ng2, user:corp:erin, writer\n"},
		"two functions":             {three + "(keyMatch2(r.act, p.act) || keyMatch3(r.act, p.act))", "p, reader, order, /:a/{b}\np, reader, order, /:z/{b}\n"},
		"a role in any domain":      {"(g3(r.sub, p.sub, p.obj) || p.sub == \"*\") && r.act == p.act", "p, writer, order, read\np, writer, line, read\ng3, user:corp:erin, writer, line\n"},
		"two subjects":              {"(g(r.sub, p.sub) || r.act == p.sub) && r.obj == p.obj", "p, reader, order, x\np, writer, order, x\ng, writer, reader\n"},
	} {
		files := change(t, example(t), "+++ services/orders/model.conf\n g = _, _\n+g2 = _, _\n+g3 = _, _, _\n")
		files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", c.matcher, 1)
		files["services/orders/policy.csv"] = c.rules
		if got := placed(look(t, files), "rule-shadowed", "role-unassigned"); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestConstantsCover: a value that stands for everything in the matcher is never covered by a role or pattern.
func TestConstantsCover(t *testing.T) {
	for _, c := range []struct{ matcher, rules, want string }{
		{`(g(r.sub, p.sub) || p.sub == "*") && r.obj == p.obj && r.act == p.act`, "p, writer, order, read\np, *, order, read\ng, *, writer\n", "rule-shadowed:1"},
		{`g(r.sub, p.sub) && r.obj == p.obj && (keyMatch2(r.act, p.act) || p.act == "any")`, "p, reader, order, :x\np, reader, order, any\n", "rule-shadowed:1"},
		{`g(r.sub, p.sub) && r.obj == p.obj && (keyMatch2(r.act, p.act) || r.act == p.act)`, "p, reader, order, :x\np, reader, order, read\n", "rule-shadowed:2"},
		{`g(r.sub, p.sub) && r.obj == p.obj && (regexMatch(r.act, p.act) || r.act == p.act)`, "p, reader, order, ^(a|b)$\np, reader, order, ^a$\n", ""},
	} {
		files := example(t)
		files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", c.matcher, 1)
		files["services/orders/policy.csv"] = c.rules
		if got := strings.Join(placed(look(t, files), "rule-shadowed"), " "); got != c.want {
			t.Errorf("%s\n%s: %v, want %q", c.matcher, c.rules, got, c.want)
		}
	}
}

// TestRolesElsewhere: a role that another condition asks for is of use, and a field that is compared with more than roles
// may hold what is no role.
func TestRolesElsewhere(t *testing.T) {
	for name, c := range map[string]struct{ matcher, rules string }{
		"in the matcher":           {`g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act && g(r.sub, "staff")`, "p, reader, order, read\ng, user:corp:erin, staff\n"},
		"an expression for keys":   {`(g(r.sub, p.sub) || regexMatch(r.sub, p.sub)) && r.obj == p.obj && r.act == p.act`, "p, ^user:corp:e.*$, order, read\n"},
		"in one alternative alone": {`g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act || r.act == p.sub && r.obj == p.obj`, "p, read, order, x\n"},
	} {
		files := example(t)
		files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", c.matcher, 1)
		files["services/orders/policy.csv"] = c.rules
		if got := placed(look(t, files), "role-unused", "role-unassigned", "member-unknown"); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestFoldedPaths: where paths are lower-cased, so are the routes'.
func TestFoldedPaths(t *testing.T) {
	files := change(t, example(t), "+++ services/orders/service.yaml\n match: [{host: orders.example.com}]\n+path: {case: insensitive}\n"+
		"-    request: {sub: subject.key, obj: resource.type, act: action}\n+    request: {sub: subject.key, obj: request.path, act: action}\n")
	files["services/orders/service.yaml"] = strings.ReplaceAll(files["services/orders/service.yaml"], "/orders/{id}", "/Orders/{id}")
	files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "r.obj == p.obj", "keyMatch2(r.obj, p.obj)", 1)
	files["services/orders/policy.csv"] = "p, reader, /orders/:id, read\np, writer, /orders/:id, write\np, writer, /Orders/:id, write\n"
	if got := placed(look(t, files), "rule-unreachable", "route-never-allowed"); !slices.Equal(got, []string{"rule-unreachable:3"}) {
		t.Errorf("got %v", got)
	}
}

// TestSharedRulesAreCountedOnce: a policy that comes upon a line twice counts once, and what only one policy finds neither
// takes the place of other findings nor is told as left out.
func TestSharedRulesAreCountedOnce(t *testing.T) {
	files := example(t)
	service := files["services/orders/service.yaml"]
	files["services/orders/service.yaml"] = strings.Replace(service, "rules: [policy.csv]", "rules: [policy.csv, /shared/rules.csv]", 1)
	files["services/stock/service.yaml"] = strings.ReplaceAll(files["services/orders/service.yaml"], "orders", "stock")
	files["services/stock/model.conf"] = files["services/orders/model.conf"]
	files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "r.act == p.act", `r.act == p.act || g(r.sub, p.sub) && r.obj == p.obj && r.act == "super"`, 1)
	files["services/stock/policy.csv"] = files["services/orders/policy.csv"] + "g, user:corp:erin, auditor\np, user:partner:bob, order, read\n"
	files["services/orders/policy.csv"] += "g, user:corp:erin, lonely\n"
	var shared, used strings.Builder
	shared.WriteString("p, auditor, order, read\n")
	for i := range 1100 {
		fmt.Fprintf(&shared, "g, user:corp:u%d, r%d\n", i, i)
		fmt.Fprintf(&used, "p, r%d, order, read\n", i)
	}
	files["shared/rules.csv"] = shared.String()
	files["services/stock/policy.csv"] += used.String()
	report := look(t, files)
	if got, want := placed(report, "role-unassigned", "role-unused"), []string{"role-unused:4"}; !slices.Equal(got, want) || len(report.Omitted) > 0 {
		t.Errorf("got %v and omitted %v, want %v", got, report.Omitted, want)
	}
}

// TestEqualPatterns: patterns that differ in their names alone are found, and cost no more than others.
func TestEqualPatterns(t *testing.T) {
	files := change(t, example(t), "+++ services/orders/service.yaml\n-    request: {sub: subject.key, obj: resource.type, act: action}\n+    request: {sub: subject.key, obj: request.path, act: action}\n")
	files["services/orders/model.conf"] = strings.Replace(files["services/orders/model.conf"], "r.obj == p.obj", "keyMatch2(r.obj, p.obj)", 1)
	var b strings.Builder
	b.WriteString("p, writer, /orders/:first, write\n")
	for i := range 100_000 {
		fmt.Fprintf(&b, "p, reader, /orders/:id%d, read\n", i)
	}
	files["services/orders/policy.csv"] = b.String()
	report := look(t, files)
	if n := report.Count(lint.Warning) + report.Omitted["rule-shadowed"]; n < 99_999 || len(placed(report, "rule-shadowed")) != 100 {
		t.Errorf("%d findings, omitted %v", len(report.Findings), report.Omitted)
	}
}
