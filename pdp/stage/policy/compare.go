package policy

import (
	"regexp"

	"github.com/casbin/govaluate"
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
	o := operand{kind: kindBool, column: -1, fromRequest: left.fromRequest || right.fromRequest, cost: left.cost + right.cost + 3}
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
		return o, nil
	}
	if left.kind == kindObject || right.kind == kindObject {
		return o, refuse(comparator, "a whole object cannot be compared; name a member")
	}
	if left.kind != right.kind && left.kind != kindUnknown && right.kind != kindUnknown {
		return o, refuse(comparator, "%s is compared with %s, which are never equal", left.kind, right.kind)
	}
	if compare := comparators[comparator]; compare != nil {
		o.get = both(left, right, compare)
		if comparator == "==" && left.kind == kindText && right.kind == kindText {
			o.get = sameText(left, right)
		}
	}
	return o, nil
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
		a, err := left.get(e)
		if err != nil {
			return nil, err
		}
		b, err := right.get(e)
		if err != nil {
			return nil, err
		}
		x, isText := a.(string)
		y, alsoText := b.(string)
		if !isText || !alsoText {
			return nil, errUnlike
		}
		return x == y, nil
	}
}

// match compiles =~ and !~, whose pattern must stand in the expression.
func match(left operand, token govaluate.ExpressionToken, negate bool) (operand, error) {
	pattern, isPattern := token.Value.(*regexp.Regexp)
	if !isPattern {
		return operand{}, nil
	}
	if left.kind != kindText && left.kind != kindUnknown {
		return operand{}, refuse("~", "a pattern is matched with %s", left.kind)
	}
	apply := bounded(stepsOf(pattern), func(value, _ string) (any, error) { return pattern.MatchString(value) != negate, nil })
	return operand{kind: kindBool, column: -1, fromRequest: left.fromRequest, cost: 200, get: func(e *evaluator) (any, error) {
		s, err := textOf(e, &left)
		if err != nil {
			return nil, err
		}
		return apply(s, "")
	}}, nil
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
	return operand{kind: kindList, column: -1, fromRequest: true, cost: 20 * len(members), get: func(e *evaluator) (any, error) {
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
	}}, nil
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
