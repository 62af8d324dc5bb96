package lint

import (
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	maxCovers       = 32  // values that cover one value and are looked at
	maxCombinations = 256 // combinations of them for one rule
)

// plans tells which policies try every rule.
func (r *run) plans() {
	for i := range r.policies {
		v := &r.policies[i]
		if v.Linear != "" {
			r.add("matcher-linear", v.MatcherProblem(fmt.Sprintf("the policy %s tries all %d rules, at most %s a decision: %s", v.Name, v.Rules.Len(), v.Estimate, v.Linear)))
		}
	}
}

// ineffective finds deny rules that the effect does not look at.
func (r *run) ineffective() {
	for i := range r.policies {
		v := &r.policies[i]
		if v.Effect != "allow-override" {
			continue
		}
		for row := range v.Rules.Len() {
			if v.Rules.Denies(row) {
				r.everywhere(v, "deny-ignored", v.Rules.Position(row), func() Finding {
					p := v.Rules.Problem(row, -1, "the effect of the model looks at rules that allow, so this one denies nothing")
					p.Hint = "e = some(where (p.eft == allow)) && !some(where (p.eft == deny))"
					return Finding{Problem: p}
				})
			}
		}
	}
}

// shadows finds rules that change nothing because another rule matches whenever they do.
func (r *run) shadows() {
	for i := range r.policies {
		newShadow(&r.policies[i]).find(r)
	}
}

// shadow looks for rules that cover others: by the values of the fields that the matcher reads.
type shadow struct {
	*policyView
	columns []int
	// covers compare the values of each column.
	covers []cover
	// groups are the rules of equal values: the first that allows and the first that denies.
	groups map[string]*firsts
	key    []byte
}

// firsts are the first rules of a group, -1 for none.
type firsts struct{ allow, deny int }

func newShadow(v *policyView) *shadow {
	s := &shadow{policyView: v, groups: map[string]*firsts{}}
	opaque := v.opaque()
	for column := range v.Fields {
		conditions := v.about(column)
		if len(conditions) == 0 && !slices.Contains(opaque, column) {
			continue
		}
		s.columns = append(s.columns, column)
		var covers cover
		if len(conditions) == 1 && !slices.Contains(opaque, column) {
			covers = v.covers(&conditions[0])
		}
		s.covers = append(s.covers, covers)
	}
	values := make([]uint32, len(s.columns))
	for row := range v.Rules.Len() {
		for i := range s.columns {
			values[i] = s.value(row, i)
		}
		g := s.group(values)
		if g == nil {
			g = &firsts{-1, -1}
			s.groups[string(s.key)] = g
		}
		if first := g.of(v.Rules.Denies(row)); *first < 0 {
			*first = row
		}
	}
	return s
}

// value returns what stands in a rule for one of the columns, or what matches the same.
func (s *shadow) value(row, i int) uint32 { return s.covers[i].of(s.Rules.Value(row, s.columns[i])) }

func (f *firsts) of(denies bool) *int {
	if denies {
		return &f.deny
	}
	return &f.allow
}

func (s *shadow) group(values []uint32) *firsts {
	s.key = s.key[:0]
	for _, value := range values {
		s.key = binary.LittleEndian.AppendUint32(s.key, value)
	}
	return s.groups[string(s.key)]
}

func (s *shadow) find(r *run) {
	for row := range s.Rules.Len() {
		by, why := s.coverOf(row)
		if by < 0 {
			continue
		}
		r.everywhere(s.policyView, "rule-shadowed", s.Rules.Position(row), func() Finding {
			at := s.Rules.Position(by)
			return Finding{Problem: s.Rules.Problem(row, -1, fmt.Sprintf("the rule at %s:%d matches whenever this one does%s", at.File, at.Line, why)), Related: at}
		})
	}
}

// coverOf returns a rule without which this one would count, or -1, and what that means.
func (s *shadow) coverOf(row int) (by int, why string) {
	choices, size := make([][]uint32, len(s.columns)), 1
	for i := range s.columns {
		value := s.value(row, i)
		choices[i] = append([]uint32{value}, s.covers[i].by[value]...)
		size *= len(choices[i])
	}
	values := make([]uint32, len(choices))
	denies := s.Rules.Denies(row)
	for n := range min(size, maxCombinations) {
		for i, of := range choices {
			values[i], n = of[n%len(of)], n/len(of)
		}
		g := s.group(values)
		if g == nil {
			continue
		}
		switch s.Effect {
		case "priority", "subject-priority":
			for _, first := range []int{g.allow, g.deny} {
				if first >= 0 && first < row {
					return first, " and comes first, so that this one never decides"
				}
			}
		case "allow-and-deny":
			if g.deny >= 0 && !denies {
				return g.deny, " and denies, so that this one never allows"
			}
			fallthrough
		default:
			same := *g.of(denies)
			if same >= 0 && same != row && (same < row || !s.mutual(same, row)) && (s.Effect != "allow-override" || !denies) {
				return same, ", so that this one changes nothing"
			}
		}
	}
	return -1, ""
}

// mutual reports whether the rule b covers the rule a too.
func (s *shadow) mutual(a, b int) bool {
	for i := range s.columns {
		x, y := s.value(a, i), s.value(b, i)
		if x != y && !slices.Contains(s.covers[i].by[x], y) {
			return false
		}
	}
	return true
}
