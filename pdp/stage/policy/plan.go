package policy

import (
	"fmt"
	"time"
)

// plan says how a policy is evaluated, for people.
type plan struct {
	indexed bool
	// text names the conditions that the index looks up: "role(sub) × equal(obj) × equal(act)".
	text string
	// reason is why every rule is tried; "" when the policy is indexed.
	reason string
	// estimate is how long a decision takes that has to try all that is not looked up, the same on every machine.
	estimate time.Duration
	rules    int
}

// makePlan builds the index where there can be one.
func (p *compiled) makePlan() {
	x, reason := buildIndex(p)
	p.plan = plan{rules: p.rules.len(), reason: reason, estimate: time.Duration(p.rules.len()*(p.program.cost+10)) * time.Nanosecond}
	if x != nil {
		p.index = x
		p.plan.indexed, p.plan.text, p.plan.estimate = true, x.text(), time.Duration(x.cost(p))*time.Nanosecond
	}
}

// worthTelling is the estimate from which an indexed policy is in the report too.
const worthTelling = 100 * time.Microsecond

// Report returns one line for each guard, policy and candidate that an index does not make fast.
func (p *part) Report() []string {
	var lines []string
	tell := func(what string, c *compiled) {
		if !c.plan.indexed || c.plan.estimate >= worthTelling {
			lines = append(lines, what+" "+c.name+": "+c.plan.describe(c.matcher))
		}
	}
	for _, c := range p.guards {
		tell("guard", c)
	}
	for _, c := range p.policies {
		tell("policy", c)
	}
	if p.candidate != nil {
		tell("candidate of policy", p.candidate.next)
	}
	return lines
}

// describe says how long a decision takes at most, and why.
func (p *plan) describe(matcher string) string {
	how := fmt.Sprintf("tries all %d rules", p.rules)
	why := p.reason
	if p.indexed {
		how = fmt.Sprintf("tries those of %d rules that the index finds", p.rules)
		why = "the index is " + p.text
	}
	return fmt.Sprintf("the matcher %q %s, about %.3g ms a decision: %s", shorten(matcher, 200), how, float64(p.estimate)/float64(time.Millisecond), why)
}
