package policy

import (
	"fmt"
	"strings"

	"github.com/casbin/govaluate"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// literal is a string literal of an expression as it was written.
type literal struct {
	text string
	// offset is where the literal begins, with its quote.
	offset int
}

// literals finds the string literals of an expression. message is not empty when one does not end, or holds the other
// kind of quote, which ends it for the lexer.
func literals(text string) (found []literal, message string, offset int) {
	for i := 0; i < len(text); i++ {
		if text[i] != '\'' && text[i] != '"' {
			continue
		}
		length := strings.IndexByte(text[i+1:], text[i])
		if length < 0 {
			return found, "the string literal does not end", i
		}
		inside := text[i+1 : i+1+length]
		if strings.ContainsAny(inside, `'"`) {
			return found, "a quote inside a string literal ends it, whichever of the two kinds it is", i
		}
		found = append(found, literal{text: inside, offset: i})
		i += length + 1
	}
	return found, "", 0
}

// checkLiterals refuses literals that casbin's parser rewrites, cuts or takes for something else.
func checkLiterals(d *definition) format.Problems {
	found, message, offset := literals(d.value)
	if message != "" {
		return format.Problems{d.problem(offset, message)}
	}
	var problems format.Problems
	for _, l := range found {
		if message := refuseLiteral(l.text); message != "" {
			problems = append(problems, d.problem(l.offset, message))
		}
		if strings.ContainsAny(l.text, "[]") && strings.Contains(d.value, "in") {
			problems = append(problems, d.problem(l.offset, `Casbin turns [ ] into ( ) in a matcher that holds the letters "in": put the pattern into a rule`))
		}
	}
	return problems
}

// refuseLiteral says what is wrong with a literal wherever it stands, or "".
func refuseLiteral(text string) string {
	if strings.Contains(text, `\`) {
		return `a backslash in a string literal does not mean the same everywhere in Casbin: put the pattern into a rule`
	}
	expression, err := govaluate.NewEvaluableExpression("'" + text + "'")
	if err != nil || len(expression.Tokens()) != 1 {
		return "the string literal cannot be read"
	}
	if expression.Tokens()[0].Kind == govaluate.TIME {
		return fmt.Sprintf("%q looks like a date, which Casbin turns into a number", printable(text))
	}
	return ""
}

// sameLiterals reports the first literal that is not among the tokens as it was written: casbin's parser turns r. and p.
// into r_ and p_ inside literals too.
func sameLiterals(written []literal, tokens []govaluate.ExpressionToken) (changed literal, same bool) {
	i := 0
	for _, token := range tokens {
		var text string
		switch token.Kind {
		case govaluate.STRING:
			text, _ = token.Value.(string)
		case govaluate.PATTERN:
			text = fmt.Sprint(token.Value)
		default:
			continue
		}
		if i >= len(written) {
			return literal{}, false
		}
		if written[i].text != text {
			return written[i], false
		}
		i++
	}
	return literal{}, i == len(written)
}
