package lint

import (
	"reflect"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/stage/policy"
)

// conditions returns the conditions of the policy, one time each, with the members of those that are joined by ||.
func (v *policyView) conditions(members bool) []policy.Condition {
	var all []policy.Condition
	for _, alternative := range v.Alternatives {
		for _, c := range alternative {
			found := []policy.Condition{c}
			if c.Kind == policy.Any && members {
				found = c.Any
			}
			for _, c := range found {
				if !slices.ContainsFunc(all, func(other policy.Condition) bool { return reflect.DeepEqual(c, other) }) {
					all = append(all, c)
				}
			}
		}
	}
	return all
}

// about returns the conditions about one field of p.
func (v *policyView) about(column int) []policy.Condition {
	return slices.DeleteFunc(v.conditions(false), func(c policy.Condition) bool { return c.Column != column })
}

// opaque returns the fields that conditions read which nobody can look into, and those that are domains of roles.
func (v *policyView) opaque() []int {
	var columns []int
	for _, c := range v.conditions(true) {
		columns = append(columns, c.Columns...)
		if c.DomainColumn >= 0 && c.Kind != policy.Opaque {
			columns = append(columns, c.DomainColumn)
		}
	}
	slices.Sort(columns)
	return slices.Compact(columns)
}

// distinct returns the numbers of the values that a field has in the rules.
func (v *policyView) distinct(column int) []uint32 {
	if values, ok := v.values[column]; ok {
		return values
	}
	seen := make([]bool, v.Rules.Values()+1)
	var values []uint32
	for row := range v.Rules.Len() {
		if value := v.Rules.Value(row, column); !seen[value] {
			seen[value] = true
			values = append(values, value)
		}
	}
	if v.values == nil {
		v.values = map[int][]uint32{}
	}
	v.values[column] = values
	return values
}

// texts returns values as texts.
func (v *policyView) texts(values []uint32) []string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = v.Rules.Text(value)
	}
	return texts
}

// universal reports whether a pattern of a function matches whatever a request can hold.
func universal(function, pattern string) bool {
	switch function {
	case "keyMatch":
		return pattern == "*" || pattern == "/*"
	case "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5":
		return pattern == "/*"
	case "globMatch":
		return pattern == "**" || pattern == "*" || pattern == "/**"
	case "ipMatch":
		return strings.HasSuffix(pattern, "/0")
	case "regexMatch":
		bare := strings.TrimSuffix(strings.TrimPrefix(pattern, "^"), "$")
		return slices.Contains([]string{"", ".*", ".+", "(.*)", "(.+)", "/.*"}, bare)
	}
	return false
}

// wildcard reports whether a condition holds for every request if the field has this value.
func wildcard(c *policy.Condition, value string) bool {
	switch c.Kind {
	case policy.Pattern:
		return universal(c.Function, value)
	case policy.Any:
		return slices.ContainsFunc(c.Any, func(m policy.Condition) bool {
			return m.Kind == policy.Constant && m.Text == value || wildcard(&m, value)
		})
	default: // the others compare with what the request brings
	}
	return false
}

// isKey reports whether a name has the form of a subject's key.
func isKey(name string) bool {
	return name == "anonymous" || strings.HasPrefix(name, "user:") || strings.HasPrefix(name, "service:") || strings.HasPrefix(name, "anonymous:")
}
