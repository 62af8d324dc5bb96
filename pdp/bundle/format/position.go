package format

import (
	"strconv"
	"strings"
)

// tree returns the file's nodes, read once; nil when it is no YAML of this format.
func (f *File) tree() *node {
	f.once.Do(func() {
		r := &reader{file: f}
		if root := r.parse(); len(r.problems) == 0 {
			f.root = root
		}
	})
	return f.root
}

// At returns the position of a YAML path such as "$.routes[2].path": of the value where it is a scalar or an item of
// a list, else of its key. A path that the file does not hold takes the position of the nearest one above it.
func (f *File) At(yamlPath string) Position {
	at := Position{File: f.Path}
	rest, ok := strings.CutPrefix(yamlPath, "$")
	if !ok {
		return at
	}
	n := f.tree()
	if n == nil {
		return at
	}
	at.Line, at.Column = n.line, n.column
	for rest != "" {
		var next *node
		var line, column int
		switch rest[0] {
		case '.':
			var key string
			key, rest = longestKey(n, rest[1:])
			next, line, column = n.child(key)
		case '[':
			var index string
			index, rest, _ = strings.Cut(rest[1:], "]")
			if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(n.items) {
				next = n.items[i]
				line, column = next.line, next.column
			}
		}
		if next == nil {
			break
		}
		n, at.Line, at.Column = next, line, column
	}
	return at
}

// child returns the value of a key, and the place to report for it.
func (n *node) child(key string) (value *node, line, column int) {
	for i := range n.entries {
		e := &n.entries[i]
		if e.key != key {
			continue
		}
		if e.value.kind >= kindSequence {
			return e.value, e.line, e.column
		}
		return e.value, e.value.line, e.value.column
	}
	return nil, 0, 0
}

// longestKey splits the first key off a path. A key may hold dots and brackets itself: the longest one of the mapping
// that fits is meant.
func longestKey(n *node, path string) (key, rest string) {
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		end = len(path)
	}
	key = path[:end]
	for i := range n.entries {
		k := n.entries[i].key
		after, ok := strings.CutPrefix(path, k)
		if ok && len(k) > len(key) && (after == "" || after[0] == '.' || after[0] == '[') {
			key = k
		}
	}
	return key, path[len(key):]
}

// Walk calls visit for every key of the file, in file order, with the keys above it; the items of a list stand under
// "[]". The text is the value where that is a scalar; the items of a list of scalars are visited too. The path is
// valid during the call only.
func (f *File) Walk(visit func(path []string, at Position, text string)) {
	f.walk(f.tree(), nil, visit)
}

func (f *File) walk(n *node, path []string, visit func([]string, Position, string)) {
	if n == nil {
		return
	}
	for _, item := range n.items {
		below := append(path, "[]")
		if item.kind < kindSequence {
			visit(below, Position{File: f.Path, Line: item.line, Column: item.column}, item.text)
		}
		f.walk(item, below, visit)
	}
	for i := range n.entries {
		e := &n.entries[i]
		below := append(path, e.key)
		visit(below, Position{File: f.Path, Line: e.line, Column: e.column}, e.value.text)
		f.walk(e.value, below, visit)
	}
}
