package replay

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// Obstacle says why a decision cannot be made again from its record; "" when it can.
func (r *Record) Obstacle() string {
	reason := verdict.Reason(r.Reason)
	switch reason {
	case verdict.Deadline, verdict.Cancelled, verdict.Internal, verdict.AuditUnavailable, verdict.NoSnapshot, verdict.StageFailed, verdict.KeysUnavailable:
		return "it was a fault of that moment, not of the policy"
	case verdict.MalformedRequest, verdict.CallerNotTrusted, verdict.DuplicateHeader, verdict.HostInvalid, verdict.PathAmbiguous:
		return "the request was refused for its raw form, which is never recorded"
	case verdict.HeaderTooLarge, verdict.HeaderInvalid, verdict.BodyPartial, verdict.BodyType, verdict.BodyEncoding:
		return "the request was refused for its header fields or its body, which are not recorded"
	case verdict.TokenMissing, verdict.ScopeMissing:
		return ""
	}
	switch {
	case r.ForDescriptors() && r.Service == "":
		return "no bundle has its domain, so that nothing was limited"
	case r.ForDescriptors():
		return ""
	case r.Stage == "identity":
		return "the credentials were refused, and no record holds credentials"
	case r.Template == "" && r.Request.Path == "" && !r.isOperation():
		return "no service answered for it, and then the path is not recorded"
	case r.isOperation() && r.Service == "":
		return "no service of that name was there, and then the name is not recorded"
	}
	return ""
}

// Gaps names what was in the request, or could have been, and is not in the record. An answer that rests on one of them
// may be another.
func (r *Record) Gaps(b *format.Bundle) []string {
	var out []string
	for _, part := range r.Masked {
		switch name, isParam := strings.CutPrefix(part, "params."); {
		case isParam:
			out = append(out, "path parameter "+name+" (the bundle does not list it under record)")
		case part == "query":
			out = append(out, "query parameters (the bundle does not list all that came)")
		default:
			out = append(out, part+" (the bundle does not list it under record)")
		}
	}
	out = append(out, r.hidden()...)
	if r.Truncated {
		out = append(out, "the ends of texts or lists that were cut to their bounds")
	}
	out = append(out, r.unlisted(b)...)
	return slices.Compact(out)
}

// hidden names the values that were replaced because they held a credential, and claims that were cut.
func (r *Record) hidden() []string {
	var out []string
	add := func(name, value string) {
		if value == masked {
			out = append(out, name+" (it held a credential)")
		}
	}
	add("request.method", r.Request.Method)
	add("request.host", r.Request.Host)
	add("request.path", r.Request.Path)
	add("action", r.Action)
	add("resource.type", r.Resource.Type)
	add("resource.id", r.Resource.ID)
	for _, list := range []struct {
		prefix string
		fields []Field
	}{{"params.", r.Request.Params}, {"request.query.", r.Request.Query}, {"request.header.", r.Request.Headers}, {"claims.", r.Subject.Claims}} {
		for _, f := range list.fields {
			add(list.prefix+f.Name, f.Value)
		}
	}
	for _, f := range r.Subject.Claims {
		if f.Value != masked && !json.Valid([]byte(f.Value)) {
			out = append(out, "claims."+f.Name+" (it was cut)")
		}
	}
	return out
}

// unlisted names the attributes that the bundle's guards and the service read and that records do not hold.
func (r *Record) unlisted(b *format.Bundle) []string {
	found := map[string]bool{}
	look := func(path []string, _ format.Position, text string) {
		why := ""
		name, _, _ := strings.Cut(text, " ")
		switch header, claim := strings.TrimPrefix(text, "request.header."), strings.TrimPrefix(text, "claims."); {
		case slices.Contains(path, "record"), slices.Contains(path, "authenticators"):
		case header != text && !slices.ContainsFunc(b.Record.Headers, func(h string) bool { return strings.EqualFold(h, header) }),
			claim != text && !slices.ContainsFunc(b.Record.Claims, func(c string) bool { return claim == c || strings.HasPrefix(claim, c+".") }):
			why = "a rule reads it, and the bundle does not list it under record"
		case strings.HasPrefix(text, "extensions."), text == "request.time":
			why = "it is not recorded"
		case text == "claims", text == "request":
			why = "a rule may read any part of it, and records hold only what the bundle lists"
		case text == "request.path" && strings.Contains(r.Template, "{"):
			why = "it is rebuilt from the template, so escapes may differ"
		}
		if why != "" {
			found[name+" ("+why+")"] = true
		}
	}
	b.File.Walk(look)
	for _, s := range b.Services {
		if s.Name == r.Service {
			s.File.Walk(look)
		}
	}
	out := make([]string, 0, len(found))
	for text := range found {
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}
