package decisiontest

import (
	"fmt"
	"strings"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// maxMisses bounds the rules that a report shows of a denial.
const maxMisses = 3

// sentence says a verdict in one line.
func sentence(v *verdict.Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s", v.Effect, v.HTTPStatus(), v.Reason)
	for _, part := range []struct{ name, value string }{
		{"stage", v.Stage}, {"policy", v.Explanation.Policy}, {"rule", v.Explanation.Rule}, {"limit", v.Explanation.Limit},
	} {
		if part.value != "" {
			fmt.Fprintf(&b, ", %s %s", part.name, shown(part.value))
		}
	}
	if v.Degraded {
		b.WriteString(", degraded")
	}
	if v.Explanation.Detail != "" {
		b.WriteString(": " + shown(v.Explanation.Detail))
	}
	return b.String()
}

// explain says in lines why the policies answered as they did.
func explain(v *verdict.Verdict) []string {
	var lines []string
	add := func(text string, arguments ...any) { lines = append(lines, fmt.Sprintf(text, arguments...)) }
	for i := range v.Explanation.Policies {
		p := &v.Explanation.Policies[i]
		kind := "policy"
		if p.Guard {
			if kind = "guard"; p.Effect == verdict.Allow {
				continue // a guard that lets pass explains nothing
			}
		}
		if p.Decider == nil {
			add("%s %s: %s, no rule matches", kind, p.Policy, p.Effect)
		} else {
			add("%s %s: %s by %s  %s", kind, p.Policy, p.Effect, shown(p.Decider.Position), shown(p.Decider.Text))
		}
		for _, way := range p.Roles {
			domain := ""
			if way.Domain != "" {
				domain = " in " + shown(way.Domain)
			}
			names := make([]string, len(way.Names))
			for i, name := range way.Names {
				names[i] = shown(name)
			}
			add("  %s: %s%s", way.Relation, strings.Join(names, " → "), domain)
		}
		for _, miss := range p.Misses[:min(len(p.Misses), maxMisses)] {
			add("  nearly: %s  %s", shown(miss.Rule.Position), shown(miss.Rule.Text))
			for _, c := range miss.Conditions {
				add("    %s", condition(&c))
			}
		}
		if p.Change != "" {
			add("  %s", shown(p.Change))
		}
		if p.Partial {
			add("  not every rule was looked at")
		}
	}
	return lines
}

func condition(c *verdict.Condition) string {
	switch {
	case c.Error != "":
		return fmt.Sprintf("?  %s: %s", shown(c.Text), shown(c.Error))
	case c.Holds:
		return "✓  " + shown(c.Text)
	}
	return fmt.Sprintf("✗  %s: wanted %s, got %s", shown(c.Text), shown(c.Wanted), shown(c.Got))
}
