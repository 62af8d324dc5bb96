package pattern

import (
	"fmt"
	"math"
	"strings"
)

// Set is many patterns of one boolean function, matched at once. It is immutable and safe for concurrent use.
//
// Key patterns, and whatever begins with a text, are found through a tree: the time of a match depends on the length of
// the value and on how many patterns begin like it, hardly on how many there are. Expressions that are not anchored are
// tried one by one, as are all patterns that begin with the same text and need an expression from there on.
type Set struct {
	size     int
	tree     *tree
	networks *networks
	// ids are the ids of the tree's entries, where these are others.
	ids []uint32
	// single are the tests of single patterns, where the tree does not have them.
	single []test
	// beforeQuery is set when patterns are compared with what stands before the first "?".
	beforeQuery bool
}

// maxPatterns bounds the patterns of a set, and the bytes of each.
const maxPatterns = math.MaxInt32 / maxTexts

// NewSet compiles patterns of a function whose result is a bool. Pattern i gets the id i. The error names the first
// pattern that is wrong by its id.
func NewSet(function string, patterns []string) (*Set, error) {
	if len(patterns) > maxPatterns {
		return nil, fmt.Errorf("%w: more than %d patterns", ErrArgument, maxPatterns)
	}
	s := &Set{size: len(patterns), beforeQuery: function == "keyMatch5"}
	add, err := s.adder(function)
	if err != nil {
		return nil, err
	}
	for i, p := range patterns {
		if len(p) > maxPatterns {
			return nil, fmt.Errorf("pattern %d: %w: more than %d bytes", i, ErrArgument, maxPatterns)
		}
		if err := add(p); err != nil {
			return nil, fmt.Errorf("pattern %d: %w", i, err)
		}
	}
	if s.tree != nil {
		s.tree.pending = nil
	}
	return s, nil
}

// adder returns what adds a pattern of a function.
func (s *Set) adder(function string) (func(pattern string) error, error) {
	grow := func(g grammar, parse func(pattern string) (shape, error)) func(string) error {
		s.tree = newTree(g, s.size)
		return func(pattern string) error {
			parsed, err := parse(pattern)
			if err == nil {
				s.tree.add(parsed)
			}
			return err
		}
	}
	switch function {
	case "keyMatch":
		return grow(prefixText, func(p string) (shape, error) { return shape{text: p}, nil }), nil
	case "keyMatch2":
		return grow(colonNames, func(p string) (shape, error) { return parseKey(colonNames, p) }), nil
	case "keyMatch3", "keyMatch5":
		return grow(braceNames, func(p string) (shape, error) { return parseKey(braceNames, p) }), nil
	case "keyMatch4":
		return grow(braceNames, parseEqualNames), nil
	case "globMatch":
		return grow(literalText, parseGlob), nil
	case "regexMatch":
		s.tree = newTree(literalText, s.size)
		return s.addExpression, nil
	case "ipMatch":
		s.networks = newNetworks(s.size)
		return s.networks.add, nil
	}
	return nil, fmt.Errorf("%w: no function that makes sets", ErrArgument)
}

// addExpression adds a pattern of regexMatch, as one entry of the tree or as one for each text that it matches.
func (s *Set) addExpression(pattern string) error {
	t, err := expressionTest(pattern)
	if err != nil {
		return err
	}
	id := uint32(len(s.single)) //nolint:gosec // NewSet bounds the number of patterns
	s.single = append(s.single, t)
	texts, exact := parseRegex(pattern)
	for _, text := range texts {
		parsed := shape{text: text}
		if !exact {
			parsed = shape{text: text, limit: len(text), test: t}
		}
		s.tree.add(parsed)
		s.ids = append(s.ids, id)
	}
	return nil
}

// Match appends to ids those of the patterns that match the value, in any order and each once. When uncertain is set, some
// are there although the value is too long for their patterns: Test tells which. The error is the one that every pattern
// of the set has with this value.
func (s *Set) Match(value string, ids []uint32) (matched []uint32, uncertain bool, err error) {
	if s.networks != nil {
		matched, err = s.networks.match(value, ids)
		return matched, false, err
	}
	w := s.walk(value, ids)
	if s.ids != nil {
		for i := len(ids); i < len(w.ids); i++ {
			w.ids[i] = s.ids[w.ids[i]]
		}
	}
	return w.ids, w.uncertain, nil
}

// Tests returns how many patterns a match tries one by one at most: each of them takes the time of its function. It looks
// at the whole set.
func (s *Set) Tests() int {
	if s.networks != nil {
		return 0
	}
	return s.tree.mostTests()
}

// walk takes a value through the tree.
func (s *Set) walk(value string, ids []uint32) walk {
	value = s.compared(value)
	w := walk{tree: s.tree, value: value, ids: ids}
	w.from(s.tree.root, value)
	return w
}

// compared returns the part of a value that patterns are compared with.
func (s *Set) compared(value string) string {
	if s.beforeQuery {
		value, _, _ = strings.Cut(value, "?")
	}
	return value
}

// Test applies one pattern alone, with the answer that its function's Compile would give.
func (s *Set) Test(id uint32, value string) (bool, error) {
	if s.networks != nil {
		return s.networks.test(id, value)
	}
	if s.single != nil {
		return s.single[id](value)
	}
	value = s.compared(value)
	e := &s.tree.entries[id]
	if e.test > 0 {
		return s.tree.tests[e.test-1].test(value)
	}
	return s.tree.grammar.match(e.text, value), nil
}
