package upstream

import (
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// value returns the header's value, "" when the header is to be removed, or the reason to deny. What an anonymous
// subject has is not an identity: its attributes count as missing.
func (h *header) value(f *attribute.Facts) (string, verdict.Reason) {
	v, presence := h.attribute.Get(f)
	if h.attribute.UsesSubject() && f.Subject.IsAnonymous() {
		presence = attribute.Missing
	}
	switch presence {
	case attribute.Present:
		return h.text(v)
	case attribute.Missing:
		return h.missing, ""
	case attribute.Ambiguous:
	}
	return "", verdict.AttributeMany
}

// text writes an attribute as a header's value, if it can be read back in one way only.
func (h *header) text(v attribute.Value) (string, verdict.Reason) {
	text, isText := v.Text()
	if !isText {
		members, ok := v.List()
		if !ok {
			return "", verdict.HeaderUnsafe
		}
		return joinMembers(members)
	}
	// Whether a claim is a list or a text is up to the token, so a claim's text must not pass for a list. Other
	// attributes are one or the other, and a text with commas is a text.
	mayBeList := strings.HasPrefix(h.attribute.Name(), "claims.")
	switch {
	case text == "":
		return "", ""
	case !visible(text) || len(text) > maxValue || mayBeList && strings.IndexByte(text, ',') >= 0:
		return "", verdict.HeaderUnsafe
	}
	return text, ""
}

// joinMembers writes a list, whose members must not look like several or like none.
func joinMembers(members []string) (string, verdict.Reason) {
	size := -1 // one comma less than members
	for _, m := range members {
		size += len(m) + 1
		if size > maxValue || !visible(m) || strings.IndexByte(m, ',') >= 0 {
			return "", verdict.HeaderUnsafe
		}
	}
	return strings.Join(members, ","), ""
}

// visible accepts visible ASCII with spaces inside. Spaces at the ends are refused because parsers trim them:
// "alice " would arrive as alice.
func visible(s string) bool {
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
