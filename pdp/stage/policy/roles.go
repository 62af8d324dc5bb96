package policy

import (
	"fmt"

	"github.com/casbin/casbin/v2/util"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/subject"
)

// maxRoleDepth is how many links up Casbin looks for a role.
const maxRoleDepth = 10

// relation is a role relation (g, g2, …): which names are members of which roles, per domain. It is immutable.
type relation struct {
	name  string
	arity int
	// links are the roles of a name by domain; relations without domains have the one domain "".
	links map[string]map[string][]string
	// patterns is set when the domains are keyMatch patterns.
	patterns bool
	// tokens adds the roles that the subject brings; nil for none.
	tokens *tokenRoles
}

// compileRelation builds a relation from its rules and refuses graphs in which Casbin's search would end early.
func compileRelation(m *casbinModel, name string, rules []*rule, tokens *tokenRoles) (*relation, format.Problems) {
	rel := &relation{name: name, arity: m.arities[name], links: map[string]map[string][]string{}, tokens: tokens}
	rel.patterns = rel.arity == 3 && m.domainPatterns
	var problems format.Problems
	for _, r := range rules {
		domain := ""
		if rel.arity == 3 {
			domain = r.text(2)
		}
		if rel.links[domain] == nil {
			rel.links[domain] = map[string][]string{}
		}
		rel.links[domain][r.text(0)] = append(rel.links[domain][r.text(0)], r.text(1))
		if subject.IsKeyShaped(r.text(1)) && len(problems) < maxProblems {
			problems = append(problems, r.problem(fmt.Sprintf("the role %q has the shape of a subject's key, so that subject would be the role", printable(r.text(1)))))
		}
	}
	depth := maxRoleDepth
	if tokens != nil {
		depth-- // the link from the subject to its role counts too
	}
	return rel, append(problems, checkDepth(rel, rules, depth)...)
}

// checkDepth refuses cycles, and chains of more than depth links. It visits each name once its members are done.
func checkDepth(rel *relation, rules []*rule, depth int) format.Problems {
	key := func(r *rule, field int) node {
		if rel.arity == 3 && !rel.patterns {
			return node{domain: r.text(2), name: r.text(field)}
		}
		return node{name: r.text(field)} // patterns can join domains
	}
	waiting, roles, depths := map[node]int{}, map[node][]*rule{}, map[node]int{}
	for _, r := range rules {
		member, role := key(r, 0), key(r, 1)
		roles[member] = append(roles[member], r)
		waiting[role]++
		waiting[member] += 0
	}
	var queue []node
	for n, count := range waiting {
		if count == 0 {
			queue = append(queue, n)
		}
	}
	var problems format.Problems
	for len(queue) > 0 {
		member := queue[0]
		queue = queue[1:]
		for _, r := range roles[member] {
			role := key(r, 1)
			if depths[member]+1 > depths[role] {
				depths[role] = depths[member] + 1
			}
			if depths[member] == depth && len(problems) < maxProblems {
				problems = append(problems, r.problem(fmt.Sprintf("the chain of roles is longer than %d links; Casbin does not look further", depth)))
			}
			if waiting[role]--; waiting[role] == 0 {
				queue = append(queue, role)
			}
		}
	}
	for _, r := range rules {
		if waiting[key(r, 0)] > 0 && waiting[key(r, 1)] > 0 {
			return append(problems, r.problem(fmt.Sprintf("the roles that lead to %q form a cycle", printable(r.text(1)))))
		}
	}
	return problems
}

// closure is the set of roles of one name in one domain, for as long as a decision asks for the same one.
type closure struct {
	name, domain string
	valid        bool
	roles        map[string]struct{}
	queue        []string
}

// maxKeptClosure is the largest set that an evaluator keeps for its next decision.
const maxKeptClosure = 1 << 10

func (c *closure) reset() {
	c.name, c.domain, c.valid = "", "", false
	if len(c.roles) > maxKeptClosure || cap(c.queue) > maxKeptClosure {
		c.roles, c.queue = nil, nil
	}
	clear(c.roles)
	clear(c.queue[:cap(c.queue)])
}

// holds reports whether name is role in domain, or is a member of it through at most maxRoleDepth links.
func (c *closure) holds(e *evaluator, rel *relation, name, role, domain string) (bool, error) {
	if name == role {
		return true, nil
	}
	if !c.valid || c.name != name || c.domain != domain {
		if err := c.fill(e, rel, name, domain); err != nil {
			return false, err
		}
	}
	_, found := c.roles[role]
	return found, nil
}

// fill walks the links up from name, level by level.
func (c *closure) fill(e *evaluator, rel *relation, name, domain string) error {
	if c.roles == nil {
		c.roles = make(map[string]struct{}, 8)
	}
	clear(c.roles)
	c.name, c.domain, c.valid = name, domain, true
	c.queue = append(c.queue[:0], name)
	own, err := rel.tokens.of(e.facts, name, rel, domain)
	if err != nil {
		c.valid = false
		return err
	}
	for _, role := range own {
		if !subject.IsKeyShaped(role) {
			c.add(role)
		}
	}
	// The token's roles stand one link above the name, like those of the name's own rules.
	from, end := 0, 1
	for level := 0; level < maxRoleDepth && from < end; level++ {
		for _, member := range c.queue[from:end] {
			rel.each(member, domain, c.add)
		}
		from, end = end, len(c.queue)
	}
	return nil
}

func (c *closure) add(role string) {
	if _, found := c.roles[role]; !found {
		c.roles[role] = struct{}{}
		c.queue = append(c.queue, role)
	}
}

// each calls add with the roles that a name has directly.
func (rel *relation) each(name, domain string, add func(role string)) {
	for _, role := range rel.links[domain][name] {
		add(role)
	}
	if !rel.patterns {
		return
	}
	for pattern, links := range rel.links {
		if pattern != domain && util.KeyMatch(domain, pattern) {
			for _, role := range links[name] {
				add(role)
			}
		}
	}
}
