package limits

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
)

// kind is the type of an attribute, or of the values that it is held against.
type kind uint8

const (
	noKind kind = iota
	textKind
	numberKind
	truthKind   // only claims have it
	listKind    // of texts
	instantKind // never equal to anything that can be written down
	claimKind   // of any type: the token says which
)

// kindOf returns the type of an attribute that is no whole object.
func kindOf(a attribute.Accessor) kind {
	switch name := a.Name(); {
	case a.IsList():
		return listKind
	case strings.HasPrefix(name, "claims."):
		return claimKind
	case name == "request.size":
		return numberKind
	case name == "request.time", name == "subject.auth_time":
		return instantKind
	}
	return textKind
}

// maxNumber is the largest number in a condition: above it the numbers of tokens are not rounded, and so never equal one.
const maxNumber = 1<<53 - 1

// set holds values of one type, as an author wrote them. It is immutable. The zero set is none that was written.
type set struct {
	kind    kind
	texts   []string
	numbers []float64
	truths  []bool
}

// newSet returns the set of values, or what is wrong with them.
func newSet(values []any) (set, string) {
	var s set
	for _, v := range values {
		var k kind
		switch x := v.(type) {
		case string:
			k, s.texts = textKind, append(s.texts, x)
		case int64:
			if x > maxNumber || x < -maxNumber {
				return set{}, fmt.Sprintf("a number is at most %d here", int64(maxNumber))
			}
			k, s.numbers = numberKind, append(s.numbers, float64(x))
		case bool:
			k, s.truths = truthKind, append(s.truths, x)
		default:
			return set{}, "a number is a whole number here"
		}
		if s.kind != noKind && s.kind != k {
			return set{}, "values of one type are compared: all texts, all numbers, or true and false"
		}
		s.kind = k
	}
	return s, ""
}

// answer says whether a value is in a set. The zero answer is no.
type answer uint8

const (
	no answer = iota
	yes
	unlike // another type than the set's: nobody can say
)

// hasText is has for a text.
func (s *set) hasText(text string) answer {
	if s.kind != textKind {
		return unlike
	}
	return answerOf(slices.Contains(s.texts, text))
}

// has says whether a value of a claim is in the set.
func (s *set) has(value any) answer {
	switch v := value.(type) {
	case string:
		return s.hasText(v)
	case float64:
		if s.kind == numberKind {
			return answerOf(slices.Contains(s.numbers, v))
		}
	case json.Number: // beyond maxNumber
		if s.kind == numberKind {
			return no
		}
	case bool:
		if s.kind == truthKind {
			return answerOf(slices.Contains(s.truths, v))
		}
	}
	return unlike
}

func answerOf(in bool) answer {
	if in {
		return yes
	}
	return no
}

// is says whether a value that is there is in the set. A list is not.
func (s *set) is(v attribute.Value) answer {
	if v.IsText() {
		text, _ := v.Text()
		return s.hasText(text)
	}
	return s.has(v.Any())
}

// meets says whether the set holds a value that is there, or a member of it where it is a list.
func (s *set) meets(v attribute.Value) answer {
	if v.IsText() {
		return s.is(v)
	}
	members, isList := v.Any().([]any)
	if !isList {
		return s.is(v)
	}
	found := no
	for _, member := range members {
		switch s.has(member) {
		case yes:
			return yes
		case unlike:
			found = unlike
		case no:
		}
	}
	return found
}

// meetsText is meets for a list of texts.
func (s *set) meetsText(members []string) answer {
	return answerOf(slices.ContainsFunc(members, func(member string) bool { return s.hasText(member) == yes }))
}
