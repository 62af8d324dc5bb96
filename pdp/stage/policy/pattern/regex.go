package pattern

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

func compileRegex(pattern string) (Apply, error) {
	t, err := expressionTest(pattern)
	if err != nil {
		return nil, err
	}
	return shape{test: t}.apply(literalText), nil
}

// expressionTest compiles a pattern of regexMatch.
func expressionTest(pattern string) (test, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("compile regular expression: %w", err)
	}
	return boundedTest(stepsOf(re), func(value string) (bool, error) { return re.MatchString(value), nil }), nil
}

// parseRegex takes an expression apart: into the texts that are all it matches, where it is anchored on both sides and
// made of a few texts (exact is set), or else into the one text that all values must begin with.
func parseRegex(pattern string) (texts []string, exact bool) {
	texts = []string{""}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || parsed.Op != syntax.OpConcat || parsed.Sub[0].Op != syntax.OpBeginText {
		return texts, false
	}
	for i, part := range parsed.Sub[1:] {
		if part.Op == syntax.OpEndText && i+2 == len(parsed.Sub) {
			slices.Sort(texts)
			return slices.Compact(texts), true
		}
		more, ok := product(texts, part)
		if !ok {
			break
		}
		texts = more
	}
	return []string{commonPrefix(texts)}, false
}

// commonPrefix returns what all texts begin with.
func commonPrefix(texts []string) string {
	prefix := texts[0]
	for _, t := range texts[1:] {
		for !strings.HasPrefix(t, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix
}

// maxTexts bounds the texts that an expression is replaced by.
const maxTexts = 64

// product returns each text with each of the texts that an expression matches behind it; false where those are not texts,
// or too many.
func product(texts []string, re *syntax.Regexp) ([]string, bool) {
	ends, ok := textsOf(re)
	if !ok || len(texts)*len(ends) > maxTexts {
		return nil, false
	}
	var more []string
	for _, t := range texts {
		for _, e := range ends {
			more = append(more, t+e)
		}
	}
	return more, true
}

// textsOf returns the texts that are all an expression matches; false when it matches others, or too many.
func textsOf(re *syntax.Regexp) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		return literal(re)
	case syntax.OpCharClass:
		return characters(re)
	case syntax.OpCapture:
		return textsOf(re.Sub[0])
	case syntax.OpConcat:
		texts := []string{""}
		for _, sub := range re.Sub {
			more, ok := product(texts, sub)
			if !ok {
				return nil, false
			}
			texts = more
		}
		return texts, true
	case syntax.OpAlternate:
		var texts []string
		for _, sub := range re.Sub {
			more, ok := textsOf(sub)
			if texts = append(texts, more...); !ok || len(texts) > maxTexts {
				return nil, false
			}
		}
		return texts, true
	case syntax.OpQuest:
		texts, ok := textsOf(re.Sub[0])
		return append([]string{""}, texts...), ok && len(texts) < maxTexts
	default:
		return nil, false
	}
}

// literal returns the text of a literal.
func literal(re *syntax.Regexp) ([]string, bool) {
	if re.Flags&syntax.FoldCase != 0 {
		return nil, false
	}
	for _, r := range re.Rune {
		if !isText(r) {
			return nil, false
		}
	}
	return []string{string(re.Rune)}, true
}

// characters returns the characters of a small class.
func characters(re *syntax.Regexp) ([]string, bool) {
	var texts []string
	for i := 0; i+1 < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			if !isText(r) || len(texts) >= maxTexts {
				return nil, false
			}
			texts = append(texts, string(r))
		}
	}
	return texts, len(texts) > 0
}

// isText tells whether an expression's character is matched by its own encoding and by nothing else: U+FFFD also matches
// bytes that are no UTF-8, and halves of surrogate pairs have no encoding.
func isText(r rune) bool {
	return r != utf8.RuneError && utf8.ValidRune(r)
}
