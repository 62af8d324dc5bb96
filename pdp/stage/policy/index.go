package policy

import (
	"fmt"
	"slices"
	"strings"
)

// maxEach is how many values of a field a condition is tried for in every decision, among them patterns that are tried one
// by one, and how many rules are tried where no condition can be looked up.
const maxEach = 64

// ruleIndex finds the rules that can match a request without trying the others. It is immutable.
type ruleIndex struct {
	branches []*branch
	// single is set when there is one branch. recheck is set when what is found must be evaluated, because some conditions
	// are not looked up; otherwise all that is found matches.
	single, recheck bool
	// terms is the number of terms of all branches.
	terms int
}

// branch is the index of one alternative of the matcher.
type branch struct {
	conditions []operand
	// steps are the conditions that are settled for all rules at once, in the order of the matcher.
	steps []step
	terms []*term
	// filter are the conditions on rules alone; rest are those that must be evaluated for each rule that is found.
	filter, rest []operand
	rows         []uint32 // while the index is built
	// first is the first rule: the one that fails when the first condition does.
	first  uint32
	groups *groups
	// firstTerm is the number of the branch's first term among those of all branches.
	firstTerm int
}

// step is a condition without p, or the term of a number.
type step struct {
	gate *operand
	term int
	// leftmost is set for the first condition of an alternative: every rule reaches it.
	leftmost bool
}

// buildIndex builds the index of a policy, or says why there is none.
func buildIndex(p *compiled) (built *ruleIndex, reason string) {
	if p.program.expression != nil {
		return nil, "the matcher is not made of conditions that are joined by && and ||"
	}
	x := &ruleIndex{single: len(p.program.alternatives) == 1}
	for _, conditions := range p.program.alternatives {
		// What one alternative finds may fail in another one that stands before it.
		x.recheck = x.recheck || !x.single && slices.ContainsFunc(conditions, func(o operand) bool { return o.fails })
		b := newBranch(p, conditions, x.single)
		if b.rows = b.filtered(p); len(b.rows) == 0 {
			continue
		}
		b.widen(p)
		if len(b.terms) == 0 && len(b.rest) > 0 && len(b.rows) > maxEach {
			return nil, "no condition of " + shorten(joinSources(conditions, " && "), 160) + " can be looked up by one field of p with few patterns to try"
		}
		x.recheck = x.recheck || len(b.rest) > 0
		x.branches = append(x.branches, b)
	}
	for _, b := range x.branches {
		b.first, b.firstTerm = b.rows[0], x.terms
		x.terms += len(b.terms)
		b.group(p, x.recheck)
		b.rows = nil
	}
	return x, ""
}

// newBranch sorts the conditions of an alternative by how they are settled.
func newBranch(p *compiled, conditions []operand, single bool) *branch {
	b := &branch{conditions: conditions}
	for i := range conditions {
		o := &conditions[i]
		// A condition that cannot be told for a request fails for every rule that reaches it. It may settle the request
		// only where casbin could not allow it either: if nothing can match without it, and nothing but a match allows.
		mayFail := single && (p.effect != denyOverride || i == 0)
		if !o.readsRule {
			if mayFail || !o.fails && o.kind == kindBool {
				b.steps = append(b.steps, step{gate: o, leftmost: i == 0})
			} else {
				b.rest = append(b.rest, *o)
			}
			continue
		}
		if !o.readsRequest && !o.fails && !o.refuses && o.kind == kindBool {
			b.filter = append(b.filter, *o)
			continue
		}
		if t, ok := newTerm(p, o, conditions); ok && t.tests <= maxEach && (mayFail || !t.fails) && b.hasRoomFor(t) {
			b.addTerm(t, i == 0)
			continue
		}
		b.rest = append(b.rest, *o)
	}
	return b
}

// hasRoomFor reports whether a term can be a key: each field of p is one once.
func (b *branch) hasRoomFor(t *term) bool {
	return len(b.terms) < maxKeys && !slices.ContainsFunc(b.terms, func(other *term) bool { return other.column == t.column })
}

func (b *branch) addTerm(t *term, leftmost bool) {
	b.steps = append(b.steps, step{term: len(b.terms), leftmost: leftmost})
	b.terms = append(b.terms, t)
}

// filtered returns the rules for which the conditions on rules alone hold.
func (b *branch) filtered(p *compiled) []uint32 {
	rows := make([]uint32, 0, p.rules.len())
	e := newEvaluator(p)
	for i := range p.rules.lines {
		e.rule = p.rules.ref(uint32(i))
		if holds, err := all(e, b.filter); holds || err != nil {
			rows = append(rows, e.rule.row)
		}
	}
	return rows
}

// widen makes terms of conditions that read one field of p which has few values, where many rules would be tried else.
func (b *branch) widen(p *compiled) {
	if len(b.rest) == 0 {
		return
	}
	found := len(b.rows)
	if len(b.terms) > 0 {
		found = newGroups(p.rules, b.keyFields(), b.rows, keepAll).longest
	}
	var rest []operand
	for i := range b.rest {
		t, ok := eachTerm(p, &b.rest[i])
		if ok && b.hasRoomFor(t) {
			if t.limit(p.rules.values.len(), p.rules, b.rows); len(t.rows) <= maxEach && 2*len(t.rows) < found {
				t.rows, t.present = nil, nil
				b.addTerm(t, false)
				continue
			}
		}
		rest = append(rest, b.rest[i])
	}
	b.rest = rest
}

func (b *branch) keyFields() []keyField {
	fields := make([]keyField, len(b.terms))
	for i, t := range b.terms {
		fields[i].column = t.column
		if t.set != nil {
			fields[i].numbered = t.ids
		}
	}
	return fields
}

func keepAll(chain, uint32) bool { return true }

// group builds the groups. Where nothing is evaluated later, rules that cannot decide are left out.
func (b *branch) group(p *compiled, recheck bool) {
	rows, keep := b.rows, keepAll
	if !recheck {
		switch p.effect {
		case allowOverride, denyOverride:
			rows = slices.DeleteFunc(rows, func(row uint32) bool { return p.rules.denies.has(row) != (p.effect == denyOverride) })
		default:
		}
		keep = func(g chain, row uint32) bool {
			return p.effect == allowAndDeny && g.count == 1 && p.rules.denies.has(g.first) != p.rules.denies.has(row)
		}
	}
	for _, t := range b.terms {
		t.limit(p.rules.values.len(), p.rules, rows)
	}
	b.groups = newGroups(p.rules, b.keyFields(), rows, keep)
}

// text describes the index for people.
func (x *ruleIndex) text() string {
	branches := make([]string, len(x.branches))
	for i, b := range x.branches {
		sources := make([]string, len(b.terms))
		for j, t := range b.terms {
			sources[j] = t.source
		}
		branches[i] = strings.Join(sources, " × ")
		if len(sources) == 0 {
			branches[i] = fmt.Sprintf("%d rules", b.groups.longest)
		}
		if len(b.rest) > 0 {
			branches[i] += ", then " + joinSources(b.rest, " && ")
		}
	}
	return shorten(strings.Join(branches, " | "), 400)
}

// cost estimates how many nanoseconds a decision takes that has to try all that is not looked up. Looking up counts as little:
// it is more for a subject of many roles whose path matches many patterns, and never more than trying all rules.
func (x *ruleIndex) cost(p *compiled) int {
	cost := 1000
	for _, b := range x.branches {
		for _, t := range b.terms {
			if t.each != nil {
				cost += len(t.rows) * t.each.cost
			}
			cost += t.tests * t.testCost
		}
		if x.recheck {
			cost += b.groups.longest * (p.program.cost + 10)
		}
	}
	return cost
}

// joinSources writes conditions as their author wrote them.
func joinSources(conditions []operand, separator string) string {
	sources := make([]string, len(conditions))
	for i := range conditions {
		sources[i] = conditions[i].source
	}
	return strings.Join(sources, separator)
}
