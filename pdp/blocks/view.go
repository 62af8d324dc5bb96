package blocks

import (
	"net/netip"
	"time"
)

// place is what a block is about, without its times.
type place struct {
	kind                  Kind
	bundle, issuer, value string
}

// entry are the blocks of one place: the one that holds for everything there, and the one for what was issued before a time.
type entry struct {
	all, before *Block
}

// view is the blocks by what they are about.
type view struct {
	byID   map[string]*Block
	places map[place]entry
	// held says whether there are blocks of a kind, for all bundles (0) and for one (1), so that nobody looks for what nobody blocks.
	held     [Issuer + 1][2]int
	networks map[netip.Prefix]*Block
	v4, v6   lengths
}

// lengths counts the prefixes of one family by their length, and lists the lengths that there are, the longest first.
type lengths struct {
	count [129]int
	list  []int
}

func (l *lengths) add(bits, n int) {
	l.count[bits] += n
	if l.count[bits] > 1 || l.count[bits] == 1 && n < 0 {
		return
	}
	l.list = l.list[:0]
	for bits := len(l.count) - 1; bits >= 0; bits-- {
		if l.count[bits] > 0 {
			l.list = append(l.list, bits)
		}
	}
}

func newView(size int) *view {
	return &view{byID: make(map[string]*Block, size), places: make(map[place]entry, size), networks: map[netip.Prefix]*Block{}}
}

func (v *view) apply(changes []change) {
	for _, c := range changes {
		if c.block == nil {
			v.remove(c.id)
		} else {
			v.set(c.id, c.block)
		}
	}
}

// sweep forgets what has ended.
func (v *view) sweep(now time.Time) {
	for id, b := range v.byID {
		if b.endsBy(now) {
			v.remove(id)
		}
	}
}

// set puts a block in, in the place of one with the same id.
func (v *view) set(id string, b *Block) {
	v.remove(id)
	v.byID[id] = b
	v.held[b.Kind][scoped(b)]++
	if b.Kind == Network {
		prefix := netip.MustParsePrefix(b.Value) // checked
		v.networks[prefix] = b
		v.family(prefix.Addr()).add(prefix.Bits(), 1)
		return
	}
	at := place{b.Kind, b.Bundle, b.Issuer, b.Value}
	e := v.places[at]
	if b.Before.IsZero() {
		e.all = b
	} else {
		e.before = b
	}
	v.places[at] = e
}

func (v *view) remove(id string) {
	b, ok := v.byID[id]
	if !ok {
		return
	}
	delete(v.byID, id)
	v.held[b.Kind][scoped(b)]--
	if b.Kind == Network {
		prefix := netip.MustParsePrefix(b.Value)
		delete(v.networks, prefix)
		v.family(prefix.Addr()).add(prefix.Bits(), -1)
		return
	}
	at := place{b.Kind, b.Bundle, b.Issuer, b.Value}
	e := v.places[at]
	if b.Before.IsZero() {
		e.all = nil
	} else {
		e.before = nil
	}
	if e == (entry{}) {
		delete(v.places, at)
	} else {
		v.places[at] = e
	}
}

func (v *view) family(address netip.Addr) *lengths {
	if address.Is4() {
		return &v.v4
	}
	return &v.v6
}

func scoped(b *Block) int {
	if b.Bundle != "" {
		return 1
	}
	return 0
}

// find returns the blocks of a place that have not ended.
func (v *view) find(at place, now time.Time) (e entry) {
	scope := 0
	if at.bundle != "" {
		scope = 1
	}
	if v.held[at.kind][scope] == 0 {
		return entry{}
	}
	e = v.places[at]
	if e.all != nil && e.all.endsBy(now) {
		e.all = nil
	}
	if e.before != nil && e.before.endsBy(now) {
		e.before = nil
	}
	return e
}

// network returns a block that an address is in. There are at most as many looks as prefixes of different lengths.
func (v *view) network(address netip.Addr, now time.Time) *Block {
	for _, bits := range v.family(address).list {
		prefix, err := address.Prefix(bits)
		if err != nil {
			return nil
		}
		if b := v.networks[prefix]; b != nil && !b.endsBy(now) {
			return b
		}
	}
	return nil
}
