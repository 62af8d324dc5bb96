package policy

import (
	"math/rand/v2"
	"testing"
)

// keyOf returns the key of ids.
func (g *groups) keyOf(ids ...uint32) (key uint64, all [maxKeys]uint32, found bool) {
	found = true
	for field, id := range ids {
		var ok bool
		key, ok = g.add(key, field, id)
		all[field], found = id, found && ok
	}
	return key, all, found
}

// rowOf returns the first rule of the group with the ids.
func (g *groups) rowOf(ids ...uint32) uint32 {
	if key, all, found := g.keyOf(ids...); found {
		return g.find(key, &all)
	}
	return noRow
}

// collidingKeys returns different keys of three ids that have one hash, and too many bits to be exact.
func collidingKeys(t *testing.T, pairs int) [][2][3]uint32 {
	t.Helper()
	const last = 1 << 20
	var found [][2][3]uint32
	seen := map[uint32]uint32{}
	for id := uint32(1); id < 1<<20; id++ {
		half := uint32(mixKey(uint64(id)) >> 32)
		if other, taken := seen[half]; taken {
			// Where the upper halves of the hashes of the first id are equal, the second can undo the difference of the lower.
			undone := uint32(mixKey(uint64(id))^mixKey(uint64(other))) ^ 1
			found = append(found, [2][3]uint32{{other, 1, last}, {id, undone, last}})
			if len(found) == pairs {
				return found
			}
		}
		seen[half] = id
	}
	t.Fatalf("found %d pairs of keys with one hash", len(found))
	return nil
}

// TestGroupsOfOneHash: keys are compared, not their hashes.
func TestGroupsOfOneHash(t *testing.T) {
	for _, pair := range collidingKeys(t, 20) {
		both := &ruleSet{width: 3, cells: append(pair[0][:], pair[1][:]...), lines: []uint32{0, 1}}
		columns := []keyField{{column: 0}, {column: 1}, {column: 2}}
		g := newGroups(both, columns, []uint32{0, 1}, keepAll)
		if g.exact || g.count != 2 || g.longest != 1 {
			t.Errorf("%v: %d groups of at most %d rules; exact: %v", pair, g.count, g.longest, g.exact)
		}
		first, _, _ := g.keyOf(pair[0][:]...)
		if second, _, _ := g.keyOf(pair[1][:]...); first != second {
			t.Fatalf("%v have different hashes", pair)
		}
		for row, key := range pair {
			if got := g.rowOf(key[:]...); got != uint32(row) {
				t.Errorf("%v is found as the rule %d", key, got)
			}
		}
	}
}

// TestGroupsOfWideIDs: an id that needs more bits than those of the rules is that of no group, and no other one's.
func TestGroupsOfWideIDs(t *testing.T) {
	rules := &ruleSet{width: 2, cells: []uint32{1, 4, 3, 2}, lines: []uint32{0, 1}}
	g := newGroups(rules, []keyField{{column: 0}, {column: 1}}, []uint32{0, 1}, keepAll)
	for _, ids := range [][2]uint32{{0, 8 + 4}, {1 << 31, 8 + 4}, {5, 4}, {1, 1<<31 + 4}, {3, 1 << 3}, {4 + 1, 4}} {
		if got := g.rowOf(ids[:]...); got != noRow {
			t.Errorf("%v is found as the rule %d", ids, got)
		}
	}
	for row, ids := range [][2]uint32{{1, 4}, {3, 2}} {
		if got := g.rowOf(ids[:]...); got != uint32(row) || !g.exact {
			t.Errorf("%v is found as the rule %d; exact: %v", ids, got, g.exact)
		}
	}
}

// TestGroupsKeepOrder: the rules of a key follow each other in their order, and every rule is found by its key, whether
// keys are exact or not.
func TestGroupsKeepOrder(t *testing.T) {
	for _, wide := range []uint32{0, 1 << 31} {
		keepsOrder(t, wide, false)
		keepsOrder(t, wide, true)
	}
}

// keepsOrder tries ids with more bits in common, and with numbers in the place of some.
func keepsOrder(t *testing.T, wide uint32, numbered bool) {
	t.Helper()
	const size = 5000
	r := rand.New(rand.NewPCG(2, 2))
	rules := &ruleSet{width: 3, lines: make([]uint32, size)}
	rows := make([]uint32, size)
	byKey := map[[3]uint32][]uint32{}
	for row := range rows {
		key := [3]uint32{wide | 4 + r.Uint32N(60), wide | 1 + r.Uint32N(60), wide | 7}
		rules.cells = append(rules.cells, key[1], key[2], key[0])
		rows[row] = uint32(row)
		byKey[key] = append(byKey[key], uint32(row))
	}
	fields := []keyField{{column: 2}, {column: 0}, {column: 1}}
	value := func(id uint32) uint32 { return id }
	if numbered {
		for id := range uint32(60) {
			fields[0].numbered = append(fields[0].numbered, wide|4+id)
		}
		value = func(id uint32) uint32 { return id&^wide - 3 }
	}
	g := newGroups(rules, fields, rows, keepAll)
	if g.count != len(byKey) || g.exact != (wide == 0) {
		t.Errorf("%d groups of %d keys; exact: %v", g.count, len(byKey), g.exact)
	}
	for key, want := range byKey {
		at := g.rowOf(value(key[0]), key[1], key[2])
		for _, row := range want {
			if at != row {
				t.Fatalf("%v: the rule %d instead of %d", key, at, row)
			}
			at = g.after(at)
		}
		if at != noRow {
			t.Errorf("%v: the rule %d follows the last one", key, at)
		}
	}
	if got := g.rowOf(value(wide|63), wide|63, wide|7); got != noRow {
		t.Errorf("a key of no rule is found as the rule %d", got)
	}
}
