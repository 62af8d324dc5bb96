package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/casbin/casbin/v2/util"
	"github.com/casbin/govaluate"

	"github.com/durward-pdp/durward/pdp/bundle/format"
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
	return c.functionCall(name, functions[name], args)
}

// textOf evaluates an operand that must be a string.
func textOf(e *evaluator, o *operand) (string, error) {
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
	site := c.policy.sites
	c.policy.sites++
	name, role := args[0], args[1]
	domain := constantOperand("")
	if rel.arity == 3 {
		domain = args[2]
	}
	return operand{kind: kindBool, column: -1, fromRequest: true, cost: 50, get: func(e *evaluator) (any, error) {
		n, err := textOf(e, &name)
		if err != nil {
			return nil, err
		}
		r, err := textOf(e, &role)
		if err != nil {
			return nil, err
		}
		d, err := textOf(e, &domain)
		if err != nil {
			return nil, err
		}
		holds, err := e.closures[site].holds(e, rel, n, r, d)
		return holds, err
	}}, nil
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
	column := args[0].column
	byText := map[string][]*rule{}
	var texts []string
	for _, r := range c.rules {
		source := r.text(column)
		if byText[source] == nil {
			texts = append(texts, source)
		}
		byText[source] = append(byText[source], r)
	}
	programs := make(map[string]*program, len(texts))
	cost := 0
	for _, source := range texts {
		sub := &compiler{model: c.model, rules: byText[source], fields: c.fields, policy: c.policy, nested: true}
		p, err := sub.compile(util.EscapeAssertion(source), source)
		c.problems = append(c.problems, sub.problems...)
		if err != nil {
			if len(c.problems) < maxProblems {
				c.problems = append(c.problems, byText[source][0].fieldProblem(column, fmt.Sprintf("the expression in %s: %s", c.model.rule[column], err)))
			}
			continue
		}
		programs[source] = p
		cost = max(cost, p.cost)
	}
	return operand{column: -1, fromRequest: true, cost: cost + 20, get: func(e *evaluator) (any, error) {
		p := programs[e.rule.text(column)]
		if p == nil {
			return nil, errArgument
		}
		return p.value(e)
	}}, nil
}

// functionCall compiles a call of one of Casbin's functions; its patterns are compiled here, once.
func (c *compiler) functionCall(name string, f function, args []operand) (operand, error) {
	if f.compile == nil {
		return operand{}, refuse(name, "unknown function %q", printable(name))
	}
	if len(args) != f.arguments {
		return operand{}, refuse(name, "%s takes %d arguments and has %d", name, f.arguments, len(args))
	}
	pattern, err := c.patterns(name, f, &args[1])
	if err != nil {
		return operand{}, err
	}
	value, part := args[0], constantOperand("")
	if f.arguments == 3 {
		part = args[2]
	}
	return operand{kind: f.result, column: -1, fromRequest: true, cost: f.cost, get: func(e *evaluator) (any, error) {
		v, err := textOf(e, &value)
		if err != nil {
			return nil, err
		}
		s, err := textOf(e, &part)
		if err != nil {
			return nil, err
		}
		apply := pattern(e)
		if apply == nil {
			return nil, errArgument
		}
		return apply(v, s)
	}}, nil
}

// patterns compiles the patterns that a call can meet: its literal, or a field of every rule.
func (c *compiler) patterns(name string, f function, o *operand) (func(e *evaluator) applyFunc, error) {
	if literal, isLiteral := o.constant.(string); isLiteral {
		apply, err := f.compile(literal)
		if err != nil {
			return nil, refuse(literal, "%s", patternMessage(name, err))
		}
		return func(*evaluator) applyFunc { return apply }, nil
	}
	if o.column < 0 {
		return nil, refuse(name, "the pattern of %s must be a field of p or a string literal: a request must not bring it", name)
	}
	column := o.column
	compiled := map[string]applyFunc{}
	for _, r := range c.rules {
		source := r.text(column)
		if _, done := compiled[source]; done {
			continue
		}
		apply, err := f.compile(source)
		if err != nil && len(c.problems) < maxProblems {
			c.problems = append(c.problems, r.fieldProblem(column, c.model.rule[column]+": "+patternMessage(name, err)))
		}
		compiled[source] = apply
	}
	return func(e *evaluator) applyFunc { return compiled[e.rule.text(column)] }, nil
}

// patternMessage says what is wrong with a pattern of a file.
func patternMessage(name string, err error) string {
	if inner := errors.Unwrap(err); inner != nil && !errors.Is(err, errArgument) {
		err = inner
	}
	return "not a pattern of " + name + ": " + shorten(strings.TrimPrefix(err.Error(), errArgument.Error()+": "), 160)
}

// expressionProblem turns an error of compile into a problem of the definition.
func expressionProblem(d *definition, err error) format.Problem {
	var e *expressionError
	if errors.As(err, &e) && e.near != "" {
		return d.problem(d.find(e.near), e.message)
	}
	return d.problem(0, err.Error())
}
