package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const (
	// maxShown is the longest text of a value, maxShownRule that of a rule or a condition, in bytes.
	maxShown     = 200
	maxShownRule = 400
)

// sourceName finds the fields in a condition's text.
var sourceName = regexp.MustCompile(`\b[rp]\.[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*`)

// shown makes a value readable on one line, whatever it is, and cuts it.
func shown(s string) string { return cut(s, maxShown) }

func cut(s string, limit int) string {
	s = shorten(s, limit)
	clean := strings.ToValidUTF8(s, "\uFFFD") == s
	if clean && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return shorten(quoted[1:len(quoted)-1], limit)
}

// describe says what a condition wants and got for a rule.
func (s *search) describe(c *condition, rule ruleRef) verdict.Condition {
	out := verdict.Condition{Text: cut(c.operand.source, maxShownRule)}
	out.Holds = s.check(c, rule.row) == holds
	s.e.rule = rule
	if _, err := c.value(s.e); err != nil {
		out.Error = s.errorText(c, rule, err)
	}
	if a := c.operand.atom; a != nil && a.kind != atomRequest {
		out.Wanted, out.Got = s.describeAtom(a, rule)
		return out
	}
	out.Wanted, out.Got = s.describeText(c.operand, rule)
	return out
}

func (s *search) describeAtom(a *atom, rule ruleRef) (wanted, got string) {
	text := rule.text(a.column)
	switch a.kind {
	case atomAny:
		return s.describeAny(a, rule)
	case atomConstant:
		return shown(a.constant), shown(text)
	case atomRole:
		wanted = "member of " + shown(text)
		if a.relation.arity == 3 {
			if domain, err := textOf(s.e, a.domain); err == nil {
				wanted += " in " + shown(domain)
			}
		}
		if w, _, err := s.asked(a); err == nil {
			got = w.list()
		}
		return wanted, got
	default:
		if v, err := a.request.get(s.e); err == nil {
			got = attributeText(a.request.attribute, v)
		}
		return shown(text), got
	}
}

// describeAny describes alternatives: each that the request has a part in.
func (s *search) describeAny(a *atom, rule ruleRef) (wanted, got string) {
	var wants, gots []string
	for i := range a.any {
		if a.any[i].kind == atomConstant {
			continue
		}
		want, have := s.describeAtom(&a.any[i], rule)
		if len(wants) == 0 || wants[len(wants)-1] != want {
			wants = append(wants, want)
		}
		if len(gots) == 0 || gots[len(gots)-1] != have {
			gots = append(gots, have)
		}
	}
	return cut(strings.Join(wants, " or "), maxShownRule), cut(strings.Join(gots, ", "), maxShownRule)
}

// describeText describes a condition of any form: as it reads for this rule, and the attributes that it names.
func (s *search) describeText(o *operand, rule ruleRef) (wanted, got string) {
	var parts []string
	seen := map[string]bool{}
	wanted = sourceName.ReplaceAllStringFunc(s.written(o, rule), func(name string) string {
		if column := s.column(name); column >= 0 {
			return strconv.Quote(rule.text(column))
		}
		if text, found := s.read(name); found && !seen[name] {
			parts = append(parts, name+" = "+text)
		}
		seen[name] = true
		return name
	})
	return cut(wanted, maxShownRule), cut(strings.Join(parts, ", "), maxShownRule)
}

// written returns the text of a condition; for eval that of the rule's own expression.
func (s *search) written(o *operand, rule ruleRef) string {
	if field, isEval := strings.CutPrefix(o.source, "eval("); isEval {
		if column := s.column(strings.TrimSuffix(field, ")")); column >= 0 {
			return rule.text(column)
		}
	}
	return o.source
}

// column returns the field of p of a name such as p.obj, or -1.
func (s *search) column(name string) int {
	field, isRule := strings.CutPrefix(name, "p.")
	if !isRule {
		return -1
	}
	return index(s.policy.fields, field)
}

// read returns the value of a name such as r.obj for people to read.
func (s *search) read(name string) (text string, found bool) {
	slot, found := s.policy.sources[name]
	if !found {
		return "", false
	}
	v, err := s.e.slot(slot)
	if err != nil {
		return "(" + s.slotError(slot, err) + ")", true
	}
	return attributeText(s.policy.accessors[slot].Name(), v), true
}

// attributeText returns the value of an attribute for people to read, but no credential: answers end up in logs and tickets.
func attributeText(name string, v any) string {
	if holdsCredential(name) {
		return "(a credential)"
	}
	return valueText(v)
}

func holdsCredential(attribute string) bool {
	if name, isHeader := strings.CutPrefix(attribute, "request.header."); isHeader {
		return request.MayHoldCredential(name)
	}
	if name, isQuery := strings.CutPrefix(attribute, "request.query."); isQuery {
		return request.MayHoldCredentialInQuery(name)
	}
	name, isParam := strings.CutPrefix(attribute, "params.")
	return isParam && request.MayHoldCredential(name)
}

// valueText returns a value of the matcher for people to read.
func valueText(v any) string {
	switch x := v.(type) {
	case string:
		return shown(x)
	case []any:
		var members []string
		for _, member := range x[:min(len(x), maxListed)] {
			members = append(members, valueText(member))
		}
		return cut(strings.Join(members, ", "), maxShown)
	case map[string]any:
		return "(an object)"
	}
	return shown(fmt.Sprint(v))
}

// errorText says why a condition cannot be evaluated, without text of the request.
func (s *search) errorText(c *condition, rule ruleRef, err error) string {
	for _, name := range sourceName.FindAllString(s.written(c.operand, rule), -1) {
		if slot, found := s.policy.sources[name]; found {
			if _, slotErr := s.e.slot(slot); slotErr != nil {
				return s.slotError(slot, slotErr)
			}
		}
	}
	if a := c.operand.atom; a != nil && a.kind == atomRole && a.relation.tokens != nil && a.relation.arity == 3 && errors.Is(err, errMissing) {
		return "attribute " + a.relation.tokens.domain.Name() + " is missing"
	}
	return failed(err, ruleRef{}).failure.Error()
}

// slotError says what is wrong with an attribute.
func (s *search) slotError(slot int, err error) string {
	name := s.policy.accessors[slot].Name()
	switch {
	case errors.Is(err, errMissing):
		return "attribute " + name + " is missing"
	case errors.Is(err, errAmbiguous):
		return "attribute " + name + " is ambiguous"
	}
	return "attribute " + name + ": " + failed(err, ruleRef{}).failure.Error()
}
