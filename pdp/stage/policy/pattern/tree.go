package pattern

import (
	"math/bits"
	"strings"
	"unicode/utf8"
)

// tree holds patterns by their tokens. A node stands for the tokens on the way to it, and so, for one value, for one place
// in it: a walk meets each pattern at most once. There are nodes only where more than maxLeaf patterns share a way and
// part: what they share up to there is the run of a node, and what comes after it stays in the texts and is compared there.
type tree struct {
	grammar grammar
	entries []entry
	tests   []limited
	nodes   []node
	edges   table
	root    link
	pending []place
}

// entry is one text in the tree.
type entry struct {
	text string
	// at is where in the text the way to its leaf ends.
	at uint32
	// test is the place of its test in tests and one more, or 0 when the tokens say all.
	test uint32
	// next is the next entry of the same list and one more, or 0.
	next uint32
}

// limited is the test of a text whose tokens end at the limit.
type limited struct {
	limit int
	test  test
}

// node has the ways that lead on other than by a literal, and lists of the entries that end there, each the first entry and
// one more, or 0.
type node struct {
	// run are literals that come first.
	run       string
	any, name link
	// Of the lists, ended have no more tokens, rest take what is left of the value, tested have reached their limit.
	ended, rest, tested uint32
}

// link leads to a node, to a list of entries (isLeaf), or nowhere (0).
type link uint32

const isLeaf link = 1 << 31

// maxLeaf is how many entries a leaf holds before it becomes a node.
const maxLeaf = 4

// way is where a link stands: the root's for the zero kind, and else that which leads from a node by a token.
type way struct {
	kind    tokenKind
	literal byte
	from    uint32
}

// place is an entry on its way into the tree.
type place struct {
	entry uint32
	way   way
}

func newTree(g grammar, size int) *tree {
	return &tree{grammar: g, entries: make([]entry, 0, size), nodes: make([]node, 1)}
}

// add puts a pattern into the tree.
func (t *tree) add(s shape) {
	e := entry{text: s.text}
	if s.test != nil {
		t.tests = append(t.tests, limited{s.limit, s.test})
		e.test = uint32(len(t.tests)) //nolint:gosec // there are no more tests than entries, whose number NewSet bounds
	}
	t.entries = append(t.entries, e)
	t.pending = append(t.pending, place{entry: uint32(len(t.entries) - 1)}) //nolint:gosec // as above
	for len(t.pending) > 0 {
		p := t.pending[len(t.pending)-1]
		t.pending = t.pending[:len(t.pending)-1]
		t.settle(p.entry, p.way)
	}
}

// settle moves an entry on from a link until it reaches a list. It is a loop, and what leaves a full leaf waits for it in
// pending, because the ways that patterns share may be long.
func (t *tree) settle(id uint32, w way) {
	for e := &t.entries[id]; ; {
		to := t.link(w)
		switch {
		case *to == 0:
			*to, e.next = isLeaf|link(id), 0
			return
		case *to&isLeaf != 0:
			if first := uint32(*to &^ isLeaf); t.length(first) < maxLeaf {
				*to, e.next = isLeaf|link(id), first+1
				return
			}
			made := t.burst(uint32(*to&^isLeaf), w)
			*t.link(w) = made // to is void: the nodes may have moved
			continue
		}
		if shared := t.follow(e, t.nodes[*to].run); shared < len(t.nodes[*to].run) {
			t.split(w, shared)
			continue
		}
		n := &t.nodes[*to]
		kind, width := t.token(e, int(e.at)+len(n.run))
		e.at += uint32(len(n.run)) //nolint:gosec // NewSet bounds the length of patterns
		switch kind {
		case tokenTest:
			e.next, n.tested = n.tested, id+1
			return
		case tokenEnd:
			e.next, n.ended = n.ended, id+1
			return
		case tokenRest, tokenAll:
			e.next, n.rest = n.rest, id+1
			return
		case tokenLiteral, tokenAny, tokenName:
		}
		w = way{kind, e.text[e.at], uint32(*to)}
		e.at += uint32(width) //nolint:gosec // as above
	}
}

// token reads the token at a place of an entry's text.
func (t *tree) token(e *entry, at int) (kind tokenKind, width int) {
	if e.test > 0 && at >= t.tests[e.test-1].limit {
		return tokenTest, 0
	}
	return t.grammar.token(e.text, at)
}

// follow returns how much of a run an entry shares.
func (t *tree) follow(e *entry, run string) int {
	for i := range len(run) {
		at := int(e.at) + i
		if kind, _ := t.token(e, at); kind != tokenLiteral || e.text[at] != run[i] {
			return i
		}
	}
	return len(run)
}

// burst makes a node with the run that the entries of a leaf share, from which they go on later.
func (t *tree) burst(first uint32, w way) link {
	e := &t.entries[first]
	run := e.text[e.at:]
	for next := first + 1; next > 0; next = t.entries[next-1].next {
		run = run[:t.follow(&t.entries[next-1], run)]
		t.pending = append(t.pending, place{next - 1, w})
	}
	t.nodes = append(t.nodes, node{run: run})
	return t.last()
}

// split makes a node of the first bytes of a run, of which the node with the rest of it becomes a child.
func (t *tree) split(w way, shared int) {
	lower := *t.link(w)
	run := t.nodes[lower].run
	t.nodes[lower].run = run[shared+1:]
	t.nodes = append(t.nodes, node{run: run[:shared]})
	upper := t.last()
	*t.link(w) = upper
	*t.link(way{tokenLiteral, run[shared], uint32(upper)}) = lower
}

// last returns the link to the newest node. Their number is far below 2^31: each stands for a byte of a pattern at least.
func (t *tree) last() link {
	return link(len(t.nodes) - 1) //nolint:gosec // see above
}

// link returns a link, new where there is none. It is valid until the next call.
func (t *tree) link(w way) *link {
	switch w.kind {
	case tokenLiteral:
		return t.edges.slot(w.from, w.literal)
	case tokenAny:
		return &t.nodes[w.from].any
	case tokenName:
		return &t.nodes[w.from].name
	default:
		return &t.root
	}
}

// length returns the length of a list.
func (t *tree) length(first uint32) int {
	n := 0
	for next := first + 1; next > 0; next = t.entries[next-1].next {
		n++
	}
	return n
}

// mostTests returns how many tests a walk can meet: those on the way that has most, where a value takes one of the literals
// of a node besides its other ways.
func (t *tree) mostTests() int {
	if len(t.tests) == 0 {
		return 0
	}
	// first is the first place in the table, and one more, of a way that leads on from a node by a literal, next the one after.
	first, next := make([]uint32, len(t.nodes)), make([]uint32, len(t.edges.keys))
	for at, key := range t.edges.keys {
		if key != 0 {
			from := (key - 1) >> 8
			next[at], first[from] = first[from], uint32(at)+1
		}
	}
	var most func(to link) int
	most = func(to link) int {
		if to == 0 {
			return 0
		}
		if to&isLeaf != 0 {
			return t.testsIn(uint32(to&^isLeaf) + 1)
		}
		literal := 0
		for at := first[to]; at > 0; at = next[at-1] {
			literal = max(literal, most(t.edges.links[at-1]))
		}
		n := &t.nodes[to]
		return t.testsIn(n.tested) + most(n.any) + most(n.name) + literal
	}
	return most(t.root)
}

// testsIn counts the entries of a list that have tests.
func (t *tree) testsIn(next uint32) int {
	count := 0
	for ; next > 0; next = t.entries[next-1].next {
		if t.entries[next-1].test > 0 {
			count++
		}
	}
	return count
}

// walk is one value on its way through a tree.
type walk struct {
	tree  *tree
	value string
	ids   []uint32
	// uncertain is set when an id was appended because its test could not be made.
	uncertain bool
	// work counts the nodes and entries that were visited.
	work int
}

// from follows a link with what is left of the value.
func (w *walk) from(to link, rest string) {
	for to != 0 {
		if to&isLeaf != 0 {
			w.leaf(uint32(to&^isLeaf)+1, rest)
			return
		}
		w.work++
		n := &w.tree.nodes[to]
		if !strings.HasPrefix(rest, n.run) {
			return
		}
		rest = rest[len(n.run):]
		w.lists(n, rest)
		if rest == "" {
			return
		}
		if n.name != 0 && rest[0] != '/' {
			w.from(n.name, rest[segmentEnd(rest):])
		}
		if n.any != 0 && rest[0] != '\n' {
			_, width := utf8.DecodeRuneInString(rest)
			w.from(n.any, rest[width:])
		}
		to, rest = w.tree.edges.find(uint32(to), rest[0]), rest[1:]
	}
}

// lists takes what a node itself holds.
func (w *walk) lists(n *node, rest string) {
	for next := n.tested; next > 0; next = w.tree.entries[next-1].next {
		w.work++
		w.test(next - 1)
	}
	if n.rest > 0 {
		if _, ok := take(w.tree.grammar.open(), "", rest); ok {
			w.all(n.rest)
		}
	}
	if rest == "" {
		w.all(n.ended)
	}
}

// open returns the kind of the last token of patterns that match any end.
func (g grammar) open() tokenKind {
	if g == prefixText {
		return tokenAll
	}
	return tokenRest
}

// all takes a whole list.
func (w *walk) all(next uint32) {
	for ; next > 0; next = w.tree.entries[next-1].next {
		w.work++
		w.ids = append(w.ids, next-1)
	}
}

// leaf compares what is left of the texts of a leaf.
func (w *walk) leaf(next uint32, rest string) {
	for next > 0 {
		e := &w.tree.entries[next-1]
		w.work++
		if e.test > 0 {
			if limit := w.tree.tests[e.test-1].limit; w.tree.grammar.begins(e.text[e.at:limit], rest) {
				w.test(next - 1)
			}
		} else if w.tree.grammar.match(e.text[e.at:], rest) {
			w.ids = append(w.ids, next-1)
		}
		next = e.next
	}
}

// test takes an entry if its test says so, or cannot be made.
func (w *walk) test(id uint32) {
	e := &w.tree.entries[id]
	matched, err := w.tree.tests[e.test-1].test(w.value)
	if err != nil {
		w.uncertain = true
	}
	if matched || err != nil {
		w.ids = append(w.ids, id)
	}
}

// table is a hash table from nodes and bytes to links.
type table struct {
	keys  []uint64 // one more than node<<8|byte, or 0
	links []link
	used  int
}

// place returns where a key is, or where it belongs. The table has room, so the search ends.
func (t *table) place(key uint64) uint64 {
	const spread = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio: neighbours end up far apart
	mask := uint64(len(t.keys) - 1)   //nolint:gosec // a length
	at := key * spread >> (64 - bits.Len64(mask))
	for t.keys[at] != key && t.keys[at] != 0 {
		at = (at + 1) & mask
	}
	return at
}

// find returns the link of a node and a byte, or 0.
func (t *table) find(from uint32, b byte) link {
	if t.used == 0 {
		return 0
	}
	return t.links[t.place(uint64(from)<<8|uint64(b)+1)]
}

// slot returns the place of the link of a node and a byte, until the next call.
func (t *table) slot(from uint32, b byte) *link {
	if 4*t.used >= 3*len(t.keys) {
		t.grow()
	}
	key := uint64(from)<<8 | uint64(b) + 1
	at := t.place(key)
	if t.keys[at] == 0 {
		t.keys[at] = key
		t.used++
	}
	return &t.links[at]
}

// grow doubles the table.
func (t *table) grow() {
	old := *t
	size := max(16, 2*len(old.keys))
	t.keys, t.links = make([]uint64, size), make([]link, size)
	for i, key := range old.keys {
		if key != 0 {
			at := t.place(key)
			t.keys[at], t.links[at] = key, old.links[i]
		}
	}
}
