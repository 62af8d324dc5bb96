package policy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/casbin/govaluate"
)

// maxAlternatives bounds the alternatives that parentheses are multiplied out to.
const maxAlternatives = 16

// program is a compiled expression: alternatives of which one must hold, each of conditions that must all hold.
// What does not have that form runs in govaluate, on operands of ours.
type program struct {
	alternatives [][]operand
	expression   *govaluate.EvaluableExpression
	operands     []operand
	cost         int
	// source is the expression as its author wrote it, but for blanks.
	source string
}

// value evaluates the program.
func (p *program) value(e *evaluator) (any, error) {
	if p.expression != nil {
		return p.expression.Eval(&parameters{evaluator: e, operands: p.operands})
	}
	if len(p.alternatives) == 1 && len(p.alternatives[0]) == 1 {
		return p.alternatives[0][0].get(e)
	}
	for _, conditions := range p.alternatives {
		holds, err := all(e, conditions)
		if holds || err != nil {
			return holds, err
		}
	}
	return false, nil
}

func all(e *evaluator, conditions []operand) (bool, error) {
	for i := range conditions {
		v, err := conditions[i].get(e)
		if err != nil {
			return false, err
		}
		holds, isBool := v.(bool)
		if !isBool {
			return false, errType
		}
		if !holds {
			return false, nil
		}
	}
	return true, nil
}

// parameters hand a program's operands to govaluate, which knows them by their numbers.
type parameters struct {
	evaluator *evaluator
	operands  []operand
}

// Get implements govaluate.Parameters.
func (p *parameters) Get(name string) (any, error) {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || n >= len(p.operands) {
		return nil, errType
	}
	return p.operands[n].get(p.evaluator)
}

// program builds a program from tokens.
func (c *compiler) program(tokens []govaluate.ExpressionToken) (*program, error) {
	if len(arguments(tokens)) > 1 {
		return nil, refuse("", "a list stands where a value is expected")
	}
	folded, err := c.fold(tokens)
	if err != nil {
		return nil, err
	}
	pieces := split(folded)
	if len(pieces) == 1 && len(pieces[0]) == 1 {
		if _, simple := c.operandOf(folded[0]); !simple || len(folded) > 1 {
			return c.expression(folded)
		}
	}
	p := &program{source: c.source(folded)}
	for _, conditions := range pieces {
		alternatives, err := c.conjunction(conditions)
		if err != nil {
			return nil, err
		}
		p.alternatives = append(p.alternatives, alternatives...)
	}
	for _, conditions := range p.alternatives {
		for i := range conditions {
			p.cost += conditions[i].cost
		}
	}
	return p, nil
}

// split splits folded tokens at || and those at &&. What holds a ternary stays whole: it binds less tightly.
func split(tokens []govaluate.ExpressionToken) [][][]govaluate.ExpressionToken {
	whole := [][][]govaluate.ExpressionToken{{tokens}}
	pieces := [][][]govaluate.ExpressionToken{{}}
	from := 0
	for i := 0; i <= len(tokens); i++ {
		if i < len(tokens) && tokens[i].Kind == govaluate.TERNARY {
			return whole
		}
		if i < len(tokens) && tokens[i].Kind != govaluate.LOGICALOP {
			continue
		}
		if i == from {
			return whole // govaluate says what is wrong
		}
		last := len(pieces) - 1
		pieces[last] = append(pieces[last], tokens[from:i])
		if from = i + 1; i < len(tokens) && tokens[i].Value == "||" {
			pieces = append(pieces, nil)
		}
	}
	return pieces
}

// conjunction returns the alternatives that conditions joined by && have once their parentheses are multiplied out,
// where that changes neither the answer nor which conditions are evaluated with an error.
func (c *compiler) conjunction(pieces [][]govaluate.ExpressionToken) ([][]operand, error) {
	alternatives := [][]operand{nil}
	for i, piece := range pieces {
		o, simple := c.operandOf(piece[0])
		if !simple || len(piece) > 1 {
			p, err := c.expression(piece)
			if err != nil {
				return nil, err
			}
			o = p.operand()
		}
		inner := [][]operand{{o}}
		if o.atom == nil && o.group != nil && len(alternatives)*len(o.group.alternatives) <= maxAlternatives &&
			(len(o.group.alternatives) == 1 || i == len(pieces)-1 || !o.fails && !o.refuses) {
			inner = o.group.alternatives
		}
		var product [][]operand
		for _, before := range alternatives {
			for _, after := range inner {
				product = append(product, append(before[:len(before):len(before)], after...))
			}
		}
		alternatives = product
	}
	return alternatives, nil
}

// expression builds a program that runs in govaluate.
func (c *compiler) expression(tokens []govaluate.ExpressionToken) (*program, error) {
	expression, err := govaluate.NewEvaluableExpressionFromTokens(tokens)
	if err != nil {
		return nil, refuse("", "the expression cannot be read: %s", c.explain(err))
	}
	return &program{expression: expression, operands: c.operands, cost: 100 * len(tokens), source: c.source(tokens)}, nil
}

// operand returns the program as an operand.
func (p *program) operand() operand {
	if p.expression == nil && len(p.alternatives) == 1 && len(p.alternatives[0]) == 1 {
		return p.alternatives[0][0]
	}
	o := operand{get: p.value, column: -1, fromRequest: true, cost: p.cost, source: "(" + p.source + ")"}
	if p.expression != nil {
		o.reads(p.operands)
		o.fails = true
		return withAtom(o, nil)
	}
	o.kind, o.group = kindBool, p
	for _, conditions := range p.alternatives {
		o.reads(conditions)
	}
	return withAtom(o, anyAtom(p.alternatives))
}

// sub compiles a part of an expression into an operand.
func (c *compiler) sub(tokens []govaluate.ExpressionToken) (operand, error) {
	if len(tokens) == 0 {
		return operand{}, refuse("", "nothing stands between the parentheses")
	}
	outer := c.operands
	c.operands = nil
	p, err := c.program(tokens)
	c.operands = outer
	if err != nil {
		return operand{}, err
	}
	return p.operand(), nil
}

// source writes folded tokens as their author wrote them, but for blanks.
func (c *compiler) source(tokens []govaluate.ExpressionToken) string {
	var b strings.Builder
	for i, token := range tokens {
		if i > 0 && tokens[i-1].Kind != govaluate.PREFIX {
			b.WriteByte(' ')
		}
		if o, simple := c.operandOf(token); simple {
			b.WriteString(o.source)
			continue
		}
		if pattern, isPattern := token.Value.(*regexp.Regexp); isPattern {
			b.WriteString(sourceOf(pattern.String()))
			continue
		}
		fmt.Fprint(&b, token.Value)
	}
	return b.String()
}
