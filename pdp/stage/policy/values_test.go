package policy

import "testing"

// TestIDSet: a set of any size holds what was added, each once, and nothing else; and forgets it.
func TestIDSet(t *testing.T) {
	var s idSet
	for _, size := range []uint32{0, 1, scanned, scanned + 1, 3 * scanned, 1000, keptIDs + 1, 5} {
		for id := range size {
			if !s.add(3*id+1) || s.add(3*id+1) {
				t.Fatalf("size %d: %d was a member before it was added, or not after", size, 3*id+1)
			}
		}
		if s.add(0) || s.has(0) || uint32(len(s.ids)) != size {
			t.Fatalf("size %d: %d members", size, len(s.ids))
		}
		for id := range 3*size + 3 {
			if want := id%3 == 1 && id < 3*size; s.has(id) != want {
				t.Fatalf("size %d: has(%d) is %t", size, id, !want)
			}
		}
		s.clear()
	}
}
