package lint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/durward-pdp/durward/pdp/stage/policy"
)

// roleCondition is a condition on a role: for the unheld values of its field it holds for nobody.
type roleCondition struct {
	column   int
	relation string
	unheld   map[uint32]bool
}

// unassigned finds rules for roles that nobody has: each alternative of the matcher asks for one.
func (r *run) unassigned(v *policyView) {
	if len(v.Alternatives) == 0 {
		return
	}
	alternatives := make([][]roleCondition, len(v.Alternatives))
	for i, alternative := range v.Alternatives {
		for j := range alternative {
			if c, ok := r.unheld(v, &alternative[j]); ok {
				alternatives[i] = append(alternatives[i], c)
			}
		}
	}
	for row := range v.Rules.Len() {
		in := func(conditions []roleCondition) int {
			return slices.IndexFunc(conditions, func(c roleCondition) bool { return c.unheld[v.Rules.Value(row, c.column)] })
		}
		if slices.ContainsFunc(alternatives, func(conditions []roleCondition) bool { return in(conditions) < 0 }) {
			continue
		}
		c := alternatives[0][in(alternatives[0])]
		r.everywhere(v, "role-unassigned", v.Rules.Position(row), func() Finding {
			role := v.Rules.Text(v.Rules.Value(row, c.column))
			p := v.Rules.Problem(row, c.column, fmt.Sprintf("nobody has the role %q: no link of %s gives it, and no accepted authenticator may assert it", role, c.relation))
			return Finding{Problem: p}
		})
	}
}

// unheld returns for which values a condition holds for nobody, since it asks subjects for roles that none of them has;
// ok is false where it can hold without a role, or for any.
func (r *run) unheld(v *policyView, c *policy.Condition) (found roleCondition, ok bool) {
	members := c.Any
	if c.Kind != policy.Any {
		members = []policy.Condition{*c}
	}
	found = roleCondition{column: c.Column, unheld: map[uint32]bool{}}
	var constants []uint32
	for i := range members {
		switch m := &members[i]; {
		case m.Kind == policy.Constant:
			constants = append(constants, v.Rules.Find(m.Text))
		case m.Kind == policy.Role && m.Attribute == "subject.key" && v.NameFunction(m.Relation) == "":
			held, open := r.held(v, m.Relation)
			if open {
				return found, false
			}
			for _, value := range v.distinct(c.Column) {
				if found.relation == "" {
					found.unheld[value] = true
				}
				if held[value] || isKey(v.Rules.Text(value)) {
					delete(found.unheld, value)
				}
			}
			found.relation = cmp.Or(found.relation, m.Relation)
		default:
			return found, false
		}
	}
	for _, value := range constants {
		delete(found.unheld, value)
	}
	return found, found.relation != ""
}

// held returns the names that a subject can have in a relation. open is set when it can have any.
func (r *run) held(v *policyView, relation string) (held map[uint32]bool, open bool) {
	links := v.Links(relation)
	above := upwards(links)
	held = map[uint32]bool{}
	var queue []uint32
	add := func(value uint32) {
		if value != 0 && !held[value] {
			held[value] = true
			queue = append(queue, value)
		}
	}
	switch v.TokenRoles(relation) {
	case "":
	case "subject.roles":
		names, _ := r.accepted(v)
		for _, name := range names {
			if roles := r.bundle.Authenticators[name].Roles; roles != nil {
				for _, role := range roles.Allow {
					open = open || role == "*"
					add(v.Rules.Find(role))
				}
			}
		}
	default:
		return nil, true
	}
	for row := range links.Len() {
		if member := links.Value(row, 0); isKey(links.Text(member)) {
			add(member)
		}
	}
	for len(queue) > 0 {
		for _, role := range above[queue[0]] {
			add(role)
		}
		queue = queue[1:]
	}
	return held, open
}
