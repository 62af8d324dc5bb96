package bundle

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/route"
)

func (c *checker) service(s *format.Service) {
	p := part{s.File, "$", s.Dir}
	if directory := path.Base(s.Dir); s.Name != directory {
		c.add(p, ".service", "the service is named %q and its directory %q; they must be the same", s.Name, directory)
	} else if !namePattern.MatchString(s.Name) {
		c.add(p, ".service", "%q is no name of a service; %s", s.Name, nameRule)
	}
	c.identity(p, s)
	names := map[string]bool{}
	for i := range s.Policies {
		c.policy(part{s.File, fmt.Sprintf("$.policies[%d]", i), s.Dir}, &s.Policies[i], names)
	}
	c.candidate(p, s)
	if len(s.Observe) > 0 && !c.options.Observe {
		c.add(p, ".observe", "observe lets denied requests pass, and the operator has not permitted it for this bundle (bundles: [{dir: …, observe: true}] in the server's settings)")
	}
	c.upstream(p, &s.Upstream)
	for _, name := range slices.Sorted(maps.Keys(s.LimitDefinitions)) {
		at := part{s.File, "$.limit_definitions." + name, s.Dir}
		if _, shared := c.bundle.LimitDefinitions[name]; shared {
			c.add(at, "", "the bundle shares a limit of the name %q; a name means one limit", name)
		}
		c.limit(at, name, s.LimitDefinitions[name])
	}
	c.limitNames(p, ".defaults.limits", s, s.Defaults.Limits)
	for i := range s.Routes {
		c.route(part{s.File, fmt.Sprintf("$.routes[%d]", i), s.Dir}, s, &s.Routes[i])
	}
}

// candidate checks the references of a candidate.
func (c *checker) candidate(p part, s *format.Service) {
	next := s.Candidate
	if next == nil {
		return
	}
	if next.Model != "" {
		c.refer(p, ".candidate.model", next.Model)
	}
	for i, rules := range next.Rules {
		c.refer(p, fmt.Sprintf(".candidate.rules[%d]", i), rules)
	}
}

func (c *checker) identity(p part, s *format.Service) {
	identified := modeOf(s, nil) != "none"
	for i := range s.Routes {
		identified = identified || modeOf(s, &s.Routes[i]) != "none"
	}
	if identified && len(s.Identity.Accept) == 0 {
		c.add(p, ".identity.accept", "identity.accept must name the authenticators whose subjects may call, or identity.mode be none")
	}
	if !identified && len(s.Identity.Accept) > 0 {
		c.add(p, ".identity.accept", "accept has no meaning: identity is none for all routes")
	}
	if !identified && s.Identity.Revocation != nil {
		c.add(p, ".identity.revocation", "revocation has no meaning: identity is none for all routes")
	}
	known := slices.Sorted(maps.Keys(c.bundle.Authenticators))
	tokens := false
	for i, name := range s.Identity.Accept {
		at := fmt.Sprintf(".identity.accept[%d]", i)
		switch a, ok := c.bundle.Authenticators[name]; {
		case !ok:
			c.unknown(p, at, "authenticator", name, known)
		case slices.Contains(s.Identity.Accept[:i], name):
			c.add(p, at, "%q stands twice", name)
		default:
			tokens = tokens || a.Kind == "jwt" || a.Kind == "introspection"
		}
	}
	if tokens && len(s.Identity.Audiences) == 0 {
		c.add(p, ".identity.audiences", "identity.audiences is mandatory where tokens are accepted: without it a token for another API passes")
	}
	if slices.Contains(s.Identity.Audiences, "") {
		c.add(p, ".identity.audiences", "an empty audience")
	}
}

// modeOf returns the identity mode of a route, or of the service for nil.
func modeOf(s *format.Service, r *format.Route) string {
	switch {
	case r != nil && r.Identity != "":
		return r.Identity
	case s.Identity.Mode != "":
		return s.Identity.Mode
	}
	return "required"
}

// unknown reports a reference to nothing.
func (c *checker) unknown(p part, below, what, name string, known []string) {
	problem := p.file.Problem(p.at+below, fmt.Sprintf("there is no %s %q", what, name))
	if near := format.Nearest(name, known); near != "" {
		problem.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	c.problems = append(c.problems, problem)
}

func (c *checker) upstream(p part, u *format.Upstream) {
	for _, name := range slices.Sorted(maps.Keys(u.Headers)) {
		if why := upstreamName(name); why != "" {
			c.add(p, ".upstream.headers."+name, "%q cannot be set: %s", name, why)
		}
		c.attribute(p, ".upstream.headers."+name, u.Headers[name].Name, use{})
	}
	if u.Token != nil {
		for _, name := range slices.Sorted(maps.Keys(u.Token.Claims)) {
			c.attribute(p, ".upstream.token.claims."+name, u.Token.Claims[name].Name, use{})
		}
	}
	for i, name := range u.Remove {
		at := fmt.Sprintf(".upstream.remove[%d]", i)
		if why := upstreamName(name); why != "" {
			c.add(p, at, "%q cannot be removed: %s", name, why)
		}
		if _, set := u.Headers[name]; set {
			c.add(p, at, "%q is set and removed", name)
		}
	}
}

// limit checks a definition by itself; limitOn checks it on a route.
func (c *checker) limit(p part, name string, l format.Limit) {
	if !namePattern.MatchString(name) {
		c.add(p, "", "%q is no name of a limit; %s", name, nameRule)
	}
	if l.Rate.Count == 0 && l.ByClass == nil && l.Concurrency == 0 {
		c.add(p, "", "a limit needs a rate, as in 100/min")
	}
	if l.Burst < 0 || l.Burst > 1_000_000_000 {
		c.add(p, ".burst", "burst is from 1 to 1000000000")
	}
	if l.By == nil {
		c.add(p, "", "a limit needs by: the attributes that tell clients apart; write by: [] for one counter for all")
	}
	u := use{}
	if l.At == "gate" {
		u.noSubject = "a limit at the gate is taken before the subject is known"
	}
	for i, by := range l.By {
		c.attribute(p, fmt.Sprintf(".by[%d]", i), by.Name, u)
	}
	if l.Distinct != nil {
		c.attribute(p, ".distinct", l.Distinct.Name, u)
	}
	for _, name := range slices.Sorted(maps.Keys(l.When)) {
		c.attribute(p, ".when."+name, name, u)
	}
	if l.ByClass != nil {
		c.attribute(p, ".by_class.of", l.ByClass.Of, u)
	}
	switch cost := l.Cost.(type) {
	case nil:
	case int64:
		if cost < 1 || cost > 1_000_000_000 {
			c.add(p, ".cost", "a cost is from 1 to 1000000000")
		}
	case string:
		c.attribute(p, ".cost", cost, u)
	default:
		c.add(p, ".cost", "a cost is a whole number or the name of an attribute")
	}
}

func (c *checker) limitNames(p part, below string, s *format.Service, names []string) {
	known := slices.Sorted(maps.Keys(s.LimitDefinitions))
	known = slices.AppendSeq(known, maps.Keys(c.bundle.LimitDefinitions))
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", below, i)
		if !slices.Contains(known, name) {
			c.unknown(p, at, "limit", name, known)
		} else if slices.Contains(names[:i], name) {
			c.add(p, at, "%q stands twice", name)
		}
	}
}

func (c *checker) route(p part, s *format.Service, r *format.Route) {
	params := paramsOf(r.Path)
	c.limitNames(p, ".limits", s, r.Limits)
	for _, name := range slices.Concat(s.Defaults.Limits, r.Limits) {
		if l, ok := s.LimitDefinitions[name]; ok {
			c.limitOn(part{s.File, "$.limit_definitions." + name, s.Dir}, l, s, r)
		} else if l, ok := c.bundle.LimitDefinitions[name]; ok {
			c.limitOn(part{c.bundle.File, "$.limit_definitions." + name, ""}, l, s, r)
		}
	}
	if r.Purpose == "login" && len(s.Defaults.Limits)+len(r.Limits) == 0 {
		c.add(p, ".purpose", "credentials are tried here: a login needs a limit")
	}
	if len(r.Same) == 1 {
		c.add(p, ".same", "same compares two attributes or more")
	}
	for i, same := range r.Same {
		c.attribute(p, fmt.Sprintf(".same[%d]", i), same.Name, use{params: params})
	}
	if r.Access == "public" {
		for key, set := range map[string]bool{"scopes": len(r.Scopes) > 0, "assurance": r.Assurance != nil, "same": len(r.Same) > 0, "identity": r.Identity != ""} {
			if set {
				c.add(p, "."+key, "%s has no effect on a public route", key)
			}
		}
	}
	if len(r.Scopes) > 0 && modeOf(s, r) == "none" {
		c.add(p, ".scopes", "scopes cannot be met: identity is none")
	}
	if r.Assurance != nil && modeOf(s, r) == "none" {
		c.add(p, ".assurance", "assurance cannot be met: identity is none")
	}
	if r.Resource == nil {
		return
	}
	if r.Resource.Type == "" {
		c.add(p, ".resource", "a resource needs a type")
	}
	u := use{params: params, noSubject: "a resource does not depend on who asks"}
	c.resource(p, ".resource.id", r.Resource.ID.Name, u)
	for _, name := range slices.Sorted(maps.Keys(r.Resource.Properties)) {
		c.resource(p, ".resource.properties."+name, r.Resource.Properties[name].Name, u)
	}
}

func (c *checker) resource(p part, below, name string, u use) {
	if name == "" && below == ".resource.id" {
		return // a collection has no id
	}
	if strings.HasPrefix(name, "resource.") {
		c.add(p, below, "%q describes the resource by itself", name)
		return
	}
	c.attribute(p, below, name, u)
}

// limitOn checks what a definition needs on a route: the parameters that it reads, and for what it counts by, a word on
// missing attributes where the subject can be missing.
func (c *checker) limitOn(p part, l format.Limit, s *format.Service, r *format.Route) {
	anonymous := r.Access == "public" || modeOf(s, r) != "required"
	params := paramsOf(r.Path)
	counted := func(at string, by format.Attribute) {
		settled := l.Missing != "" || by.Missing != nil
		a, err := attribute.Compile(by.Name, nil)
		if err != nil || settled {
			return
		}
		if anonymous && a.UsesSubject() {
			c.add(p, at, "the route %q can be called without a subject: say what happens then, missing: deny, skip or share", r.Name)
		}
		if _, err := attribute.Compile(by.Name, params); err != nil {
			c.add(p, at, "on the route %q: %v; say missing: skip, or do not use the limit there", r.Name, err)
		}
	}
	for i, by := range l.By {
		counted(fmt.Sprintf(".by[%d]", i), by)
	}
	if l.Distinct != nil {
		counted(".distinct", *l.Distinct)
	}
	read := map[string]string{} // by place
	for name := range l.When {
		read[".when."+name] = name
	}
	if l.ByClass != nil {
		read[".by_class.of"] = l.ByClass.Of
	}
	for at, name := range read {
		if _, err := attribute.Compile(name, params); err != nil {
			if _, never := attribute.Compile(name, nil); never == nil {
				c.add(p, at, "on the route %q: %v; do not use the limit there", r.Name, err)
			}
		}
	}
}

// paramsOf returns the names of a template's parameters; nil, for any, where the template is wrong.
func paramsOf(template string) []string {
	names, err := route.Params(template)
	if err == nil && names == nil {
		names = []string{}
	}
	return names
}
