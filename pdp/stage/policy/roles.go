package policy

import (
	"fmt"
	"math"
	"slices"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/subject"
)

// maxRoleDepth is how many links up Casbin looks for a role.
const maxRoleDepth = 10

// relation is a role relation (g, g2, …): which names are members of which roles, per domain. It is immutable.
type relation struct {
	name  string
	arity int
	// links are the rules of the relation: member, role and, with arity 3, the domain.
	links *ruleSet
	// members is a table of the names that have roles; roles holds those of each, one after the other.
	members []memberSlot
	roles   []uint32
	// domains are those of the links as patterns, names the names; nil where they are not patterns.
	domains *patternTable
	names   *nameMatching
	// refuses is set when a name or a domain can be too long for a pattern.
	refuses bool
	// tokens adds the roles that the subject brings; nil for none.
	tokens *tokenRoles
}

// memberSlot is a name in a domain (0 for relations without domains), and where its roles stand: from roles[0] to roles[1]
// or, when that is inSlot, in roles[0], where the only one is found without another look. Name 0 is an empty slot.
type memberSlot struct {
	domain, name uint32
	roles        [2]uint32
}

const inSlot = math.MaxUint32

// compileRelation builds a relation from its rules and refuses graphs in which Casbin's search would end early. names and
// domains are the functions by which those match; "" for none.
func compileRelation(links *ruleSet, tokens *tokenRoles, names, domains string) (*relation, format.Problems) {
	rel := &relation{name: links.ptype, arity: links.width, links: links, tokens: tokens}
	problems := rel.compileMatching(names, domains)
	for row := range links.lines {
		link := links.ref(uint32(row))
		if role := link.text(1); subject.IsKeyShaped(role) && len(problems) < maxProblems {
			problems = append(problems, link.problem(fmt.Sprintf("the role %q has the shape of a subject's key, so that subject would be the role", printable(role))))
		}
	}
	rel.index()
	depth := uint8(maxRoleDepth)
	if tokens != nil {
		depth-- // the link from the subject to its role counts too
	}
	return rel, append(problems, checkDepth(rel, depth)...)
}

// index builds the table of members.
func (rel *relation) index() {
	var nodes nodeNumbers
	nodeOf := make([]uint32, rel.links.len())
	for row := range nodeOf {
		cells := rel.links.row(uint32(row))
		domain := uint32(0)
		if rel.arity == 3 {
			domain = cells[2]
		}
		nodeOf[row] = nodes.number(domain, cells[0])
		if rel.names != nil {
			nodes.number(domain, cells[1]) // it must be known too
		}
	}
	first, rows := groupRows(nodeOf, len(nodes.pairs))
	rel.roles = make([]uint32, len(rows))
	for i, row := range rows {
		rel.roles[i] = rel.links.cell(row, 1)
	}
	size := 8
	for size*2 < len(nodes.pairs)*3 {
		size *= 2
	}
	rel.members = make([]memberSlot, size)
	for node, pair := range nodes.pairs {
		roles := [2]uint32{first[node], first[node+1]}
		if roles[1]-roles[0] == 1 {
			roles = [2]uint32{rel.roles[roles[0]], inSlot}
		}
		*rel.place(pair[0], pair[1]) = memberSlot{domain: pair[0], name: pair[1], roles: roles}
	}
}

// place returns the slot of a name in a domain, or the empty one where it belongs.
func (rel *relation) place(domain, name uint32) *memberSlot {
	mask := uint32(len(rel.members) - 1) //nolint:gosec // at most three for each rule
	at := mixIDs(domain, name) & mask
	for {
		s := &rel.members[at]
		if s.name == 0 || s.name == name && s.domain == domain {
			return s
		}
		at = (at + 1) & mask
	}
}

// direct returns the roles that a name has in exactly this domain.
func (rel *relation) direct(domain, name uint32) []uint32 {
	s := rel.place(domain, name)
	if s.roles[1] == inSlot {
		return s.roles[:1]
	}
	return rel.roles[s.roles[0]:s.roles[1]]
}

// closure is the set of roles of one name in one domain, for as long as a decision asks for the same one.
type closure struct {
	name, domain string
	valid        bool
	roles        idSet
	// own are the roles that the subject brings; those that no rule names have no id.
	own []string
	// domains are the domain and the patterns that match it.
	domains []uint32
	// climb is for names that are patterns.
	climb climb
}

func (c *closure) reset() {
	c.name, c.domain, c.valid, c.own = "", "", false, nil
	c.roles.clear()
	if cap(c.domains) > keptIDs {
		c.domains = nil
	}
	c.climb.reset()
}

// holds reports whether name is role in domain, or is a member of it through at most maxRoleDepth links. id is that of
// role, 0 when no rule names it.
func (c *closure) holds(e *evaluator, rel *relation, pair membership) (bool, error) {
	if pair.name == pair.role && rel.names == nil {
		return true, nil
	}
	if err := c.prepare(e, rel, pair.targets, pair.name, pair.domain); err != nil {
		return false, err
	}
	if rel.names != nil {
		return pair.name == pair.role || c.roles.has(pair.id) || c.climb.matched.has(pair.id), nil
	}
	if pair.id != 0 {
		return c.roles.has(pair.id), nil
	}
	return slices.Contains(c.own, pair.role) && !subject.IsKeyShaped(pair.role), nil
}

// membership is what a call of a role relation asks.
type membership struct {
	name, role, domain string
	// id is that of role, 0 when no rule names it.
	id uint32
	// targets are all roles that the call can ask about, where they are patterns.
	targets *patternTable
}

// prepare fills the closure with the roles of name in domain, unless it holds them.
func (c *closure) prepare(e *evaluator, rel *relation, targets *patternTable, name, domain string) error {
	if c.valid && c.name == name && c.domain == domain {
		return nil
	}
	c.roles.clear()
	c.own, c.valid = nil, false
	own, err := rel.tokens.of(e.facts, name, rel, domain)
	if err != nil {
		return err
	}
	if c.domains, err = rel.domainsOf(c.domains[:0], domain); err != nil {
		return err
	}
	c.name, c.domain, c.own, c.valid = name, domain, own, true
	if rel.names == nil {
		c.fill(rel)
		return nil
	}
	err = c.fillMatching(rel, targets)
	c.valid = err == nil
	return err
}

// fill walks the links up from the name, level by level.
func (c *closure) fill(rel *relation) {
	values := rel.links.values
	start := values.find(c.name)
	for _, role := range c.own {
		if !subject.IsKeyShaped(role) {
			c.roles.add(values.find(role))
		}
	}
	// The token's roles stand one link above the name, like those of the name's own rules.
	for _, domain := range c.domains {
		for _, role := range rel.direct(domain, start) {
			c.roles.add(role)
		}
	}
	from, end := 0, len(c.roles.ids)
	for level := 1; level < maxRoleDepth && from < end; level++ {
		for ; from < end; from++ {
			member := c.roles.ids[from]
			for _, domain := range c.domains {
				for _, role := range rel.direct(domain, member) {
					c.roles.add(role)
				}
			}
		}
		end = len(c.roles.ids)
	}
}

// domainsOf appends the domains whose links hold in a domain.
func (rel *relation) domainsOf(domains []uint32, domain string) ([]uint32, error) {
	if rel.arity == 2 {
		return append(domains, 0), nil
	}
	if rel.domains != nil {
		var err error
		if domains, err = rel.domains.matching(domain, domains); err != nil {
			return domains, err
		}
	}
	if id := rel.links.values.find(domain); id != 0 && !slices.Contains(domains, id) {
		domains = append(domains, id)
	}
	return domains, nil
}
