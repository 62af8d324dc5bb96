package main

import (
	"fmt"
	"strings"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// policyAnswer is why one policy answered as it did.
type policyAnswer struct {
	Policy   string      `json:"policy"`
	Guard    bool        `json:"guard,omitempty"`
	Decision string      `json:"decision"`
	Decider  *ruleShown  `json:"decider,omitempty"`
	Roles    []roleWay   `json:"roles,omitempty"`
	Matching []ruleShown `json:"matching,omitempty"`
	Misses   []nearMiss  `json:"misses,omitempty"`
	Change   string      `json:"change,omitempty"`
	Partial  bool        `json:"partial,omitempty"`
}

type ruleShown struct {
	Position string `json:"position"`
	ID       string `json:"id,omitempty"`
	Text     string `json:"text"`
	Effect   string `json:"effect"`
}

type roleWay struct {
	Relation string     `json:"relation"`
	Domain   string     `json:"domain,omitempty"`
	Links    []roleLink `json:"links"`
}

// roleLink is a step of a way; the position is where it stands, "" for one that the token brought.
type roleLink struct {
	Member   string `json:"member"`
	Role     string `json:"role"`
	Position string `json:"position,omitempty"`
}

type nearMiss struct {
	Rule       ruleShown   `json:"rule"`
	Failed     int         `json:"failed"`
	Conditions []condition `json:"conditions"`
}

type condition struct {
	Text   string `json:"text"`
	Holds  bool   `json:"holds"`
	Wanted string `json:"wanted,omitempty"`
	Got    string `json:"got,omitempty"`
	Error  string `json:"error,omitempty"`
}

func policyAnswers(in []verdict.PolicyExplanation) []policyAnswer {
	var out []policyAnswer
	for i := range in {
		e := &in[i]
		a := policyAnswer{Policy: e.Policy, Guard: e.Guard, Decision: e.Effect.String(), Change: e.Change, Partial: e.Partial}
		if e.Decider != nil {
			decider := newRuleShown(e.Decider)
			a.Decider = &decider
		}
		for _, way := range e.Roles {
			a.Roles = append(a.Roles, newRoleWay(&way))
		}
		for j := range e.Matching {
			a.Matching = append(a.Matching, newRuleShown(&e.Matching[j]))
		}
		for j := range e.Misses {
			miss := nearMiss{Rule: newRuleShown(&e.Misses[j].Rule), Failed: e.Misses[j].Failed}
			for _, c := range e.Misses[j].Conditions {
				miss.Conditions = append(miss.Conditions, condition(c))
			}
			a.Misses = append(a.Misses, miss)
		}
		out = append(out, a)
	}
	return out
}

func newRuleShown(r *verdict.RuleReference) ruleShown {
	return ruleShown{Position: r.Position, ID: r.ID, Text: r.Text, Effect: r.Effect.String()}
}

func newRoleWay(p *verdict.RolePath) roleWay {
	way := roleWay{Relation: p.Relation, Domain: p.Domain}
	for i := 1; i < len(p.Names); i++ {
		link := roleLink{Member: p.Names[i-1], Role: p.Names[i]}
		if i <= len(p.Positions) {
			link.Position = p.Positions[i-1]
		}
		way.Links = append(way.Links, link)
	}
	return way
}

// writeTo writes the answer for people.
func (a *policyAnswer) writeTo(p *page) {
	kind := "policy"
	if a.Guard {
		kind = "guard"
	}
	p.addf("%s %s: %s", kind, shown(a.Policy), a.Decision)
	if a.Decider == nil {
		p.WriteString(", no rule decides\n")
	} else {
		p.addf(" by %s\n", a.Decider)
	}
	for i := range a.Roles {
		p.addf("  %s\n", &a.Roles[i])
	}
	for i := range a.Matching {
		p.addf("  matches   %s\n", &a.Matching[i])
	}
	for i := range a.Misses {
		p.addf("  nearly    %s\n", &a.Misses[i].Rule)
		for j := range a.Misses[i].Conditions {
			p.addf("    %s\n", &a.Misses[i].Conditions[j])
		}
	}
	if a.Change != "" {
		p.addf("  %s\n", shown(a.Change))
	}
	if a.Partial {
		p.WriteString("  not every rule was looked at\n")
	}
}

// String shows a rule with its place.
func (r *ruleShown) String() string {
	return strings.TrimSpace(shown(r.Position) + "  " + shown(r.Text))
}

// String shows a way through a relation, each link with its place.
func (w *roleWay) String() string {
	text := w.Relation + ":"
	for i, link := range w.Links {
		if i == 0 {
			text += " " + shown(link.Member)
		}
		from := link.Position
		if from == "" {
			from = "token"
		}
		text += fmt.Sprintf(" → %s (%s)", shown(link.Role), shown(from))
	}
	if w.Domain != "" {
		text += " in " + shown(w.Domain)
	}
	return text
}

// String says whether a condition holds, and what it wants.
func (c *condition) String() string {
	switch {
	case c.Error != "":
		return fmt.Sprintf("?  %s: %s", shown(c.Text), shown(c.Error))
	case c.Holds:
		return "✓  " + shown(c.Text)
	}
	return fmt.Sprintf("✗  %s: wanted %s, got %s", shown(c.Text), shown(c.Wanted), shown(c.Got))
}
