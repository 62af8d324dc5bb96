package policy

import (
	"strings"
	"testing"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestUncertainPatterns: a rule whose pattern cannot be tried on a value, because that would take too long, is not taken
// for one that matches; it denies when it is reached, by the index as in the loop.
func TestUncertainPatterns(t *testing.T) {
	const costly = "(a?){500}(a?){499}b"
	long := strings.Repeat("a", 8000)
	for _, x := range []struct {
		name, conditions, rules string
		want                    answer
	}{
		{"the only rule", "r.sub == p.sub && regexMatch(r.obj, p.obj)", "p, alice, " + costly + ", read\n", answer{false, verdict.PolicyError, "1"}},
		{"behind a rule that decides", "r.sub == p.sub && regexMatch(r.obj, p.obj)", "p, alice, ^a, read\np, alice, " + costly + ", read\n", answer{true, "", "1"}},
		{"before a rule that would", "r.sub == p.sub && regexMatch(r.obj, p.obj)", "p, alice, " + costly + ", read\np, alice, ^a, read\n", answer{false, verdict.PolicyError, "1"}},
		{"a rule of somebody else", "r.sub == p.sub && regexMatch(r.obj, p.obj)", "p, bob, " + costly + ", read\np, alice, ^a, read\n", answer{true, "", "2"}},
		{"with more to evaluate", "r.sub == p.sub && regexMatch(r.obj, p.obj) && r.act != p.act", "p, alice, " + costly + ", write\n", answer{false, verdict.PolicyError, "1"}},
		{"of two branches", "r.sub == p.sub && regexMatch(r.obj, p.obj) || r.act == p.act && r.sub == 'root'", "p, alice, " + costly + ", write\n", answer{false, verdict.PolicyError, "1"}},
		{"in an alternative", "r.sub == p.sub && (regexMatch(r.obj, p.obj) || keyMatch(r.obj, p.obj))", "p, alice, " + costly + ", read\n", answer{false, verdict.PolicyError, "1"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := setup{model: rbacWith(matcher, x.conditions), rules: x.rules}.mustCompile(t)
			if p.policies[0].index == nil {
				t.Error("there is no index")
			}
			ask := asks{sub: "alice", obj: long, act: "read"}
			if got := evaluate(t, p, ask); got != x.want {
				t.Errorf("by the index: got %+v, want %+v", got, x.want)
			}
			p.policies[0].index = nil
			if got := evaluate(t, p, ask); got != x.want {
				t.Errorf("in the loop: got %+v, want %+v", got, x.want)
			}
		})
	}
}
