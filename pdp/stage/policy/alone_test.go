package policy

import (
	"slices"
	"strings"

	"github.com/casbin/casbin/v2"
)

// singleRules asks casbin about one rule at a time: whether its matcher, or a part of it, holds.
type singleRules struct {
	enforcer *casbin.Enforcer
	// rows are the rules in the order in which casbin tries them.
	rows     [][]string
	branches [][]string
	eft      int
	denyOver bool
	first    bool
	both     bool
}

func newSingleRules(m *randomModel, o *oracle) (*singleRules, error) {
	rows, err := o.enforcer.GetPolicy()
	if err != nil {
		return nil, err
	}
	other := *m
	other.effect = randomEffects[0]
	var rules strings.Builder
	for name, links := range o.enforcer.GetModel()["g"] {
		for _, link := range links.Policy {
			rules.WriteString(name)
			for _, field := range link {
				rules.WriteString("," + quote(field))
			}
			rules.WriteString("\n")
		}
	}
	if rules.Len() == 0 {
		rules.WriteString("# none")
	}
	// Without rules the enforcer loads the links alone; each question brings its rule.
	e, err := loadCasbin(other.text(), strings.TrimSuffix(rules.String(), "\n"))
	if err != nil {
		return nil, err
	}
	register(e, m.matching)
	return &singleRules{enforcer: e, rows: rows, branches: m.branches, eft: slices.Index(m.rule, "eft"), denyOver: m.effect == randomEffects[2],
		both: m.effect == randomEffects[3], first: strings.Contains(m.effect, "riority")}, nil
}

// only makes a rule the only one, and one that allows.
func (l *singleRules) only(row []string) {
	row = slices.Clone(row)
	if l.eft >= 0 {
		row[l.eft] = "allow"
	}
	l.enforcer.GetModel()["p"]["p"].Policy = [][]string{row}
}

// counts reports whether a rule has a say: not one that denies where only those that allow do, and the reverse.
func (l *singleRules) counts(row []string) bool {
	switch {
	case l.eft < 0:
		return !l.denyOver
	case l.both || l.first:
		return true
	}
	return (row[l.eft] == "deny") == l.denyOver
}

// decides reports whether no rule after one that matches has a say.
func (l *singleRules) decides(row []string) bool {
	return !l.both || l.eft >= 0 && row[l.eft] == "deny"
}

// matches reports whether a rule matches.
func (l *singleRules) matches(row []string, values []any) (bool, error) {
	l.only(row)
	return l.enforcer.Enforce(values...)
}

// isFalse reports whether each branch of the matcher has a condition that is false for a rule, whatever the others are.
func (l *singleRules) isFalse(row []string, values []any) bool {
	l.only(row)
	for _, branch := range l.branches {
		if !slices.ContainsFunc(branch, func(condition string) bool {
			// The last part makes casbin evaluate the rule even if the condition does not read it.
			holds, err := l.enforcer.EnforceWithMatcher("("+condition+") && p.sub == p.sub", values...)
			return err == nil && !holds
		}) {
			return false
		}
	}
	return true
}

// effect returns what the rules that match come to.
func (l *singleRules) effect(matching [][]string) (allowed bool, rule []string) {
	denies := func(row []string) bool { return l.eft >= 0 && row[l.eft] == "deny" }
	for _, row := range matching {
		switch {
		case denies(row) && (l.denyOver || l.both || l.first):
			return false, row
		case denies(row) || l.denyOver:
		case l.both:
			if rule == nil {
				rule = row
			}
		default:
			return true, row
		}
	}
	return rule != nil || l.denyOver, rule
}
