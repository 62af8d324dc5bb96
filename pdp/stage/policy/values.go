package policy

import (
	"hash/maphash"
	"math"
	"math/bits"
	"strings"
)

// values holds every distinct text of a policy's rules once. Id 0 is no text. It is filled while rules are read and
// immutable afterwards.
type values struct {
	seed maphash.Seed
	// texts are by id.
	texts []string
	slots []valueSlot
	// arena is where the texts of the last few ids stand: one allocation for many.
	arena strings.Builder
}

// valueSlot is a place of the table from texts to ids; id 0 is an empty place.
type valueSlot struct{ hash, id uint32 }

// arenaSize is how many bytes of text share an allocation.
const arenaSize = 32 << 10

// newValues returns an empty table for rules of so many bytes of text.
func newValues(size int) *values {
	v := &values{seed: maphash.MakeSeed(), texts: []string{""}, slots: make([]valueSlot, 64)}
	v.arena.Grow(min(size, arenaSize))
	return v
}

// len returns the number of ids, among them 0.
func (v *values) len() int { return len(v.texts) }

// text returns the text of an id.
func (v *values) text(id uint32) string { return v.texts[id] }

// find returns the id of a text, or 0.
func (v *values) find(text string) uint32 {
	return v.slots[v.place(v.hash(text), text)].id
}

func (v *values) hash(text string) uint32 {
	return uint32(maphash.String(v.seed, text)) //nolint:gosec // the lower half is a hash too
}

// place returns the slot of a text, or the empty one where it belongs.
func (v *values) place(hash uint32, text string) uint32 {
	mask := uint32(len(v.slots) - 1) //nolint:gosec // below 2^32: ids are
	at := hash & mask
	for {
		s := v.slots[at]
		if s.id == 0 || s.hash == hash && v.text(s.id) == text {
			return at
		}
		at = (at + 1) & mask
	}
}

// intern returns the id of a text and keeps a copy of it. It returns 0 when there are too many.
func (v *values) intern(text string) uint32 {
	hash := v.hash(text)
	at := v.place(hash, text)
	if id := v.slots[at].id; id != 0 {
		return id
	}
	if len(v.texts) >= math.MaxInt32 {
		return 0
	}
	id := uint32(len(v.texts)) //nolint:gosec // bounded above
	v.texts = append(v.texts, v.keep(text))
	v.slots[at] = valueSlot{hash: hash, id: id}
	if len(v.texts)*4 > len(v.slots)*3 {
		v.grow()
	}
	return id
}

func (v *values) grow() {
	old := v.slots
	v.slots = make([]valueSlot, 2*len(old))
	mask := uint32(len(v.slots) - 1) //nolint:gosec // below 2^32: ids are
	for _, s := range old {
		if s.id == 0 {
			continue
		}
		at := s.hash & mask
		for v.slots[at].id != 0 {
			at = (at + 1) & mask
		}
		v.slots[at] = s
	}
}

// keep copies a text into the arena.
func (v *values) keep(text string) string {
	if len(text) > arenaSize/8 {
		return strings.Clone(text)
	}
	if v.arena.Cap()-v.arena.Len() < len(text) {
		v.arena = strings.Builder{}
		v.arena.Grow(arenaSize)
	}
	from := v.arena.Len()
	v.arena.WriteString(text)
	return v.arena.String()[from:]
}

// bitset is a set of small numbers.
type bitset []uint64

func newBitset(size int) bitset { return make(bitset, (size+63)/64) }

func (b bitset) has(i uint32) bool { return int(i/64) < len(b) && b[i/64]&(1<<(i%64)) != 0 }

// members returns the members, ascending.
func (b bitset) members() []uint32 {
	count := 0
	for _, word := range b {
		count += bits.OnesCount64(word)
	}
	members := make([]uint32, 0, count)
	for i, word := range b {
		for ; word != 0; word &= word - 1 {
			members = append(members, uint32(64*i+bits.TrailingZeros64(word))) //nolint:gosec // members are uint32
		}
	}
	return members
}

func (b bitset) set(i uint32) { b[i/64] |= 1 << (i % 64) }

// idSet is a set of ids that is filled, asked and emptied again without allocating.
type idSet struct {
	// ids are the members in the order in which they came.
	ids []uint32
	// slots are a table of members; it is used from the size at which a scan of ids takes longer.
	slots []uint32
}

// scanned is the size up to which a set is scanned; keptIDs the size up to which its memory is kept for later use.
const (
	scanned = 16
	keptIDs = 1 << 12
)

// has reports whether an id is a member; 0 never is.
func (s *idSet) has(id uint32) bool {
	if len(s.ids) <= scanned {
		for _, member := range s.ids {
			if member == id {
				return id != 0
			}
		}
		return false
	}
	return s.slots[s.place(id)] == id && id != 0
}

func (s *idSet) place(id uint32) uint32 {
	mask := uint32(len(s.slots) - 1) //nolint:gosec // bounded by ids
	at := id * 0x9E3779B1 & mask
	for s.slots[at] != 0 && s.slots[at] != id {
		at = (at + 1) & mask
	}
	return at
}

// add adds an id, unless it is 0 or a member, and reports whether it did.
func (s *idSet) add(id uint32) bool {
	if id == 0 || s.has(id) {
		return false
	}
	s.ids = append(s.ids, id)
	switch {
	case len(s.ids) <= scanned:
	case len(s.ids) == scanned+1 || 2*len(s.ids) > len(s.slots):
		s.index()
	default:
		s.slots[s.place(id)] = id
	}
	return true
}

// index fills the table anew, with room for twice the members.
func (s *idSet) index() {
	size := 4 * scanned
	for size < 4*len(s.ids) {
		size *= 2
	}
	if cap(s.slots) < size {
		s.slots = make([]uint32, size)
	}
	s.slots = s.slots[:size]
	clear(s.slots)
	for _, id := range s.ids {
		s.slots[s.place(id)] = id
	}
}

// clear empties the set, and lets go of much memory.
func (s *idSet) clear() {
	if cap(s.ids) > keptIDs {
		s.ids, s.slots = nil, nil
	}
	s.ids = s.ids[:0]
}
