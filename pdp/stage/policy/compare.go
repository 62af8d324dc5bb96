package policy

import (
	"regexp"

	"github.com/casbin/govaluate"

	"github.com/durward-pdp/durward/pdp/stage/policy/pattern"
)

// compare compiles a comparison. The operand has no get when the right side is not a plain operand, or the
// comparison is one that only govaluate knows.
func (c *compiler) compare(left operand, comparator string, rightToken govaluate.ExpressionToken) (operand, error) {
	if left.get == nil {
		return operand{}, nil
	}
	if comparator == "=~" || comparator == "!~" {
		return match(left, rightToken, comparator == "!~")
	}
	right, simple := c.operandOf(rightToken)
	if !simple {
		return operand{}, nil
	}
	o := operand{kind: kindBool, column: -1, fromRequest: left.fromRequest || right.fromRequest, cost: left.cost + right.cost + 3,
		source: left.source + " " + comparator + " " + right.source}
	o.reads([]operand{left, right})
	if comparator == "in" {
		if right.kind != kindList && right.kind != kindUnknown {
			return o, refuse("in", "the right side of in is %s, not a list", right.kind)
		}
		if left.kind == kindList || left.kind == kindObject {
			return o, refuse("in", "the left side of in is %s", left.kind)
		}
		o.get = both(left, right, func(a, b any) (bool, error) {
			members, isList := b.([]any)
			if !isList {
				return false, errType
			}
			return isMember(a, members)
		})
		o.fails = o.fails || !right.holdsTexts(left.kind)
		return withAtom(o, nil), nil
	}
	if left.kind == kindObject || right.kind == kindObject {
		return o, refuse(comparator, "a whole object cannot be compared; name a member")
	}
	if left.kind != right.kind && left.kind != kindUnknown && right.kind != kindUnknown {
		return o, refuse(comparator, "%s is compared with %s, which are never equal", left.kind, right.kind)
	}
	if comparator != "==" && comparator != "!=" && left.kind != kindText && left.kind != kindNumber {
		o.fails = true // what has no order
	}
	if compare := comparators[comparator]; compare != nil {
		o.get = both(left, right, compare)
		if comparator == "==" && left.kind == kindText && right.kind == kindText {
			o.get = sameText(left, right)
		}
		if comparator == "==" {
			return withAtom(o, equalAtom(&left, &right)), nil
		}
		return withAtom(o, nil), nil
	}
	return o, nil
}

// holdsTexts reports whether a list certainly has a member of the kind, if it is that of strings.
func (o *operand) holdsTexts(k kind) bool {
	if k != kindText {
		return false
	}
	members, _ := o.constant.([]any)
	for _, member := range members {
		if kindOf(member) == kindText {
			return true
		}
	}
	return o.textList
}

// comparators are the comparisons of two values.
var comparators = map[string]func(a, b any) (bool, error){
	"==": equal,
	"!=": func(a, b any) (bool, error) { same, err := equal(a, b); return !same && err == nil, err },
	"<":  func(a, b any) (bool, error) { less, _, err := ordered(a, b); return less, err },
	"<=": func(a, b any) (bool, error) { less, same, err := ordered(a, b); return less || same, err },
	">": func(a, b any) (bool, error) {
		less, same, err := ordered(a, b)
		return err == nil && !less && !same, err
	},
	">=": func(a, b any) (bool, error) { less, _, err := ordered(a, b); return err == nil && !less, err },
}

// both evaluates two operands, left first, and compares them.
func both(left, right operand, compare func(a, b any) (bool, error)) func(e *evaluator) (any, error) {
	return func(e *evaluator) (any, error) {
		a, err := left.get(e)
		if err != nil {
			return nil, err
		}
		b, err := right.get(e)
		if err != nil {
			return nil, err
		}
		holds, err := compare(a, b)
		return holds, err
	}
}

// sameText is == for two strings.
func sameText(left, right operand) func(e *evaluator) (any, error) {
	return func(e *evaluator) (any, error) {
		x, err := textOf(e, &left)
		if err != nil {
			return nil, err
		}
		y, err := textOf(e, &right)
		return x == y && err == nil, err
	}
}

// match compiles =~ and !~, whose pattern must stand in the expression.
func match(left operand, token govaluate.ExpressionToken, negate bool) (operand, error) {
	expression, isPattern := token.Value.(*regexp.Regexp)
	if !isPattern {
		return operand{}, nil
	}
	if left.kind != kindText && left.kind != kindUnknown {
		return operand{}, refuse("~", "a pattern is matched with %s", left.kind)
	}
	apply := pattern.Regexp(expression)
	comparator := "=~"
	if negate {
		comparator = "!~"
	}
	o := operand{kind: kindBool, column: -1, fromRequest: left.fromRequest, cost: 200, source: left.source + " " + comparator + " " + sourceOf(expression.String())}
	o.reads([]operand{left})
	o.refuses = true // what is too long for its pattern
	o.get = func(e *evaluator) (any, error) {
		s, err := textOf(e, &left)
		if err != nil {
			return nil, err
		}
		v, err := applied(apply, s, "")
		if matched, isBool := v.(bool); isBool {
			v = matched != negate
		}
		return v, err
	}
	return withAtom(o, nil), nil
}

// listOf compiles the list to the right of in. A list of literals is built once.
func (c *compiler) listOf(tokens []govaluate.ExpressionToken) (operand, error) {
	var members []operand
	constant := true
	for _, part := range arguments(tokens) {
		o, err := c.sub(part)
		if err != nil {
			return operand{}, err
		}
		if o.kind == kindList || o.kind == kindObject {
			return operand{}, refuse("in", "the list of in holds %s", o.kind)
		}
		constant = constant && o.constant != nil
		members = append(members, o)
	}
	if len(members) == 0 {
		return operand{}, refuse("in", "the list of in is empty")
	}
	if len(members) == 1 && (len(tokens) != 1 || !constant) {
		return operand{}, refuse("in", "Casbin takes a single value in parentheses for no list: write == instead of in")
	}
	if constant {
		values := make([]any, len(members))
		for i := range members {
			values[i] = members[i].constant
		}
		return constantOperand(values), nil
	}
	o := operand{kind: kindList, column: -1, fromRequest: true, cost: 20 * len(members), source: callSource("", members)}
	o.reads(members)
	for i := range members {
		o.textList = o.textList || members[i].kind == kindText
	}
	o.get = func(e *evaluator) (any, error) {
		values := make([]any, len(members))
		for i := range members {
			v, err := members[i].get(e)
			if err != nil {
				return nil, err
			}
			if k := kindOf(v); k == kindList || k == kindObject {
				return nil, errType
			}
			values[i] = v
		}
		return values, nil
	}
	return o, nil
}

// arguments splits tokens at the commas that stand in no parentheses.
func arguments(tokens []govaluate.ExpressionToken) [][]govaluate.ExpressionToken {
	if len(tokens) == 0 {
		return nil
	}
	var parts [][]govaluate.ExpressionToken
	depth, from := 0, 0
	for i, token := range tokens {
		switch token.Kind {
		case govaluate.CLAUSE:
			depth++
		case govaluate.CLAUSE_CLOSE:
			depth--
		case govaluate.SEPARATOR:
			if depth == 0 {
				parts = append(parts, tokens[from:i])
				from = i + 1
			}
		default: // of no account here
		}
	}
	return append(parts, tokens[from:])
}
