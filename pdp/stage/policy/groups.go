package policy

import (
	"math"
	"math/bits"
)

// maxKeys is how many fields of p an index combines.
const maxKeys = 5

// noRow stands for no rule.
const noRow = math.MaxUint32

// groups are the rules of an index by the values of its key fields. It is immutable.
type groups struct {
	rules  *ruleSet
	fields []keyField
	// widths are how many bits the ids of each key field need. They are used when all of a key fit into 64 bits, which then
	// are the key: no rule has to be read to know that a group is the right one. exact says whether they do.
	widths []uint8
	exact  bool
	slots  []groupSlot
	// next is the next rule of the same group, in the order in which rules are tried, or noRow; nil when no group has two.
	next []uint32
	// count is the number of groups, longest the number of rules of the largest.
	count, longest int
}

// keyField is a field of p that is part of the key: by its value id or, where numbered are all ids that it can have,
// ascending, by the place of its id there and one more. Those who know the place then need not read the id.
type keyField struct {
	column   int
	numbered []uint32
}

// groupSlot is a group: its key in halves, so that no byte is lost to alignment, and its first rule and one more, 0 in an
// empty slot.
type groupSlot struct{ low, high, first uint32 }

// add returns the key of the values of another key (0: of none) and one more, for a key field. It is exact, or a hash. No
// group has the value when it is false.
func (g *groups) add(key uint64, field int, id uint32) (uint64, bool) {
	if g.exact {
		return key<<g.widths[field] | uint64(id), id>>g.widths[field] == 0
	}
	return mixKey(key ^ uint64(id)), true
}

func mixKey(key uint64) uint64 {
	key *= 0xD6E8FEB86659FD93
	key ^= key >> 32
	key *= 0x9E3779B97F4A7C15
	return key ^ key>>32
}

// newGroups groups rows, which are in the order in which they are tried. keep says which rules after the first of a group
// matter.
func newGroups(rules *ruleSet, fields []keyField, rows []uint32, keep func(group chain, row uint32) bool) *groups {
	g := &groups{rules: rules, fields: fields, slots: make([]groupSlot, 8)}
	read := g.reader()
	g.measure(rows, read)
	var lasts []chain // by slot; dropped at the end
	lasts = make([]chain, len(g.slots))
	for _, row := range rows {
		if 4*g.count > 3*len(g.slots) {
			lasts = g.grow(lasts)
		}
		var key uint64
		for field := range fields {
			key, _ = g.add(key, field, read(row, field))
		}
		at := g.place(key, row)
		slot, last := &g.slots[at], &lasts[at]
		if slot.first == 0 {
			*slot = groupSlot{uint32(key), uint32(key >> 32), row + 1}
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

// reader returns what reads a key field of a rule.
func (g *groups) reader() func(row uint32, field int) uint32 {
	numbers := make([][]uint32, len(g.fields)) // by id, from the first one on
	for i, f := range g.fields {
		if f.numbered == nil {
			continue
		}
		numbers[i] = make([]uint32, f.numbered[len(f.numbered)-1]-f.numbered[0]+1)
		for number, id := range f.numbered {
			numbers[i][id-f.numbered[0]] = uint32(number) + 1
		}
	}
	return func(row uint32, field int) uint32 {
		id := g.rules.cell(row, g.fields[field].column)
		if numbers[field] != nil {
			return numbers[field][id-g.fields[field].numbered[0]]
		}
		return id
	}
}

// measure finds the widths of the key fields.
func (g *groups) measure(rows []uint32, read func(row uint32, field int) uint32) {
	g.widths = make([]uint8, len(g.fields))
	all := 0
	for field := range g.fields {
		var values uint32
		for _, row := range rows {
			values |= read(row, field)
		}
		g.widths[field] = uint8(bits.Len32(values)) //nolint:gosec // at most 32
		all += bits.Len32(values)
	}
	g.exact = all <= 64
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
	for i, s := range slots {
		if s.first == 0 {
			continue
		}
		at := g.start(s.key())
		for g.slots[at].first != 0 {
			at = g.following(at)
		}
		g.slots[at], grown[at] = s, lasts[i]
	}
	return grown
}

func (s *groupSlot) key() uint64 { return uint64(s.high)<<32 | uint64(s.low) }

// start is where the search for a key begins, following the slot after another one.
func (g *groups) start(key uint64) int { return int(mixKey(key) & uint64(len(g.slots)-1)) } //nolint:gosec // below the length

func (g *groups) following(at int) int { return (at + 1) & (len(g.slots) - 1) }

// place returns the slot of the group of a rule, or the empty one where it belongs.
func (g *groups) place(key uint64, row uint32) int {
	at := g.start(key)
	for {
		s := &g.slots[at]
		if s.first == 0 || s.key() == key && (g.exact || g.sameKey(s.first-1, row)) {
			return at
		}
		at = g.following(at)
	}
}

func (g *groups) sameKey(a, b uint32) bool {
	for _, f := range g.fields {
		if g.rules.cell(a, f.column) != g.rules.cell(b, f.column) {
			return false
		}
	}
	return true
}

// find returns the first rule of the group with a key, or noRow. ids are the values of which the key is made.
func (g *groups) find(key uint64, ids *[maxKeys]uint32) uint32 {
	at := g.start(key)
	for {
		s := &g.slots[at]
		if s.first == 0 {
			return noRow
		}
		if s.key() == key && (g.exact || g.hasKey(s.first-1, ids)) {
			return s.first - 1
		}
		at = g.following(at)
	}
}

func (g *groups) hasKey(row uint32, key *[maxKeys]uint32) bool {
	cells := g.rules.row(row)
	for i, f := range g.fields {
		id := key[i]
		if f.numbered != nil {
			id = f.numbered[id-1]
		}
		if cells[f.column] != id {
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
