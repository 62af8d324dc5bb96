package policy

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
)

// term is a condition that an index looks up. For a request it is a set of values of one field of p: a rule fulfils the
// condition if its field is among them. Exactly one of the sources of values is set, or any. Values are ids; those of a
// set of patterns are their numbers in the set and one more.
type term struct {
	column int
	// source names the term for people: role(sub).
	source string
	// fails is set when for some requests the set cannot be told, and casbin fails for every rule that reaches the condition.
	fails bool
	// present are the values that the field has in the rules of the index; no others need to be found.
	present bitset
	// complete is set when all patterns of set are present.
	complete bool

	// equal is the request's value, constant the id of a literal.
	equal    *operand
	constant uint32
	// role is the member whose roles are the values, in a domain, "" without domains; site is its closure.
	role, domain *operand
	relation     *relation
	site         int
	// targets are the roles that the rules name, where they are patterns.
	targets *patternTable
	// value is what the patterns of set are matched with; ids are the value ids of the patterns.
	value *operand
	set   *pattern.Set
	ids   []uint32
	// tests is how many of the patterns are tried one by one at most, testCost what one takes, in nanoseconds.
	tests, testCost int
	// each is tried for one rule of every value.
	each *operand
	rows []uint32
	// any holds the terms of which one must hold; member is set for those.
	any    []term
	member bool
}

// newTerm returns the term of a condition among those of an alternative; false when there is none.
func newTerm(p *compiled, o *operand, alternative []operand) (*term, bool) {
	if o.atom == nil || o.atom.column < 0 {
		return nil, false
	}
	t, ok := termOf(p, o.atom, alternative)
	return &t, ok
}

func termOf(p *compiled, a *atom, alternative []operand) (t term, ok bool) {
	t = term{column: a.column}
	field := "(" + p.fields[a.column] + ")"
	switch a.kind {
	case atomEqual:
		t.source, t.equal, t.fails = "equal"+field, a.request, isUncertain(a.request)
	case atomConstant:
		t.source, t.constant = "equal"+field, p.rules.values.find(a.constant)
	case atomPattern:
		t.source, t.value, t.set, t.ids = a.function+field, a.request, a.patterns.set, a.patterns.ids
		t.fails = isUncertain(a.request) || a.function == "ipMatch" // of what is no address
		if t.set == nil {
			return t, false
		}
		f, _ := pattern.Find(a.function)
		t.tests, t.testCost = t.set.Tests(), f.Cost
	case atomRole:
		t.source, t.role, t.relation, t.domain = "role"+field, a.request, a.relation, a.domain
		t.targets = a.patterns
		if a.domain == nil {
			none := constantOperand("")
			t.domain = &none
		} else if a.domain.readsRule {
			t.domain = sameAs(a.domain.column, alternative)
		}
		if t.domain == nil {
			return t, false
		}
		t.fails = isUncertain(a.request) || isUncertain(t.domain)
		t.site = p.site(a.relation, t.targets, a.request, t.domain)
	case atomAny:
		return anyTerm(p, a, alternative)
	default:
		return t, false
	}
	return t, true
}

// anyTerm joins terms. Where one after the first cannot be told, rules of the first still hold: that is no set.
func anyTerm(p *compiled, a *atom, alternative []operand) (t term, ok bool) {
	t = term{column: a.column, any: make([]term, len(a.any))}
	sources := make([]string, len(a.any))
	for i := range a.any {
		member, ok := termOf(p, &a.any[i], alternative)
		if !ok || i > 0 && member.fails {
			return t, false
		}
		member.member = true
		t.any[i], sources[i] = member, member.source
		t.fails = t.fails || member.fails
		t.tests, t.testCost = t.tests+member.tests, max(t.testCost, member.testCost)
	}
	t.source = "any(" + strings.Join(sources, ", ") + ")"
	return t, true
}

// sameAs returns the request's value that a condition of the alternative wants a field of p to be, or nil.
func sameAs(column int, alternative []operand) *operand {
	for i := range alternative {
		if a := alternative[i].atom; a != nil && a.kind == atomEqual && a.column == column {
			return a.request
		}
	}
	return nil
}

// isUncertain reports whether reading a string from an operand can fail.
func isUncertain(o *operand) bool { return o.fails || o.kind != kindText }

// eachTerm returns the term that tries a condition for every value of the one field of p that it reads.
func eachTerm(p *compiled, o *operand) (*term, bool) {
	column, single := o.columns.only()
	if !single || o.kind != kindBool && o.kind != kindUnknown {
		return nil, false
	}
	return &term{column: column, source: "each(" + p.fields[column] + ")", each: o}, true
}

// fill adds the values of the term for the request of a decision. Where it cannot be told for some of them whether they
// hold, they are there, and the answer is uncertain.
func (t *term) fill(e *evaluator, into *idSet) (uncertain bool, err error) {
	switch {
	case t.equal != nil:
		text, err := textOf(e, t.equal)
		t.add(into, e.policy.rules.values.find(text))
		return false, err
	case t.constant != 0:
		t.add(into, t.constant)
	case t.role != nil:
		return false, t.fillRoles(e, into)
	case t.set != nil:
		return t.fillPatterns(e, into)
	case t.each != nil:
		return t.fillEach(e, into), nil
	}
	for i := range t.any {
		if uncertain, err = t.any[i].more(e, into, uncertain); err != nil {
			return uncertain, err
		}
	}
	return uncertain, nil
}

func (t *term) more(e *evaluator, into *idSet, uncertain bool) (bool, error) {
	also, err := t.fill(e, into)
	return uncertain || also, err
}

func (t *term) add(into *idSet, id uint32) {
	if t.present.has(id) {
		into.add(id)
	}
}

func (t *term) fillRoles(e *evaluator, into *idSet) error {
	name, err := textOf(e, t.role)
	if err != nil {
		return err
	}
	domain, err := textOf(e, t.domain)
	if err != nil {
		return err
	}
	c := &e.closures[t.site]
	if err := c.prepare(e, t.relation, t.targets, name, domain); err != nil {
		return err
	}
	t.add(into, t.relation.links.values.find(name))
	for _, role := range c.roles.ids {
		t.add(into, role)
	}
	for _, role := range c.climb.matched.ids {
		t.add(into, role)
	}
	return nil
}

func (t *term) fillPatterns(e *evaluator, into *idSet) (uncertain bool, err error) {
	value, err := textOf(e, t.value)
	if err != nil {
		return false, err
	}
	e.matched, uncertain, err = t.set.Match(value, e.matched[:0])
	for _, number := range e.matched {
		switch {
		case t.member:
			t.add(into, t.ids[number])
		case t.complete || t.present.has(t.ids[number]):
			into.add(number + 1)
		}
	}
	return uncertain, ownError(err)
}

// fillEach tries the condition for each value. One for which it fails may be an error of casbin's.
func (t *term) fillEach(e *evaluator, into *idSet) (uncertain bool) {
	for _, row := range t.rows {
		e.rule = e.policy.rules.ref(row)
		v, err := t.each.get(e)
		holds, isBool := v.(bool)
		if err != nil || !isBool {
			holds, uncertain = true, true
		}
		if holds {
			into.add(e.rule.cell(t.column))
		}
	}
	e.rule = ruleRef{}
	return uncertain
}

// limit says which values the field has in the rules of the index. For each it knows one of the rules.
func (t *term) limit(values int, rules *ruleSet, rows []uint32) {
	t.present = newBitset(values)
	for _, row := range rows {
		id := rules.cell(row, t.column)
		if t.each != nil && !t.present.has(id) {
			t.rows = append(t.rows, row)
		}
		t.present.set(id)
	}
	t.complete = t.set != nil
	for _, id := range t.ids {
		t.complete = t.complete && t.present.has(id)
	}
	for i := range t.any {
		t.any[i].present = t.present
	}
}
