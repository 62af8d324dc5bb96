package policy

// What the comparisons need to know of a compiled policy.

// ruleTexts returns the fields of the rule that decided, nil without one.
func ruleTexts(d decision) []string {
	if !d.rule.valid() {
		return nil
	}
	texts := make([]string, d.rule.set.width)
	for i := range texts {
		texts[i] = d.rule.text(i)
	}
	return texts
}

// planOf says whether a policy is indexed, and why not.
func planOf(p *compiled) (indexed bool, reason string) { return p.plan.indexed, p.plan.reason }
