package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
	"github.com/durward-pdp/durward/pdp/subject"
)

// matchingFunctions are the functions by which names and domains of a role relation can match. ipMatch is none: it fails
// for names that are no address.
var matchingFunctions = []string{"keyMatch", "keyMatch2", "keyMatch3", "keyMatch4", "keyMatch5", "regexMatch", "globMatch"}

const (
	// maxBelow is how many other names a role can match, maxMatches how many all roles of a relation can: a decision visits
	// them all.
	maxBelow   = 1 << 12
	maxMatches = 1 << 20
)

// nameMatching is what a relation needs whose names are patterns. What Casbin's search does with them, each of it tried in
// TestMatching:
//   - a name has the roles of every member of a link that matches it as a pattern;
//   - whoever has a role by a link of its own name also has the other names that the role matches: names of links in the
//     domain, and the role that is asked about;
//   - it is a member of the role that is asked about when that role, as a pattern, matches it or a name on its way.
//
// All patterns are texts of the bundle. What a request brings is a name, and matched.
type nameMatching struct {
	function string
	cost     int
	// members and roles are those of links.
	members, roles *patternTable
	// targets are the roles that calls ask about: by the field of p, and the literals.
	targets  map[int]*patternTable
	literals []*patternTable
	// first and others hold for each of roles the other names that it matches: others[first[n]:first[n+1]].
	first, others []uint32
	// plain are the names of links and rules that match no other pattern.
	plain bitset
}

// checkMatching checks what the policy says about the matching of relations.
func (s *source) checkMatching(m *casbinModel) format.Problems {
	var problems format.Problems
	for _, name := range slices.Sorted(maps.Keys(s.policy.Matching)) {
		declared := s.policy.Matching[name]
		arity, path := m.arities[name], ".matching."+name
		switch {
		case arity == 0:
			problems = append(problems, s.problem(path, "the model has no role relation %q%s", printable(name), didYouMean(name, slices.Sorted(maps.Keys(m.arities)))))
			continue
		case declared.Names+declared.Domains == "":
			problems = append(problems, s.problem(path, "say names: FUNCTION, domains: FUNCTION or both"))
		case declared.Domains != "" && arity != 3:
			problems = append(problems, s.problem(path+".domains", "%s has no domains", name))
		case declared.Domains != "" && declared.Domains != "keyMatch" && m.domainPatterns:
			problems = append(problems, s.problem(path+".domains", "the matcher holds keyMatch(r_dom, p_dom), which makes keyMatch patterns of domains already"))
		}
		for _, part := range [][2]string{{".names", declared.Names}, {".domains", declared.Domains}} {
			if function := part[1]; function != "" && !slices.Contains(matchingFunctions, function) {
				problems = append(problems, s.problem(path+part[0], "%q is none of %s%s", printable(function), strings.Join(matchingFunctions, ", "),
					didYouMean(function, matchingFunctions)))
			}
		}
	}
	return problems
}

func didYouMean(name string, known []string) string {
	if near := format.Nearest(name, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// domainFunction returns the function by which domains match: one that is declared, or the one that Casbin takes by itself.
func (m *casbinModel) domainFunction(declared string) string {
	if m.domainPatterns {
		return "keyMatch"
	}
	return declared
}

// compileMatching compiles the patterns of the links. A relation with a problem gets none: the policy is refused.
func (rel *relation) compileMatching(names, domains string) format.Problems {
	var problems format.Problems
	compile := func(function string, column int, what string) *patternTable {
		if len(problems) > 0 {
			return nil
		}
		t, found := patternsOf(rel.links, column, function, what)
		problems = found
		return t
	}
	if function, known := pattern.Find(names); known {
		rel.names = &nameMatching{function: names, cost: function.Cost, targets: map[int]*patternTable{}}
		rel.names.members = compile(names, 0, "the member")
		rel.names.roles = compile(names, 1, "the role")
	}
	if domains != "" && rel.arity == 3 {
		rel.domains = compile(domains, 2, "the domain")
		if len(problems) == 0 {
			problems = rel.checkDomains(domains)
		}
	}
	if len(problems) > 0 {
		rel.names, rel.domains = nil, nil
	}
	rel.refuses = rel.names != nil && names != "keyMatch" || rel.domains != nil && domains != "keyMatch"
	return problems
}

// patternsOf compiles the different values of a field of rules as patterns.
func patternsOf(rules *ruleSet, column int, function, what string) (*patternTable, format.Problems) {
	seen := newBitset(rules.values.len())
	for row := range rules.lines {
		seen.set(rules.cell(uint32(row), column))
	}
	t := &patternTable{ids: seen.members()}
	texts := make([]string, len(t.ids))
	for i, id := range t.ids {
		texts[i] = rules.values.text(id)
	}
	set, err := pattern.NewSet(function, texts)
	if err == nil {
		t.set = set
		return t, nil
	}
	var problems format.Problems
	f, _ := pattern.Find(function)
	for row := range rules.lines {
		r := rules.ref(uint32(row))
		if !seen.has(r.cell(column)) || f.Compile == nil || len(problems) >= maxProblems {
			continue
		}
		seen[r.cell(column)/64] &^= 1 << (r.cell(column) % 64)
		if _, err := f.Compile(r.text(column)); err != nil {
			problems = append(problems, r.fieldProblem(column, what+": "+patternMessage(function, err)))
		}
	}
	if len(problems) == 0 {
		problems = format.Problems{rules.ref(0).problem(what + ": " + patternMessage(function, err))}
	}
	return nil, problems
}

// checkDomains refuses domains that another one matches, and that match others themselves. Casbin copies the links of
// domains into those that they match, and the copies further on, so that its answer depends on the order of a map. With
// keyMatch it does not: whatever a pattern in a pattern matches, the outer one does.
func (rel *relation) checkDomains(function string) format.Problems {
	if function == "keyMatch" {
		return nil
	}
	var problems format.Problems
	values := rel.links.values
	seen := newBitset(values.len())
	var outer []uint32
	for row := range rel.links.lines {
		link := rel.links.ref(uint32(row))
		id := link.cell(2)
		if seen.has(id) || isPlain(function, link.text(2)) || len(problems) >= maxProblems {
			continue
		}
		seen.set(id)
		var err error
		if outer, err = rel.domains.matching(link.text(2), outer[:0]); err != nil {
			problems = append(problems, link.fieldProblem(2, "the domain is too long for the pattern of another"))
			continue
		}
		for _, other := range outer {
			if other != id && !matchesAll(function, values.text(other)) {
				problems = append(problems, link.fieldProblem(2, fmt.Sprintf("the domain %q, a pattern of %s, is matched by the domain %q itself: Casbin's answer depends on the order of a map",
					printable(link.text(2)), function, printable(values.text(other)))))
				break
			}
		}
	}
	return problems
}

// isPlain reports whether a pattern surely matches its own text and no other.
func isPlain(function, text string) bool {
	return function != "regexMatch" && !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_/@ ", r) || r == '.' && function == "globMatch")
	})
}

// matchesAll reports whether a pattern surely matches every text. "*" becomes ^*$ in key patterns.
func matchesAll(function, text string) bool {
	return text == "*" && function != "globMatch" && function != "regexMatch" || text == "" && function == "regexMatch"
}

// targets returns the roles that a call can ask about, as patterns; nil where the relation has none.
func (c *compiler) targets(rel *relation, role *operand) (*patternTable, error) {
	names := rel.names
	if names == nil {
		return nil, nil
	}
	if literal, isLiteral := role.constant.(string); isLiteral {
		set, err := pattern.NewSet(names.function, []string{literal})
		if err != nil {
			return nil, refuse(literal, "%s", patternMessage(names.function, err))
		}
		t := &patternTable{ids: []uint32{c.rules.values.intern(literal)}, set: set}
		names.literals = append(names.literals, t)
		return t, nil
	}
	if role.column < 0 {
		return nil, refuse(rel.name, "the names of %s are patterns, so the role must be a field of p or a string literal: a request must not bring it", rel.name)
	}
	t, found := names.targets[role.column]
	if !found {
		var problems format.Problems
		t, problems = patternsOf(c.policy.rules, role.column, names.function, c.model.rule[role.column])
		c.problems = append(c.problems, problems...)
		names.targets[role.column] = t
	}
	return t, nil
}

// matchNames matches the names of the bundle with each other, once all calls are known.
func (s *source) matchNames(p *compiled) format.Problems {
	var problems format.Problems
	for _, name := range slices.Sorted(maps.Keys(p.relations)) {
		if rel := p.relations[name]; rel.names != nil {
			problems = append(problems, rel.matchNames(s, p)...)
		}
	}
	return problems
}

func (rel *relation) matchNames(s *source, p *compiled) format.Problems {
	names, values := rel.names, rel.links.values
	candidates := names.all(values.len())
	names.plain = newBitset(values.len())
	var roleOf, matched, numbers []uint32
	for _, id := range candidates.members() {
		text := values.text(id)
		if strings.Contains(text, ":") && subject.IsKeyShaped(text) && names.unsafe() != "" {
			return format.Problems{s.subjectProblem(rel, p.rules, id, printable(text))}
		}
		isPlain, err := names.isPlain(id, text)
		if err == nil {
			numbers, err = names.roles.numbers(text, numbers[:0])
		}
		if err != nil {
			return format.Problems{s.problem(".matching."+rel.name+".names", "the name %q is too long for a pattern of the links or rules", shorten(printable(text), 80))}
		}
		if isPlain {
			names.plain.set(id)
		}
		for _, number := range numbers {
			if names.roles.ids[number] == id {
				continue
			}
			if subject.IsKeyShaped(text) {
				return format.Problems{rel.roleProblem(names.roles.ids[number], fmt.Sprintf("matches %q, which has the shape of a subject's key, so whoever has the role would be that subject", printable(text)))}
			}
			roleOf, matched = append(roleOf, number), append(matched, id)
		}
		if len(matched) > maxMatches {
			return format.Problems{s.problem(".matching."+rel.name+".names", "the roles of links match more than %d names of links and rules", maxMatches)}
		}
	}
	var rows []uint32
	names.first, rows = groupRows(roleOf, len(names.roles.ids))
	names.others = make([]uint32, len(rows))
	for i, row := range rows {
		names.others[i] = matched[row]
	}
	for number, id := range names.roles.ids {
		if names.first[number+1]-names.first[number] > maxBelow {
			return format.Problems{rel.roleProblem(id, fmt.Sprintf("matches more than %d names of links and rules", maxBelow))}
		}
	}
	return nil
}

// unsafe says how to write subjects where the function would take their keys for patterns of others; "" where it is safe: in
// keyMatch2 a colon begins a name that stands for any text, and regexMatch finds a key in a longer one.
func (m *nameMatching) unsafe() string {
	switch m.function {
	case "keyMatch2":
		return "write names: keyMatch or globMatch"
	case "regexMatch":
		return "write ^…$"
	}
	return ""
}

// subjectProblem is a problem of a subject's key, at the first link or rule that names it.
func (s *source) subjectProblem(rel *relation, rules *ruleSet, id uint32, text string) format.Problem {
	message := fmt.Sprintf("the subject %q is a pattern of %s that matches others: %s", text, rel.names.function, rel.names.unsafe())
	for row := range rel.links.lines {
		if link := rel.links.ref(uint32(row)); link.cell(0) == id {
			return link.fieldProblem(0, message)
		}
	}
	for column := range rel.names.targets {
		for row := range rules.lines {
			if rule := rules.ref(uint32(row)); rule.cell(column) == id {
				return rule.fieldProblem(column, message)
			}
		}
	}
	return s.problem(".matching."+rel.name+".names", "%s", message)
}

// all returns the names of links, and those that rules name as roles.
func (m *nameMatching) all(size int) bitset {
	set := newBitset(size)
	for _, t := range m.tables() {
		for _, id := range t.ids {
			set.set(id)
		}
	}
	return set
}

// tables returns all patterns.
func (m *nameMatching) tables() []*patternTable {
	tables := append([]*patternTable{m.members, m.roles}, m.literals...)
	for _, column := range slices.Sorted(maps.Keys(m.targets)) {
		tables = append(tables, m.targets[column])
	}
	return tables
}

// isPlain reports whether a name matches no member of a link and no target but itself.
func (m *nameMatching) isPlain(id uint32, text string) (bool, error) {
	isPlain := true
	for _, t := range m.tables() {
		if t == m.roles {
			continue
		}
		matched, err := t.matching(text, nil)
		if err != nil {
			return false, err
		}
		isPlain = isPlain && !slices.ContainsFunc(matched, func(other uint32) bool { return other != id })
	}
	return isPlain, nil
}

// roleProblem is a problem of a role, at the first link that names it.
func (rel *relation) roleProblem(role uint32, message string) format.Problem {
	for row := range rel.links.lines {
		if link := rel.links.ref(uint32(row)); link.cell(1) == role {
			return link.fieldProblem(1, fmt.Sprintf("the role %q %s", printable(link.text(1)), message))
		}
	}
	return rel.links.ref(0).problem(message)
}

// below returns the other names that a role matches.
func (m *nameMatching) below(role uint32) []uint32 {
	number, found := slices.BinarySearch(m.roles.ids, role)
	if !found {
		return nil
	}
	return m.others[m.first[number]:m.first[number+1]]
}

// numbers appends the numbers of the patterns that match a value, matching their ids. A value that is too long for one of
// them matches nothing: it is an error.
func (t *patternTable) numbers(value string, into []uint32) ([]uint32, error) {
	matched, uncertain, err := t.set.Match(value, into)
	if err != nil || uncertain {
		return matched[:len(into)], errArgument
	}
	return matched, nil
}

func (t *patternTable) matching(value string, into []uint32) ([]uint32, error) {
	matched, err := t.numbers(value, into)
	for i := len(into); i < len(matched); i++ {
		matched[i] = t.ids[matched[i]]
	}
	return matched, err
}
