package policy

import (
	"errors"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
)

// patternTable holds the patterns that a call can meet in a field of p, compiled.
type patternTable struct {
	// ids are the patterns' value ids, ascending; the place of one is its number in set or applies.
	ids []uint32
	// set holds them all for functions whose result is a bool, else applies does.
	set     *pattern.Set
	applies []pattern.Apply
}

// apply applies the pattern of a value id.
func (t *patternTable) apply(id uint32, value, part string) (any, error) {
	number, found := slices.BinarySearch(t.ids, id)
	if !found {
		return nil, errArgument
	}
	if t.set != nil {
		matched, err := t.set.Test(uint32(number), value) //nolint:gosec // as many as value ids
		return matched, ownError(err)
	}
	return applied(t.applies[number], value, part)
}

// applied applies a pattern.
func applied(apply pattern.Apply, value, part string) (any, error) {
	v, err := apply(value, part)
	return v, ownError(err)
}

// ownError turns an error of a pattern, which holds nothing of the value, into one of this package.
func ownError(err error) error {
	if err != nil {
		return errArgument
	}
	return nil
}

// patterns compiles the patterns in a field of the rules.
func (c *compiler) patterns(name string, f pattern.Function, column int) *patternTable {
	t := &patternTable{ids: c.distinct(column)}
	if !f.Text && !c.nested {
		texts := make([]string, len(t.ids))
		for i, id := range t.ids {
			texts[i] = c.rules.values.text(id)
		}
		var err error
		if t.set, err = pattern.NewSet(name, texts); err == nil {
			return t
		}
		defer func() {
			if len(c.problems) == 0 {
				c.problems = append(c.problems, c.rules.ref(0).problem(patternMessage(name, err)))
			}
		}()
	}
	t.applies = make([]pattern.Apply, len(t.ids))
	bad := map[uint32]error{}
	for i, id := range t.ids {
		var err error
		if t.applies[i], err = f.Compile(c.rules.values.text(id)); err != nil {
			bad[id] = err
		}
	}
	for r := range c.eachRule() {
		if len(bad) == 0 || len(c.problems) >= maxProblems {
			break
		}
		if err, isBad := bad[r.cell(column)]; isBad {
			c.problems = append(c.problems, r.fieldProblem(column, c.model.rule[column]+": "+patternMessage(name, err)))
			delete(bad, r.cell(column))
		}
	}
	return t
}

// distinct returns the value ids of a field of the rules, ascending.
func (c *compiler) distinct(column int) []uint32 {
	var ids []uint32
	if c.rows != nil {
		for r := range c.eachRule() {
			ids = append(ids, r.cell(column))
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	seen := newBitset(c.rules.values.len())
	for r := range c.eachRule() {
		seen.set(r.cell(column))
	}
	return seen.members()
}

// patternMessage says what is wrong with a pattern of a file.
func patternMessage(name string, err error) string {
	if inner := errors.Unwrap(err); inner != nil && !errors.Is(err, pattern.ErrArgument) {
		err = inner
	}
	return "not a pattern of " + name + ": " + shorten(strings.TrimPrefix(err.Error(), pattern.ErrArgument.Error()+": "), 160)
}
