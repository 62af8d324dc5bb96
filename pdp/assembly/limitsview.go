package assembly

import (
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/usage"
)

func rateOf(l *ratelimiter.Limit) limitsapi.Rate {
	d := l.Definition()
	return limitsapi.Rate{Count: d.Count, WindowMS: d.Window.Milliseconds(), Burst: d.Burst}
}

func limitView(p *place, used *limitsapi.Usage) limitsapi.Limit {
	d := p.info.Limit.Definition()
	out := limitsapi.Limit{
		Bundle: p.bundle, Service: p.service, Name: d.Name, Rate: rateOf(p.info.Limit), Algorithm: d.Algorithm.String(),
		Distinct: p.info.Distinct, ClassOf: p.info.ClassOf, By: append([]string{}, p.info.By...), When: p.info.When, CostOf: p.info.CostOf,
		Counts: d.Counting.String(), OnError: d.OnError.String(), Shadow: d.Shadow, Lease: d.Lease, Usage: used,
	}
	if d.Algorithm == ratelimiter.Concurrency {
		out.WithoutRelease = "deny"
		if p.info.Expires {
			out.WithoutRelease = "expire"
		}
	}
	if p.info.Gate {
		out.At = "gate"
	}
	for _, c := range p.info.Classes {
		out.Classes = append(out.Classes, limitsapi.Class{Name: c.Name, Rate: rateOf(c.Limit)})
	}
	if p.service != "" {
		out.Routes = p.info.Routes
	} else { // the routes of one service would not be all
		out.Routes = slices.Sorted(slices.Values(p.services))
	}
	return out
}

func domainView(p *place, used *limitsapi.Usage) limitsapi.Domain {
	out := limitsapi.Domain{Bundle: p.bundle, Name: p.domain, Rules: []limitsapi.Rule{}, Usage: used}
	for _, r := range p.rules.Rules {
		rule := limitsapi.Rule{Path: r.Path, Unlimited: r.Unlimited, Shadow: r.Shadow, Quota: r.Quota}
		if r.Limit != nil {
			rule.Name, rule.RequestsPerUnit, rule.Unit = r.Limit.Name, r.Limit.RequestsPerUnit, r.Limit.Unit.String()
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

func keyView(p *place, k *usage.Key) limitsapi.Key {
	out := limitsapi.Key{
		Bundle: p.bundle, Service: p.service, Domain: p.domain, Limit: p.name(), Values: []limitsapi.Value{},
		Counter: k.Key.Digest(), Near: k.Near, Refused: k.Refused, Missed: k.Missed, Percent: k.Percent,
	}
	values, whole := k.Key.Values()
	out.Hashed = !whole
	if p.domain != "" {
		values, out.Values = nil, append(out.Values, descriptorValues(values)...)
	}
	by := strings.Split(k.By, "\n") // not what the limit in force counts by: the key may be of the revision before
	for i, v := range values {
		name := ""
		if i < len(by) {
			name = by[i]
		}
		out.Values = append(out.Values, limitsapi.Value{Name: name, Value: v.Text, Missing: v.Missing})
	}
	for i := range out.Values {
		if v := &out.Values[i]; !v.Missing && holdsCredential(p.domain, v.Name) {
			v.Value = maskedValue
		}
	}
	return out
}

// maskedValue stands for a value that may be a credential, in answers and in records.
const maskedValue = "[masked]"

// holdsCredential reports whether values of an attribute, or of a descriptor's key in a domain, may be credentials.
func holdsCredential(domain, name string) bool {
	switch {
	case domain != "":
		return request.MayHoldCredential(name)
	case name == "": // nobody knows
		return true
	}
	if query, ok := strings.CutPrefix(name, "request.query."); ok {
		return request.MayHoldCredentialInQuery(query)
	}
	for _, family := range []string{"request.header.", "params."} {
		if part, ok := strings.CutPrefix(name, family); ok {
			return request.MayHoldCredential(part)
		}
	}
	return false
}

// descriptorValues returns the pairs of a descriptor's counter: see descriptor.Domain.Keys.
func descriptorValues(values []ratelimiter.Value) []limitsapi.Value {
	var out []limitsapi.Value
	for i := 1; i+1 < len(values); i += 2 {
		pair := limitsapi.Value{Name: values[i].Text}
		if values[i+1].Missing && i+2 < len(values) {
			i++
		}
		pair.Value = values[i+1].Text
		out = append(out, pair)
	}
	return out
}
