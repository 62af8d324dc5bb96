package replay

import (
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Knowledge says what a record tells of an attribute of the request.
type Knowledge uint8

const (
	// Known: the record holds the value, or it holds that there was none.
	Known Knowledge = iota
	// Assumed: the record holds none, and would hold one if the bundle that decided listed it, as the bundle at hand does.
	Assumed
	// Unknown: nobody knows.
	Unknown
)

// Of returns what the record tells of an attribute. The bundle is the one at hand, whose list under `record` is taken for
// that of the bundle that decided.
func (r *Record) Of(b *format.Bundle, attribute string) Knowledge {
	if r.beforeIdentity() && (strings.HasPrefix(attribute, "subject.") || strings.HasPrefix(attribute, "claims.")) {
		return Unknown
	}
	for _, list := range []struct {
		prefix string
		of     func(name string) Knowledge
	}{
		{"params.", func(name string) Knowledge { return r.masking("params."+name, r.Request.Params, name) }},
		{"request.query.", func(name string) Knowledge { return r.masking("query", r.Request.Query, name) }},
		{"request.header.", func(name string) Knowledge { return r.header(b, name) }},
		{"claims.", func(name string) Knowledge { return r.claim(b, name) }},
		{"resource.properties.", func(string) Knowledge { return r.masking("resource.properties", nil, "") }},
		{"extensions.", func(string) Knowledge { return Unknown }},
	} {
		if name, ok := strings.CutPrefix(attribute, list.prefix); ok {
			return list.of(name)
		}
	}
	return r.fixed(attribute)
}

// fixed is Of for attributes that records hold by themselves.
func (r *Record) fixed(attribute string) Knowledge {
	unknown := false
	switch attribute {
	case "request.path":
		unknown = slices.ContainsFunc(r.Masked, func(part string) bool { return strings.HasPrefix(part, "params.") }) || r.Request.Path == masked
	case "resource.id":
		unknown = slices.Contains(r.Masked, "resource.id") || r.Resource.ID == masked
	case "resource.type":
		unknown = r.Resource.Type == masked
	case "request.method":
		unknown = r.Request.Method == masked
	case "request.host":
		unknown = r.Request.Host == masked
	case "action":
		unknown = r.Action == masked
	}
	if unknown {
		return Unknown
	}
	return Known
}

// masking is Of for a part of the request of which records say whether they left something out.
func (r *Record) masking(mark string, fields []Field, name string) Knowledge {
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
	if i < 0 && slices.Contains(r.Masked, mark) || i >= 0 && fields[i].Value == masked {
		return Unknown
	}
	return Known
}

func (r *Record) header(b *format.Bundle, name string) Knowledge {
	same := func(f Field) bool { return strings.EqualFold(f.Name, name) }
	switch i := slices.IndexFunc(r.Request.Headers, same); {
	case i >= 0 && r.Request.Headers[i].Value != masked:
		return Known
	case i < 0 && slices.ContainsFunc(b.Record.Headers, func(h string) bool { return strings.EqualFold(h, name) }) && !request.MayHoldCredential(name):
		return Assumed
	}
	return Unknown
}

func (r *Record) claim(b *format.Bundle, name string) Knowledge {
	below := func(path string) bool { return name == path || strings.HasPrefix(name, path+".") }
	for _, f := range r.Subject.Claims {
		if below(f.Name) {
			if f.Value == masked {
				return Unknown
			}
			return Known
		}
	}
	if slices.ContainsFunc(b.Record.Claims, below) {
		return Assumed
	}
	return Unknown
}

// beforeIdentity reports whether a limit refused the request before anybody looked at who asks.
func (r *Record) beforeIdentity() bool { return r.Stage == "limits.gate" }

// Denied reports whether something other than a limit denied the request, and why its limits cannot be taken again; "" where
// they can.
func (r *Record) Denied() (denied bool, obstacle string) {
	switch {
	case r.DryRun:
		return false, "dry runs, which charge nothing"
	case r.Adapter == "ratelimit":
		return false, "requests with descriptors, which records do not hold"
	case r.Effect == "allow":
		return false, ""
	}
	switch verdict.Reason(r.Reason) {
	case verdict.Deadline, verdict.Cancelled, verdict.Internal, verdict.AuditUnavailable, verdict.NoSnapshot, verdict.StageFailed, verdict.KeysUnavailable:
		return false, "faults of that moment, which count for nobody"
	case verdict.LimitExceeded, verdict.LimitsUnavailable:
		return false, ""
	}
	if r.Route == "" {
		return false, "requests that no route answered, which meet no limit"
	}
	return !strings.HasPrefix(r.Stage, "limits."), ""
}

// RefusedBy returns the limits that refused the request then, and the shadows that would have.
func (r *Record) RefusedBy() []string {
	var out []string
	for _, l := range r.Limits {
		if l.Refused {
			out = append(out, l.Name)
		}
	}
	return out
}
