package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
)

// Analysis is what a policy or guard says, for tools that look at it and decide nothing.
type Analysis struct {
	// Service is the service's name, "" for a guard; Name is the policy's. Guard is set for guards.
	Service, Name string
	Guard         bool
	// File is the file that names the policy, Path its place there ("$.policies[0]"); Model is the model's file.
	File  *format.File
	Path  string
	Model *format.File
	// Effect is allow-override, deny-override, allow-and-deny, priority or subject-priority.
	Effect string
	// Fields are the fields of p.
	Fields []string
	// Rules are those of p in the order in which they are tried.
	Rules Table
	// Alternatives are the matcher: one must hold, and all its conditions.
	Alternatives [][]Condition
	// Index is the form of the index that finds the rules. Where it is "" every rule is tried, and Linear says why.
	Index, Linear string
	// Estimate is how long a decision takes that has to try all that is not looked up, the same on every machine.
	Estimate time.Duration

	matcher   *definition
	relations map[string]*relation
}

// Links returns the rules of a role relation: member, role and, if there are domains, the domain.
func (a *Analysis) Links(relation string) Table { return Table{a.relations[relation].links} }

// DomainPatterns reports whether the domains of a role relation are patterns.
func (a *Analysis) DomainPatterns(relation string) bool { return a.relations[relation].domains != nil }

// NameFunction returns the function by which the names of a role relation are patterns; "" where they are none.
func (a *Analysis) NameFunction(relation string) string {
	if names := a.relations[relation].names; names != nil {
		return names.function
	}
	return ""
}

// TokenRoles returns the attribute with roles that the subject brings to a role relation; "" for none.
func (a *Analysis) TokenRoles(relation string) string {
	if t := a.relations[relation].tokens; t != nil {
		return t.from.Name()
	}
	return ""
}

// ConditionKind is the form of a condition.
type ConditionKind string

// The kinds of conditions.
const (
	// Opaque conditions are of no other kind. They depend on the fields Columns.
	Opaque ConditionKind = "opaque"
	// Equal is r.x == p.y, Constant p.y == "text", Role g(r.x, p.y), Pattern keyMatch2(r.x, p.y).
	Equal    ConditionKind = "equal"
	Constant ConditionKind = "constant"
	Role     ConditionKind = "role"
	Pattern  ConditionKind = "pattern"
	// Any holds when one of its members does, all about one field of p.
	Any ConditionKind = "any"
	// Request does not depend on p.
	Request ConditionKind = "request"
)

// Condition is one condition of a matcher.
type Condition struct {
	// Kind is the condition's form, Source what its author wrote.
	Kind   ConditionKind
	Source string
	// Column is the field of p that it is about, -1 for opaque ones and those without p. Columns are all the fields that
	// an opaque one may read.
	Column  int
	Columns []int
	// Attribute is the request's side; "" where that is an expression.
	Attribute string
	// Relation is that of a role. Domain is the attribute of its domain, "" for none or an expression; DomainColumn the field
	// of p that is its domain, or -1.
	Relation, Domain string
	DomainColumn     int
	// Function is that of a pattern, Text that of a constant, Any the members of an any.
	Function, Text string
	Any            []Condition
}

// Table are rules of one type as rows of values, which are numbered: equal numbers are equal texts.
type Table struct{ set *ruleSet }

// Len returns the number of rows.
func (t Table) Len() int { return t.set.len() }

// Value returns the number of a field's value; Text the value itself.
func (t Table) Value(row, field int) uint32 { return t.set.cell(uint32(row), field) } //nolint:gosec // a row

// Text returns the value with a number.
func (t Table) Text(value uint32) string { return t.set.values.text(value) }

// Find returns the number of a value, 0 when no rule holds it. Values counts them all, from 1.
func (t Table) Find(text string) uint32 { return t.set.values.find(text) }

// Values is the number of different values, and one more.
func (t Table) Values() int { return t.set.values.len() }

// Denies reports whether a rule denies.
func (t Table) Denies(row int) bool { return t.set.denies.has(uint32(row)) } //nolint:gosec // a row

// Problem returns a problem at a field of a rule, or at the rule for -1.
func (t Table) Problem(row, field int, message string) format.Problem {
	ref := t.set.ref(uint32(row)) //nolint:gosec // a row
	if field < 0 {
		return ref.problem(message)
	}
	return ref.fieldProblem(field, message)
}

// Position returns where a rule stands.
func (t Table) Position(row int) format.Position {
	span, line := t.set.at(uint32(row)) //nolint:gosec // a row
	return format.Position{File: span.path, Line: line, Column: 1}
}

// MatcherProblem returns a problem at the matcher.
func (a *Analysis) MatcherProblem(message string) format.Problem {
	return a.matcher.problem(0, message)
}

// Analyse returns the policies of a service, or the guards for nil. The bundle must be one that loads.
func Analyse(b *format.Bundle, s *format.Service) ([]Analysis, format.Problems) {
	var all []Analysis
	var problems format.Problems
	add := func(src *source) {
		a, more := analyse(src)
		if problems = append(problems, more...); a != nil {
			all = append(all, *a)
		}
	}
	if s == nil {
		for i := range b.Guards {
			add(&source{policy: &b.Guards[i], files: b.Files, file: b.File, path: fmt.Sprintf("$.guards[%d]", i), guard: true})
		}
		return all, problems
	}
	for i := range s.Policies {
		add(&source{policy: &s.Policies[i], files: b.Files, dir: s.Dir, file: s.File, path: fmt.Sprintf("$.policies[%d]", i), params: serviceParams(s)})
	}
	for i := range all {
		all[i].Service = s.Name
	}
	return all, problems
}

func analyse(s *source) (*Analysis, format.Problems) {
	p, problems := compilePolicy(s)
	if len(problems) > 0 {
		return nil, problems
	}
	modelFile, _, _ := s.open()
	m, problems := parseModel(modelFile, s.guard)
	if len(problems) > 0 {
		return nil, problems
	}
	a := &Analysis{
		Name: p.name, Guard: s.guard, File: s.file, Path: s.path, Model: modelFile, Effect: effectNames[p.effect], Fields: p.fields,
		Rules: Table{p.rules}, relations: p.relations, matcher: m.source,
		Index: p.plan.text, Linear: p.plan.reason, Estimate: p.plan.estimate,
	}
	if p.program.expression != nil {
		a.Alternatives = [][]Condition{{{Kind: Opaque, Source: p.program.source, Column: -1, Columns: a.fieldsFrom(allColumns)}}}
	}
	for _, conditions := range p.program.alternatives {
		described := make([]Condition, len(conditions))
		for i := range conditions {
			described[i] = a.describe(&conditions[i])
		}
		a.Alternatives = append(a.Alternatives, described)
	}
	return a, nil
}

// effectNames are the effects as tools name them.
var effectNames = map[effect]string{
	allowOverride: "allow-override", denyOverride: "deny-override", allowAndDeny: "allow-and-deny", priority: "priority", subjectPriority: "subject-priority",
}

const allColumns = ^columnSet(0)

// fieldsFrom lists the fields of a set; a set that tells fields beyond the 62nd only as several stands for all.
func (a *Analysis) fieldsFrom(set columnSet) []int {
	var columns []int
	for i := range a.Fields {
		if i >= 62 || set&(1<<i) != 0 || set>>62 != 0 {
			columns = append(columns, i)
		}
	}
	return columns
}

func (a *Analysis) describe(o *operand) Condition {
	if o.atom == nil {
		c := Condition{Kind: Opaque, Source: o.source, Column: -1, DomainColumn: -1}
		if strings.Contains(o.source, "eval(") {
			c.Columns = a.fieldsFrom(allColumns)
		} else if o.readsRule {
			c.Columns = a.fieldsFrom(o.columns)
		}
		return c
	}
	c := describeAtom(o.atom)
	c.Source = o.source
	return c
}

func describeAtom(at *atom) Condition {
	c := Condition{Kind: atomKinds[at.kind], Column: at.column, DomainColumn: -1, Text: at.constant, Function: at.function}
	if at.request != nil {
		c.Attribute = at.request.attribute
	}
	if at.relation != nil {
		c.Relation = at.relation.name
	}
	if at.domain != nil {
		c.Domain, c.DomainColumn = at.domain.attribute, at.domain.column
	}
	for i := range at.any {
		c.Any = append(c.Any, describeAtom(&at.any[i]))
	}
	return c
}

var atomKinds = map[atomKind]ConditionKind{
	atomEqual: Equal, atomConstant: Constant, atomRole: Role, atomPattern: Pattern, atomAny: Any, atomRequest: Request,
}

// Matcher returns a function that says which of some patterns match a value, by their numbers, as the condition matches them.
func (c Condition) Matcher(patterns []string) (func(value string) []uint32, error) {
	set, err := pattern.NewSet(c.Function, patterns)
	if err != nil {
		return nil, fmt.Errorf("read the patterns: %w", err)
	}
	var matched []uint32
	return func(value string) []uint32 {
		found, _, err := set.Match(value, matched[:0])
		if err != nil {
			return nil
		}
		matched = found
		return found
	}, nil
}
