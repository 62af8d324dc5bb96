package pattern

import (
	"math/bits"
	"unicode/utf8"
)

// maxWild bounds the bytes of a pattern that matchWild takes.
const maxWild = 255

// isWild tells whether a key pattern is made of tokens, names that end inside a segment and stars that stand for any text,
// all of which may take more or less of a value: matchWild decides it without a regular expression, in so many steps.
func (g grammar) isWild(pattern string) (steps int, ok bool) {
	if len(pattern) > maxWild {
		return 0, false
	}
	for at := 0; at < len(pattern); steps++ {
		if end := g.nameEnd(pattern, at); end > at {
			at = end
			continue
		}
		width, ok := g.plainToken(pattern, at)
		if !ok && (pattern[at] != '*' || at == 0 || pattern[at-1] != '/') {
			return 0, false
		}
		at += width
	}
	return steps, true
}

// states are the places in a pattern that a value may have led to.
type states [maxWild/64 + 1]uint64

// add adds a place, and the one behind a star, which may stand for nothing.
func (s *states) add(text string, at int) {
	s[at/64] |= 1 << (at % 64)
	if at < len(text) && text[at] == '*' {
		s.add(text, at+1)
	}
}

// matchWild matches a value with a pattern that isWild, all ways at once, character by character.
func (g grammar) matchWild(text, value string) bool {
	var now states
	now.add(text, 0)
	for value != "" {
		r, width := utf8.DecodeRuneInString(value)
		value = value[width:]
		var next states
		for i, word := range now {
			for ; word != 0; word &= word - 1 {
				g.step(text, 64*i+bits.TrailingZeros64(word), r, &next)
			}
		}
		if next == (states{}) {
			return false
		}
		now = next
	}
	return now[len(text)/64]&(1<<(len(text)%64)) != 0
}

// step adds the places that a character leads to from one place.
func (g grammar) step(text string, at int, r rune, next *states) {
	if at == len(text) {
		return
	}
	if end := g.nameEnd(text, at); end > at {
		if r != '/' {
			next.add(text, at)
			next.add(text, end)
		}
		return
	}
	own, width := utf8.DecodeRuneInString(text[at:])
	switch {
	case own == '*' && r != '\n':
		next.add(text, at)
	case own == '.' && r != '\n', own == r:
		next.add(text, at+width)
	}
}
