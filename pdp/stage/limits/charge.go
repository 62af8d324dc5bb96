package limits

import (
	"fmt"
	"strconv"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// part is what the stage knows of a service. It is immutable.
type part struct {
	routes []routeLimits // by the route's index
	infos  []Info
}

// routeLimits are the limits of one route: all, those that the gate takes, and the others.
type routeLimits struct {
	all, gate, take []*binding
}

// binding is a limit on a route.
type binding struct {
	// limit is the one for all requests, or with classes, which classOf tells apart, the one for those in none.
	limit   *ratelimiter.Limit
	classes []class
	classOf attribute.Accessor
	// when are the conditions under which the limit applies.
	when []condition

	keys ratelimiter.KeySpace
	by   []keyPart
	// distinct, if not nil, is the attribute whose different values are counted.
	distinct *keyPart
	// cost is the number of units; costOf, if valid, is the attribute that holds it instead.
	cost   int64
	costOf attribute.Accessor
	// expires is set for a limit on concurrency whose permits may just expire.
	expires bool
	// gate is set where the gate takes the limit; late where key, cost, class or conditions are known only after identity.
	gate, late bool
}

// keyPart is one attribute that a limit counts by, or whose values it counts.
type keyPart struct {
	attribute attribute.Accessor
	missing   missing
}

// missing is what a missing attribute does. The zero value denies.
type missing uint8

const (
	missingDenies missing = iota
	missingSkips          // the limit does not apply
	missingShares         // all requests without the attribute share a counter, or count as one value
)

// fault is why a request cannot be counted; the zero fault is none. The detail names attributes, never values.
type fault struct {
	reason        verdict.Reason
	limit, detail string
}

func (f fault) is() bool { return f.reason != "" }

// known returns the charges of the limits that the gate only looks at. What cannot be counted yet is left to Take.
func (r *routeLimits) known(f *attribute.Facts) []ratelimiter.Charge {
	var charges []ratelimiter.Charge
	for _, b := range r.take {
		if b.late {
			continue
		}
		if c, applies, wrong := b.charge(f); applies && !wrong.is() {
			charges = append(charges, c)
		}
	}
	return charges
}

// charge returns the charges of the limits that apply, or why the request cannot be counted.
func charge(f *attribute.Facts, bindings []*binding) ([]ratelimiter.Charge, fault) {
	if len(bindings) == 0 {
		return nil, fault{}
	}
	charges := make([]ratelimiter.Charge, 0, len(bindings))
	for _, b := range bindings {
		c, applies, wrong := b.charge(f)
		switch {
		case wrong.is() && !b.limit.Definition().Shadow: // a shadow never blocks
			return nil, wrong
		case applies && !wrong.is():
			charges = append(charges, c)
		}
	}
	return charges, fault{}
}

// charge returns the counter and the cost of a request, whether the limit applies to it, and why it cannot be counted.
func (b *binding) charge(f *attribute.Facts) (c ratelimiter.Charge, applies bool, wrong fault) {
	if applies, wrong = b.applies(f); !applies || wrong.is() {
		return c, applies, wrong
	}
	limit, wrong := b.choose(f)
	if wrong.is() {
		return c, true, wrong
	}
	var buffer [8]ratelimiter.Value
	values := buffer[:0]
	for i := range b.by {
		v, applies, wrong := b.value(&b.by[i], f)
		if !applies || wrong.is() {
			return c, applies, wrong
		}
		values = append(values, v)
	}
	if b.distinct != nil {
		v, applies, wrong := b.value(b.distinct, f)
		if !applies || wrong.is() {
			return c, applies, wrong
		}
		c.Member = v.Member()
	}
	cost, wrong := b.units(f, limit)
	if wrong.is() {
		return c, true, wrong
	}
	if limit.Algorithm() == ratelimiter.Concurrency && !b.expires && !f.Request.Releases {
		return c, true, fault{verdict.PermitsUnsupported, limit.Definition().Name, "the caller does not give permits back, and the limit does not say without_release: expire"}
	}
	c.Limit, c.Key, c.Cost = limit, b.keys.Key(values...), cost
	return c, true, fault{}
}

// value returns what the limit counts by, whether it applies to the request, and why it cannot be counted.
func (b *binding) value(k *keyPart, f *attribute.Facts) (v ratelimiter.Value, applies bool, wrong fault) {
	text, presence := read(k.attribute, f)
	switch {
	case presence == attribute.Present:
		return ratelimiter.Value{Text: text}, true, fault{}
	case presence == attribute.Ambiguous:
		return v, true, b.fault(verdict.AttributeMany, "%s has no single value", k.attribute)
	case k.missing == missingSkips:
		return v, false, fault{}
	case k.missing == missingShares:
		return ratelimiter.Value{Missing: true}, true, fault{}
	}
	return v, true, b.fault(verdict.AttributeMissing, "%s is missing", k.attribute)
}

// read returns an attribute's value as text. Nobody vouches for an anonymous subject: it has no key to count by, so
// that `missing` decides, and not the name that all strangers share.
func read(a attribute.Accessor, f *attribute.Facts) (string, attribute.Presence) {
	if a.UsesSubject() && f.Subject.IsAnonymous() {
		return "", attribute.Missing
	}
	value, presence := a.Get(f)
	if presence != attribute.Present {
		return "", presence
	}
	text, ok := value.Text()
	if !ok { // a list or an object
		return "", attribute.Ambiguous
	}
	return text, attribute.Present
}

// units returns the cost of a request. A request costs at least one unit: an attribute that clients choose must not
// switch the limit off.
func (b *binding) units(f *attribute.Facts, limit *ratelimiter.Limit) (int64, fault) {
	if !b.costOf.Valid() {
		return b.cost, fault{}
	}
	text, presence := read(b.costOf, f)
	switch presence {
	case attribute.Missing:
		return 0, b.fault(verdict.AttributeMissing, "the cost %s is missing", b.costOf)
	case attribute.Ambiguous:
		return 0, b.fault(verdict.AttributeMany, "the cost %s has no single value", b.costOf)
	case attribute.Present:
	}
	cost, ok := whole(text)
	d := limit.Definition()
	switch {
	case !ok:
		return 0, b.fault(verdict.CostInvalid, "the cost %s is not a whole number", b.costOf)
	case cost > d.Burst && d.Shadow:
		return min(cost, ratelimiter.MaxCost), fault{} // reported as what would never pass
	case cost > d.Burst:
		return 0, b.fault(verdict.CostInvalid, "the cost %s is above the limit's burst", b.costOf)
	}
	return max(cost, 1), fault{}
}

// whole reads decimal digits: no sign, fraction or exponent. Anything above MaxCost is as good as MaxCost + 1.
func whole(text string) (int64, bool) {
	if text == "" || len(text) > 18 {
		return 0, false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return min(n, ratelimiter.MaxCost+1), err == nil
}

func (b *binding) fault(reason verdict.Reason, format string, a attribute.Accessor) fault {
	return fault{reason: reason, limit: b.limit.Definition().Name, detail: fmt.Sprintf(format, a.Name())}
}
