package policy

import (
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
)

// What can go wrong while an expression is evaluated. None carries text of the request.
var (
	errMissing   = errors.New("an attribute is missing")
	errAmbiguous = errors.New("an attribute is ambiguous")
	errUnlike    = errors.New("two values of different types are compared")
	errType      = errors.New("a value has the wrong type")
	errArgument  = errors.New("a function was called with a value that it cannot take")
	errPanic     = errors.New("the evaluation failed")
)

// kind is the type of a value as far as it is known when a policy is loaded.
type kind uint8

const (
	kindUnknown kind = iota
	kindText
	kindNumber
	kindBool
	kindList
	kindObject
)

var kindNames = [...]string{"a value of unknown type", "a string", "a number", "a boolean", "a list", "an object"}

func (k kind) String() string { return kindNames[k] }

// kindOf returns the type of a value that the matcher can meet.
func kindOf(v any) kind {
	switch v.(type) {
	case string:
		return kindText
	case float64:
		return kindNumber
	case bool:
		return kindBool
	case []any:
		return kindList
	case map[string]any:
		return kindObject
	}
	return kindUnknown
}

// operand is a part of an expression that has a value of its own.
type operand struct {
	get  func(e *evaluator) (any, error)
	kind kind
	// column is the field of p that the operand is, or -1; slot is that of the attribute that it is, and one more, or 0.
	column, slot int
	// columns are the fields of p that the value depends on.
	columns columnSet
	// fromRequest is set when the request has a part in the value; attribute is the name of the attribute it is.
	fromRequest bool
	attribute   string
	// field is the name of the field of r that the operand reads, if it reads one.
	field string
	// constant is the value of a literal, else nil.
	constant any
	// source is the operand as its author wrote it, but for blanks.
	source string
	// atom says what kind of condition it is; nil where tools cannot look into it.
	atom *atom
	// readsRequest and readsRule say what the value depends on. fails is set when its evaluation can fail where casbin's
	// may, refuses when it can fail where casbin has an answer.
	readsRequest, readsRule, fails, refuses bool
	// textList is set for a list that holds a string.
	textList bool
	// group is the expression in the parentheses that the operand stands for, if it has the form of alternatives.
	group *program
	// cost is an estimate of what one evaluation takes, in nanoseconds.
	cost int
}

func constantOperand(v any) operand {
	return operand{kind: kindOf(v), column: -1, constant: v, cost: 2, source: sourceOf(v), get: func(*evaluator) (any, error) { return v, nil }}
}

// sourceOf writes a literal.
func sourceOf(v any) string {
	switch x := v.(type) {
	case string:
		return `"` + x + `"`
	case []any:
		members := make([]string, len(x))
		for i := range x {
			members[i] = sourceOf(x[i])
		}
		return "(" + strings.Join(members, ", ") + ")"
	}
	return fmt.Sprint(v)
}

func fieldOperand(column int, name string) operand {
	return operand{kind: kindText, column: column, cost: 3, source: "p." + name, readsRule: true, columns: columnsOf(column),
		get: func(e *evaluator) (any, error) { return e.rule.value(column), nil }}
}

// slotOperand reads an attribute, once per decision.
func slotOperand(slot int, o operand) operand {
	o.column, o.slot, o.fromRequest, o.readsRequest, o.cost = -1, slot+1, true, true, 5
	o.get = func(e *evaluator) (any, error) { return e.slot(slot) }
	return o
}

// kindOfAttribute returns the type of an attribute; unknown for claims, which hold what the issuer put there.
func kindOfAttribute(a attribute.Accessor, hasDefault bool) kind {
	k := kindText
	switch name := a.Name(); {
	case a.IsObject():
		return kindObject
	case len(name) > 7 && name[:7] == "claims.":
		return kindUnknown
	default:
		switch name {
		case "subject.roles", "subject.scopes", "subject.amr", "client.certificate.sans":
			k = kindList
		case "subject.auth_time", "request.size", "request.time":
			k = kindNumber
		}
	}
	if hasDefault && k != kindText {
		return kindUnknown // the default is a string
	}
	return k
}

// columnSet is a set of fields of p. Fields beyond the 62nd count as several.
type columnSet uint64

func columnsOf(column int) columnSet {
	if column >= 62 {
		return 3 << 62
	}
	return 1 << column
}

// only returns the one field of a set; false when there are none or several.
func (s columnSet) only() (column int, single bool) {
	return bits.TrailingZeros64(uint64(s)), bits.OnesCount64(uint64(s)) == 1
}

// slot is the value of an attribute in one decision. A string is boxed when an expression wants it so.
type slot struct {
	value  any
	text   string
	isText bool
	err    error
	read   bool
}

// slotOf returns a slot that has been read.
func slotOf(value any) slot {
	text, isText := value.(string)
	return slot{value: value, text: text, isText: isText, read: true}
}

// slot returns the value of an attribute and remembers it.
func (e *evaluator) slot(i int) (any, error) {
	s := e.read(i)
	if s.isText && s.value == nil {
		s.value = s.text
	}
	return s.value, s.err
}

// read reads an attribute, once per decision.
func (e *evaluator) read(i int) *slot {
	s := &e.slots[i]
	if s.read {
		return s
	}
	s.read = true
	v, presence := e.policy.accessors[i].Get(e.facts)
	switch {
	case presence == attribute.Ambiguous:
		s.err = errAmbiguous
	case presence != attribute.Present:
		s.err = errMissing
	case v.IsText():
		s.text, s.isText = v.Text()
	default:
		s.value, s.err = matcherValue(v.Any())
	}
	return s
}

// matcherValue turns a value into one of the types that expressions know. A JSON null is a missing attribute, and a
// number that a float64 cannot tell from its neighbours cannot be compared.
func matcherValue(v any) (any, error) {
	switch v.(type) {
	case nil:
		return nil, errMissing
	case string, float64, bool, map[string]any, []any:
		return v, nil
	}
	return nil, errType // among them json.Number
}

// equal compares as Casbin does, except that values of different types are an error and not merely unequal.
func equal(a, b any) (bool, error) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return x == y, nil
		}
	case float64:
		if y, ok := b.(float64); ok {
			return x == y, nil
		}
	case bool:
		if y, ok := b.(bool); ok {
			return x == y, nil
		}
	case []any:
		if y, ok := b.([]any); ok {
			return reflect.DeepEqual(x, y), nil
		}
	}
	return false, errUnlike
}

// ordered reports whether a is before b, and whether they are equal.
func ordered(a, b any) (less, same bool, err error) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return x < y, x == y, nil
		}
	case float64:
		if y, ok := b.(float64); ok {
			return x < y, x == y, nil
		}
	}
	return false, false, errUnlike
}

// isMember reports whether a is in a list. Members of other types are not equal to it; a list of none but other types
// is an error, as in equal.
func isMember(a any, members []any) (bool, error) {
	k := kindOf(a)
	if k != kindText && k != kindNumber && k != kindBool {
		return false, errUnlike
	}
	alike := len(members) == 0
	for _, member := range members {
		if kindOf(member) != k {
			continue
		}
		alike = true
		if a == member {
			return true, nil
		}
	}
	if !alike {
		return false, errUnlike
	}
	return false, nil
}
