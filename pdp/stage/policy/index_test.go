package policy

import (
	"fmt"
	"strings"
	"testing"
)

// rulesFrom returns n rules of a subject and an object each.
func rulesFrom(n int, object string) string {
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, "p, u%d, \"%s\", read\n", i, fmt.Sprintf(object, i))
	}
	return rules.String()
}

// TestPlans: what an index looks up, and what a decision is estimated to take. Patterns that must be tried one by one count
// as what they are: few are tried in each decision, many only for the rules that other conditions find.
func TestPlans(t *testing.T) {
	const byObject, bySubject = "r.act == p.act && keyMatch2(r.obj, p.obj)", "r.sub == p.sub && keyMatch2(r.obj, p.obj)"
	for _, x := range []struct {
		name, conditions, rules string
		index, linear           string
		most                    int // microseconds, of which the estimate is at least a third
	}{
		{"values of fields", "r.sub == p.sub && r.obj == p.obj && r.act == p.act", rulesFrom(5000, "/%d"), "equal(sub) × equal(obj) × equal(act)", "", 1},
		{"patterns of tokens", byObject, rulesFrom(5000, "/x/%d/:id"), "equal(act) × keyMatch2(obj)", "", 1},
		{"few patterns to try", byObject, rulesFrom(maxEach, "/*/%d/:id"), "equal(act) × keyMatch2(obj)", "", 12},
		{"many patterns to try", byObject, rulesFrom(5000, "/*/%d/:id"), "equal(act), then keyMatch2(r.obj, p.obj)", "", 900},
		{"many, of one subject each", bySubject, rulesFrom(5000, "/*/%d/:id"), "equal(sub), then keyMatch2(r.obj, p.obj)", "", 2},
		{"many that begin with a text of their own", byObject, rulesFrom(5000, "/x%d/*/b"), "equal(act) × keyMatch2(obj)", "", 3},
		{"many, and nothing else", "keyMatch2(r.obj, p.obj)", rulesFrom(5000, "/*/%d/:id"), "", "few patterns to try", 900},
		{"many in an alternative", "r.act == p.act && (r.obj == p.obj || keyMatch2(r.obj, p.obj))", rulesFrom(5000, "/*/%d/:id"), "equal(act), then", "", 1000},
		{"many expressions", "r.sub == p.sub && regexMatch(r.obj, p.obj)", rulesFrom(5000, "x%d"), "equal(sub), then regexMatch(r.obj, p.obj)", "", 2},
	} {
		t.Run(x.name, func(t *testing.T) {
			got := setup{model: rbacWith(matcher, x.conditions), rules: x.rules}.mustCompile(t).policies[0].plan
			if !strings.HasPrefix(got.text, x.index) || got.indexed != (x.index != "") || !strings.Contains(got.reason, x.linear) || (got.reason == "") != (x.linear == "") {
				t.Errorf("got %+v", got)
			}
			if took := int(got.estimate.Microseconds()); took > x.most || took < x.most/3 {
				t.Errorf("estimated %v, want %d µs at most", got.estimate, x.most)
			}
		})
	}
}

// TestCostlyPatternsAreRefused: patterns that must be tried one by one count for max_cost.
func TestCostlyPatternsAreRefused(t *testing.T) {
	_, problems := setup{model: rbacWith(matcher, "r.act == p.act && keyMatch2(r.obj, p.obj)"), rules: rulesFrom(10_000, "/*/%d/:id")}.compile()
	if len(problems) == 0 || !strings.Contains(problems.Error(), "1ms is allowed") {
		t.Errorf("got %v", problems)
	}
}

// TestRulesShareClosures: what a decision needs does not grow with the calls in rules that ask for the same roles.
func TestRulesShareClosures(t *testing.T) {
	s := setup{model: rbacWith(matcher, "g(r.sub, p.sub) && eval(p.obj)"), rules: "g, user:corp:alice, staff\n"}
	for i := range 100 {
		s.rules += fmt.Sprintf("p, staff, \"g(r.sub, \"\"role%d\"\") || g(r.sub, 'staff') && r.obj == 'x%d'\", read\n", i, i)
	}
	p := s.mustCompile(t)
	if got := len(p.policies[0].sites); got != 1 {
		t.Errorf("a decision keeps %d closures", got)
	}
	if got := evaluate(t, p, asks{sub: "user:corp:alice", obj: "x7", act: "read"}); got != (answer{true, "", "9"}) {
		t.Errorf("got %+v", got)
	}
}
