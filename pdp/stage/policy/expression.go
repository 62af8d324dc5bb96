package policy

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/casbin/govaluate"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
)

// errExpression is wrapped by everything that is wrong with an expression.
var errExpression = errors.New("expression")

// expressionError says what is wrong, and which text of the source to point at.
type expressionError struct {
	near, message string
}

func (e *expressionError) Error() string { return e.message }
func (e *expressionError) Unwrap() error { return errExpression }

func refuse(near, message string, args ...any) error {
	return &expressionError{near: near, message: fmt.Sprintf(message, args...)}
}

// compiler turns expressions of one policy into programs.
type compiler struct {
	model *casbinModel
	// rules are the policy's; rows are those that the expression is evaluated for, nil for all.
	rules *ruleSet
	rows  []uint32
	// fields says how a field of r is read.
	fields map[string]requestField
	// policy receives accessors, patterns and call sites.
	policy *compiled
	// operands are those of the program that is being built; nested is set in the expressions of eval.
	operands []operand
	nested   bool
	readsP   bool
	// problems are those of rules: bad patterns and sub-expressions.
	problems format.Problems
}

// compile compiles the text that casbin hands to govaluate. written is the text as its author wrote it.
func (c *compiler) compile(casbinText, written string) (built *program, err error) {
	defer func() {
		// The lexer is not ours: what it does with odd text must not end the process.
		if recover() != nil {
			built, err = nil, refuse("", "the expression cannot be read")
		}
	}()
	literals, message, _ := literals(written)
	if message != "" {
		return nil, refuse("", "%s", message)
	}
	for _, l := range literals {
		if message := refuseLiteral(l.text); message != "" {
			return nil, refuse(l.text, "%s", message)
		}
	}
	expression, err := govaluate.NewEvaluableExpressionWithFunctions(casbinText, c.probes())
	if err != nil {
		name, isUnknown := strings.CutPrefix(err.Error(), "Undefined function ")
		if isUnknown {
			return nil, refuse(name, "unknown function %q", printable(name))
		}
		return nil, refuse("", "the expression cannot be read: %s", c.explain(err))
	}
	if changed, same := sameLiterals(literals, expression.Tokens()); !same {
		return nil, refuse(changed.text, "Casbin rewrites this string literal: it replaces r. and p. by r_ and p_ there too, and breaks what is not ASCII")
	}
	if len(expression.Tokens()) == 0 {
		return nil, refuse("", "the expression is empty")
	}
	return c.program(expression.Tokens())
}

// explain turns an error of govaluate, which is about text of the bundle, into one line.
func (c *compiler) explain(err error) string {
	return shorten(strings.Join(strings.Fields(err.Error()), " "), 160)
}

// eachRule yields the rules that the expression is evaluated for.
func (c *compiler) eachRule() iter.Seq[ruleRef] {
	return func(yield func(ruleRef) bool) {
		for i := range c.rules.lines {
			row := uint32(i)
			if c.rows != nil {
				if i >= len(c.rows) {
					return
				}
				row = c.rows[i]
			}
			if !yield(c.rules.ref(row)) {
				return
			}
		}
	}
}

// probe is the error by which a function of the lexer tells its name.
type probe string

func (p probe) Error() string { return string(p) }

// probes are functions that return their names: the lexer replaces the names by the functions.
func (c *compiler) probes() map[string]govaluate.ExpressionFunction {
	probes := map[string]govaluate.ExpressionFunction{}
	add := func(name string) {
		probes[name] = func(...any) (any, error) { return nil, probe(name) }
	}
	for _, name := range pattern.Names() {
		add(name)
	}
	for name := range c.model.arities {
		add(name)
	}
	add("eval")
	return probes
}

func functionName(token govaluate.ExpressionToken) string {
	call, isFunction := token.Value.(govaluate.ExpressionFunction)
	if !isFunction {
		return ""
	}
	_, err := call()
	var name probe
	errors.As(err, &name)
	return string(name)
}

// operandOf returns the operand of a token that is one.
func (c *compiler) operandOf(token govaluate.ExpressionToken) (operand, bool) {
	switch token.Kind {
	case govaluate.VARIABLE:
		name, _ := token.Value.(string)
		n, err := strconv.Atoi(name)
		if err != nil || n < 0 || n >= len(c.operands) {
			return operand{}, false
		}
		return c.operands[n], true
	case govaluate.STRING, govaluate.NUMERIC, govaluate.BOOLEAN:
		return constantOperand(token.Value), true
	default:
		return operand{}, false
	}
}

// token returns the token that stands for an operand.
func (c *compiler) token(o operand) govaluate.ExpressionToken {
	c.operands = append(c.operands, o)
	return govaluate.ExpressionToken{Kind: govaluate.VARIABLE, Value: strconv.Itoa(len(c.operands) - 1)}
}

// fold replaces fields, calls, comparisons and parentheses by operands, from the inside out.
func (c *compiler) fold(tokens []govaluate.ExpressionToken) ([]govaluate.ExpressionToken, error) {
	var out []govaluate.ExpressionToken
	for i := 0; i < len(tokens); i++ {
		if len(c.operands) > 1<<12 {
			return nil, refuse("", "the expression is too long")
		}
		token := tokens[i]
		switch token.Kind {
		case govaluate.VARIABLE, govaluate.ACCESSOR:
			if i+1 < len(tokens) && tokens[i+1].Kind == govaluate.CLAUSE {
				return nil, refuse("", "values have no methods: %s(…)", dotted(token))
			}
			o, err := c.variable(token)
			if err != nil {
				return nil, err
			}
			token = c.token(o)
		case govaluate.FUNCTION:
			end := closing(tokens, i+1)
			o, err := c.call(functionName(token), tokens[i+2:end])
			if err != nil {
				return nil, err
			}
			token, i = c.token(o), end
		case govaluate.CLAUSE:
			end := closing(tokens, i)
			group, err := c.group(out, tokens[i+1:end])
			if err != nil {
				return nil, err
			}
			out, i = append(out, group...), end
			continue
		default: // stays as it is
		}
		out = append(out, token)
	}
	return c.comparisons(c.negations(out))
}

// group folds what stands in parentheses; before are the tokens to the left.
func (c *compiler) group(before, inside []govaluate.ExpressionToken) ([]govaluate.ExpressionToken, error) {
	isList := len(before) > 0 && before[len(before)-1].Kind == govaluate.COMPARATOR && before[len(before)-1].Value == "in"
	if isList {
		o, err := c.listOf(inside)
		return []govaluate.ExpressionToken{c.token(o)}, err
	}
	sub, err := c.sub(inside)
	if err != nil {
		return nil, err
	}
	return []govaluate.ExpressionToken{c.token(sub)}, nil
}

// closing returns the index of the parenthesis that closes the one at open. The lexer checked the balance.
func closing(tokens []govaluate.ExpressionToken, open int) int {
	depth := 0
	for i := open; i < len(tokens); i++ {
		switch tokens[i].Kind {
		case govaluate.CLAUSE:
			depth++
		case govaluate.CLAUSE_CLOSE:
			if depth--; depth == 0 {
				return i
			}
		default: // of no account here
		}
	}
	return len(tokens) - 1
}

// dotted returns the source of a variable as its author wrote it.
func dotted(token govaluate.ExpressionToken) string {
	name, ok := token.Value.(string)
	if parts, isAccessor := token.Value.([]string); isAccessor {
		name, ok = strings.Join(parts, "."), true
	}
	if !ok {
		return ""
	}
	for _, letter := range []string{"r", "p"} {
		if rest, found := strings.CutPrefix(name, letter+"_"); found {
			return letter + "." + rest
		}
	}
	return name
}

// variable compiles r.field, r.field.member and p.field.
func (c *compiler) variable(token govaluate.ExpressionToken) (operand, error) {
	source := dotted(token)
	parts := strings.Split(source, ".")
	if raw, isAccessor := token.Value.([]string); isAccessor && (raw[0] == "r" || raw[0] == "p") {
		return operand{}, refuse(source, "Casbin does not see the field in %s: write a blank before it", printable(source))
	}
	if name, isName := token.Value.(string); isName && strings.Contains(name, ".") {
		return operand{}, refuse(source, "Casbin does not see the field in [%s]: write it without brackets", printable(source))
	}
	switch {
	case len(parts) < 2:
		return operand{}, refuse(source, "unknown name %q: fields are written r.NAME and p.NAME", printable(source))
	case parts[0] == "p" && len(parts) == 2:
		column := slices.Index(c.model.rule, parts[1])
		if column < 0 {
			return operand{}, refuse(source, "p has no field %q", printable(parts[1]))
		}
		c.readsP = true
		return fieldOperand(column, parts[1]), nil
	case parts[0] == "p":
		return operand{}, refuse(source, "a field of p is a string and has no members")
	case parts[0] != "r" || slices.Index(c.model.request, parts[1]) < 0:
		return operand{}, refuse(source, "r has no field %q", printable(parts[1]))
	}
	field := c.fields[parts[1]]
	return c.policy.attribute(field, parts[2:], source)
}

// comparisons replaces "operand comparator operand" where nothing to the left or right binds as tightly.
func (c *compiler) comparisons(tokens []govaluate.ExpressionToken) ([]govaluate.ExpressionToken, error) {
	var out []govaluate.ExpressionToken
	for i := 0; i < len(tokens); i++ {
		if i+2 >= len(tokens) || tokens[i+1].Kind != govaluate.COMPARATOR {
			out = append(out, tokens[i])
			continue
		}
		left, simple := c.operandOf(tokens[i])
		bound := len(out) == 0 || isBoundary(out[len(out)-1])
		bound = bound && (i+3 == len(tokens) || isBoundary(tokens[i+3]))
		comparator, _ := tokens[i+1].Value.(string)
		if _, isPattern := tokens[i+2].Value.(*regexp.Regexp); !isPattern && (comparator == "=~" || comparator == "!~") {
			return nil, refuse(comparator, "the pattern of %s must be a string literal", comparator)
		}
		if !simple || !bound {
			out = append(out, tokens[i])
			continue
		}
		o, err := c.compare(left, comparator, tokens[i+2])
		if err != nil {
			return nil, err
		}
		if o.get == nil {
			out = append(out, tokens[i])
			continue
		}
		out = append(out, c.token(o))
		i += 2
	}
	return out, nil
}

// isBoundary reports whether a token binds less tightly than a comparison.
func isBoundary(token govaluate.ExpressionToken) bool {
	return token.Kind == govaluate.LOGICALOP || token.Kind == govaluate.SEPARATOR || token.Kind == govaluate.TERNARY
}

// negations replaces "!operand".
func (c *compiler) negations(tokens []govaluate.ExpressionToken) []govaluate.ExpressionToken {
	var out []govaluate.ExpressionToken
	for i := 0; i < len(tokens); i++ {
		if tokens[i].Kind == govaluate.PREFIX && tokens[i].Value == "!" && i+1 < len(tokens) {
			if o, simple := c.operandOf(tokens[i+1]); simple {
				out = append(out, c.token(not(o)))
				i++
				continue
			}
		}
		out = append(out, tokens[i])
	}
	return out
}

func not(o operand) operand {
	get := o.get
	o.fails = o.fails || o.kind != kindBool
	o.constant, o.column, o.slot, o.attribute, o.kind, o.group = nil, -1, 0, "", kindBool, nil
	o.source = "!" + o.source
	o.get = func(e *evaluator) (any, error) {
		v, err := get(e)
		if err != nil {
			return nil, err
		}
		b, isBool := v.(bool)
		if !isBool {
			return nil, errType
		}
		return !b, nil
	}
	return withAtom(o, nil)
}
