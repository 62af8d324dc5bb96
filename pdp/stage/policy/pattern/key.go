package pattern

import (
	"fmt"
	"regexp"
	"strings"
)

// test tells whether a value matches.
type test func(value string) (bool, error)

// shape is a pattern taken apart for a tree.
type shape struct {
	// text is read as tokens, up to limit: values that match begin as these say.
	text  string
	limit int
	// test decides; it is nil when the tokens say all.
	test test
}

// apply makes a function of a pattern.
func (s shape) apply(g grammar) Apply {
	if s.test == nil {
		return func(value, _ string) (any, error) { return g.match(s.text, value), nil }
	}
	return func(value, _ string) (any, error) { return answer(s.test(value)) }
}

// answer makes the result of a function from that of a test.
func answer(matched bool, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return matched, nil
}

// The expressions that Casbin replaces in key patterns.
var (
	colonName       = regexp.MustCompile(`:[^/]+`)
	bracesName      = regexp.MustCompile(`\{[^/]+\}`)
	bracesShortName = regexp.MustCompile(`\{[^/]+?\}`)
)

// keyExpression compiles a key pattern into the regular expression that Casbin makes of it: "/*" is "/.*", and what
// names matches becomes replacement.
func keyExpression(pattern string, names *regexp.Regexp, replacement string) (*regexp.Regexp, error) {
	pattern = names.ReplaceAllLiteralString(strings.ReplaceAll(pattern, "/*", "/.*"), replacement)
	re, err := regexp.Compile("^" + pattern + "$")
	if err != nil {
		return nil, fmt.Errorf("compile key pattern: %w", err)
	}
	return re, nil
}

// parseKey takes a pattern of keyMatch2, 3 or 5 apart.
func parseKey(g grammar, pattern string) (shape, error) {
	limit, plain := g.tokens(pattern)
	s := shape{text: pattern, limit: limit}
	if plain {
		return s, nil
	}
	if steps, ok := g.isWild(pattern); ok {
		s.test = wildTest(g, pattern, steps)
		return s, nil
	}
	names := bracesName
	if g == colonNames {
		names = colonName
	}
	re, err := keyExpression(pattern, names, `[^/]+`)
	if err != nil {
		return s, err
	}
	s.test = boundedTest(stepsOf(re), func(value string) (bool, error) { return re.MatchString(value), nil })
	return s, nil
}

// wildTest is the test of a pattern that isWild.
func wildTest(g grammar, pattern string, steps int) test {
	return boundedTest(steps, func(value string) (bool, error) { return g.matchWild(pattern, value), nil })
}

func compileKeyMatch2(pattern string) (Apply, error) {
	s, err := parseKey(colonNames, pattern)
	if err != nil {
		return nil, err
	}
	return s.apply(colonNames), nil
}

func compileKeyMatch3(pattern string) (Apply, error) {
	s, err := parseKey(braceNames, pattern)
	if err != nil {
		return nil, err
	}
	return s.apply(braceNames), nil
}

// compileKeyMatch5 is keyMatch3 on the value without its query.
func compileKeyMatch5(pattern string) (Apply, error) {
	apply, err := compileKeyMatch3(pattern)
	if err != nil {
		return nil, err
	}
	return func(value, _ string) (any, error) {
		value, _, _ = strings.Cut(value, "?")
		return apply(value, "")
	}, nil
}

// parseEqualNames takes a pattern of keyMatch4 apart, which wants equal values where names are equal. Casbin panics on
// groups of the pattern's own.
func parseEqualNames(pattern string) (shape, error) {
	limit, plain := braceNames.tokens(pattern)
	s := shape{text: pattern, limit: limit}
	names := bracesName.FindAllString(pattern, -1)
	switch {
	case plain && !repeated(names):
		return s, nil
	case plain && len(names) <= maxNames:
		s.test = func(value string) (bool, error) { return matchEqualNames(pattern, value), nil }
		return s, nil
	}
	if steps, ok := braceNames.isWild(pattern); ok && !repeated(names) {
		s.test = wildTest(braceNames, pattern, steps)
		return s, nil
	}
	re, err := keyExpression(pattern, bracesName, `([^/]+)`)
	if err != nil {
		return s, err
	}
	if re.NumSubexp() != len(names) {
		return s, fmt.Errorf("%w: a key pattern must not hold groups", ErrArgument)
	}
	s.test = boundedTest(stepsOf(re), func(value string) (bool, error) {
		values := re.FindStringSubmatch(value)
		if values == nil {
			return false, nil
		}
		for i := range names {
			for j := range i {
				if names[i] == names[j] && values[i+1] != values[j+1] {
					return false, nil
				}
			}
		}
		return true, nil
	})
	return s, nil
}

func compileKeyMatch4(pattern string) (Apply, error) {
	s, err := parseEqualNames(pattern)
	if err != nil {
		return nil, err
	}
	return s.apply(braceNames), nil
}

// repeated tells whether a name occurs twice.
func repeated(names []string) bool {
	seen := make(map[string]struct{}, len(names))
	for _, n := range names {
		seen[n] = struct{}{}
	}
	return len(seen) < len(names)
}

// maxNames bounds the names of a pattern whose values are compared without a regular expression.
const maxNames = 16

// matchEqualNames matches a value with tokens, of which at most maxNames are names.
func matchEqualNames(text, value string) bool {
	var names, values [maxNames]string
	for count := 0; ; {
		kind, width := braceNames.token(text, 0)
		rest, ok := take(kind, text, value)
		if !ok || kind == tokenEnd || kind == tokenRest {
			return ok && rest == ""
		}
		if kind == tokenName {
			name, part := text[:width], value[:len(value)-len(rest)]
			for i := range count {
				if names[i] == name && values[i] != part {
					return false
				}
			}
			names[count], values[count] = name, part
			count++
		}
		text, value = text[width:], rest
	}
}

func compileKeyGet2(pattern string) (Apply, error) {
	return compileKeyGetter(pattern, getter{colonName, `([^/]+)`, 1, 0})
}

func compileKeyGet3(pattern string) (Apply, error) {
	return compileKeyGetter(pattern, getter{bracesShortName, `([^/]+?)`, 1, 1})
}

// getter says how the names of a key pattern look: prefix and suffix are the bytes around a name.
type getter struct {
	names          *regexp.Regexp
	replacement    string
	prefix, suffix int
}

// compileKeyGetter returns the part of the value that a name of the pattern stands for, "" without one.
func compileKeyGetter(pattern string, g getter) (Apply, error) {
	names := g.names.FindAllString(strings.ReplaceAll(pattern, "/*", "/.*"), -1)
	re, err := keyExpression(pattern, g.names, g.replacement)
	if err != nil {
		return nil, err
	}
	return bounded(stepsOf(re), func(value, name string) (any, error) {
		values := re.FindStringSubmatch(value)
		if values == nil {
			return "", nil
		}
		for i, n := range names {
			if n[g.prefix:len(n)-g.suffix] == name && i+1 < len(values) {
				return values[i+1], nil
			}
		}
		return "", nil
	}), nil
}
