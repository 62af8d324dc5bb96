package policy

import (
	"math/rand/v2"
	"testing"
)

// collidingKeys returns different pairs of ids whose keys have one hash, as far as groups keep it.
func collidingKeys(t *testing.T, pairs int) [][2][2]uint32 {
	t.Helper()
	var found [][2][2]uint32
	seen := map[uint32][2]uint32{}
	r := rand.New(rand.NewPCG(1, 1))
	for range 1 << 20 {
		key := [2]uint32{1 + r.Uint32N(1<<16), 1 + r.Uint32N(1<<16)}
		hash := uint32(moreHash(moreHash(firstHash, key[0]), key[1]))
		if other, taken := seen[hash]; taken && other != key {
			if found = append(found, [2][2]uint32{other, key}); len(found) == pairs {
				return found
			}
		}
		seen[hash] = key
	}
	t.Fatalf("found %d pairs of keys with one hash", len(found))
	return nil
}

// TestGroupsOfOneHash: keys are compared, not their hashes.
func TestGroupsOfOneHash(t *testing.T) {
	for _, pair := range collidingKeys(t, 20) {
		both := &ruleSet{width: 2, cells: []uint32{pair[0][0], pair[0][1], pair[1][0], pair[1][1]}, lines: []uint32{0, 1}}
		g := newGroups(both, []int{0, 1}, []uint32{0, 1}, keepAll)
		if g.count != 2 || g.longest != 1 {
			t.Errorf("%v: %d groups of at most %d rules", pair, g.count, g.longest)
		}
		one := newGroups(both, []int{0, 1}, []uint32{0}, keepAll)
		for row, key := range pair {
			wanted := [maxKeys]uint32{key[0], key[1]}
			hash := moreHash(moreHash(firstHash, key[0]), key[1])
			if got := g.find(hash, &wanted); got != uint32(row) {
				t.Errorf("%v is found as the rule %d", key, got)
			}
			if got := one.find(hash, &wanted); (got == 0) != (row == 0) {
				t.Errorf("%v is found as the rule %d where only the first one is", key, got)
			}
		}
	}
}

// TestGroupsKeepOrder: the rules of a key follow each other in their order, and every rule is found by its key.
func TestGroupsKeepOrder(t *testing.T) {
	const size = 5000
	r := rand.New(rand.NewPCG(2, 2))
	rules := &ruleSet{width: 3, lines: make([]uint32, size)}
	rows := make([]uint32, size)
	byKey := map[[2]uint32][]uint32{}
	for row := range rows {
		key := [2]uint32{1 + r.Uint32N(60), 1 + r.Uint32N(60)}
		rules.cells = append(rules.cells, key[1], 7, key[0])
		rows[row] = uint32(row)
		byKey[key] = append(byKey[key], uint32(row))
	}
	g := newGroups(rules, []int{2, 0}, rows, keepAll)
	if g.count != len(byKey) {
		t.Errorf("%d groups of %d keys", g.count, len(byKey))
	}
	for key, want := range byKey {
		at := g.find(moreHash(moreHash(firstHash, key[0]), key[1]), &[maxKeys]uint32{key[0], key[1]})
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
	if got := g.find(moreHash(moreHash(firstHash, 99), 1), &[maxKeys]uint32{99, 1}); got != noRow {
		t.Errorf("a key of no rule is found as the rule %d", got)
	}
}
