package policy

import (
	"context"
	"errors"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/subject"
)

// result is what a condition gives for a rule.
type result uint8

const (
	// unknown: not evaluated yet.
	unknown result = iota
	holds
	fails
	// errs: cannot be evaluated.
	errs
)

// class ranks what would have to change for a condition to hold; the lower, the sooner it is told.
type class uint8

const (
	classRole class = iota
	classEqual
	classPattern
	classSubject
	// classNever: nothing about the request that could be named.
	classNever
)

// condition is a condition of a matcher on its way through the rules.
type condition struct {
	operand *operand
	class   class
	// column is the field of p on which alone the condition depends besides the request; -1 when there is none. set are
	// the values of that field for which it holds, where these can be told at once. Else known are the results so far: by
	// value, or a single one for a condition that reads no field.
	column   int
	set      bitset
	prepared bool
	known    []result
	// number says that a number counts as a truth value.
	number bool
}

// search evaluates the conditions of a policy one by one, for all rules of one request. It never takes part in a
// decision: it has an evaluator of its own.
type search struct {
	policy       *compiled
	e            *evaluator
	alternatives [][]condition
	// supposed are memberships that the request does not have, to see what they would change.
	supposed []supposition
	ways     []*ways
	// erred is set once a condition could not be evaluated.
	erred bool
}

func newSearch(p *compiled, f *attribute.Facts) *search {
	s := &search{policy: p, e: newEvaluator(p)}
	s.e.facts = f
	alternatives := p.program.alternatives
	if p.program.expression != nil {
		whole := operand{get: p.program.value, source: p.matcher, column: -1, readsRequest: true, readsRule: true}
		alternatives = [][]operand{{whole}}
	}
	single := len(alternatives) == 1 && len(alternatives[0]) == 1
	for i := range alternatives {
		conditions := make([]condition, len(alternatives[i]))
		for j := range conditions {
			conditions[j] = s.condition(&alternatives[i][j])
			conditions[j].number = single
		}
		s.alternatives = append(s.alternatives, conditions)
	}
	return s
}

func (s *search) condition(o *operand) condition {
	c := condition{operand: o, class: classNever, column: -1}
	if o.atom != nil {
		c.class = classOf(o.atom)
		if o.atom.column >= 0 && !readsDomain(o.atom) {
			c.column = o.atom.column
		}
	}
	return c
}

// prepare finds the values for which a condition holds, or makes room for what it gives.
func (s *search) prepare(c *condition) {
	c.prepared = true
	switch {
	case c.column >= 0:
		set := newBitset(s.policy.rules.values.len())
		if s.fill(set, c.operand.atom) {
			c.set = set
		} else {
			c.known = make([]result, s.policy.rules.values.len())
		}
	case !c.operand.readsRule:
		c.known = make([]result, 1)
	}
}

// fill adds the values for which an atom holds; false when they cannot be told, or the request's side cannot be read.
func (s *search) fill(set bitset, a *atom) bool {
	values := s.policy.rules.values
	switch a.kind {
	case atomConstant:
		set.set(values.find(a.constant))
	case atomEqual:
		text, err := textOf(s.e, a.request)
		if err != nil {
			return false
		}
		set.set(values.find(text))
	case atomRole:
		w, err := s.waysFor(a)
		if err != nil {
			return false
		}
		w.addTo(set)
		for _, x := range s.supposed {
			if x.relation == w.relation && x.name == w.name && x.domain == w.domain {
				set.set(values.find(x.role))
				x.up.addTo(set)
			}
		}
	case atomAny:
		for i := range a.any {
			if !s.fill(set, &a.any[i]) {
				return false
			}
		}
	default:
		return false
	}
	return true
}

// readsDomain reports whether the domain of a role is a field of p too, so that the condition depends on two.
func readsDomain(a *atom) bool {
	for i := range a.any {
		if readsDomain(&a.any[i]) {
			return true
		}
	}
	return a.domain != nil && a.domain.readsRule
}

func classOf(a *atom) class {
	switch a.kind {
	case atomRole:
		return classRole
	case atomPattern:
		return classPattern
	case atomEqual:
		switch {
		case a.request.attribute == "":
			return classNever
		case a.request.attribute == "subject.key":
			return classSubject
		}
		return classEqual
	case atomAny:
		least := classNever
		for i := range a.any {
			least = min(least, classOf(&a.any[i]))
		}
		return least
	default:
		return classNever
	}
}

// check evaluates a condition for a rule, or remembers what it gave for another rule with the same value.
func (s *search) check(c *condition, row uint32) result {
	if !c.prepared {
		s.e.rule = s.policy.rules.ref(row)
		s.prepare(c)
	}
	at := 0
	if c.column >= 0 {
		id := s.policy.rules.cell(row, c.column)
		if at = int(id); c.set != nil {
			if c.set.has(id) {
				return holds
			}
			return fails
		}
	}
	if c.known != nil && c.known[at] != unknown {
		return c.known[at]
	}
	s.e.rule = s.policy.rules.ref(row)
	r := s.evaluate(c)
	if c.known != nil {
		c.known[at] = r
	}
	return r
}

// evaluate evaluates a condition for the current rule.
func (s *search) evaluate(c *condition) result {
	value, err := c.value(s.e)
	switch {
	case err != nil:
		s.erred = true
		return errs
	case value, c.operand.atom != nil && s.supposes(c.operand.atom):
		return holds
	}
	return fails
}

// value evaluates a condition as the matcher does.
func (c *condition) value(e *evaluator) (bool, error) {
	v, err := c.operand.get(e)
	if err != nil {
		return false, err
	}
	switch x := v.(type) {
	case bool:
		return x, nil
	case float64:
		if c.number {
			return x != 0, nil
		}
	}
	return false, errType
}

// attempt is what the matcher gives for one rule.
type attempt struct {
	// outcome is holds, fails or errs: the matcher's own, which stops at the first condition that says so.
	outcome result
	// alternative is the one that came nearest; failed is how many of its conditions do not hold, class the hardest of
	// them to change. For a rule that matches it is the one that holds.
	alternative, failed int
	class               class
}

// try evaluates every condition for a rule, also those that the matcher would not reach.
func (s *search) try(row uint32) attempt {
	best := attempt{outcome: unknown, failed: -1}
	for i := range s.alternatives {
		t := s.tryAlternative(i, row)
		if best.outcome == unknown && t.outcome != fails {
			// The matcher ends here, whatever the other alternatives give.
			return t
		}
		if best.failed < 0 || t.failed < best.failed || t.failed == best.failed && t.class < best.class {
			best = t
			best.outcome = unknown
		}
	}
	best.outcome = fails
	return best
}

func (s *search) tryAlternative(i int, row uint32) attempt {
	t := attempt{outcome: holds, alternative: i}
	for j := range s.alternatives[i] {
		c := &s.alternatives[i][j]
		r := s.check(c, row)
		if r == holds {
			continue
		}
		if t.outcome == holds {
			if t.outcome = fails; r == errs {
				t.outcome = errs
			}
		}
		t.failed++
		if t.class = max(t.class, c.class); r == errs {
			t.class = classNever
		}
	}
	return t
}

// refine ranks what would have to change for a rule. A role that has the shape of a subject's key is that subject.
func (s *search) refine(t *attempt, row uint32) {
	for i := range s.alternatives[t.alternative] {
		c := &s.alternatives[t.alternative][i]
		a := c.operand.atom
		if a != nil && a.kind == atomRole && s.check(c, row) != holds && subject.IsKeyShaped(s.policy.rules.ref(row).text(a.column)) {
			t.class = max(t.class, classSubject)
		}
	}
}

// matches evaluates the matcher for a rule, and no condition that it would not reach.
func (s *search) matches(row uint32) result {
	for i := range s.alternatives {
		outcome := holds
		for j := range s.alternatives[i] {
			if r := s.check(&s.alternatives[i][j], row); r != holds {
				if outcome = fails; r == errs {
					return errs
				}
				break
			}
		}
		if outcome == holds {
			return holds
		}
	}
	return fails
}

// errStopped ends a search whose time is over.
var errStopped = errors.New("the search was stopped")

// each calls try with each rule in order until it returns false. It looks at the context as often as a decision does.
func (s *search) each(ctx context.Context, try func(row uint32) bool) error {
	between := min(max(workBetweenChecks/max(s.policy.program.cost, 1), 1), rulesBetweenChecks)
	for i := range s.policy.rules.len() {
		if i%between == 0 && ctx.Err() != nil {
			return errStopped
		}
		if !try(uint32(i)) {
			return nil
		}
	}
	return nil
}

// ruling is the decision that follows from the rules tried so far, in their order.
type ruling struct {
	effect           effect
	allows           bool
	decided, allowed bool
}

// add takes what the matcher gives for the next rule.
func (r *ruling) add(outcome result, denies bool) {
	if r.decided || outcome == fails {
		return
	}
	switch {
	case outcome == errs, denies && r.effect != allowOverride:
		r.decided = true
	case denies || r.effect == denyOverride:
	case r.effect == allowAndDeny:
		r.allows = true
	default:
		r.decided, r.allowed = true, true
	}
}

// end takes that there are no more rules.
func (r *ruling) end() {
	if !r.decided {
		r.decided, r.allowed = true, r.allows || r.effect == denyOverride
	}
}

// rule decides the request again, without one rule.
func (s *search) rule(ctx context.Context, without ruleRef) (allowed bool, err error) {
	r := ruling{effect: s.policy.effect}
	err = s.each(ctx, func(row uint32) bool {
		if without.valid() && without.row == row {
			return true
		}
		r.add(s.matches(row), s.policy.rules.denies.has(row))
		return !r.decided
	})
	if err != nil {
		return false, err
	}
	r.end()
	return r.allowed, nil
}
