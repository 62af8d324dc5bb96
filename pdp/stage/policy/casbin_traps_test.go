package policy

import (
	"strings"
	"testing"

	"github.com/casbin/casbin/v2"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// What casbin does with a policy and a request.
const (
	loadFails    = "does not load"
	requestFails = "an error at the request"
	allows       = "allows"
	doesNotAllow = "denies"
)

// trap is something that surprises in casbin: what casbin makes of a policy and a request, and what is made of it here.
type trap struct {
	// name begins with the trap's number in "What surprises" of casbin.md; a letter tells those of one number apart.
	name         string
	model, rules string
	asked        []any
	casbin       string
	// refused is a part of the reason why it does not load here. Without it answer is what the same request gets.
	refused string
	answer  answer
}

// traps are those that show in a policy and a request. The others follow as tests of their own.
var traps = []trap{
	// Models.
	{name: "1.1 a comment sign inside a literal cuts the matcher", model: rbacWith(matcher, `r.sub == 'a#b' && p.sub == 'x'`), rules: soundRules,
		asked: []any{"a#b", "x", "x"}, casbin: requestFails, refused: "Casbin cuts the line"},
	{name: "1.1 a semicolon inside a literal does too", model: rbacWith(matcher, `r.sub == p.sub && r.obj != ";"`), rules: soundRules,
		asked: []any{"reader", "x", "x"}, casbin: requestFails, refused: "Casbin cuts the line"},
	{name: "1.1 of two matchers the last one wins", model: rbacWith(matcher, matcher+"\nm = r.sub == p.sub"), rules: soundRules,
		asked: []any{"reader", "x", "x"}, casbin: allows, refused: "m is defined twice"},
	{name: "1.1 an unknown section is ignored", model: "[matcher]\nm = p.sub == 'x'\n" + rbacModel, rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: allows, refused: "unknown section"},
	{name: "1.1 relations after a gap are ignored", model: rbacWith("g = _, _", "g = _, _\ng3 = _, _"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: allows, refused: "g3 without g2"},
	{name: "1.1 a model without a matcher does not load", model: strings.Split(rbacModel, "[matchers]")[0], rules: soundRules,
		casbin: loadFails, refused: "defines no m"},
	{name: "1.1 a matcher that cannot be read loads", model: rbacWith(matcher, "r.sub == p.sub &&"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "cannot be read"},
	{name: "1.1 an unknown function loads", model: rbacWith(matcher, "keyMatch9(r.obj, p.obj)"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "unknown function"},
	{name: "1.1 an unknown field loads", model: rbacWith(matcher, "r.sub == p.subject"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: `p has no field "subject"`},
	{name: "1.1 an effect without its blanks loads", model: rbacWith(someAllow, "some(where (p.eft==allow))"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "unsupported effect"},
	{name: "1.1 an effect of p2 is unknown text", model: rbacWith(someAllow, "some(where (p2.eft == allow))"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "unsupported effect"},
	{name: "1.1a r. and p. are rewritten inside literals", model: rbacWith(matcher, "r.obj == '/p.html' && p.sub == 'reader'"), rules: soundRules,
		asked: []any{"reader", "/p.html", "read"}, casbin: doesNotAllow, refused: "rewrites this string literal"},
	{name: "1.1b brackets become parentheses where the matcher holds in", model: rbacWith(matcher, "regexMatch(r.sub, '^[ab]+$') && p.obj != 'admin'"), rules: soundRules,
		asked: []any{"aab", "x", "x"}, casbin: doesNotAllow, refused: "Casbin turns [ ] into ( )"},
	{name: "1.1c backslashes in literals are doubled", model: rbacWith(matcher, `regexMatch(r.obj, '^\d+$') && p.sub == 'reader'`), rules: soundRules,
		asked: []any{"reader", "7", "read"}, casbin: allows, refused: "a backslash in a string literal"},
	{name: "1.1d a list in brackets does not see its fields", model: rbacWith(matcher, "r.obj in [p.obj, p.sub]"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "Casbin does not see the field"},
	{name: "1.1d a list in parentheses does", model: rbacWith(matcher, "r.obj in ('a', p.obj) && r.sub == p.sub"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.1c characters beyond ASCII in literals are broken", model: rbacWith(matcher, "r.obj == 'é' && p.sub == 'reader'"), rules: soundRules,
		asked: []any{"reader", "é", "read"}, casbin: doesNotAllow, refused: "breaks what is not ASCII"},
	{name: "1.1d a field in brackets is not seen", model: rbacWith(matcher, "[r.sub] == p.sub && r.obj == p.obj"), rules: soundRules,
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "write it without brackets"},
	{name: "1.1d nor in the expression of a rule", model: rbacWith(matcher, "r.sub == p.sub && eval(p.obj)"), rules: "p, reader, [r.obj] == 'order', read\n",
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "write it without brackets"},
	{name: "1.1e a literal like a date is a number", model: rbacWith(matcher, "r.obj == '2024-01-01' && p.sub == 'reader'"), rules: soundRules,
		asked: []any{"reader", "2024-01-01", "read"}, casbin: doesNotAllow, refused: "looks like a date"},
	{name: "1.1e values of unlike types are never equal", model: rbacWith(matcher, "r.obj == 1 && p.sub == 'reader'"), rules: soundRules,
		asked: []any{"reader", "1", "read"}, casbin: doesNotAllow, refused: "a string is compared with a number"},
	{name: "1.1e an error behind a condition that is false is none", model: rbacWith(matcher, "r.act == p.act && ipMatch(r.obj, '10.0.0.0/8') && r.sub == p.sub"), rules: soundRules,
		asked: []any{"reader", "no address", "write"}, casbin: doesNotAllow, answer: answer{false, verdict.NoMatchingRule, ""}},
	{name: "1.1e && binds tighter than ||", model: rbacWith(matcher, "r.sub == p.sub || r.obj == p.obj && r.act == p.act"), rules: soundRules,
		asked: []any{"reader", "x", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.1e an alternative binds least", model: rbacWith(matcher, "r.sub == p.sub || r.sub == 'x' ? r.obj == p.obj : r.act == p.act"), rules: soundRules,
		asked: []any{"reader", "x", "read"}, casbin: doesNotAllow, answer: answer{false, verdict.NoMatchingRule, ""}},

	// Enforce.
	{name: "1.2.1 a panic becomes an error with a stack trace", model: rbacWith(matcher, "ipMatch(r.obj, p.obj)"), rules: "p, reader, 10.0.0.0/8, read\n",
		asked: []any{"reader", "no address", "read"}, casbin: requestFails, answer: answer{false, verdict.PolicyError, "1"}},
	{name: "1.2.2 a second request definition", model: rbacWith("r = sub, obj, act", "r = sub, obj, act\nr2 = sub"), rules: soundRules,
		asked: []any{casbin.NewEnforceContext("3"), "reader", "order", "read"}, casbin: requestFails, refused: "r2 is not enforced"},
	{name: "1.2.3 text that looks like JSON stays text", model: rbacModel, rules: `p, reader, "{""a"":1}", read` + "\n",
		asked: []any{"reader", `{"a":1}`, "read"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.2.4 a request of the wrong size", model: rbacModel, rules: soundRules,
		asked: []any{"reader", "order"}, casbin: requestFails, answer: answer{false, verdict.AttributeMissing, ""}},
	{name: "1.2.4 a rule of the wrong size is dropped by some adapters", model: rbacModel, rules: "p, reader, order\n",
		asked: []any{"reader", "order", "read"}, casbin: doesNotAllow, refused: "2 fields here and 3"},
	{name: "1.2.5 a deny rule with a typing error is off", model: withEffect(rbacModel, "some(where (p.eft == allow)) && !some(where (p.eft == deny))"), rules: "p, reader, order, read, allow\np, reader, order, read, DENY\n",
		asked: []any{"reader", "order", "read"}, casbin: allows, refused: "eft must be"},
	{name: "1.2.5 a bad pattern fails requests that have nothing to do with it", model: rbacWith(matcher, "regexMatch(r.obj, p.obj) && r.sub == p.sub"), rules: "p, other, (, read\np, reader, order, read\n",
		asked: []any{"reader", "order", "read"}, casbin: requestFails, refused: "not a pattern of regexMatch"},
	{name: "1.2.5 unless an earlier rule decides", model: rbacWith(matcher, "regexMatch(r.obj, p.obj) && r.sub == p.sub"), rules: "p, reader, order, read\np, other, (, read\n",
		asked: []any{"reader", "order", "read"}, casbin: allows, refused: "not a pattern of regexMatch"},
	{name: "1.2.6 an empty rule set allows what is empty", model: rbacModel, rules: "g, a, b\n", asked: []any{"", "", ""}, casbin: allows, refused: "no rule for p"},
	{name: "1.2.6 with deny-override it allows everybody", model: withEffect(rbacModel, denyOverrideText), rules: "g, a, b\n",
		asked: []any{"mallory", "order", "read"}, casbin: allows, refused: "only guards may have it"},
	{name: "1.2.6 a matcher that does not read p never looks at the rules", model: rbacWith(matcher, "r.sub == r.obj"), rules: soundRules,
		asked: []any{"x", "x", "x"}, casbin: allows, refused: "does not read p"},
	{name: "1.2.6 what is empty matches rules that are empty", model: rbacModel, rules: "p, \"\", \"\", \"\"\n", asked: []any{"", "", ""}, casbin: allows, answer: answer{false, verdict.AttributeMissing, ""}},
	{name: "1.2.7 allow-override: a deny rule has no say", model: withEffect(rbacModel, someAllow), rules: "p, reader, order, read, deny\np, reader, order, read, allow\n",
		asked: []any{"reader", "order", "read"}, casbin: allows, answer: answer{true, "", "2"}},
	{name: "1.2.7 allow-and-deny: all rules are tried", model: withEffect(rbacModel, "some(where (p.eft == allow)) && !some(where (p.eft == deny))"), rules: "p, reader, order, read, allow\np, other, order, read, deny\np, reader, order, read, deny\n",
		asked: []any{"reader", "order", "read"}, casbin: doesNotAllow, answer: answer{false, verdict.RuleDenied, "3"}},
	{name: "1.2.7 priority: the first rule that matches", model: withEffect(rbacModel, "priority(p.eft) || deny"), rules: "p, reader, order, read, deny\np, reader, order, read, allow\n",
		asked: []any{"reader", "order", "read"}, casbin: doesNotAllow, answer: answer{false, verdict.RuleDenied, "1"}},
	{name: "1.2.8 a priority that is no number has no place", model: rbacWith("p = sub, obj, act", "p = priority, sub, obj, act"), rules: "p, 2, reader, order, read\np, first, reader, order, read\n",
		asked: []any{"reader", "order", "read"}, casbin: allows, refused: "not a whole number"},
	{name: "1.2.8 rules of one priority keep their order", model: strings.Replace(withEffect(rbacModel, "priority(p.eft) || deny"), "p = sub", "p = priority, sub", 1), rules: "p, 2, reader, order, read, allow\np, 1, reader, order, read, deny\np, 1, reader, order, read, allow\n",
		asked: []any{"reader", "order", "read"}, casbin: doesNotAllow, answer: answer{false, verdict.RuleDenied, "2"}},
	{name: "1.2.9 subjectPriority: the deepest subject", model: withEffect(rbacModel, "subjectPriority(p.eft) || deny"), rules: "p, staff, order, read, deny\np, reader, order, read, allow\ng, reader, staff\n",
		asked: []any{"reader", "order", "read"}, casbin: allows, answer: answer{true, "", "2"}},
	{name: "1.2.9 subjectPriority takes the first column for the subject", model: strings.Replace(withEffect(rbacModel, "subjectPriority(p.eft) || deny"), "p = sub, obj", "p = obj, sub", 1), rules: "p, order, staff, read, deny\np, order, reader, read, allow\ng, reader, staff\n",
		asked: []any{"reader", "order", "read"}, casbin: doesNotAllow, refused: "first field"},

	{name: "1.2.9 subjectPriority takes name c in domain a::b for name b::c in domain a", model: strings.Replace(withEffect(domainModel, "subjectPriority(p.eft) || deny"), "p = sub, dom, obj, act", "p = sub, dom, obj, act, eft", 1),
		rules: "p, x, a::b, order, read, deny\np, c, a::b, order, read, allow\ng, alice, x, a::b\ng, alice, c, a::b\ng, b::c, top, a\n",
		asked: []any{"alice", "a::b", "order", "read"}, casbin: allows, refused: "must not hold ::"},

	// Roles.
	{name: "1.3a a subject named like a role has the role", model: rbacModel, rules: "p, user:corp:admin, order, read\ng, user:corp:bob, user:corp:admin\n",
		asked: []any{"user:corp:admin", "order", "read"}, casbin: allows, refused: "shape of a subject's key"},
	{name: "1.3b ten links are followed", model: rbacModel, rules: "p, n10, order, read\n" + links(10), asked: []any{"n0", "order", "read"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.3b eleven are not", model: rbacModel, rules: "p, n11, order, read\n" + links(11), asked: []any{"n0", "order", "read"}, casbin: doesNotAllow, refused: "longer than 10"},
	{name: "1.3c cycles are tolerated", model: rbacModel, rules: "p, a, order, read\ng, a, b\ng, b, a\n", asked: []any{"b", "order", "read"}, casbin: allows, refused: "cycle"},
	{name: "1.3d the name of a domain may be a pattern", model: strings.Replace(domainModel, "r.dom == p.dom", "keyMatch(r.dom, p.dom)", 1), rules: "p, admin, d*, order, read\ng, alice, admin, d*\n",
		asked: []any{"alice", "d1", "order", "read"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.3d but only where the matcher spells it so", model: strings.Replace(domainModel, "r.dom == p.dom", "keyMatch(r.dom,p.dom)", 1), rules: "p, admin, d*, order, read\ng, alice, admin, d*\n",
		asked: []any{"alice", "d1", "order", "read"}, casbin: doesNotAllow, answer: answer{false, verdict.NoMatchingRule, ""}},
	{name: "1.3e a conditional link without its function is unconditional", model: rbacWith("g = _, _", "g = _, _, (_, _)"), rules: "p, reader, order, read\ng, alice, reader, 2000-01-01 00:00:00, 2000-01-02 00:00:00\n",
		asked: []any{"alice", "order", "read"}, casbin: allows, refused: "conditional roles"},

	// Functions.
	{name: "1.4 keyMatch ignores what follows the first *", model: functionModel("keyMatch"), rules: "p, /a/*/b, x, x\n", asked: []any{"s", "/a/x/zzz", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch2 takes . for any byte", model: functionModel("keyMatch2"), rules: "p, /v1.0/:id, x, x\n", asked: []any{"s", "/v1x0/a", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch2 takes . for a slash", model: functionModel("keyMatch2"), rules: "p, /v1.0/:id, x, x\n", asked: []any{"s", "/v1/0/a", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch2: a name swallows its suffix", model: functionModel("keyMatch2"), rules: "p, /:id.json, x, x\n", asked: []any{"s", "/x.exe", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch2: /foo/* matches /foo/", model: functionModel("keyMatch2"), rules: "p, /foo/*, x, x\n", asked: []any{"s", "/foo/", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch2: /foo/* does not match /foo", model: functionModel("keyMatch2"), rules: "p, /foo/*, x, x\n", asked: []any{"s", "/foo", "x"}, casbin: doesNotAllow, answer: answer{false, verdict.NoMatchingRule, ""}},
	{name: "1.4 keyMatch2: a rest holds no new line", model: functionModel("keyMatch2"), rules: "p, /foo/*, x, x\n", asked: []any{"s", "/foo/a\nb", "x"}, casbin: doesNotAllow, answer: answer{false, verdict.NoMatchingRule, ""}},
	{name: "1.4 keyMatch2: | ends the anchors", model: functionModel("keyMatch2"), rules: "p, /a|b, x, x\n", asked: []any{"s", "/axxx", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch2: a name matches ..", model: functionModel("keyMatch2"), rules: "p, /files/:x, x, x\n", asked: []any{"s", "/files/..", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch2: a name matches what is encoded", model: functionModel("keyMatch2"), rules: "p, /files/:x, x, x\n", asked: []any{"s", "/files/%2e%2e", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch3: names of one segment are one name", model: functionModel("keyMatch3"), rules: "p, /{a}-{b}, x, x\n", asked: []any{"s", "/ab", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 keyMatch4: equal names have equal values", model: functionModel("keyMatch4"), rules: "p, /a/{x}/b/{x}, x, x\n", asked: []any{"s", "/a/1/b/2", "x"}, casbin: doesNotAllow, answer: answer{false, verdict.NoMatchingRule, ""}},
	{name: "1.4 keyMatch4: groups of the pattern's own panic", model: functionModel("keyMatch4"), rules: "p, /(a)/{b}, x, x\n", asked: []any{"s", "/a/1", "x"}, casbin: requestFails, refused: "must not hold groups"},
	{name: "1.4 keyMatch5 drops the query of the request", model: functionModel("keyMatch5"), rules: "p, /a/{x}, x, x\n", asked: []any{"s", "/a/1?b=/c", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 regexMatch is not anchored", model: functionModel("regexMatch"), rules: "p, read, x, x\n", asked: []any{"s", "xready", "x"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 regexMatch panics on a bad pattern", model: functionModel("regexMatch"), rules: "p, (, x, x\n", asked: []any{"s", "x", "x"}, casbin: requestFails, refused: "not a pattern of regexMatch"},
	{name: "1.4 ipMatch panics on what is no address", model: functionModel("ipMatch"), rules: "p, 10.0.0.0/8, x, x\n", asked: []any{"s", "x", "x"}, casbin: requestFails, answer: answer{false, verdict.PolicyError, "1"}},
	{name: "1.4 ipMatch panics on what is no network", model: functionModel("ipMatch"), rules: "p, 10.0.0.0/33, x, x\n", asked: []any{"s", "10.0.0.1", "x"}, casbin: requestFails, refused: "neither an IP address"},
	{name: "1.4 globMatch: * ends at a slash", model: functionModel("globMatch"), rules: "p, /a/*, x, x\n", asked: []any{"s", "/a/b/c", "x"}, casbin: doesNotAllow, answer: answer{false, verdict.NoMatchingRule, ""}},
	{name: "1.4 eval has every function", model: rbacWith(matcher, "eval(p.sub) && r.act == p.act"), rules: "p, \"keyMatch(r.obj, \"\"/a*\"\")\", x, read\n", asked: []any{"s", "/abc", "read"}, casbin: allows, answer: answer{true, "", "1"}},
	{name: "1.4 eval with a blank before its parenthesis is no function", model: rbacWith(matcher, "eval (p.sub) && r.act == p.act"), rules: "p, true, x, read\n", asked: []any{"s", "x", "read"}, casbin: requestFails, refused: "Casbin does not see eval"},
	{name: "1.4 eval of what cannot be read fails at the request", model: rbacWith(matcher, "eval(p.sub) && r.act == p.act"), rules: "p, r.obj = 'x', x, read\n", asked: []any{"s", "x", "read"}, casbin: requestFails, refused: "cannot be read"},

	// Rule files.
	{name: "1.5 a blank at the end of a field is a part of it", model: rbacModel, rules: "p, reader , order, read\n", asked: []any{"reader", "order", "read"}, casbin: doesNotAllow, refused: "blank"},
	{name: "1.5 rules equal when joined with commas are one", model: withEffect(rbacModel, "some(where (p.eft == allow)) && !some(where (p.eft == deny))"),
		rules: "p, a, b, c, allow\np, \"a,b\", c, d, deny\np, a, \"b,c\", d, deny\n", asked: []any{"a", "b,c", "d"}, casbin: doesNotAllow, refused: "joined with commas"},
	{name: "1.5 a link of too many fields", model: rbacModel, rules: soundRules + "g, alice, reader, d1\n", asked: []any{"alice", "order", "read"}, casbin: allows, refused: "3 fields here and 2"},
}

const denyOverrideText = "!some(where (p.eft == deny))"

// functionModel returns a model whose matcher is a call with the object and the first field of a rule.
func functionModel(function string) string { return rbacWith(matcher, function+"(r.obj, p.sub)") }

// TestTrap shows each trap of casbin in casbin, and that nobody falls into it here.
func TestTrap(t *testing.T) {
	for _, x := range traps {
		t.Run(x.name, func(t *testing.T) {
			if got := casbinAnswer(x.model, x.rules, x.asked...); got != x.casbin {
				t.Errorf("casbin: %s, want: %s", got, x.casbin)
			}
			s := setup{model: x.model, rules: x.rules}
			if strings.Contains(x.model, "dom, obj") {
				s.request = map[string]string{"sub": "subject.key", "dom": "subject.tenant", "obj": "resource.id", "act": "action"}
			}
			compiled, problems := s.compile()
			if x.refused != "" {
				if compiled != nil || !strings.Contains(problems.Error(), x.refused) {
					t.Errorf("want a refusal with %q, got:\n%v", x.refused, problems)
				}
				return
			}
			if len(problems) > 0 {
				t.Fatalf("refused:\n%v", problems)
			}
			asked := asks{sub: x.asked[0].(string), obj: x.asked[1].(string)}
			switch len(x.asked) {
			case 3:
				asked.act = x.asked[2].(string)
			case 4:
				asked.tenant, asked.obj, asked.act = asked.obj, x.asked[2].(string), x.asked[3].(string)
			}
			if got := evaluate(t, compiled, asked); got != x.answer {
				t.Errorf("got %+v, want %+v", got, x.answer)
			}
			if x.answer.Allowed != (x.casbin == allows) && x.casbin == doesNotAllow {
				t.Error("casbin denies what is allowed here")
			}
		})
	}
}

// casbinAnswer loads a policy into casbin and asks.
func casbinAnswer(modelText, rules string, values ...any) (answer string) {
	defer func() {
		if recover() != nil {
			answer = "panics"
		}
	}()
	e, err := loadCasbin(modelText, strings.TrimSpace(rules))
	if err != nil {
		return loadFails
	}
	switch ok, err := e.Enforce(values...); {
	case err != nil:
		return requestFails
	case ok:
		return allows
	}
	return doesNotAllow
}
