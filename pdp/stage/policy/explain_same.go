package policy

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// sameName stands for a policy's name where a route's same denies.
const sameName = "same"

// sameDetail names the attributes that had to be the same, and none of their values.
func sameDetail(accessors []attribute.Accessor, reason verdict.Reason) string {
	names := make([]string, len(accessors))
	for i := range accessors {
		names[i] = accessors[i].Name()
	}
	switch list := strings.Join(names, ", "); reason {
	case verdict.SameMismatch:
		return "same: " + list + " differ"
	case verdict.AttributeMissing:
		return "same: one of " + list + " is missing"
	default:
		return "same: " + list + " cannot be compared"
	}
}

// addSame explains a denial because attributes are not the same.
func (q *inquiry) addSame(f *attribute.Facts, accessors []attribute.Accessor) {
	if q.wanted == request.ExplainNone {
		return
	}
	var miss verdict.NearMiss
	first, firstError := sameValue(f, accessors[0])
	for _, a := range accessors[1:] {
		text, message := sameValue(f, a)
		c := verdict.Condition{Text: accessors[0].Name() + " == " + a.Name(), Wanted: shown(first), Got: shown(text), Error: firstError}
		if c.Error == "" {
			c.Error = message
		}
		if c.Holds = c.Error == "" && first == text; !c.Holds {
			miss.Failed++
		}
		miss.Conditions = append(miss.Conditions, c)
	}
	q.answers = append(q.answers, response{explanation: &verdict.PolicyExplanation{Policy: sameName, Misses: []verdict.NearMiss{miss}}})
}

// sameValue returns the value of an attribute, or why it has none.
func sameValue(f *attribute.Facts, a attribute.Accessor) (text, message string) {
	value, presence := a.Get(f)
	switch presence {
	case attribute.Present:
	case attribute.Ambiguous:
		return "", "attribute " + a.Name() + " is ambiguous"
	default:
		return "", "attribute " + a.Name() + " is missing"
	}
	text, isText := value.Text()
	if !isText {
		return "", "attribute " + a.Name() + " is no single value"
	}
	return text, ""
}
