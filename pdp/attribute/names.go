package attribute

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
)

// fixed are the attributes without a free part.
var fixed = map[string]func(*Facts) (Value, Presence){
	"subject.key":                text(func(f *Facts) string { return f.Subject.Key }),
	"subject.id":                 text(func(f *Facts) string { return f.Subject.ID }),
	"subject.issuer":             text(func(f *Facts) string { return f.Subject.Issuer }),
	"subject.kind":               text(func(f *Facts) string { return f.Subject.Kind }),
	"subject.tenant":             text(func(f *Facts) string { return f.Subject.Tenant }),
	"subject.acr":                text(func(f *Facts) string { return f.Subject.ACR }),
	"subject.roles":              list(subjectRoles),
	"subject.scopes":             list(subjectScopes),
	"subject.amr":                list(subjectAMR),
	"subject.auth_time":          authTime,
	"action":                     text(func(f *Facts) string { return f.Action }),
	"resource.type":              text(func(f *Facts) string { return f.Resource.Type }),
	"resource.id":                text(func(f *Facts) string { return f.Resource.ID }),
	"request.method":             text(func(f *Facts) string { return f.Request.Method }),
	"request.host":               text(func(f *Facts) string { return f.Match.Host }),
	"request.path":               text(func(f *Facts) string { return f.Match.Path }),
	"request.protocol":           text(func(f *Facts) string { return f.Request.Protocol }),
	"request.size":               size,
	"request.time":               func(f *Facts) (Value, Presence) { return Of(f.Now), Present },
	"route.name":                 text(routeName),
	"route.service":              text(serviceName),
	"route.template":             text(routeTemplate),
	"client.address":             text(clientAddress),
	"client.network":             text(func(f *Facts) string { return request.Network(f.Request.Client) }),
	"client.certificate.subject": text(certificateSubject),
	"client.certificate.sans":    list(certificateSANs),
	"adapter":                    text(func(f *Facts) string { return f.Request.Adapter }),
}

// lists are the attributes that hold several values by nature.
var lists = map[string]func(*Facts) []string{
	"subject.roles":           subjectRoles,
	"subject.scopes":          subjectScopes,
	"subject.amr":             subjectAMR,
	"client.certificate.sans": certificateSANs,
}

// objects are the attributes that reach a matcher as a whole.
var objects = map[string]func(*Facts) (Value, Presence){
	"subject":  subjectObject,
	"resource": resourceObject,
	"request":  requestObject,
	"claims":   claimsObject,
}

// families are the attributes with a free last part.
var families = []struct {
	prefix  string
	compile func(rest string) func(*Facts) (Value, Presence)
}{
	{"claims.", claim},
	{"resource.properties.", property},
	{"request.query.", query},
	{"request.header.", header},
	{"params.", param},
	{"extensions.", extension},
}

func text(get func(*Facts) string) func(*Facts) (Value, Presence) {
	return func(f *Facts) (Value, Presence) {
		s := get(f)
		if s == "" {
			return Value{}, Missing
		}
		return OfText(s), Present
	}
}

func list(get func(*Facts) []string) func(*Facts) (Value, Presence) {
	return func(f *Facts) (Value, Presence) {
		members := get(f)
		if len(members) == 0 {
			return Value{}, Missing
		}
		return Of(members), Present
	}
}

func subjectRoles(f *Facts) []string  { return f.Subject.Roles }
func subjectScopes(f *Facts) []string { return f.Subject.Scopes }
func subjectAMR(f *Facts) []string    { return f.Subject.AMR }

func authTime(f *Facts) (Value, Presence) {
	if f.Subject.AuthTime.IsZero() {
		return Value{}, Missing
	}
	return Of(f.Subject.AuthTime), Present
}

func size(f *Facts) (Value, Presence) {
	if f.Request.Body.Size < 0 {
		return Value{}, Missing
	}
	return Of(float64(f.Request.Body.Size)), Present
}

func routeName(f *Facts) string {
	if f.Match.Route == nil {
		return ""
	}
	return f.Match.Route.Name
}

func routeTemplate(f *Facts) string {
	if f.Match.Route == nil {
		return ""
	}
	return f.Match.Route.Template
}

func serviceName(f *Facts) string {
	if f.Match.Service == nil {
		return ""
	}
	return f.Match.Service.Name
}

func clientAddress(f *Facts) string {
	if f.Request.Client == (netip.Addr{}) {
		return ""
	}
	return f.Request.Client.String()
}

func certificateSubject(f *Facts) string {
	if f.Request.Certificate == nil {
		return ""
	}
	return f.Request.Certificate.Subject
}

func certificateSANs(f *Facts) []string {
	if f.Request.Certificate == nil {
		return nil
	}
	return f.Request.Certificate.SANs()
}

func claim(rest string) func(*Facts) (Value, Presence) {
	path := strings.Split(rest, ".")
	return func(f *Facts) (Value, Presence) {
		var at any = f.Subject.Claims
		for _, name := range path {
			object, ok := at.(map[string]any)
			if !ok {
				return Value{}, Missing
			}
			if at, ok = object[name]; !ok || at == nil {
				return Value{}, Missing
			}
		}
		return Of(at), Present
	}
}

func property(rest string) func(*Facts) (Value, Presence) {
	return text(func(f *Facts) string { return f.Resource.Properties[rest] })
}

func extension(rest string) func(*Facts) (Value, Presence) {
	return text(func(f *Facts) string { return f.Request.Extensions[rest] })
}

func param(rest string) func(*Facts) (Value, Presence) {
	return text(func(f *Facts) string {
		for i := range f.Match.Params {
			if f.Match.Params[i].Name == rest {
				return f.Match.Params[i].Value
			}
		}
		return ""
	})
}

func header(rest string) func(*Facts) (Value, Presence) {
	name := strings.ToLower(rest)
	return func(f *Facts) (Value, Presence) {
		switch value, n := f.Request.Header.Get(name); n {
		case 0:
			return Value{}, Missing
		case 1:
			return OfText(value), Present
		}
		return Value{}, Ambiguous
	}
}

// query reads one query parameter. Repeated names and broken escapes are ambiguous: servers differ in what they make of
// them. So is a parameter beside a semicolon, which separates parameters for some servers and not for others.
func query(rest string) func(*Facts) (Value, Presence) {
	return func(f *Facts) (Value, Presence) {
		value, found := "", false
		for part := range strings.SplitSeq(f.Match.Query, "&") {
			several := strings.IndexByte(part, ';') >= 0
			for piece := range strings.SplitSeq(part, ";") {
				key, raw, _ := strings.Cut(piece, "=")
				name, err := url.QueryUnescape(key)
				if err != nil {
					return Value{}, Ambiguous
				}
				if name != rest {
					continue
				}
				decoded, err := url.QueryUnescape(raw)
				if err != nil || found || several {
					return Value{}, Ambiguous
				}
				value, found = decoded, true
			}
		}
		if !found {
			return Value{}, Missing
		}
		return OfText(value), Present
	}
}
