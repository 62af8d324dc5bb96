package replay

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/subject"
)

// unknownParam stands for a path parameter that is not recorded.
const unknownParam = "not-recorded"

// serviceExtension chooses the service of a request by its name; a record knows it, whatever chose it then.
const serviceExtension = "durward.service"

// Question returns the request of a record, as far as it is recorded. It asks for no charge.
func (r *Record) Question(b *format.Bundle) *request.Request {
	in := &r.Request
	out := &request.Request{
		Adapter: r.Adapter, Caller: r.Caller, Time: r.Time, Mode: request.Dry,
		Method: in.Method, Scheme: in.Scheme, Host: in.Host, Target: r.target(), Protocol: in.Protocol, SNI: in.ServerName,
		Body: request.Body{Size: in.BodySize, Partial: in.BodyPartial},
		Peer: request.Peer{Principal: in.PeerPrincipal}, Certificate: in.Certificate.verified(r.Time),
	}
	for _, f := range in.Headers {
		out.Header = append(out.Header, request.Field{Name: strings.ToLower(f.Name), Value: f.Value})
	}
	if mediaType := r.mediaType(b); mediaType != "" && out.Header.Count("content-type") == 0 && in.BodySize > 0 {
		out.Header = append(out.Header, request.Field{Name: "content-type", Value: mediaType})
	}
	out.Client, _ = netip.ParseAddr(in.ClientAddress)
	out.Peer.Address, _ = netip.ParseAddrPort(in.PeerAddress)
	if r.Service != "" {
		out.Extensions, out.SelectExtension = map[string]string{serviceExtension: r.Bundle + "/" + r.Service}, true
	}
	if r.isOperation() {
		out.Operation = &request.Operation{Service: r.Bundle + "/" + r.Service, Action: r.Action, ResourceType: r.Resource.Type, ResourceID: r.Resource.ID}
		out.Target = ""
	}
	return out
}

// ForDescriptors reports whether limits alone were asked for, by Envoy's rate limit protocol.
func (r *Record) ForDescriptors() bool { return r.Adapter == "ratelimit" }

// isOperation reports whether the question was about an action without an HTTP request, which has no method.
func (r *Record) isOperation() bool { return r.Request.Method == "" && r.Action != "" }

// target rebuilds the path from the template and the recorded parameters, and the query.
func (r *Record) target() string {
	path := r.Request.Path
	if path == "" {
		path = fill(r.Template, r.Request.Params)
	}
	pairs := make([]string, len(r.Request.Query))
	for i, f := range r.Request.Query {
		pairs[i] = url.QueryEscape(f.Name) + "=" + url.QueryEscape(f.Value)
	}
	if len(pairs) == 0 {
		return path
	}
	return path + "?" + strings.Join(pairs, "&")
}

// fill puts values into a template.
func fill(template string, params []Field) string {
	var b strings.Builder
	for rest := template; ; {
		before, after, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		var name string
		name, rest, _ = strings.Cut(after, "}")
		name, many := strings.CutSuffix(name, "...")
		value := unknownParam
		for _, p := range params {
			if p.Name == name {
				value = p.Value
			}
		}
		value = url.PathEscape(value)
		if many {
			// Segments are kept apart, and a slash that was escaped is part of the value as it was sent.
			value = strings.NewReplacer("%2F", "/", "%252F", "%2F").Replace(value)
		}
		b.WriteString(value)
	}
}

// mediaType is one that the route accepts: a body that was not refused then had one, which records do not hold.
func (r *Record) mediaType(b *format.Bundle) string {
	for _, s := range b.Services {
		if s.Name != r.Service {
			continue
		}
		for i := range s.Routes {
			if route := &s.Routes[i]; route.Name == r.Route {
				for _, body := range []*format.Body{route.Body, s.Defaults.Body} {
					if body != nil && len(body.Types) > 0 {
						return strings.ReplaceAll(body.Types[0], "*", "x")
					}
				}
			}
		}
	}
	return ""
}

// verified returns a certificate as the gateway verified it, valid at that time; nil for none.
func (c *Certificate) verified(at time.Time) *request.Certificate {
	if c == nil {
		return nil
	}
	out := &request.Certificate{Subject: c.Subject, NotBefore: at, NotAfter: c.NotAfter, Unseen: c.Unseen}
	if raw, err := hex.DecodeString(c.Thumbprint); err == nil {
		copy(out.Thumbprint[:], raw)
	}
	for _, san := range c.SANs {
		switch {
		case strings.Contains(san, "://"):
			out.URIs = append(out.URIs, san)
		case strings.Contains(san, "@"):
			out.Emails = append(out.Emails, san)
		default:
			out.DNSNames = append(out.DNSNames, san)
		}
	}
	return out
}

// Who returns the subject of a record.
func (r *Record) Who() subject.Subject {
	in := &r.Subject
	if in.Kind == subject.KindAnonymous || in.Kind == "" {
		return subject.Anonymous()
	}
	return subject.Subject{
		Key: in.Key, Kind: in.Kind, Authenticator: in.Authenticator, ID: in.ID, Issuer: in.Issuer, Tenant: in.Tenant,
		Roles: in.Roles, DroppedRoles: in.DroppedRoles, Scopes: in.Scopes, ACR: in.ACR, AMR: in.AMR, AuthTime: in.AuthTime,
		TokenID: in.TokenID, KeyID: in.KeyID, Claims: r.claims(), Binding: in.Binding, KeyThumbprint: in.KeyThumbprint,
	}
}

// claims rebuilds the recorded claims. Those that cannot be read are named by Gaps.
func (r *Record) claims() map[string]any {
	if len(r.Subject.Claims) == 0 {
		return nil
	}
	out := map[string]any{}
	for _, f := range r.Subject.Claims {
		var value any
		if json.Unmarshal([]byte(f.Value), &value) != nil {
			continue
		}
		names := strings.Split(f.Name, ".")
		at := out
		for _, name := range names[:len(names)-1] {
			below, ok := at[name].(map[string]any)
			if !ok {
				below = map[string]any{}
				at[name] = below
			}
			at = below
		}
		at[names[len(names)-1]] = value
	}
	return out
}
