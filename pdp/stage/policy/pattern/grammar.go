package pattern

import (
	"strings"
	"unicode/utf8"
)

// grammar is how the text of a pattern is read as tokens.
type grammar uint8

const (
	literalText grammar = iota // every byte stands for itself
	prefixText                 // keyMatch: all from the first "*" on is any text
	colonNames                 // keyMatch2: names are ":name"
	braceNames                 // keyMatch3, 4 and 5: names are "{name}"
)

// tokenKind says what a token of a pattern takes from a value. Each takes a definite part, so that where a token begins
// in a value depends on the tokens before it alone, and one pass decides.
type tokenKind uint8

const (
	tokenEnd     tokenKind = iota // nothing
	tokenLiteral                  // the same byte
	tokenAny                      // one character other than a newline: "." in a regular expression
	tokenName                     // everything up to the next "/", and not nothing
	tokenRest                     // everything that is left, if it holds no newline: ".*" at the end
	tokenAll                      // everything that is left
	tokenTest                     // whatever the pattern's test says
)

// token reads the token at a place of a text that parse has found to hold only tokens there.
func (g grammar) token(text string, at int) (kind tokenKind, width int) {
	if at >= len(text) {
		return tokenEnd, 0
	}
	c := text[at]
	switch {
	case g == literalText:
	case g == prefixText:
		if c == '*' {
			return tokenAll, len(text) - at
		}
	case c == '.':
		return tokenAny, 1
	case c == '*':
		return tokenRest, 1
	case c == ':' || c == '{':
		if end := g.nameEnd(text, at); end > at {
			return tokenName, end - at
		}
	}
	return tokenLiteral, 1
}

// nameEnd returns where the name that begins at a place ends, or the place itself when no name begins there.
func (g grammar) nameEnd(text string, at int) int {
	if c := text[at]; !(g == colonNames && c == ':' || g == braceNames && c == '{') {
		return at
	}
	end := at + segmentEnd(text[at:])
	switch {
	case g == colonNames && end > at+1:
		return end
	case g == braceNames:
		if last := strings.LastIndexByte(text[at:end], '}'); last > 1 {
			return at + last + 1
		}
	}
	return at
}

// match matches a whole value with tokens.
func (g grammar) match(text, value string) bool {
	kind, rest, ok := g.follow(text, value)
	return ok && (kind != tokenEnd || rest == "")
}

// begins tells whether a value begins as tokens say.
func (g grammar) begins(text, value string) bool {
	_, _, ok := g.follow(text, value)
	return ok
}

// follow takes tokens until one is the last, and returns that and what is left of the value.
func (g grammar) follow(text, value string) (last tokenKind, rest string, ok bool) {
	for {
		kind, width := g.token(text, 0)
		if value, ok = take(kind, text, value); !ok || kind == tokenEnd || kind == tokenRest || kind == tokenAll {
			return kind, value, ok
		}
		text = text[width:]
	}
}

// take takes the part of a value that a token stands for, and returns what is left.
func take(kind tokenKind, text, value string) (rest string, ok bool) {
	switch kind {
	case tokenLiteral:
		if value == "" || value[0] != text[0] {
			return value, false
		}
		return value[1:], true
	case tokenAny:
		if value == "" || value[0] == '\n' {
			return value, false
		}
		_, width := utf8.DecodeRuneInString(value)
		return value[width:], true
	case tokenName:
		end := segmentEnd(value)
		return value[end:], end > 0
	case tokenRest:
		return "", strings.IndexByte(value, '\n') < 0
	case tokenAll:
		return "", true
	default:
		return value, true
	}
}

// segmentEnd returns where the segment that a value begins with ends.
func segmentEnd(value string) int {
	if slash := strings.IndexByte(value, '/'); slash >= 0 {
		return slash
	}
	return len(value)
}

// tokens returns how many bytes of a key pattern are tokens that hold whatever follows them; plain is set when all are, and
// the pattern needs no regular expression.
func (g grammar) tokens(pattern string) (limit int, plain bool) {
	at := 0
	for at < len(pattern) {
		width, ok := g.plainToken(pattern, at)
		if !ok {
			return g.limit(pattern, at), false
		}
		at += width
	}
	return at, true
}

// plainToken returns the width of the token at a place of a key pattern; false where only a regular expression can go on.
func (g grammar) plainToken(pattern string, at int) (width int, ok bool) {
	if end := g.nameEnd(pattern, at); end > at {
		return end - at, end == len(pattern) || pattern[end] == '/'
	}
	switch c := pattern[at]; {
	case c == '.':
		return 1, true
	case c == '*':
		return 1, at > 0 && pattern[at-1] == '/' && at == len(pattern)-1
	case c < utf8.RuneSelf:
		return 1, !strings.ContainsRune(`\+?()|[]{}^$`, rune(c))
	}
	// An expression's U+FFFD also matches bytes that are no UTF-8.
	r, width := utf8.DecodeRuneInString(pattern[at:])
	return width, r != utf8.RuneError
}

// limit returns how much of the text before a place where tokens end must match whatever follows.
func (g grammar) limit(pattern string, at int) int {
	if strings.Contains(pattern[at:], "|") {
		return 0 // an alternative to everything before it
	}
	isStar := pattern[at] == '*' && at > 0 && pattern[at-1] == '/'
	if strings.IndexByte("*+?{", pattern[at]) >= 0 && !isStar && g.nameEnd(pattern, at) == at {
		// It repeats what stands before it, perhaps no time at all.
		return strings.LastIndexByte(pattern[:max(at-1, 0)], '/') + 1
	}
	return at
}
