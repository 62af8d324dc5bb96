package policy

import "github.com/durward-pdp/durward/pdp/subject"

// climb is what a walk up a relation whose names are patterns remembers.
type climb struct {
	// matched are the roles that rules name and that are reached, but lead no further.
	matched idSet
	// members and roles are the patterns from which the walk has gone on: once is enough, the way there only gets longer.
	members, roles idSet
	// ids is room for what matches.
	ids []uint32
}

func (c *climb) reset() {
	c.matched.clear()
	c.members.clear()
	c.roles.clear()
	if cap(c.ids) > keptIDs {
		c.ids = nil
	}
}

// hopKind says how one name leads to another.
type hopKind uint8

const (
	// byLink: by a link.
	byLink hopKind = iota
	// byMember: the name matches a member, and a link leads from that to the other.
	byMember
	// byRole: a link leads to a role, which matches the other.
	byRole
	// byTarget: the name matches the other, which a rule names.
	byTarget
	// byToken: the subject's token says so.
	byToken
)

// hop is the way from a name to another one. The link, if there is one, is in a domain.
type hop struct {
	to   uint32
	kind hopKind
	// via is the pattern of byMember and byRole.
	via, domain uint32
	// ends is set when nothing leads on from there.
	ends bool
}

// knows reports whether a name stands in a link of one of some domains.
func (rel *relation) knows(domains []uint32, name uint32) bool {
	for _, domain := range domains {
		if rel.place(domain, name).name != 0 {
			return true
		}
	}
	return false
}

// above visits the names one step above a name, whose id is 0 when the bundle does not know it.
func (rel *relation) above(c *climb, domains []uint32, id uint32, name string, visit func(hop)) error {
	for _, domain := range domains {
		for _, role := range rel.direct(domain, id) {
			visit(hop{to: role, domain: domain})
			if !c.roles.add(role) {
				continue
			}
			for _, other := range rel.names.below(role) {
				visit(hop{to: other, kind: byRole, via: role, domain: domain, ends: !rel.knows(domains, other)})
			}
		}
	}
	if rel.names.plain.has(id) {
		return nil
	}
	var err error
	if c.ids, err = rel.names.members.matching(name, c.ids[:0]); err != nil {
		return err
	}
	for _, member := range c.ids {
		if member == id || !c.members.add(member) {
			continue
		}
		for _, domain := range domains {
			for _, role := range rel.direct(domain, member) {
				visit(hop{to: role, kind: byMember, via: member, domain: domain})
			}
		}
	}
	return nil
}

// asked visits the targets that match a name.
func (rel *relation) asked(c *climb, targets *patternTable, id uint32, name string, visit func(hop)) error {
	if rel.names.plain.has(id) {
		return nil
	}
	var err error
	c.ids, err = targets.matching(name, c.ids[:0])
	for _, target := range c.ids {
		visit(hop{to: target, kind: byTarget, ends: true})
	}
	return err
}

// fillMatching walks up like fill, where the names of links are patterns. Those of a token are names, never patterns.
func (c *closure) fillMatching(rel *relation, targets *patternTable) error {
	c.climb.reset()
	values := rel.links.values
	for _, role := range c.own {
		if !subject.IsKeyShaped(role) {
			c.roles.add(values.find(role))
		}
	}
	if err := c.rise(rel, targets, values.find(c.name), c.name, true); err != nil {
		return err
	}
	from, end := 0, len(c.roles.ids)
	for _, role := range c.own {
		if values.find(role) == 0 && !subject.IsKeyShaped(role) {
			if err := c.rise(rel, targets, 0, role, true); err != nil {
				return err
			}
		}
	}
	for level := 1; level <= maxRoleDepth && from < len(c.roles.ids); level++ {
		for ; from < end; from++ {
			id := c.roles.ids[from]
			if err := c.rise(rel, targets, id, values.text(id), level < maxRoleDepth); err != nil {
				return err
			}
		}
		end = len(c.roles.ids)
	}
	return nil
}

// rise adds what a name matches and, unless it is the last, what stands one step above it.
func (c *closure) rise(rel *relation, targets *patternTable, id uint32, name string, further bool) error {
	visit := func(h hop) {
		if h.ends {
			c.climb.matched.add(h.to)
		} else {
			c.roles.add(h.to)
		}
	}
	if err := rel.asked(&c.climb, targets, id, name, visit); err != nil || !further {
		return err
	}
	return rel.above(&c.climb, c.domains, id, name, visit)
}
