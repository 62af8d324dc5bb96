package descriptor

import "strings"

// pattern is a value with wildcards, cut at each "*".
type pattern []string

func newPattern(value string) pattern { return strings.Split(value, "*") }

// matches reports whether a value consists of the pieces in order, with any runs between them. The first and the last
// piece stand at the ends; taking each other piece at its first place leaves the most room for those behind it.
func (p pattern) matches(value string) bool {
	first, last := p[0], p[len(p)-1]
	rest, ok := strings.CutPrefix(value, first)
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, last); !ok {
		return false
	}
	for _, piece := range p[1 : len(p)-1] {
		if _, rest, ok = strings.Cut(rest, piece); !ok {
			return false
		}
	}
	return true
}
