package policy

import (
	"context"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// maxListed is how many roles of a name are listed, maxCollected among how many they are chosen.
	maxListed    = 20
	maxCollected = 1000
)

// ways are the shortest ways from a name up to each of its roles in one domain.
type ways struct {
	relation     *relation
	name, domain string
	start        uint32
	// below says for each role how it was reached first; roles are in the order in which they were. matched says it for
	// roles that rules name as patterns, which lead no further.
	below, matched map[uint32]wayLink
	roles          []uint32
	// own are the roles of the subject's token that no rule names; own[i] has the id values.len() + i.
	own []string
}

// wayLink is the way from a member up to a role: a rule in a domain, the subject's token, or what a pattern matches.
type wayLink struct {
	member uint32
	hop    hop
}

// waysOf finds the ways of a name, once for each name and domain.
func (s *search) waysOf(rel *relation, name, domain string) (*ways, error) {
	for _, w := range s.ways {
		if w.relation == rel && w.name == name && w.domain == domain {
			return w, nil
		}
	}
	own, err := rel.tokens.of(s.e.facts, name, rel, domain)
	if err != nil {
		return nil, err
	}
	w := newWays(rel, name, domain)
	if err := w.fill(own, maxRoleDepth); err != nil {
		return nil, err
	}
	s.ways = append(s.ways, w)
	return w, nil
}

func newWays(rel *relation, name, domain string) *ways {
	return &ways{relation: rel, name: name, domain: domain, below: map[uint32]wayLink{}, matched: map[uint32]wayLink{}}
}

// fill walks up level by level, as far as a decision does: at most so many links. Of two links to a role that of a rule is
// kept: it has a place.
func (w *ways) fill(own []string, most int) error {
	values := w.relation.links.values
	domains, err := w.relation.domainsOf(nil, w.domain)
	if err != nil {
		return err
	}
	w.start = values.find(w.name)
	c := &wayClimber{ways: w, domains: domains}
	if err = c.rise(w.start, true); err != nil {
		return err
	}
	for _, role := range own {
		id := values.find(role)
		switch {
		case subject.IsKeyShaped(role):
		case id != 0:
			w.add(w.start, hop{to: id, kind: byToken})
		default:
			w.own = append(w.own, role)
		}
	}
	from, end := 0, len(w.roles)
	for i := range w.own {
		if err = c.rise(uint32(values.len()+i), true); err != nil { //nolint:gosec // bounded by ids
			return err
		}
	}
	for level := 1; level <= most && from < len(w.roles); level++ {
		for ; from < end; from++ {
			if err = c.rise(w.roles[from], level < most); err != nil {
				return err
			}
		}
		end = len(w.roles)
	}
	return nil
}

// wayClimber goes up from one name after the other.
type wayClimber struct {
	ways    *ways
	domains []uint32
	climb   climb
}

// rise adds what a name matches and, unless it is the last, the roles one step above it.
func (c *wayClimber) rise(member uint32, further bool) error {
	w := c.ways
	rel, name, id := w.relation, w.text(member), member
	visit := func(h hop) { w.add(member, h) }
	if int(id) >= rel.links.values.len() {
		id = 0 // the bundle does not know it
	}
	if rel.names != nil {
		for _, targets := range rel.names.tables()[2:] {
			if err := rel.asked(&c.climb, targets, id, name, visit); err != nil {
				return err
			}
		}
	}
	switch {
	case !further:
	case rel.names != nil:
		return rel.above(&c.climb, c.domains, id, name, visit)
	default:
		for _, domain := range c.domains {
			for _, role := range rel.direct(domain, id) {
				visit(hop{to: role, domain: domain})
			}
		}
	}
	return nil
}

// text returns the text of a name on a way.
func (w *ways) text(id uint32) string {
	values := w.relation.links.values
	switch {
	case id == w.start:
		return w.name
	case int(id) >= values.len():
		return w.own[int(id)-values.len()]
	}
	return values.text(id)
}

func (w *ways) add(member uint32, h hop) {
	to := w.below
	if h.ends {
		to = w.matched
	}
	if _, found := to[h.to]; found || h.to == w.start {
		return
	}
	if to[h.to] = (wayLink{member: member, hop: h}); !h.ends {
		w.roles = append(w.roles, h.to)
	}
}

// link returns how a role was reached.
func (w *ways) link(role uint32) (wayLink, bool) {
	if link, found := w.below[role]; found {
		return link, true
	}
	link, found := w.matched[role]
	return link, found
}

// list returns the names of the roles for people to read.
func (w *ways) list() string {
	var names []string
	for _, role := range w.roles[:min(len(w.roles), maxCollected)] {
		names = append(names, w.relation.links.values.text(role))
	}
	names = append(names, w.own[:min(len(w.own), maxCollected)]...)
	if len(names) == 0 {
		return "no roles"
	}
	slices.Sort(names)
	names = slices.Compact(names)
	more := ""
	if len(names) > maxListed {
		names, more = names[:maxListed], ", …"
	}
	for i := range names {
		names[i] = shown(names[i])
	}
	return "member of " + strings.Join(names, ", ") + more
}

// path returns the way to a role that the current rule names, with the place of each link; false when there is none.
func (s *search) path(ctx context.Context, w *ways, role string) (verdict.RolePath, bool) {
	out := verdict.RolePath{Relation: w.relation.name, Domain: shown(w.domain), Names: []string{shown(w.name)}}
	if role == w.name {
		return out, true
	}
	if slices.Contains(w.own, role) {
		out.Names, out.Positions = append(out.Names, shown(role)), []string{""}
		return out, true
	}
	var arrows []arrow
	for at, count := w.relation.links.values.find(role), 0; ; count++ {
		link, found := w.link(at)
		if !found && int(at) >= w.relation.links.values.len() {
			link, found = wayLink{member: w.start, hop: hop{to: at, kind: byToken}}, true
		}
		if !found || count > maxRoleDepth {
			return out, false
		}
		arrows = append(arrows, link.arrows()...)
		if at = link.member; at == w.start {
			break
		}
	}
	slices.Reverse(arrows)
	for _, a := range arrows {
		out.Names = append(out.Names, shown(w.text(a.to)))
	}
	out.Positions = w.positions(ctx, arrows, s.e.rule.position())
	return out, true
}

// arrow is one link of a way that is told, or a name and a pattern that matches it.
type arrow struct {
	to uint32
	// kind is byLink where there is a link: the arrow's, or the one that holds the pattern.
	kind hopKind
	// member, role and domain are those of the link.
	member, role, domain uint32
}

// arrows returns the arrows of a link, the last one first.
func (l wayLink) arrows() []arrow {
	h := l.hop
	a := arrow{to: h.to, member: l.member, role: h.to, domain: h.domain}
	pattern := a
	pattern.to = h.via
	switch h.kind {
	case byMember:
		a.member, pattern.member = h.via, h.via
		return []arrow{a, pattern}
	case byRole:
		a.role, pattern.role = h.via, h.via
		return []arrow{a, pattern}
	default:
		a.kind = h.kind
		return []arrow{a}
	}
}

// positions says where links stand; "" for those of a token, and for those not found in time. Relations keep no places,
// so it looks through their rules once. target is where the rule stands that names a role as a pattern.
func (w *ways) positions(ctx context.Context, arrows []arrow, target string) []string {
	out := make([]string, len(arrows))
	rules, missing := w.relation.links, 0
	for i, a := range arrows {
		switch a.kind {
		case byLink:
			missing++
		case byTarget:
			out[i] = target
		default:
		}
	}
	for i := range rules.len() {
		if missing == 0 || i%(1<<12) == 0 && ctx.Err() != nil {
			break
		}
		cells := rules.row(uint32(i))
		for j, a := range arrows {
			if out[j] == "" && a.kind == byLink && cells[0] == a.member && cells[1] == a.role && (len(cells) < 3 || cells[2] == a.domain) {
				out[j] = rules.ref(uint32(i)).position()
				missing--
			}
		}
	}
	return out
}

// asks returns the names of which a role condition asks for the current rule.
func (s *search) asks(a *atom) (name, role, domain string, err error) {
	if name, err = textOf(s.e, a.request); err != nil {
		return "", "", "", err
	}
	if a.relation.arity == 3 {
		if domain, err = textOf(s.e, a.domain); err != nil {
			return "", "", "", err
		}
	}
	return name, s.e.rule.text(a.column), domain, nil
}

// asked returns the ways that a role condition asks about for the current rule, and the role.
func (s *search) asked(a *atom) (w *ways, role string, err error) {
	name, role, domain, err := s.asks(a)
	if err != nil {
		return nil, "", err
	}
	w, err = s.waysOf(a.relation, name, domain)
	return w, role, err
}

// waysFor returns the ways that a role condition asks about, in a domain that is the request's.
func (s *search) waysFor(a *atom) (*ways, error) {
	w, _, err := s.asked(a)
	return w, err
}

// addTo adds the name itself and its roles.
func (w *ways) addTo(set bitset) {
	set.set(w.start)
	for _, role := range w.roles {
		set.set(role)
	}
	for role := range w.matched {
		set.set(role)
	}
}

// paths returns the ways through role relations by which a rule matches.
func (s *search) paths(ctx context.Context, rule ruleRef) []verdict.RolePath {
	s.e.rule = rule
	t := s.try(rule.row)
	if t.outcome != holds {
		return nil
	}
	var out []verdict.RolePath
	for i := range s.alternatives[t.alternative] {
		s.e.rule = rule
		a := s.holding(s.alternatives[t.alternative][i].operand.atom)
		if a == nil || a.kind != atomRole {
			continue
		}
		w, role, err := s.asked(a)
		if err != nil {
			continue
		}
		if path, found := s.path(ctx, w, role); found {
			out = append(out, path)
		}
	}
	return out
}

// holding returns the member of alternatives that holds for the current rule, or the condition itself.
func (s *search) holding(a *atom) *atom {
	if a == nil || a.kind != atomAny {
		return a
	}
	for i := range a.any {
		if s.atomHolds(&a.any[i]) {
			return &a.any[i]
		}
	}
	return nil
}

// atomHolds evaluates one member of alternatives for the current rule. Patterns are compiled with the whole condition,
// so the one that is left when no other holds is theirs.
func (s *search) atomHolds(a *atom) bool {
	text := s.e.rule.text(a.column)
	switch a.kind {
	case atomConstant:
		return text == a.constant
	case atomEqual:
		v, err := textOf(s.e, a.request)
		return err == nil && v == text
	case atomRole:
		w, role, err := s.asked(a)
		return err == nil && w.has(role)
	default:
		return false
	}
}

// has reports whether the name is a role or a member of it.
func (w *ways) has(role string) bool {
	if role == w.name || slices.Contains(w.own, role) {
		return true
	}
	_, found := w.link(w.relation.links.values.find(role))
	return found
}
