// Package attribute gives dotted names ("subject.tenant", "params.id") to what is known about a request, and
// compiles each name once, at load, into an accessor.
//
// The same names work in policies, limit keys, upstream headers and explanations. The package imports request,
// route and subject; the pipeline and the stages import it. It reads facts and never judges them.
package attribute

import (
	"encoding/json"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
)

// Facts are what is known about one request while it is decided.
type Facts struct {
	// Request is the request as the adapter normalised it.
	Request *request.Request
	// Match is the request's service, route, parameters and canonical path.
	Match route.Match
	// Subject is anonymous until identity establishes one.
	Subject subject.Subject
	// Action is the route's action, or the method.
	Action string
	// Resource is what the route acts on.
	Resource Resource
	// Now is the instant of the decision, by the engine's clock.
	Now time.Time
}

// Resource is what a request acts on. An empty field is missing.
type Resource struct {
	Type, ID   string
	Properties map[string]string
}

// Presence says whether an attribute has one value.
type Presence uint8

const (
	// Missing is the zero value: there is no value. It is not the same as an empty one.
	Missing Presence = iota
	// Present means that there is exactly one value.
	Present
	// Ambiguous means that the request holds several values where one is needed.
	Ambiguous
)

// Value is an attribute's value: a string, a number, a boolean, an instant, a list of strings, or an object.
type Value struct {
	// v is float64, bool, time.Time, []string, []any or map[string]any; a string stands in text, so that it is not boxed.
	v      any
	text   string
	isText bool
}

// Of wraps a value: string, float64, bool, time.Time, []string, []any or map[string]any.
func Of(v any) Value {
	if s, isText := v.(string); isText {
		return OfText(s)
	}
	return Value{v: v}
}

// OfText wraps a string, without an allocation.
func OfText(s string) Value { return Value{text: s, isText: true} }

// IsText reports whether the value is a string.
func (v Value) IsText() bool { return v.isText }

// Any returns the wrapped value; lists of strings come as []any, instants as Unix seconds, so that a matcher can compare them.
func (v Value) Any() any {
	if v.isText {
		return v.text
	}
	switch x := v.v.(type) {
	case []string:
		out := make([]any, len(x))
		for i, s := range x {
			out[i] = s
		}
		return out
	case time.Time:
		return float64(x.Unix())
	}
	return v.v
}

// Text returns the value as a string; false for lists and objects, which have no single text.
func (v Value) Text() (string, bool) {
	if v.isText {
		return v.text, true
	}
	switch x := v.v.(type) {
	case bool:
		if x {
			return "true", true
		}
		return "false", true
	case float64:
		return formatNumber(x), true
	case json.Number: // a claim that a float64 would round
		return x.String(), true
	case time.Time:
		return x.UTC().Format(time.RFC3339), true
	}
	return "", false
}

// List returns the value as strings: a list's members, or the one text of a scalar; false for objects and for
// lists that hold anything but scalars.
func (v Value) List() ([]string, bool) {
	switch x := v.v.(type) {
	case []string:
		return x, true
	case []any:
		out := make([]string, 0, len(x))
		for _, member := range x {
			s, ok := Of(member).Text()
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	s, ok := v.Text()
	if !ok {
		return nil, false
	}
	return []string{s}, true
}
