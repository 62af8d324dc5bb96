package pattern

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/casbin/casbin/v2/util"
)

func compileGlob(pattern string) (Apply, error) {
	s, err := parseGlob(pattern)
	if err != nil {
		return nil, err
	}
	return s.apply(literalText), nil
}

// parseGlob takes a glob apart.
func parseGlob(pattern string) (shape, error) {
	steps, err := globSteps(pattern)
	if err != nil {
		return shape{}, err
	}
	return shape{text: pattern, limit: globPrefix(pattern), test: boundedTest(steps, func(value string) (bool, error) {
		matched, err := util.GlobMatch(value, pattern)
		if err != nil {
			return false, ErrArgument
		}
		return matched, nil
	})}, nil
}

// globPrefix returns how many bytes of a glob every value must begin with: those before the first character that does not
// stand for itself alone. "/a/**" matches "/a" too.
func globPrefix(pattern string) int {
	at := 0
	for at < len(pattern) && strings.IndexByte(`*?[{\`, pattern[at]) < 0 {
		r, width := utf8.DecodeRuneInString(pattern[at:])
		if r == utf8.RuneError {
			break
		}
		at += width
	}
	if rest := pattern[at:]; rest == "**" || rest == "**/" {
		return len(strings.TrimSuffix(pattern[:at], "/"))
	}
	return at
}

// globSteps checks a glob and returns its steps.
func globSteps(pattern string) (int, error) {
	if _, err := util.GlobMatch("", pattern); err != nil {
		return 0, fmt.Errorf("compile glob: %w", err)
	}
	ways := alternatives(pattern)
	if ways > maxWays {
		return 0, fmt.Errorf("%w: more than %d ways to choose among the alternatives in { }", ErrArgument, maxWays)
	}
	return ways * len(pattern), nil
}

// maxWays bounds the patterns without alternatives that a glob stands for: they are tried one by one.
const maxWays = 64

// alternatives returns how many patterns without alternatives a glob stands for at most, or more than maxWays. Groups in
// groups are counted as if they stood side by side.
func alternatives(glob string) int {
	ways, groups, open := 1, 0, []int{}
	for i := 0; i < len(glob) && ways <= maxWays; i++ {
		switch glob[i] {
		case '\\':
			i++
		case '{':
			open = append(open, 1)
			if groups++; groups > maxWays {
				return groups // deep ones are copied at each level
			}
		case ',':
			if len(open) > 0 {
				open[len(open)-1]++
			}
		case '}':
			if len(open) > 0 {
				ways *= open[len(open)-1]
				open = open[:len(open)-1]
			}
		}
	}
	return ways
}
