package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// writes are the methods that change something.
var writes = []string{"POST", "PUT", "PATCH", "DELETE"}

func isWrite(method string) bool { return slices.Contains(writes, method) }

// modeOf returns a route's identity mode.
func modeOf(s *format.Service, r *format.Route) string {
	switch {
	case r.Access == "public":
		return "none"
	case r.Identity != "":
		return r.Identity
	case s.Identity.Mode != "":
		return s.Identity.Mode
	}
	return "required"
}

// services looks at services and routes by themselves.
func (r *run) services() {
	for _, s := range r.bundle.Services {
		if s.TLS == "optional" {
			r.add("tls-optional", s.File.Problem("$.tls", "requests in plain text pass: tokens can be read on their way"))
		}
		if s.Path.EncodedSlash == "keep" {
			r.encodedSlash(s)
		}
		for i := range s.Routes {
			route, at := &s.Routes[i], fmt.Sprintf("$.routes[%d]", i)
			write := slices.IndexFunc(route.Methods, isWrite)
			if route.Access == "public" && write >= 0 && route.Purpose != "login" {
				r.add("public-write", s.File.Problem(at, fmt.Sprintf("anybody may %s here", route.Methods[write])))
			}
			if mode := modeOf(s, route); mode != "required" && !r.countsAnonymous(s, route) {
				r.add("anonymous-unlimited", s.File.Problem(at, "anybody may call this as often as they like: no limit counts them"))
			}
		}
		r.observations(s)
	}
}

// encodedSlash finds parameters that stand beside a literal: with an encoded slash in it, the API may see the literal's
// path where Durward saw the parameter's.
func (r *run) encodedSlash(s *format.Service) {
	literals := map[string]string{} // by the segments before
	for i := range s.Routes {
		segments := strings.Split(s.Routes[i].Path, "/")
		for n, segment := range segments {
			if segment != "" && !strings.HasPrefix(segment, "{") {
				literals[strings.Join(segments[:n], "/")] = s.Routes[i].Path
			}
		}
	}
	for i := range s.Routes {
		segments := strings.Split(s.Routes[i].Path, "/")
		for n, segment := range segments {
			if beside, ok := literals[strings.Join(segments[:n], "/")]; ok && strings.HasPrefix(segment, "{") {
				p := s.File.Problem(fmt.Sprintf("$.routes[%d].path", i), fmt.Sprintf("%s takes encoded slashes and stands beside %s: an API that decodes them may see the other path", segment, beside))
				p.Hint = "path: {encoded_slash: refuse}, or literals elsewhere"
				r.add("encoded-slash", p)
				break
			}
		}
	}
}

func (r *run) observations(s *format.Service) {
	for i := range s.Observe {
		o, at := &s.Observe[i], fmt.Sprintf("$.observe[%d]", i)
		until, err := time.Parse(time.DateOnly, o.Until)
		switch {
		case err != nil: // refused at load
		case !r.today.Before(until):
			r.add("observe-expired", s.File.Problem(at, fmt.Sprintf("the observation of %s ended on %s: remove it", o.Route, o.Until)))
		default:
			r.add("observe-active", s.File.Problem(at, fmt.Sprintf("until %s, requests that the policies deny pass on the route %s", o.Until, o.Route)))
		}
	}
}

// limits looks at definitions that no route uses, and at log-ins.
func (r *run) limits() {
	used := map[string]bool{} // of the bundle
	for _, s := range r.bundle.Services {
		own := map[string]bool{}
		for _, name := range s.Defaults.Limits {
			own[name] = len(s.Routes) > 0
		}
		for i := range s.Routes {
			for _, name := range s.Routes[i].Limits {
				own[name] = true
			}
			if s.Routes[i].Purpose == "login" {
				r.login(s, i)
			}
		}
		r.unused(s.File, s.LimitDefinitions, own)
		maps.Copy(used, own)
	}
	r.unused(r.bundle.File, r.bundle.LimitDefinitions, used)
}

func (r *run) unused(file *format.File, definitions map[string]format.Limit, used map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		if !used[name] {
			r.add("limit-unused", file.Problem("$.limit_definitions."+name, fmt.Sprintf("no route uses the limit %q", name)))
		}
	}
}

// limit returns the definition that a service means by a name.
func (r *run) limit(s *format.Service, name string) format.Limit {
	if l, ok := s.LimitDefinitions[name]; ok {
		return l
	}
	return r.bundle.LimitDefinitions[name]
}

// countsAnonymous reports whether a limit counts every request without a subject on a route: one without conditions, or
// one whose only condition is that there is no subject.
func (r *run) countsAnonymous(s *format.Service, route *format.Route) bool {
	return slices.ContainsFunc(slices.Concat(s.Defaults.Limits, route.Limits), func(name string) bool {
		when := r.limit(s, name).When
		kind, asked := when["subject.kind"]
		return r.limit(s, name).Distinct == nil && r.limit(s, name).Concurrency == 0 && (len(when) == 0 || len(when) == 1 && asked && slices.Contains(kind.Is, any("anonymous")) && kind.Not == nil)
	})
}

// login wants one limit that counts all attempts from an address and is enforced, whatever else there is.
func (r *run) login(s *format.Service, route int) {
	why := "none of its limits counts by client.address or client.network"
	for _, name := range slices.Concat(s.Defaults.Limits, s.Routes[route].Limits) {
		l := r.limit(s, name)
		byAddress := slices.ContainsFunc(l.By, func(a format.Attribute) bool { return a.Name == "client.address" || a.Name == "client.network" })
		chosen := slices.ContainsFunc(l.By, func(a format.Attribute) bool {
			family, _, _ := strings.Cut(a.Name, ".")
			return family != "client" && family != "route" && a.Name != "request.method" && a.Name != "request.host"
		})
		switch {
		case !byAddress:
		case l.Shadow:
			why = fmt.Sprintf("the limit %q is a shadow and blocks nobody", name)
		case l.Concurrency != 0:
			why = fmt.Sprintf("the limit %q counts what goes on at a time, however often it is tried", name)
		case l.Distinct != nil:
			why = fmt.Sprintf("the limit %q counts values of %s, and each may be tried as often as wanted", name, l.Distinct.Name)
		case len(l.When) > 0:
			why = fmt.Sprintf("the limit %q applies to some attempts only", name)
		case chosen:
			why = fmt.Sprintf("the limit %q counts apart by what the client chooses, so each guess has a counter of its own", name)
		case l.Count == "allowed" || l.Count == "denied":
			why = fmt.Sprintf("the limit %q counts %s decisions only", name, l.Count)
		case tooFast(&l) != "":
			why = fmt.Sprintf("the limit %q lets %s pass", name, tooFast(&l))
		case l.OnError == "allow":
			why = fmt.Sprintf("the limit %q lets every attempt pass while its counters cannot be reached", name)
		default:
			return
		}
	}
	p := s.File.Problem(fmt.Sprintf("$.routes[%d].purpose", route), "passwords can be guessed here: "+why)
	p.Hint = "limits: [logins], with logins: {rate: 5/15min, by: [client.network, route.name], count: all, at: gate, on_error: deny}"
	r.add("login-address-limit", p)
}

// attempts is how many attempts a login may let pass in a minute, and at once.
const attempts = 60

// tooFast says what a limit lets pass, in any of its classes, that is too much for a login; "" for none.
func tooFast(l *format.Limit) string {
	if l.ByClass == nil {
		return tooMany(l.Rate, l.Burst, "")
	}
	found := tooMany(l.ByClass.Otherwise.Rate, l.ByClass.Otherwise.Burst, "")
	for _, item := range l.ByClass.FirstOf {
		for name, class := range item {
			if found == "" {
				found = tooMany(class.Rate, class.Burst, fmt.Sprintf(" of the class %q", name))
			}
		}
	}
	return found
}

func tooMany(rate format.Rate, burst int64, of string) string {
	switch {
	case rate.Window < time.Minute && rate.Count > attempts, rate.Window >= time.Minute && float64(rate.Count)/rate.Window.Minutes() > attempts:
		return fmt.Sprintf("%d attempts%s in %s", rate.Count, of, rate.Window)
	case burst > attempts:
		return fmt.Sprintf("a burst of %d attempts%s", burst, of)
	}
	return ""
}

// authenticators looks at those that nobody accepts, and at the roles that they may assert.
func (r *run) authenticators() {
	accepted := map[string]bool{}
	for _, s := range r.bundle.Services {
		for _, name := range s.Identity.Accept {
			accepted[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.bundle.Authenticators)) {
		a, at := r.bundle.Authenticators[name], "$.authenticators."+name
		if !accepted[name] {
			r.add("authenticator-unused", r.bundle.File.Problem(at, fmt.Sprintf("no service accepts the authenticator %q", name)))
		}
		if a.Roles != nil && slices.Contains(a.Roles.Allow, "*") {
			who := fmt.Sprintf("whoever controls the claim %q at the issuer", a.Roles.From)
			if a.Kind == "api_key" {
				who = "whoever makes API keys"
			}
			r.add("roles-any", r.bundle.File.Problem(at+".roles.allow", who+" can assert every role of the policies"))
		}
	}
}
