package policy

import (
	"context"
	"regexp"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/subject"
)

// maxChange is the longest sentence, in bytes, that is told: adapters cut longer texts, and of a change that is cut off
// what is left would not do.
const maxChange = 500

// supposition is a membership that the request does not have.
type supposition struct {
	relation           *relation
	name, role, domain string
	// up are the roles of the role.
	up *ways
}

// supposes reports whether a condition holds by what is supposed, for the current rule. It looks for no ways of its own:
// rules may name a domain each.
func (s *search) supposes(a *atom) bool {
	if len(s.supposed) == 0 {
		return false
	}
	for i := range a.any {
		if s.supposes(&a.any[i]) {
			return true
		}
	}
	if a.kind != atomRole {
		return false
	}
	name, role, domain, err := s.asks(a)
	if err != nil {
		return false
	}
	for _, x := range s.supposed {
		if x.relation == a.relation && x.name == name && x.domain == domain && (role == x.role || x.up.has(role)) {
			return true
		}
	}
	return false
}

// forget drops the results so far: what is supposed has changed.
func (s *search) forget() {
	for i := range s.alternatives {
		for j := range s.alternatives[i] {
			c := &s.alternatives[i][j]
			c.prepared, c.set, c.known = false, nil, nil
		}
	}
}

// change is what would have to be otherwise for one rule to match.
type change struct {
	search *search
	facts  *attribute.Facts
	rule   ruleRef
	// parts are the changes as words, by the condition that they are for.
	parts    []string
	set      map[string]string
	patterns []int
}

// change returns the change, as a sentence, by which a rule that does not match would, and the policy allow; "" when there
// is none that the request could bring, when it would not, or when it is too long. sound says that every rule was looked at and no condition
// failed to evaluate.
func (s *search) change(ctx context.Context, row uint32, t attempt, sound bool) string {
	c := change{search: newSearch(s.policy, s.e.facts), facts: s.e.facts, rule: s.policy.rules.ref(row), set: map[string]string{}}
	conditions := c.search.alternatives[t.alternative]
	c.parts = make([]string, len(conditions))
	var roles []int
	for i := range conditions {
		if s.check(&s.alternatives[t.alternative][i], row) == holds {
			continue
		}
		a := s.changeable(conditions[i].operand.atom, c.rule)
		switch {
		case a == nil:
			return ""
		case a.kind == atomRole && !subject.IsKeyShaped(c.rule.text(a.column)):
			roles = append(roles, i)
		case a.kind == atomPattern:
			c.patterns = append(c.patterns, i)
			c.parts[i] = a.request.attribute + " matched " + shown(c.rule.text(a.column))
		case !c.assign(i, a):
			return ""
		}
	}
	for _, i := range roles {
		if !c.join(i, t.alternative) {
			return ""
		}
	}
	if !c.allows(ctx, t.alternative, sound) {
		return ""
	}
	var parts []string
	for _, part := range c.parts {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	sentence := "would be allowed if " + strings.Join(parts, " and ")
	if len(sentence) > maxChange {
		return ""
	}
	return sentence
}

// changeable returns the part of a condition that a request could make hold most easily, or nil.
func (s *search) changeable(a *atom, rule ruleRef) *atom {
	if a == nil {
		return nil
	}
	if a.kind == atomAny {
		var best *atom
		for i := range a.any {
			if x := s.changeable(&a.any[i], rule); x != nil && (best == nil || classOf(x) < classOf(best)) {
				best = x
			}
		}
		return best
	}
	if classOf(a) == classNever || a.kind != atomRole && a.request.attribute == "" {
		return nil
	}
	return a
}

// assign lets an attribute have the value that the rule wants.
func (c *change) assign(i int, a *atom) bool {
	name, value := a.request.attribute, c.rule.text(a.column)
	if value == "" {
		return false // a request without any value is refused
	}
	if set, found := c.set[name]; found {
		return set == value
	}
	if !c.search.mayAssign(name) {
		return false
	}
	c.set[name] = value
	c.parts[i] = name + " were " + shown(value)
	e := c.search.e
	for slotNumber := range e.slots {
		if e.policy.accessors[slotNumber].Name() == name {
			e.slots[slotNumber] = slotOf(value)
		}
	}
	return true
}

// mayAssign reports whether what follows from another value of an attribute is known. What roles another token, or the
// token of another subject, would bring is not; more of them do no harm where no rule denies.
func (s *search) mayAssign(name string) bool {
	for _, rel := range s.policy.relations {
		if rel.tokens == nil {
			continue
		}
		if rel.tokens.from.Name() == name || rel.arity == 3 && rel.tokens.domain.Name() == name {
			return false
		}
		if name == "subject.key" && (s.policy.effect != allowOverride || s.hidesRoles()) {
			return false
		}
	}
	return true
}

// join lets the name of a role condition be a member of the role that the rule wants.
func (c *change) join(i, alternative int) bool {
	s := c.search
	condition := &s.alternatives[alternative][i]
	if s.check(condition, c.rule.row) == holds {
		return true // an attribute that was changed brought the role along
	}
	if s.policy.effect == subjectPriority {
		return false // a new link can change the order of the rules
	}
	s.e.rule = c.rule
	a := s.changeable(condition.operand.atom, c.rule)
	w, role, err := s.asked(a)
	isSubject := a.request.attribute == "subject.key"
	if err != nil || role == "" || isSubject && w.name == c.facts.Subject.Key && c.facts.Subject.IsAnonymous() || s.hidesRoles() {
		return false
	}
	up := newWays(w.relation, role, w.domain)
	if up.fill(nil, maxRoleDepth-1) != nil || w.relation.names != nil && s.policy.effect != allowOverride {
		return false // by a link it could be a pattern that brings more roles, which are denied something
	}
	s.supposed = append(s.supposed, supposition{relation: w.relation, name: w.name, role: role, domain: w.domain, up: up})
	s.forget()
	in := ""
	if w.relation.arity == 3 {
		in = " in " + shown(w.domain)
	}
	c.parts[i] = a.request.attribute + " were a member of " + shown(role) + in
	if isSubject {
		c.parts[i] = "roles" + in + " contained " + shown(role)
	}
	return true
}

// hidesRoles reports whether the matcher asks about roles in a place that supposes does not see. A condition that stands in
// several alternatives is one call.
func (s *search) hidesRoles() bool {
	seen, counted := 0, map[*atom]bool{}
	for _, conditions := range s.alternatives {
		for i := range conditions {
			if a := conditions[i].operand.atom; a != nil && !counted[a] {
				counted[a] = true
				seen += countRoles(a)
			}
		}
	}
	return seen < s.policy.calls
}

func countRoles(a *atom) int {
	n := 0
	if a.kind == atomRole {
		n++
	}
	for i := range a.any {
		n += countRoles(&a.any[i])
	}
	return n
}

// allows reports whether the policy allows once everything is changed. What no value stands for, that an attribute matches
// a pattern, is taken for granted only where it can do no harm: no rule denies, no condition fails, and nothing else
// depends on the attribute.
func (c *change) allows(ctx context.Context, alternative int, sound bool) bool {
	s := c.search
	if len(c.patterns) == 0 {
		allowed, err := s.rule(ctx, ruleRef{})
		return err == nil && allowed
	}
	if s.policy.effect != allowOverride || !sound {
		return false
	}
	conditions := s.alternatives[alternative]
	forced := make([]bool, len(conditions))
	for _, i := range c.patterns {
		forced[i] = true
		name := s.changeable(conditions[i].operand.atom, c.rule).request.attribute
		if !s.mayAssign(name) || c.readElsewhere(name, alternative, i) {
			return false
		}
	}
	for i := range conditions {
		if !forced[i] && s.check(&conditions[i], c.rule.row) != holds {
			return false
		}
	}
	return !s.erred
}

// readElsewhere reports whether another condition than a pattern's reads its attribute: one that must hold too, or one
// that can fail, for whatever rule.
func (c *change) readElsewhere(name string, alternative, pattern int) bool {
	s := c.search
	for i := range s.alternatives {
		for j := range s.alternatives[i] {
			o := s.alternatives[i][j].operand
			switch {
			case i == alternative && j == pattern:
			case i == alternative && s.mayRead(o, s.written(o, c.rule), name), o.fails && s.mayRead(o, o.source, name):
				return true
			}
		}
	}
	return false
}

// mayRead reports whether a condition reads an attribute, by any of the names that the policy has for it. text is its own or,
// for eval, that of a rule's expression; where rules have expressions that are not seen, they may read anything.
func (s *search) mayRead(o *operand, text, name string) bool {
	if !o.readsRequest {
		return false
	}
	if strings.Contains(text, "eval(") {
		return true
	}
	for _, found := range anyName.FindAllString(text, -1) {
		if slot, known := s.policy.sources[found[:1]+"."+found[2:]]; known && s.policy.accessors[slot].Name() == name {
			return true
		}
	}
	return false
}

// anyName finds the fields of r in the text of an expression, in Casbin's own spelling too.
var anyName = regexp.MustCompile(`\br[._][A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*`)
