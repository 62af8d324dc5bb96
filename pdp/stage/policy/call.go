package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2/util"
	"github.com/casbin/govaluate"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
)

// call compiles a call of a function, a role relation or eval.
func (c *compiler) call(name string, tokens []govaluate.ExpressionToken) (operand, error) {
	var args []operand
	for _, part := range arguments(tokens) {
		o, err := c.sub(part)
		if err != nil {
			return operand{}, err
		}
		if o.kind != kindText && o.kind != kindUnknown {
			return operand{}, refuse(name, "%s takes strings, not %s", name, o.kind)
		}
		args = append(args, o)
	}
	if rel, found := c.policy.relations[name]; found {
		return c.relationCall(rel, args)
	}
	if name == "eval" {
		return c.evalCall(args)
	}
	return c.functionCall(name, args)
}

// textOf evaluates an operand that must be a string.
func textOf(e *evaluator, o *operand) (string, error) {
	if o.column >= 0 {
		return e.rule.text(o.column), nil
	}
	if o.slot > 0 {
		s := e.read(o.slot - 1)
		if s.err == nil && !s.isText {
			return "", errType
		}
		return s.text, s.err
	}
	v, err := o.get(e)
	if err != nil {
		return "", err
	}
	s, isText := v.(string)
	if !isText {
		return "", errType
	}
	return s, nil
}

func (c *compiler) relationCall(rel *relation, args []operand) (operand, error) {
	if len(args) != rel.arity {
		return operand{}, refuse(rel.name, "%s has %d fields in [role_definition] and %d here", rel.name, rel.arity, len(args))
	}
	for i := range args[:2] {
		if err := checkMember(rel.name, &args[i]); err != nil {
			return operand{}, err
		}
	}
	targets, err := c.targets(rel, &args[1])
	if err != nil {
		return operand{}, err
	}
	c.policy.calls++
	name, role := args[0], args[1]
	domain := constantOperand("") // without domains links are in this one
	if rel.arity == 3 {
		domain = args[2]
	}
	site := c.policy.site(rel, targets, &name, &domain)
	o := operand{kind: kindBool, column: -1, fromRequest: true, cost: 50, source: callSource(rel.name, args)}
	o.reads(args)
	if rel.tokens != nil {
		o.readsRequest = true
		o.refuses = o.refuses || rel.tokens.fails(rel)
	}
	if rel.names != nil {
		o.cost += 2 * rel.names.cost
	}
	o.refuses = o.refuses || rel.refuses
	o.get = func(e *evaluator) (any, error) {
		ask := membership{targets: targets}
		var err error
		if ask.name, err = textOf(e, &name); err != nil {
			return nil, err
		}
		if ask.role, err = textOf(e, &role); err != nil {
			return nil, err
		}
		if ask.domain, err = textOf(e, &domain); err != nil {
			return nil, err
		}
		if role.column >= 0 {
			ask.id = e.rule.cell(role.column)
		} else {
			ask.id = rel.links.values.find(ask.role)
		}
		holds, err := e.closures[site].holds(e, rel, ask)
		return holds, err
	}
	return withAtom(o, roleAtom(rel, args, targets)), nil
}

// callSource writes a call.
func callSource(name string, args []operand) string {
	sources := make([]string, len(args))
	for i := range args {
		sources[i] = args[i].source
	}
	return name + "(" + strings.Join(sources, ", ") + ")"
}

// reads notes what a value that is computed from parts depends on, and whether one of them can fail or have another
// type than a string.
func (o *operand) reads(parts []operand) {
	for i := range parts {
		o.readsRequest = o.readsRequest || parts[i].readsRequest
		o.readsRule = o.readsRule || parts[i].readsRule
		o.columns |= parts[i].columns
		o.fails = o.fails || parts[i].fails || parts[i].kind == kindUnknown
		o.refuses = o.refuses || parts[i].refuses
	}
}

// checkMember refuses values that a client or an issuer could choose to be the name of a role: whatever bears the
// name of a role is a member of it.
func checkMember(relation string, o *operand) error {
	if !o.fromRequest {
		return nil
	}
	if o.attribute == "" {
		return refuse(relation, "the members of %s must be fields, not results of expressions", relation)
	}
	isSubject := o.field == "sub" || o.field == "subject" || o.field == "user"
	switch {
	case o.attribute == "subject.key":
		return nil
	case !isSubject && (o.attribute == "action" || o.attribute == "request.method" || o.attribute == "request.host" || o.attribute == "request.path"):
		return nil
	case !isSubject && (strings.HasPrefix(o.attribute, "resource.") || strings.HasPrefix(o.attribute, "params.") || strings.HasPrefix(o.attribute, "route.")):
		return nil
	}
	return refuse(relation, "%s takes %s as a name, which could be chosen to equal a role's; for subjects use subject.key", relation, printable(o.attribute))
}

// evalCall compiles eval(p.FIELD): the field of each rule is an expression.
func (c *compiler) evalCall(args []operand) (operand, error) {
	if len(args) != 1 || args[0].column < 0 || c.nested {
		return operand{}, refuse("eval", "eval of anything but one field of p in the matcher is not enforced by this version")
	}
	if !util.HasEval(c.model.matcher) {
		return operand{}, refuse("eval", "Casbin does not see eval where a blank stands before its parenthesis: write eval(p.FIELD)")
	}
	column := args[0].column
	byText := map[uint32][]uint32{}
	var texts []uint32
	for r := range c.eachRule() {
		id := r.cell(column)
		if byText[id] == nil {
			texts = append(texts, id)
		}
		byText[id] = append(byText[id], r.row)
	}
	programs := make(map[uint32]*program, len(texts))
	o := operand{column: -1, fromRequest: true, source: callSource("eval", args), readsRequest: true, readsRule: true}
	o.reads(args)
	for _, id := range texts {
		if len(c.problems) >= maxProblems {
			break // the place of each is looked for in its file
		}
		source, first := c.rules.values.text(id), c.rules.ref(byText[id][0])
		sub := &compiler{model: c.model, rules: c.rules, rows: byText[id], fields: c.fields, policy: c.policy, nested: true}
		p, err := sub.compile(util.EscapeAssertion(source), source)
		c.problems = append(c.problems, sub.problems...)
		if err != nil {
			if len(c.problems) < maxProblems {
				c.problems = append(c.problems, first.fieldProblem(column, fmt.Sprintf("the expression in %s: %s", c.model.rule[column], err)))
			}
			continue
		}
		programs[id] = p
		o.cost = max(o.cost, p.cost+20)
		whole := p.operand()
		whole.fails = whole.fails || whole.kind != kindBool
		o.reads([]operand{whole})
	}
	o.get = func(e *evaluator) (any, error) {
		p := programs[e.rule.cell(column)]
		if p == nil {
			return nil, errArgument
		}
		return p.value(e)
	}
	return o, nil
}

// functionCall compiles a call of one of Casbin's functions; its patterns are compiled here, once.
func (c *compiler) functionCall(name string, args []operand) (operand, error) {
	f, known := pattern.Find(name)
	if !known {
		return operand{}, refuse(name, "unknown function %q", printable(name))
	}
	if len(args) != f.Arguments {
		return operand{}, refuse(name, "%s takes %d arguments and has %d", name, f.Arguments, len(args))
	}
	o := operand{kind: kindBool, column: -1, fromRequest: true, cost: f.Cost, source: callSource(name, args)}
	if f.Text {
		o.kind = kindText
	}
	o.reads(args)
	o.fails = o.fails || name == "ipMatch"                          // of what is no address
	o.refuses = o.refuses || name != "keyMatch" && name != "keyGet" // what is too long for its pattern
	value, part := args[0], constantOperand("")
	if len(args) == 3 {
		part = args[2]
	}
	apply, table, err := c.pattern(name, f, &args[1])
	if err != nil {
		return operand{}, err
	}
	o.get = func(e *evaluator) (any, error) {
		v, err := textOf(e, &value)
		if err != nil {
			return nil, err
		}
		s, err := textOf(e, &part)
		if err != nil {
			return nil, err
		}
		return apply(e, v, s)
	}
	if f.Text {
		return withAtom(o, nil), nil
	}
	return withAtom(o, patternAtom(name, args, table)), nil
}

// applyFunc applies the pattern that a call has for the present rule.
type applyFunc func(e *evaluator, value, part string) (any, error)

// pattern compiles what a call has as its pattern: a literal, or a field of every rule.
func (c *compiler) pattern(name string, f pattern.Function, o *operand) (applyFunc, *patternTable, error) {
	if literal, isLiteral := o.constant.(string); isLiteral {
		apply, err := f.Compile(literal)
		if err != nil {
			return nil, nil, refuse(literal, "%s", patternMessage(name, err))
		}
		return func(_ *evaluator, value, part string) (any, error) { return applied(apply, value, part) }, nil, nil
	}
	if o.column < 0 {
		return nil, nil, refuse(name, "the pattern of %s must be a field of p or a string literal: a request must not bring it", name)
	}
	column := o.column
	table := c.patterns(name, f, column)
	return func(e *evaluator, value, part string) (any, error) {
		return table.apply(e.rule.cell(column), value, part)
	}, table, nil
}

// expressionProblem turns an error of compile into a problem of the definition.
func expressionProblem(d *definition, err error) format.Problem {
	var e *expressionError
	if errors.As(err, &e) && e.near != "" {
		return d.problem(d.find(e.near), e.message)
	}
	return d.problem(0, err.Error())
}
