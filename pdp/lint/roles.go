package lint

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/policy"
)

// accepted returns the authenticators whose subjects a policy can see, and whether it sees anonymous ones.
func (r *run) accepted(v *policyView) (names []string, anonymous bool) {
	if v.service == nil {
		return slices.Sorted(maps.Keys(r.bundle.Authenticators)), true
	}
	for i := range v.service.Routes {
		route := &v.service.Routes[i]
		anonymous = anonymous || route.Access != "public" && modeOf(v.service, route) != "required"
	}
	return v.service.Identity.Accept, anonymous
}

// stranger says why no subject has a key; "" when one can.
func stranger(key string, accepted []string, anonymous bool) string {
	kind, rest, _ := strings.Cut(key, ":")
	name, id, complete := strings.Cut(rest, ":")
	switch {
	case key == "anonymous" && anonymous, kind == "anonymous" && rest != "":
		return ""
	case key == "anonymous":
		return "every route with this policy needs a subject"
	case !isKey(key):
		return "it has not the form KIND:AUTHENTICATOR:ID of a subject's key"
	case !complete || id == "":
		return "the key of a subject is KIND:AUTHENTICATOR:ID"
	case !slices.Contains(accepted, name):
		return fmt.Sprintf("its authenticator %q is none that is accepted here", name)
	}
	return ""
}

// subjects finds rules and links about keys that nobody can have.
func (r *run) subjects() {
	for i := range r.policies {
		v := &r.policies[i]
		accepted, anonymous := r.accepted(v)
		// report looks at a field of rules or links; roles is set where it may name roles too.
		report := func(t policy.Table, field int, roles bool, constants []string) {
			for row := range t.Len() {
				key := t.Text(t.Value(row, field))
				if why := stranger(key, accepted, anonymous); why != "" && (!roles || isKey(key)) && !slices.Contains(constants, key) {
					r.everywhere(v, "subject-unknown", t.Position(row), func() Finding {
						return Finding{Problem: t.Problem(row, field, fmt.Sprintf("no subject is %q: %s", key, why))}
					})
				}
			}
		}
		others := map[string]bool{} // relations of more than subjects, or of patterns
		for _, c := range v.conditions(true) {
			if c.Kind == policy.Role {
				others[c.Relation] = others[c.Relation] || c.Attribute != "subject.key" || v.NameFunction(c.Relation) != ""
			}
		}
		for column := range v.Fields {
			if subject, roles, constants := v.namesSubjects(column); subject {
				report(v.Rules, column, roles, constants)
			}
		}
		for _, relation := range slices.Sorted(maps.Keys(others)) {
			if !others[relation] {
				report(v.Links(relation), 0, true, nil)
			}
		}
	}
}

// namesSubjects reports whether a field of p is compared with the subject's key and with nothing else but constants, and
// whether its roles are asked for too.
func (v *policyView) namesSubjects(column int) (subject, roles bool, constants []string) {
	for _, c := range v.conditions(true) {
		switch {
		case c.Column != column && !slices.Contains(c.Columns, column) && c.DomainColumn != column:
		case c.Column == column && c.Kind == policy.Constant:
			constants = append(constants, c.Text)
		case c.Column == column && c.Attribute == "subject.key" && (c.Kind == policy.Equal || c.Kind == policy.Role && v.NameFunction(c.Relation) == ""):
			subject, roles = true, roles || c.Kind == policy.Role
		default:
			return false, false, nil
		}
	}
	return subject, roles, constants
}

// roles finds roles that nobody has, members that nobody is, and roles that no rule mentions.
func (r *run) roles() {
	for i := range r.policies {
		v := &r.policies[i]
		if v.source.TokenRoles != nil && strings.HasPrefix(v.source.TokenRoles.From, "claims.") {
			p := v.File.Problem(v.Path+".token_roles.from", "roles come from a claim as the issuer wrote it, past the authenticator's roles.allow")
			p.Hint = "from: subject.roles"
			r.add("roles-unfiltered", p)
		}
		r.unassigned(v)
		byRelation := map[string][]policy.Condition{}
		for _, c := range v.conditions(true) {
			if c.Kind == policy.Role {
				byRelation[c.Relation] = append(byRelation[c.Relation], c)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(byRelation)) {
			r.relation(v, name, byRelation[name])
		}
	}
}

// relation looks at the links of one role relation and at the conditions that ask it.
func (r *run) relation(v *policyView, name string, asked []policy.Condition) {
	if v.NameFunction(name) != "" {
		r.anyName(v, name, asked)
		return // which names a pattern stands for is not looked into
	}
	if v.asksElsewhere(name) {
		return
	}
	links := v.Links(name)
	used := map[uint32]bool{}
	subjects := true
	for _, c := range asked {
		for _, value := range v.distinct(c.Column) {
			used[value] = true
		}
		subjects = subjects && c.Attribute == "subject.key"
	}
	r.unusedRoles(v, links, used)
	held, open := r.held(v, name)
	if !subjects || open {
		return
	}
	for row := range links.Len() {
		value := links.Value(row, 0)
		if member := links.Text(value); !held[value] && !isKey(member) {
			r.everywhere(v, "member-unknown", links.Position(row), func() Finding {
				p := links.Problem(row, 0, fmt.Sprintf("%q is no subject's key, and nobody has it as a role: the link does nothing", member))
				p.Hint = "a subject is named KIND:AUTHENTICATOR:ID, such as user:corp:alice"
				return Finding{Problem: p}
			})
		}
	}
}

// anyName finds patterns in the links of a relation, and in the rules that name its roles, which match every name.
func (r *run) anyName(v *policyView, name string, asked []policy.Condition) {
	function := v.NameFunction(name)
	find := func(t policy.Table, column int, message string) {
		for row := range t.Len() {
			if text := t.Text(t.Value(row, column)); anyName(function, text) {
				r.everywhere(v, "role-pattern-any", t.Position(row), func() Finding {
					return Finding{Problem: t.Problem(row, column, fmt.Sprintf("%q, a pattern of %s, matches every name: %s", text, function, message))}
				})
			}
		}
	}
	links := v.Links(name)
	find(links, 0, "everybody has the role")
	find(links, 1, "whoever has it has every role and every name of the links")
	for _, c := range asked {
		find(v.Rules, c.Column, "the rule is about everybody")
	}
}

// anyName reports whether a pattern matches every name. One that begins with a slash is about paths.
func anyName(function, text string) bool {
	return !strings.HasPrefix(text, "/") && (universal(function, text) || text == "*" && strings.HasPrefix(function, "keyMatch"))
}

// asksElsewhere reports whether conditions that nobody can look into may ask a role relation, for a role that stands in
// the matcher or that they compute.
func (v *policyView) asksElsewhere(relation string) bool {
	return slices.ContainsFunc(v.conditions(true), func(c policy.Condition) bool {
		return c.Kind == policy.Opaque || c.Kind == policy.Request && strings.Contains(c.Source, relation+"(")
	})
}

// unusedRoles finds links to roles from which no way leads to a role that a rule mentions.
func (r *run) unusedRoles(v *policyView, links policy.Table, used map[uint32]bool) {
	below := make(map[uint32][]uint32, links.Len())
	for row := range links.Len() {
		role := links.Value(row, 1)
		below[role] = append(below[role], links.Value(row, 0))
	}
	useful := maps.Clone(used)
	queue := slices.Collect(maps.Keys(used))
	for len(queue) > 0 {
		for _, member := range below[queue[0]] {
			if !useful[member] {
				useful[member] = true
				queue = append(queue, member)
			}
		}
		queue = queue[1:]
	}
	for row := range links.Len() {
		if value := links.Value(row, 1); !useful[value] {
			r.everywhere(v, "role-unused", links.Position(row), func() Finding {
				return Finding{Problem: links.Problem(row, 1, fmt.Sprintf("no rule mentions the role %q, nor one above it", links.Text(value)))}
			})
		}
	}
}

// grants finds rules that allow more than one subject or one action at a time.
func (r *run) grants() {
	for i := range r.policies {
		if v := &r.policies[i]; !v.Guard {
			g := &grantFinder{policyView: v}
			for column := range v.Fields {
				g.column(column)
			}
			g.find(r)
		}
	}
}

// grantFinder knows the values that stand for everything, by what their fields are about.
type grantFinder struct {
	*policyView
	subject, object, action []wideColumn
}

// wideColumn is a field of p: which of its values hold for everything, and which for something that writes.
type wideColumn struct {
	column      int
	all, writes map[uint32]bool
}

func (g *grantFinder) column(column int) {
	conditions := g.about(column)
	if len(conditions) != 1 {
		return
	}
	c := &conditions[0]
	attribute := c.Attribute
	for i := range c.Any {
		attribute = cmp.Or(attribute, c.Any[i].Attribute)
	}
	w := wideColumn{column: column, all: map[uint32]bool{}, writes: map[uint32]bool{}}
	values := g.distinct(column)
	for _, value := range values {
		if wildcard(c, g.Rules.Text(value)) {
			w.all[value] = true
		}
	}
	switch {
	case strings.HasPrefix(attribute, "subject.") || strings.HasPrefix(attribute, "claims."):
		g.subject = append(g.subject, w)
	case attribute == "action" || attribute == "request.method" || attribute == "route.name":
		g.markWrites(c, &w, attribute == "route.name")
		g.action = append(g.action, w)
	case strings.HasPrefix(attribute, "resource.") || attribute == "request.path" || attribute == "route.template" || strings.HasPrefix(attribute, "params."):
		g.object = append(g.object, w)
	}
}

// markWrites finds the values of an action's field that hold for an action or method that changes something.
func (g *grantFinder) markWrites(c *policy.Condition, w *wideColumn, byName bool) {
	actions := slices.Clone(writes)
	for i := range g.service.Routes {
		route := &g.service.Routes[i]
		switch {
		case !slices.ContainsFunc(route.Methods, isWrite):
		case byName:
			actions = append(actions, route.Name)
		case route.Action != "":
			actions = append(actions, route.Action)
		}
	}
	values := g.distinct(w.column)
	for _, m := range append([]policy.Condition{*c}, c.Any...) {
		switch m.Kind {
		case policy.Equal:
			for _, action := range actions {
				w.writes[g.Rules.Find(action)] = true
			}
		case policy.Pattern:
			match, err := m.Matcher(g.texts(values))
			if err != nil {
				return
			}
			for _, action := range actions {
				for _, id := range match(action) {
					w.writes[values[id]] = true
				}
			}
		default: // constants and wildcards are judged apart
		}
	}
}

func (g *grantFinder) find(r *run) {
	for row := range g.Rules.Len() {
		if g.Rules.Denies(row) {
			continue
		}
		report := func(code string, column int, message string) {
			if !r.full(code) {
				r.add(code, g.Rules.Problem(row, column, message))
			}
		}
		for _, w := range g.subject {
			if w.all[g.Rules.Value(row, w.column)] {
				report("grant-any-subject", w.column, "the rule allows every subject that the service accepts")
			}
		}
		write := len(g.action) == 0
		for _, w := range g.action {
			value := g.Rules.Value(row, w.column)
			write = write || w.writes[value] || w.all[value]
			if w.all[value] {
				report("grant-broad", w.column, "the rule allows every action, those that will be added too")
			}
		}
		for _, w := range g.object {
			if write && w.all[g.Rules.Value(row, w.column)] {
				report("grant-broad", w.column, "the rule allows to change every object, those that will be added too")
			}
		}
	}
}

// routeOf returns a route's place in its file.
func routeOf(s *format.Service, route int, message string) format.Problem {
	return s.File.Problem(fmt.Sprintf("$.routes[%d]", route), message)
}
