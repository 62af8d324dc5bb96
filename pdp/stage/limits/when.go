package limits

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Bounds of what every request that meets the limit is held against.
const (
	maxConditions = 16
	maxValues     = 64 // of one condition
)

// condition is what one attribute must be for a limit to apply. It is immutable.
type condition struct {
	attribute         attribute.Accessor
	is, not, contains set
	present           presence
}

// presence says whether a condition wants the attribute to be there.
type presence uint8

const (
	whatever presence = iota
	wanted
	unwanted
)

// applies reports whether a limit's conditions hold for a request, all of them.
// Whoever could switch a limit off by leaving something out would: where nobody can say whether a condition holds, it
// does. Several values where one is needed cannot be counted, unless another condition says that the limit is not meant.
func (b *binding) applies(f *attribute.Facts) (bool, fault) {
	var wrong fault
	for i := range b.when {
		c := &b.when[i]
		holds, several := c.holds(f)
		if !holds {
			return false, fault{}
		}
		if several {
			wrong = b.fault(verdict.AttributeMany, "%s has no single value", c.attribute)
		}
	}
	return true, wrong
}

// holds reports whether the condition holds, and whether the request has several values where one is needed. Nothing but
// a value that is there and is of the condition's type, or a word on presence, says that it does not.
func (c *condition) holds(f *attribute.Facts) (holds, several bool) {
	if c.attribute.IsList() {
		return c.holdsFor(c.attribute.Members(f)), false
	}
	v, found := c.attribute.Get(f)
	switch found {
	case attribute.Missing:
		return c.present != wanted, false
	case attribute.Ambiguous:
		return true, true
	case attribute.Present:
	}
	switch {
	case c.present == unwanted,
		c.is.kind != noKind && c.is.is(v) == no,
		c.not.kind != noKind && c.not.meets(v) == yes,
		c.contains.kind != noKind && c.contains.meets(v) == no:
		return false, false
	}
	return true, false
}

// holdsFor is holds for the members of a list.
func (c *condition) holdsFor(members []string) bool {
	switch {
	case len(members) == 0:
		return c.present != wanted
	case c.present == unwanted,
		c.not.kind != noKind && c.not.meetsText(members) == yes,
		c.contains.kind != noKind && c.contains.meetsText(members) == no:
		return false
	}
	return true
}

// conditions compiles a definition's `when`, which the parameters of a route are held against later.
func (c *compiler) conditions(d *definition) []condition {
	if len(d.source.When) == 0 {
		if d.source.When != nil {
			c.add(d, ".when", "when has no condition: leave it out, and the limit applies always")
		}
		return nil
	}
	if len(d.source.When) > maxConditions {
		c.add(d, ".when", "when has %d conditions, at most %d are looked at", len(d.source.When), maxConditions)
	}
	out := make([]condition, 0, len(d.source.When))
	for _, name := range slices.Sorted(maps.Keys(d.source.When)) {
		at := ".when." + name
		a, ok := c.single(d, at, name)
		if !ok {
			continue
		}
		w := d.source.When[name]
		made := condition{attribute: a}
		if w.Present != nil {
			made.present = presenceOf(*w.Present)
		}
		if why := made.misread(w.Is, w.Not, w.Contains); why != "" {
			c.add(d, at, "%s", why)
			continue
		}
		made.is = c.values(d, at, w.Is, a)
		made.not = c.values(d, at, w.Not, a)
		made.contains = c.values(d, at, w.Contains, a)
		out = append(out, made)
	}
	return out
}

func presenceOf(present bool) presence {
	if present {
		return wanted
	}
	return unwanted
}

// misread says why the words of a condition, nil where one was not written, do not suit the attribute; "" when they do.
func (c *condition) misread(is, not, contains []any) string {
	name, k := c.attribute.Name(), kindOf(c.attribute)
	compared := is != nil || not != nil || contains != nil
	switch {
	case !compared && c.present == whatever:
		return "a condition is a value, a list of values, or a mapping with is, not, contains or present"
	case compared && c.present == unwanted:
		return "present: false stands alone: what is not there has no value"
	case c.present != whatever && (name == "subject.key" || name == "subject.kind"):
		return name + " is always there; write subject.kind: anonymous for requests without a subject"
	case c.present != whatever && slices.Contains(always, name):
		return name + " is always there"
	case k == instantKind && compared:
		return name + " is a moment, which nothing that can be written down equals; it can be present"
	case k == listKind && is != nil:
		return name + " is a list: write {contains: VALUE}, or {not: VALUES} for none of these"
	case contains != nil && k != listKind && k != claimKind:
		return name + " is a single value, and contains is for lists"
	case len(contains) > 1:
		return "contains takes one value"
	}
	return ""
}

// values compiles the values behind one word of a condition and holds them against the type of the attribute.
func (c *compiler) values(d *definition, at string, values []any, a attribute.Accessor) set {
	if values == nil {
		return set{}
	}
	s, why := newSet(values)
	switch k := kindOf(a); {
	case why != "":
	case len(values) == 0:
		why = "an empty list of values"
	case len(values) > maxValues:
		why = fmt.Sprintf("%d values, at most %d are looked at", len(values), maxValues)
	case k == numberKind && s.kind != numberKind:
		why = a.Name() + " is a number, and nothing else equals it"
	case (k == textKind || k == listKind) && s.kind != textKind:
		why = a.Name() + " is text, which a number, true or false never equals; put the value in quotes"
	default:
		why = unknownWord(a.Name(), s.texts)
	}
	if why != "" {
		c.add(d, at, "%s", why)
	}
	return s
}

// unknownWord finds values that an attribute never has, with which a limit would silently not apply.
func unknownWord(name string, texts []string) string {
	for _, text := range texts {
		switch {
		case name == "request.method" && (text == "" || strings.ToUpper(text) != text):
			return fmt.Sprintf("%q is no method; methods are upper case", text)
		case name == "subject.kind" && !slices.Contains(kinds, text):
			return fmt.Sprintf("subject.kind is %s, not %q", strings.Join(kinds, ", "), text)
		case name == "request.host" && strings.ToLower(text) != text:
			return fmt.Sprintf("%q is no host; hosts are lower case", text)
		case name == "client.address" && !isAddress(text):
			return fmt.Sprintf("%q is no address as client.address writes it", text)
		case name == "client.network" && !isNetwork(text):
			return fmt.Sprintf("%q is no network as client.network writes it", text)
		case text == "":
			return "an empty text; for a value that is missing write {present: false}"
		}
	}
	return ""
}

func isAddress(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && a.Unmap().String() == text
}

// isNetwork reports whether a text names one network of those by which clients are counted.
func isNetwork(text string) bool {
	a, err := netip.ParseAddr(strings.TrimSuffix(text, "/64"))
	return err == nil && request.Network(a) == text
}

var (
	// kinds are the kinds of subjects.
	kinds = []string{subject.KindUser, subject.KindService, subject.KindAnonymous}
	// always are attributes that every request on a route has.
	always = []string{"action", "resource.type", "request.method", "request.path", "request.time", "route.name", "route.service", "route.template"}
)
