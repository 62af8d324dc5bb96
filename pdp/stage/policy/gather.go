package policy

import (
	"context"
	"slices"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// lookupsBetweenChecks is how many keys are looked up between two looks at the context.
const lookupsBetweenChecks = 256

// gatherer is the scratch space for what an index finds.
type gatherer struct {
	// sets are the values of each term.
	sets []idSet
	// open says which branches can find rules; uncertain is set when some of what they find may not match.
	open      []bool
	uncertain bool
	// allow and deny are the first rules that allow and deny; rows are all, where they must be evaluated.
	allow, deny uint32
	collect     bool
	rows        []uint32
	ids         [maxKeys]uint32
	lookups     int
}

func newGatherer(x *ruleIndex) gatherer {
	if x == nil {
		return gatherer{}
	}
	return gatherer{sets: make([]idSet, x.terms), open: make([]bool, len(x.branches))}
}

// reset forgets everything about the request, and lets go of much memory.
func (g *gatherer) reset() {
	for i := range g.sets {
		g.sets[i].clear()
	}
	clear(g.open)
	if cap(g.rows) > keptIDs {
		g.rows = nil
	}
	g.rows, g.uncertain, g.collect, g.lookups = g.rows[:0], false, false, 0
	g.allow, g.deny = noRow, noRow
}

// lookUp decides by the index.
func (e *evaluator) lookUp(ctx context.Context, x *ruleIndex) (decision, error) {
	g := &e.gatherer
	g.reset()
	keys := 0
	for i, b := range x.branches {
		if at, failure := e.settle(b, i); failure != nil {
			return failed(failure, at), nil
		}
		if g.open[i] {
			keys += g.product(b, e.policy.rules.len())
		}
	}
	if keys > e.policy.rules.len() {
		return e.try(ctx, nil, nil)
	}
	g.collect = x.recheck || g.uncertain
	for i, b := range x.branches {
		if !g.open[i] {
			continue
		}
		if err := g.descend(ctx, b, 0, 0); err != nil {
			return decision{}, err
		}
	}
	if !g.collect {
		return e.firstOf(g.allow, g.deny), nil
	}
	if len(g.rows) == 0 {
		return e.firstOf(noRow, noRow), nil
	}
	slices.Sort(g.rows)
	g.rows = slices.Compact(g.rows)
	var rest []operand
	if b := x.branches[0]; x.single && !g.uncertain && len(b.conditions) > 1 {
		rest = b.rest // the other conditions hold: the rules were found by them
	}
	return e.try(ctx, g.rows, rest)
}

// settle evaluates the conditions of a branch that do not depend on single rules, in the order of the matcher. Where one
// of them holds for no rule the branch stays closed.
func (e *evaluator) settle(b *branch, number int) (at ruleRef, failure error) {
	for i := range b.steps {
		s := &b.steps[i]
		holds, err := e.step(b, s)
		if err != nil && s.leftmost {
			return e.policy.rules.ref(b.first), err
		}
		if err != nil || !holds {
			return ruleRef{}, err
		}
	}
	e.gatherer.open[number] = true
	return ruleRef{}, nil
}

// step reports whether a condition holds for any rule.
func (e *evaluator) step(b *branch, s *step) (bool, error) {
	if s.gate != nil {
		v, err := s.gate.get(e)
		if err != nil {
			return false, err
		}
		holds, isBool := v.(bool)
		if !isBool {
			return false, errType
		}
		return holds, nil
	}
	set := &e.gatherer.sets[b.firstTerm+s.term]
	uncertain, err := b.terms[s.term].fill(e, set)
	e.gatherer.uncertain = e.gatherer.uncertain || uncertain
	return len(set.ids) > 0, err
}

// product returns how many keys a branch looks up, or more than limit.
func (g *gatherer) product(b *branch, limit int) int {
	product := 1
	for i := range b.terms {
		product *= len(g.sets[b.firstTerm+i].ids)
		if product > limit {
			return limit + 1
		}
	}
	return product
}

// descend looks up all combinations of the values of the terms from a level on.
func (g *gatherer) descend(ctx context.Context, b *branch, level int, key uint64) error {
	if level < len(b.terms) {
		for _, id := range g.sets[b.firstTerm+level].ids {
			g.ids[level] = id
			longer, found := b.groups.add(key, level, id)
			if !found {
				continue
			}
			if err := g.descend(ctx, b, level+1, longer); err != nil {
				return err
			}
		}
		return nil
	}
	for row := b.groups.find(key, &g.ids); ; row = b.groups.after(row) {
		if g.lookups%lookupsBetweenChecks == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		g.lookups++
		switch {
		case row == noRow:
			return nil
		case g.collect:
			g.rows = append(g.rows, row)
		case b.groups.rules.denies.has(row):
			g.deny = min(g.deny, row)
		default:
			g.allow = min(g.allow, row)
		}
	}
}

// firstOf decides by the first rule that allows and the first one that denies, of those that match.
func (e *evaluator) firstOf(allow, deny uint32) decision {
	switch e.policy.effect {
	case allowOverride:
		deny = noRow
	case denyOverride:
		if deny == noRow {
			return decision{allowed: true}
		}
		allow = noRow
	case allowAndDeny:
		if deny != noRow {
			allow = noRow
		}
	case priority, subjectPriority:
		if deny < allow {
			allow = noRow
		} else {
			deny = noRow
		}
	}
	switch {
	case allow != noRow:
		return decision{allowed: true, rule: e.policy.rules.ref(allow)}
	case deny != noRow:
		return decision{rule: e.policy.rules.ref(deny), reason: verdict.RuleDenied}
	}
	return decision{reason: verdict.NoMatchingRule}
}
