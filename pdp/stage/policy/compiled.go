package policy

import (
	"fmt"
	"strings"
	"sync"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// compiled is one policy or guard: immutable, shared by all decisions of a snapshot. decide is its only use.
type compiled struct {
	name   string
	effect effect
	// rules are in the order in which they are tried.
	rules   *ruleSet
	program *program
	plan    plan
	// index is nil when every rule is tried.
	index *ruleIndex
	// fields are the names of the fields of p.
	fields    []string
	relations map[string]*relation
	// accessors are the attributes that expressions read; eager are those that the request mapping names, which must
	// all be there.
	accessors []attribute.Accessor
	eager     []int
	slotOf    map[string]int
	// matcher is the matcher as its author wrote it, sources are the slots of the names that expressions use, such as
	// r.sub.tenant, and calls is how often they ask for roles: all for explanations.
	matcher string
	sources map[string]int
	calls   int
	// sites number the closures that a decision needs, by what they are the roles of.
	sites map[site]int
	pool  sync.Pool
}

// requestField says how a field of r is read.
type requestField struct {
	name     string
	accessor attribute.Accessor
	kind     kind
}

// tokenRoles are the roles that the subject of a decision brings, as members of a relation.
type tokenRoles struct {
	from, domain attribute.Accessor
}

// of returns the roles that name has in domain because the subject of the decision brings them.
func (t *tokenRoles) of(f *attribute.Facts, name string, rel *relation, domain string) ([]string, error) {
	if t == nil || name != f.Subject.Key || f.Subject.IsAnonymous() {
		return nil, nil
	}
	value, presence := t.from.Get(f)
	if presence == attribute.Ambiguous {
		return nil, errAmbiguous
	}
	if presence != attribute.Present {
		return nil, nil
	}
	roles, isList := value.List()
	if !isList {
		return nil, errType
	}
	if rel.arity != 3 {
		return roles, nil
	}
	own, presence := t.domain.Get(f)
	if presence == attribute.Ambiguous {
		return nil, errAmbiguous
	}
	if presence != attribute.Present {
		return nil, errMissing
	}
	if s, isText := own.Text(); !isText || s != domain {
		return nil, nil
	}
	return roles, nil
}

// fails reports whether reading the roles can fail.
func (t *tokenRoles) fails(rel *relation) bool {
	switch t.from.Name() {
	case "subject.roles", "subject.scopes", "subject.amr":
		return rel.arity != 2
	}
	return true
}

// slotFor returns the slot of an attribute.
func (p *compiled) slotFor(key string, a attribute.Accessor) int {
	if i, found := p.slotOf[key]; found {
		return i
	}
	p.accessors = append(p.accessors, a)
	p.slotOf[key] = len(p.accessors) - 1
	return len(p.accessors) - 1
}

// site tells closures apart: they are walks up one relation from a name in a domain, to roles that are patterns where it has such.
type site struct {
	relation     *relation
	targets      *patternTable
	name, domain string
}

// site returns the number of the closure of a name in a domain. Calls that ask about the same ones share it: rules may hold
// thousands of calls.
func (p *compiled) site(rel *relation, targets *patternTable, name, domain *operand) int {
	key := site{rel, targets, name.source, domain.source}
	if i, found := p.sites[key]; found {
		return i
	}
	p.sites[key] = len(p.sites)
	return p.sites[key]
}

// attribute compiles a field of r, or a member of one that is an object.
func (p *compiled) attribute(field requestField, members []string, source string) (operand, error) {
	if len(members) == 0 {
		// A field that is no object is read before any rule, so that it cannot fail later.
		o := operand{source: source, field: field.name, attribute: field.accessor.Name(), kind: field.kind}
		p.sources[source] = p.slotFor("r."+field.name, field.accessor)
		return slotOperand(p.sources[source], o), nil
	}
	if field.kind != kindObject && field.kind != kindUnknown {
		return operand{}, refuse(source, "%s is %s and has no members", printable(field.accessor.Name()), field.kind)
	}
	name := field.accessor.Name() + "." + strings.Join(members, ".")
	accessor, err := attribute.Compile(name, nil)
	if err != nil {
		return operand{}, refuse(source, "%s", err)
	}
	o := operand{source: source, field: field.name, attribute: name, kind: kindOfAttribute(accessor, false), fails: true}
	p.sources[source] = p.slotFor(name, accessor)
	return slotOperand(p.sources[source], o), nil
}

// source is what a policy is compiled from.
type source struct {
	policy *format.Policy
	files  *format.Files
	dir    string
	// file and path are where the policy stands: "$.policies[0]".
	file  *format.File
	path  string
	guard bool
	// params are the path parameters of the routes that the policy decides; nil when they are not known.
	params []string
}

func (s *source) problem(path, message string, args ...any) format.Problem {
	return s.file.Problem(s.path+path, fmt.Sprintf(message, args...))
}

// compilePolicy compiles a policy, or says all that is wrong with it.
func compilePolicy(s *source) (*compiled, format.Problems) {
	modelFile, ruleFiles, problems := s.open()
	if len(problems) > 0 {
		return nil, problems
	}
	m, problems := parseModel(modelFile, s.guard)
	if len(problems) > 0 {
		return nil, problems
	}
	fields, problems := s.requestFields(m)
	tokens, moreProblems := s.tokenRoles(m)
	problems = append(problems, moreProblems...)
	rules, moreProblems := readRules(m, ruleFiles)
	problems = append(problems, moreProblems...)
	if len(problems) > 0 {
		return nil, problems
	}
	if rules["p"].len()+rules["p"].mute == 0 {
		return nil, format.Problems{s.problem(".rules", "there is no rule for p: Casbin evaluates the matcher without one then, and may allow")}
	}
	problems = append(s.checkMatching(m), sortRules(m, rules["p"], rules["g"])...)
	p := &compiled{name: s.policy.Name, effect: m.effect, rules: rules["p"], fields: m.rule, relations: map[string]*relation{}, slotOf: map[string]int{},
		matcher: m.source.value, sources: map[string]int{}, sites: map[site]int{}}
	for name := range m.arities {
		declared := s.policy.Matching[name]
		rel, relProblems := compileRelation(rules[name], tokens[name], declared.Names, m.domainFunction(declared.Domains))
		problems = append(problems, relProblems...)
		p.relations[name] = rel
	}
	problems = append(problems, p.compileMatcher(m, fields)...)
	if len(problems) == 0 {
		problems = s.matchNames(p)
	}
	if len(problems) > 0 {
		return nil, problems[:min(len(problems), maxProblems)]
	}
	p.makePlan()
	if problems = s.checkCost(p); len(problems) > 0 {
		return nil, problems
	}
	for _, name := range m.request {
		if f := fields[name]; f.kind != kindObject {
			p.eager = append(p.eager, p.slotFor("r."+name, f.accessor))
		}
	}
	p.pool.New = func() any { return newEvaluator(p) }
	return p, nil
}

// compileMatcher compiles the matcher for all rules.
func (p *compiled) compileMatcher(m *casbinModel, fields map[string]requestField) format.Problems {
	c := &compiler{model: m, rules: p.rules, fields: fields, policy: p}
	compiledProgram, err := c.compile(m.matcher, m.source.value)
	if err != nil {
		return append(c.problems, expressionProblem(m.source, err))
	}
	if !c.readsP {
		c.problems = append(c.problems, m.source.problem(0, "the matcher does not read p: Casbin evaluates it once, without the rules"))
	}
	p.program = compiledProgram
	return c.problems
}
