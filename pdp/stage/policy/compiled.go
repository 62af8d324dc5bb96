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
	rules     []*rule
	program   *program
	relations map[string]*relation
	// accessors are the attributes that expressions read; eager are those that the request mapping names, which must
	// all be there.
	accessors []attribute.Accessor
	eager     []int
	slotOf    map[string]int
	// sites is the number of calls of role relations.
	sites int
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

// slotFor returns the slot of an attribute.
func (p *compiled) slotFor(key string, a attribute.Accessor) int {
	if i, found := p.slotOf[key]; found {
		return i
	}
	p.accessors = append(p.accessors, a)
	p.slotOf[key] = len(p.accessors) - 1
	return len(p.accessors) - 1
}

// attribute compiles a field of r, or a member of one that is an object.
func (p *compiled) attribute(field requestField, members []string, source string) (operand, error) {
	if len(members) == 0 {
		return slotOperand(p.slotFor("r."+field.name, field.accessor), field.name, field.accessor.Name(), field.kind), nil
	}
	if field.kind != kindObject && field.kind != kindUnknown {
		return operand{}, refuse(source, "%s is %s and has no members", printable(field.accessor.Name()), field.kind)
	}
	name := field.accessor.Name() + "." + strings.Join(members, ".")
	accessor, err := attribute.Compile(name, nil)
	if err != nil {
		return operand{}, refuse(source, "%s", err)
	}
	return slotOperand(p.slotFor(name, accessor), field.name, name, kindOfAttribute(accessor, false)), nil
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
	if len(rules["p"]) == 0 {
		return nil, format.Problems{s.problem(".rules", "there is no rule for p: Casbin evaluates the matcher without one then, and may allow")}
	}
	problems = sortRules(m, rules["p"], rules["g"])
	p := &compiled{name: s.policy.Name, effect: m.effect, rules: rules["p"], relations: map[string]*relation{}, slotOf: map[string]int{}}
	for name := range m.arities {
		rel, relProblems := compileRelation(m, name, rules[name], tokens[name])
		problems = append(problems, relProblems...)
		p.relations[name] = rel
	}
	problems = append(problems, p.compileMatcher(m, fields)...)
	problems = append(problems, s.checkCost(p)...)
	if len(problems) > 0 {
		return nil, problems[:min(len(problems), maxProblems)]
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
