package policy

import "math"

// maxKeys is how many fields of p an index combines.
const maxKeys = 5

// noRow stands for no rule.
const noRow = math.MaxUint32

// groups are the rules of an index by the values of its key fields. It is immutable.
type groups struct {
	rules   *ruleSet
	columns []int
	slots   []groupSlot
	// next is the next rule of the same group, in the order in which rules are tried, or noRow; nil when no group has two.
	next []uint32
	// count is the number of groups, longest the number of rules of the largest.
	count, longest int
}

// groupSlot is a group: a part of the hash of its key, and its first rule and one more, 0 in an empty slot.
type groupSlot struct{ hash, first uint32 }

// firstHash and moreHash hash the key of a group, value by value.
const firstHash uint64 = 0x9E3779B97F4A7C15

func moreHash(hash uint64, id uint32) uint64 {
	hash = (hash ^ uint64(id)) * 0xD6E8FEB86659FD93
	return hash ^ hash>>32
}

// newGroups groups rows, which are in the order in which they are tried. keep says which rules after the first of a group
// matter.
func newGroups(rules *ruleSet, columns []int, rows []uint32, keep func(group chain, row uint32) bool) *groups {
	g := &groups{rules: rules, columns: columns, slots: make([]groupSlot, 8)}
	var lasts []chain // by slot; dropped at the end
	lasts = make([]chain, len(g.slots))
	for _, row := range rows {
		if 4*g.count > 3*len(g.slots) {
			lasts = g.grow(lasts)
		}
		hash := firstHash
		for _, column := range columns {
			hash = moreHash(hash, rules.cell(row, column))
		}
		at := g.place(hash, row)
		slot, last := &g.slots[at], &lasts[at]
		if slot.first == 0 {
			*slot = groupSlot{hash: uint32(hash), first: row + 1} //nolint:gosec // the lower half is a hash too
			*last = chain{first: row, last: row, count: 1}
			g.count++
			g.longest = max(g.longest, 1)
			continue
		}
		if !keep(*last, row) {
			continue
		}
		if g.next == nil {
			g.next = make([]uint32, rules.len())
			for i := range g.next {
				g.next[i] = noRow
			}
		}
		g.next[last.last] = row
		last.last = row
		last.count++
		g.longest = max(g.longest, last.count)
	}
	return g
}

// chain are the rules of a group while it is built.
type chain struct {
	first, last uint32
	count       int
}

func (g *groups) grow(lasts []chain) []chain {
	slots := g.slots
	g.slots = make([]groupSlot, 2*len(slots))
	grown := make([]chain, len(g.slots))
	mask := uint32(len(g.slots) - 1) //nolint:gosec // at most four for each rule
	for i, s := range slots {
		if s.first == 0 {
			continue
		}
		at := s.hash & mask
		for g.slots[at].first != 0 {
			at = (at + 1) & mask
		}
		g.slots[at], grown[at] = s, lasts[i]
	}
	return grown
}

// place returns the slot of the group of a rule, or the empty one where it belongs.
func (g *groups) place(hash uint64, row uint32) uint32 {
	mask := uint32(len(g.slots) - 1) //nolint:gosec // at most four for each rule
	at := uint32(hash) & mask        //nolint:gosec // the lower half is a hash too
	for {
		s := g.slots[at]
		if s.first == 0 || s.hash == uint32(hash) && g.sameKey(s.first-1, row) { //nolint:gosec // as above
			return at
		}
		at = (at + 1) & mask
	}
}

func (g *groups) sameKey(a, b uint32) bool {
	for _, column := range g.columns {
		if g.rules.cell(a, column) != g.rules.cell(b, column) {
			return false
		}
	}
	return true
}

// find returns the first rule of the group with a key, or noRow.
func (g *groups) find(hash uint64, key *[maxKeys]uint32) uint32 {
	mask := uint32(len(g.slots) - 1) //nolint:gosec // at most four for each rule
	at := uint32(hash) & mask        //nolint:gosec // the lower half is a hash too
	for {
		s := g.slots[at]
		if s.first == 0 {
			return noRow
		}
		if s.hash == uint32(hash) && g.hasKey(s.first-1, key) { //nolint:gosec // as above
			return s.first - 1
		}
		at = (at + 1) & mask
	}
}

func (g *groups) hasKey(row uint32, key *[maxKeys]uint32) bool {
	cells := g.rules.row(row)
	for i, column := range g.columns {
		if cells[column] != key[i] {
			return false
		}
	}
	return true
}

// after returns the rule of a group after another one, or noRow.
func (g *groups) after(row uint32) uint32 {
	if g.next == nil {
		return noRow
	}
	return g.next[row]
}
