package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// rbacWith returns the RBAC model with other definitions.
func rbacWith(old, replacement string) string {
	if !strings.Contains(rbacModel, old) {
		panic("the model has no " + old)
	}
	return strings.Replace(rbacModel, old, replacement, 1)
}

const (
	matcher    = "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
	someAllow  = "some(where (p.eft == allow))"
	soundRules = "p, reader, order, read\ng, user:corp:alice, reader\n"
)

func matcherOf(text string) setup { return setup{model: rbacWith(matcher, text)} }
func rulesOf(text string) setup   { return setup{rules: text} }

// links returns n links of g in a chain.
func links(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "g, n%d, n%d\n", i, i+1)
	}
	return b.String()
}

// refusals are the setups that do not load. A name that begins with a number is the trap of Casbin that it is about.
var refusals = []struct {
	name  string
	setup setup
	at    string
	want  string
}{
	// How Casbin reads models.
	{"1.1 comment in a literal", matcherOf(`r.sub == 'a#b' && p.sub == 'x'`), "model.conf:10:16", "Casbin cuts the line"},
	{"1.1 semicolon in a literal", matcherOf(`r.sub == "a;b" && p.sub == 'x'`), "model.conf:10:16", "Casbin cuts the line"},
	{"1.1 key twice", matcherOf(matcher + "\nm = " + matcher), "model.conf:11:1", "defined twice"},
	{"1.1 unknown section", setup{model: "[requests]\n" + rbacModel}, "model.conf:1:1", "unknown section"},
	{"1.1 unknown key", setup{model: rbacWith("r = sub", "q = sub, obj, act\nr = sub")}, "model.conf:2:1", "holds r"},
	{"1.1 upper case key", setup{model: rbacWith("r = sub", "R = sub, obj, act\nr = sub")}, "model.conf:2:1", "holds r"},
	{"1.1 definition outside of sections", setup{model: "r = sub\n" + rbacModel}, "model.conf:1:1", "outside"},
	{"1.1 gap in numbers", setup{model: rbacWith("g = _, _", "g = _, _\ng3 = _, _")}, "model.conf:7:6", "g3 without g2"},
	{"1.1 g2 without g", setup{model: rbacWith("g = _, _", "g2 = _, _")}, "model.conf:6:6", "g2 without g"},
	{"1.1 no such thing", setup{model: rbacWith("e = "+someAllow, "")}, "model.conf", "no e in [policy_effect]"},
	{"1.1 empty definition", matcherOf(""), "model.conf:10:1", "m is empty"},
	{"1.1 no equals sign", matcherOf(matcher + "\nmatch"), "model.conf:11:1", "KEY = VALUE"},
	{"1.1 effect without blanks", setup{model: rbacWith(someAllow, "some(where(p.eft==allow))")}, "model.conf:8:5", "unsupported effect"},
	{"1.1 r. in a literal", matcherOf(`keyMatch(r.obj, ' p.html') && g(r.sub, p.sub)`), "model.conf:10:", "rewrites"},
	{"1.1 p. in a path", matcherOf(`r.obj == '/p.html' && g(r.sub, p.sub)`), "model.conf:10:", "rewrites"},
	{"1.1 brackets with in", matcherOf(`regexMatch(r.sub, '^[ab]+$') && p.obj == 'admin'`), "model.conf:10:23", "turns [ ] into ( )"},
	{"1.1 backslash in a literal", matcherOf(`regexMatch(r.act, '\w') && g(r.sub, p.sub)`), "model.conf:10:23", "backslash"},
	{"1.1 field in brackets", matcherOf(`r.obj in [p.obj, p.sub]`), "model.conf:10:15", "a blank before"},
	{"1.1 date in a literal", matcherOf(`r.obj == '2024-01-01' && g(r.sub, p.sub)`), "model.conf:10:14", "looks like a date"},
	{"1.1 mixed quotes", matcherOf(`r.obj == 'it"s' && g(r.sub, p.sub)`), "model.conf:10:14", "a quote inside"},
	{"1.1 open literal", matcherOf(`g(r.sub, p.sub) && r.obj == 'x`), "model.conf:10:33", "does not end"},
	{"1.1 comment swallows the next line", matcherOf("g(r.sub, p.sub) # see below \\\n"), "model.conf:10:21", "swallow"},
	{"1.1 continuation into nothing", matcherOf("g(r.sub, p.sub) && \\\n\n"), "model.conf:11:1", "must be followed"},
	{"1.1 continuation into a section", setup{model: rbacWith("g = _, _\n", "g = _, \\\n")}, "model.conf:7:1", "must be followed"},
	{"1.1 continuation at the end", setup{model: strings.TrimRight(rbacModel, "\n") + " && \\\n"}, "model.conf:10", "the file ends"},
	{"1.1 long line", matcherOf(matcher + strings.Repeat(" ", 5000)), "model.conf:10", "longer than"},
	{"1.1 control characters", matcherOf(matcher + "\x00"), "model.conf:10", "control characters"},
	{"1.1 unknown function", matcherOf(`g(r.sub, p.sub) && nope(r.obj)`), "model.conf:10:24", `unknown function "nope"`},
	{"1.1 unknown r", matcherOf(`g(r.sub, p.sub) && r.dom == p.obj`), "model.conf:10:24", `r has no field "dom"`},
	{"1.1 unknown p", matcherOf(`g(r.sub, p.sub) && r.obj == p.dom`), "model.conf:10:33", `p has no field "dom"`},
	{"1.1 unknown name", matcherOf(`g(r.sub, p.sub) && admin`), "model.conf:10:24", `unknown name "admin"`},
	{"1.1 syntax", matcherOf(`g(r.sub, p.sub) && && r.obj == p.obj`), "model.conf:10:5", "cannot be read"},
	{"1.1 field name", setup{model: rbacWith("r = sub, obj, act", "r = sub, o-bj, act")}, "model.conf:2:9", "not the name of a field"},
	{"1.1 field twice", setup{model: rbacWith("r = sub, obj, act", "r = sub, obj, obj")}, "model.conf:2:14", "stands twice"},
	{"1.1 member of p", matcherOf(`g(r.sub, p.sub.x)`), "model.conf:10:14", "no members"},
	{"1.1 member of a string", matcherOf(`g(r.sub, p.sub) && r.obj.x == p.obj`), "model.conf:10:24", "no members"},
	{"1.1 method", matcherOf(`g(r.sub, p.sub) && r.obj.Name(p.obj)`), "model.conf:10", "no methods"},
	{"1.1 in one value", matcherOf(`g(r.sub, p.sub) && r.obj in (p.obj)`), "model.conf:10:30", "write == instead"},
	{"1.1 in one value in two parentheses", matcherOf(`g(r.sub, p.sub) && r.obj in (('x'))`), "model.conf:10:30", "write == instead"},
	{"1.1 list in a list", matcherOf(`g(r.sub, p.sub) && r.obj in ('x', ('y', 'z'))`), "model.conf:10:5", "a list stands"},
	{"1.1 list for a condition", matcherOf(`g(r.sub, p.sub), true`), "model.conf:10:5", "a list stands"},
	// What enforce does.
	{"1.2.2 r2", setup{model: rbacWith("r = sub, obj, act", "r = sub, obj, act\nr2 = sub")}, "model.conf:3:1", "r2 is not enforced"},
	{"1.2.2 p2", setup{model: rbacWith("p = sub, obj, act", "p = sub, obj, act\np2 = sub")}, "model.conf:5:1", "p2 is not enforced"},
	{"1.2.2 m2", matcherOf(matcher + "\nm2 = r.sub == p.sub"), "model.conf:11:1", "m2 is not enforced"},
	{"1.2.2 rule of p2", rulesOf(soundRules + "p2, a, b\n"), "policy.csv:3:1", "p2 is not enforced"},
	{"1.2.4 arity of p", rulesOf("p, reader, order\n"), "policy.csv:1:1", "2 fields here and 3"},
	{"1.2.4 arity of g", rulesOf(soundRules + "g, a, b, c\n"), "policy.csv:3:1", "3 fields here and 2"},
	{"1.2.5 eft", setup{model: withEffect(rbacModel, someAllow), rules: "p, reader, order, read, DENY\n"}, "policy.csv:1:1", "eft must be"},
	{"1.2.5 bad regex", setup{model: rbacWith(matcher, "regexMatch(r.act, p.act)"), rules: "p, reader, order, (\n"}, "policy.csv:1:19", "not a pattern of regexMatch: error parsing regexp: missing closing ): `(`"},
	{"1.2.5 bad regex literal", setup{model: rbacWith(matcher, "regexMatch(r.act, '(') && g(r.sub, p.sub)"), rules: soundRules}, "model.conf:10", "not a pattern of regexMatch"},
	{"1.2.5 bad network", setup{model: rbacWith(matcher, "ipMatch(r.obj, p.obj)"), rules: "p, reader, 10.0.0.0/33, read\n"}, "policy.csv:1:12", "neither an IP address"},
	{"1.2.5 bad glob", setup{model: rbacWith(matcher, "globMatch(r.obj, p.obj)"), rules: "p, reader, [a, read\n"}, "policy.csv:1:12", "not a pattern of globMatch"},
	{"1.2.5 bad key pattern", setup{model: rbacWith(matcher, "keyMatch2(r.obj, p.obj)"), rules: "p, reader, /a(, read\n"}, "policy.csv:1:12", "not a pattern of keyMatch2"},
	{"1.2.5 groups in keyMatch4", setup{model: rbacWith(matcher, "keyMatch4(r.obj, p.obj)"), rules: "p, reader, /(a)/{b}, read\n"}, "policy.csv:1:12", "must not hold groups"},
	{"1.2.5 eval of a missing field", setup{model: rbacWith(matcher, "eval(p.obj) && r.act == p.act"), rules: "p, reader, r.nope == 'x', read\n"}, "policy.csv:1:12", `r has no field "nope"`},
	{"1.2.5 eval in eval", setup{model: rbacWith(matcher, "eval(p.obj)"), rules: "p, reader, eval(p.act), read\n"}, "policy.csv:1:12", "not enforced"},
	{"1.2.6 no rules", rulesOf("g, a, b\n"), "service.yaml", "no rule for p"},
	{"1.2.6 empty file", rulesOf("\n# nothing\n"), "service.yaml", "no rule for p"},
	{"1.2.6 matcher without p", setup{model: rbacWith(matcher, "r.sub == 'p_x'"), rules: soundRules}, "model.conf:10:5", "does not read p"},
	{"1.2.6 deny-override", setup{model: withEffect(rbacModel, "!some(where (p.eft == deny))"), rules: "p, a, b, c, deny\n"}, "model.conf:8:5", "only guards may have it"},
	{"1.2.8 priority that is no number", setup{model: rbacWith("p = sub, obj, act", "p = priority, sub, obj, act"), rules: "p, first, reader, order, read\n"}, "policy.csv:1:1", "not a whole number"},
	{"1.2.9 subject priority without sub first", setup{model: strings.Replace(withEffect(rbacModel, "subjectPriority(p.eft) || deny"), "p = sub, obj", "p = obj, sub", 1), rules: "p, a, b, c, allow\n"}, "model.conf:4:5", "first field"},
	{"1.2.9 subject priority with ways of two lengths", setup{model: withEffect(rbacModel, "subjectPriority(p.eft) || deny"), rules: "p, a, b, c, allow\ng, a, b\ng, b, c\ng, a, c\n"}, "policy.csv", "one length"},
	// Roles.
	{"1.3 role shaped like a subject", rulesOf(soundRules + "g, user:corp:bob, user:corp:alice\n"), "policy.csv:3:1", "shape of a subject's key"},
	{"1.3 anonymous as a role", rulesOf(soundRules + "g, user:corp:bob, anonymous\n"), "policy.csv:3:1", "shape of a subject's key"},
	{"1.3 subject by its id", setup{rules: soundRules, request: map[string]string{"sub": "subject.id", "obj": "resource.id", "act": "action"}}, "model.conf:10:5", "use subject.key"},
	{"1.3 subject by a claim", setup{rules: soundRules, request: map[string]string{"sub": "claims.sub", "obj": "resource.id", "act": "action"}}, "model.conf:10:5", "use subject.key"},
	{"1.3 subject by a header", setup{rules: soundRules, request: map[string]string{"sub": "request.header.x-user", "obj": "resource.id", "act": "action"}}, "model.conf:10:5", "use subject.key"},
	{"1.3 subject by a parameter", setup{rules: soundRules, request: map[string]string{"sub": "params.id", "obj": "resource.id", "act": "action"}}, "model.conf:10:5", "use subject.key"},
	{"1.3 member of an object", setup{model: rbacWith("g(r.sub, p.sub)", "g(r.sub.id, p.sub)"), rules: soundRules, request: map[string]string{"sub": "subject", "obj": "resource.id", "act": "action"}}, "model.conf:10:5", "use subject.key"},
	{"1.3 member by an expression", matcherOf("g(r.sub + 'x', p.sub)"), "model.conf:10:5", "not results of expressions"},
	{"1.3 chain of 11 links", rulesOf("p, n11, order, read\n" + links(11)), "policy.csv:12:1", "longer than 10"},
	{"1.3 chain of 10 links below a token role", setup{rules: "p, n10, order, read\n" + links(10), tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"}}, "policy.csv:11:1", "longer than 9"},
	{"1.3 cycle", rulesOf(soundRules + "g, a, b\ng, b, c\ng, c, a\n"), "policy.csv:3:1", "cycle"},
	{"1.3 own role", rulesOf(soundRules + "g, a, a\n"), "policy.csv:3:1", "cycle"},
	{"1.3 conditional roles", setup{model: rbacWith("g = _, _", "g = _, _, (_, _)")}, "model.conf:6:5", "conditional roles"},
	{"1.3 four fields", setup{model: rbacWith("g = _, _", "g = _, _, _, _")}, "model.conf:6:5", "not enforced"},
	{"1.3 arity of a call", matcherOf("g(r.sub, p.sub, p.obj)"), "model.conf:10:5", "2 fields in [role_definition] and 3 here"},
	{"1.3 token roles without a domain", setup{model: domainModel, rules: "p, a, d, o, r\n", tokens: &format.TokenRoles{From: "subject.roles", Relation: "g"},
		request: map[string]string{"sub": "subject.key", "dom": "subject.tenant", "obj": "resource.id", "act": "action"}}, "service.yaml", "has domains"},
	{"1.3 token roles in a domain of the request", setup{model: domainModel, rules: "p, a, d, o, r\n", tokens: &format.TokenRoles{From: "subject.roles", Relation: "g", Domain: "params.id"},
		request: map[string]string{"sub": "subject.key", "dom": "subject.tenant", "obj": "resource.id", "act": "action"}}, "service.yaml", "must not choose"},
	{"token roles of the request", setup{rules: soundRules, tokens: &format.TokenRoles{From: "request.header.x-roles", Relation: "g"}}, "service.yaml", "attribute of the subject"},
	{"token roles of no relation", setup{rules: soundRules, tokens: &format.TokenRoles{From: "subject.roles", Relation: "g2"}}, "service.yaml", "no role relation"},
	{"token roles with a needless domain", setup{rules: soundRules, tokens: &format.TokenRoles{From: "subject.roles", Relation: "g", Domain: "subject.tenant"}}, "service.yaml", "no domains"},
	// Functions.
	{"1.4 pattern of the request", setup{model: rbacWith(matcher, "regexMatch(p.obj, r.obj)"), rules: soundRules}, "model.conf:10:5", "a request must not bring it"},
	{"1.4 pattern of the request in an operator", setup{model: rbacWith(matcher, "p.obj =~ r.obj"), rules: soundRules}, "model.conf:10", "must be a string literal"},
	{"1.4 arguments", setup{model: rbacWith(matcher, "keyMatch(r.obj) && g(r.sub, p.sub)"), rules: soundRules}, "model.conf:10:5", "takes 2 arguments and has 1"},
	{"1.4 eval of the request", setup{model: rbacWith(matcher, "eval(r.obj) && g(r.sub, p.sub)"), rules: soundRules}, "model.conf:10:5", "not enforced"},
	// Types.
	{"unlike types: list and string", setup{rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "subject.roles", "act": "action"}}, "model.conf:10:30", "a list is compared with a string"},
	{"unlike types: string and number", setup{model: rbacWith(matcher, "g(r.sub, p.sub) && r.obj == 1"), rules: soundRules}, "model.conf:10:30", "a string is compared with a number"},
	{"unlike types: number of the request", setup{rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "request.size", "act": "action"}}, "model.conf:10:30", "a number is compared with a string"},
	{"unlike types: in a string", setup{model: rbacWith(matcher, "g(r.sub, p.sub) && 'x' in r.obj"), rules: soundRules}, "model.conf:10:28", "not a list"},
	{"unlike types: an argument", setup{model: rbacWith(matcher, "keyMatch(r.obj, p.obj)"), rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "subject.roles", "act": "action"}}, "model.conf:10:5", "takes strings, not a list"},
	{"a whole object compared", setup{model: rbacWith(matcher, "r.obj == p.obj"), rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "resource", "act": "action"}}, "model.conf:10:11", "whole object"},
	{"unknown member", setup{model: rbacWith(matcher, "r.obj.nope == p.obj"), rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "resource", "act": "action"}}, "model.conf:10:5", "unknown attribute"},
	// Rule files.
	{"1.5 trailing blank", rulesOf("p, reader , order, read\n"), "policy.csv:1:4", "blank"},
	{"1.5 blank in quotes", rulesOf("p, \" reader\", order, read\n"), "policy.csv:1:4", "blank"},
	{"1.5 long line", rulesOf("p, reader, order, " + strings.Repeat("x", maxRuleLine) + "\n"), "policy.csv:1", "longer than 65536"},
	{"1.5 empty type", rulesOf(", reader, order, read\n"), "policy.csv:1:1", "no type"},
	{"1.5 unknown type", rulesOf("q, reader, order, read\n"), "policy.csv:1:1", `no "q"`},
	{"1.5 duplicate", rulesOf(soundRules + "p, reader, order, read\n"), "policy.csv:3:1", "policy.csv:1 already"},
	{"1.5 comma-join collision", setup{rules: "p, a, \"b,c\", d\np, \"a,b\", c, d\n"}, "policy.csv:2:1", "joined with commas"},
	{"open quote", rulesOf("p, \"reader, order, read\n"), "policy.csv:1:4", "must end on its line"},
	{"text after a quote", rulesOf("p, \"reader\"x, order, read\n"), "policy.csv:1:4", "must end on its line"},
	{"quote in a field", rulesOf("p, rea\"der, order, read\n"), "policy.csv:1:4", "must be quoted"},
	{"control character", rulesOf("p, rea\x07der, order, read\n"), "policy.csv:1:4", "control character"},
	{"not UTF-8", rulesOf("p, \xff, order, read\n"), "policy.csv:1", "not UTF-8"},
	// The request mapping and the service.
	{"unmapped field", setup{rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "resource.id"}}, "service.yaml", "has the field act"},
	{"mapped field that is not there", setup{rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "resource.id", "act": "action", "dom": "action"}}, "service.yaml", `no field "dom"`},
	{"unknown attribute", setup{rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "resource.ids", "act": "action"}}, "service.yaml", "unknown attribute"},
	{"parameter of no route", setup{rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "params.nope", "act": "action"}}, "service.yaml", "no parameter"},
	{"default of an object", setup{rules: soundRules, request: map[string]string{"sub": "subject.key", "obj": "resource", "act": "action"}, defaults: map[string]string{"obj": "-"}}, "service.yaml", "no value to take"},
	{"no policy", setup{withoutPolicy: true}, "service.yaml", "could never be allowed"},
	{"too costly", setup{rules: soundRules, maxCost: new(format.Duration(time.Nanosecond))}, "service.yaml", "tries those of 1 rules"},
	{"a cost of nothing", setup{rules: soundRules, maxCost: new(format.Duration)}, "service.yaml", "and 0s is allowed"},
	{"a candidate without rules", setup{rules: soundRules, extra: "candidate: {policy: main}\n"}, "service.yaml", "a policy needs rules"},
	{"a candidate of nothing", setup{rules: soundRules, extra: "candidate: {policy: other, rules: [next.csv]}\n"}, "service.yaml:1", `no policy "other"`},
	{"a candidate that is wrong", setup{rules: soundRules, next: "p, a, b\n", extra: "candidate: {rules: [next.csv]}\n"}, "next.csv:1", "p has 2 fields"},
	{"observe without an end", setup{rules: soundRules, extra: "observe: [{route: read}]\n"}, "service.yaml:1", "until: YYYY-MM-DD"},
	{"observe of nothing", setup{rules: soundRules, extra: "observe: [{route: other, until: \"2026-03-01\"}]\n"}, "service.yaml:1", `no route "other"`},
	{"observe twice", setup{rules: soundRules, extra: "observe: [{route: read, until: \"2026-03-01\"}, {route: read, until: \"2026-03-02\"}]\n"}, "service.yaml:1", "stands twice"},
	{"observe of a public route", setup{rules: soundRules, routes: []format.Route{{Name: "read", Path: "/", Access: "public"}}, extra: "observe: [{route: read, until: \"2026-03-01\"}]\n"}, "service.yaml:1", "public route"},
	{"same of one", setup{rules: soundRules, routes: []format.Route{{Path: "/a", Same: []format.Attribute{{Name: "action"}}}}}, "service.yaml", "at least two"},
	{"same of a list", setup{rules: soundRules, routes: []format.Route{{Path: "/a", Same: []format.Attribute{{Name: "action"}, {Name: "subject.roles"}}}}}, "service.yaml", "single values"},
	{"same with a default", setup{rules: soundRules, routes: []format.Route{{Path: "/a", Same: []format.Attribute{{Name: "action"}, {Name: "subject.tenant", Missing: new(string)}}}}}, "service.yaml", "missing has no meaning"},
	{"same of another route's parameter", setup{rules: soundRules, routes: []format.Route{{Path: "/{b}"}, {Path: "/a", Same: []format.Attribute{{Name: "action"}, {Name: "params.b"}}}}}, "service.yaml", "no parameter"},
	{"same on a public route", setup{rules: soundRules, routes: []format.Route{{Path: "/{b}", Access: "public", Same: []format.Attribute{{Name: "action"}, {Name: "params.b"}}}}}, "service.yaml", "public route"},
	{"a bad guard", setup{rules: soundRules, guardModel: guardModel, guard: "p, a, b, forbid\n", guardRequest: map[string]string{"net": "action", "path": "request.path"}}, "guard.csv:1:1", "eft must be"},
}

// TestRefusals checks that each of them is refused, where it stands, and with a reason.
func TestRefusals(t *testing.T) {
	for _, x := range refusals {
		t.Run(x.name, func(t *testing.T) {
			if x.setup.rules == "" {
				x.setup.rules = soundRules
			}
			compiled, problems := x.setup.compile()
			if len(problems) == 0 || compiled != nil {
				t.Fatal("the setup compiles")
			}
			if message := problems.Error(); !strings.Contains(message, x.at) || !strings.Contains(message, x.want) {
				t.Errorf("want %q at %s, got:\n%s", x.want, x.at, message)
			}
		})
	}
}

// TestCasbinIsFooled shows for some refusals what casbin makes of them, so that none outlives its reason.
func TestCasbinIsFooled(t *testing.T) {
	ask := func(modelText, rules string, values ...any) (bool, error) {
		m, err := model.NewModelFromString(modelText)
		if err != nil {
			t.Fatal(err)
		}
		e, err := casbin.NewEnforcer(m, stringadapter.NewAdapter(rules))
		if err != nil {
			t.Fatal(err)
		}
		return e.Enforce(values...)
	}
	for _, x := range []struct {
		name         string
		model, rules string
		values       []any
		want         bool
	}{
		{"1.1 brackets with in", rbacWith(matcher, `regexMatch(r.sub, '^[ab]+$') && p.obj == 'admin'`), "p, x, admin, x\n", []any{"aab", "", ""}, false},
		{"1.1 date in a literal", rbacWith(matcher, `r.obj == '2024-01-01' && r.act == p.act`), "p, x, x, read\n", []any{"", "2024-01-01", "read"}, false},
		{"1.2.5 eft", withEffect(rbacModel, "some(where (p.eft == allow)) && !some(where (p.eft == deny))"), "p, a, b, c, allow\np, a, b, c, DENY\n", []any{"a", "b", "c"}, true},
		{"1.2.6 no rules", rbacModel, "g, a, b\n", []any{"", "", ""}, true},
		{"1.2.6 deny-override", withEffect(rbacModel, "!some(where (p.eft == deny))"), "p, a, b, c, deny\n", []any{"x", "y", "z"}, true},
		{"1.3 subject named like a role", rbacModel, "p, admin, b, c\n", []any{"admin", "b", "c"}, true},
		{"1.3 chain of 11 links", rbacModel, "p, n11, order, read\n" + links(11), []any{"n0", "order", "read"}, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got, err := ask(x.model, x.rules, x.values...); got != x.want || err != nil {
				t.Errorf("casbin says %v, %v", got, err)
			}
		})
	}
}
