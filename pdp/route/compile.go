package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/bundle/format"
)

// claim is a host, or the parent of "*.", with a path prefix ("" for all paths) that a service answers for.
type claim struct {
	host, prefix string
	wildcard     bool
}

func (c claim) String() string {
	host := c.host
	if c.wildcard {
		host = "*." + host
	}
	return host + c.prefix
}

// compiler collects the problems of one service.
type compiler struct {
	source   *format.Service
	service  *Service
	problems format.Problems
}

// Compile checks the matches, path options and routes of a service and builds its tree. Templates are full paths;
// a match's prefix selects the service and is no part of them that could be left out.
func Compile(bundle, revision string, s *format.Service) (*Service, format.Problems) {
	c := &compiler{source: s, service: &Service{
		Bundle: bundle, Name: s.Name, Revision: revision,
		TLSRequired: s.TLS != "optional",
		Routes:      make([]*Route, len(s.Routes)),
		tree:        &node{},
		actions:     map[string][]*Route{},
	}}
	c.options()
	c.status()
	for i := range s.Match {
		c.match(i)
	}
	for i := range s.Routes {
		c.route(i)
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return c.service, nil
}

func (c *compiler) problem(yamlPath, message string, args ...any) {
	text := fmt.Sprintf(message, args...)
	if c.source.File == nil {
		c.problems = append(c.problems, format.Problem{Message: text})
		return
	}
	c.problems = append(c.problems, c.source.File.Problem(yamlPath, text))
}

func (c *compiler) options() {
	p := c.source.Path
	c.service.options = pathOptions{
		keepEncodedSlash:    c.choice("$.path.encoded_slash", p.EncodedSlash, "refuse", "keep"),
		keepParameters:      c.choice("$.path.parameters", p.Parameters, "refuse", "keep"),
		ignoreTrailingSlash: c.choice("$.path.trailing_slash", p.TrailingSlash, "strict", "ignore"),
		foldCase:            c.choice("$.path.case", p.Case, "sensitive", "insensitive"),
	}
}

// choice reports whether the relaxed one of two values was chosen.
func (c *compiler) choice(yamlPath, value, strict, relaxed string) bool {
	if value != "" && value != strict && value != relaxed {
		c.problem(yamlPath, "must be %s or %s, not %q", strict, relaxed, value)
	}
	return value == relaxed
}

func (c *compiler) status() {
	switch c.source.Unmatched {
	case 0, 403:
		c.service.status = 403
	case 404:
		c.service.status = 404
	default:
		c.problem("$.unmatched", "must be 403 or 404")
	}
}

func (c *compiler) match(i int) {
	m := c.source.Match[i]
	host, wildcard := strings.CutPrefix(m.Host, "*.")
	canonical, ok := canonicalHost(host)
	switch {
	case !ok:
		c.problem(fmt.Sprintf("$.match[%d].host", i), "%q is no host name; *. stands for one label in front", m.Host)
	case canonical != host:
		c.problem(fmt.Sprintf("$.match[%d].host", i), "write %q: lower case, without port and final dot", canonical)
	case wildcard && parent(host) == "":
		c.problem(fmt.Sprintf("$.match[%d].host", i), "%q covers a whole top-level domain", m.Host)
	}
	prefix := strings.TrimSuffix(m.Prefix, "/")
	if c.service.options.foldCase {
		prefix = strings.ToLower(prefix)
	}
	if m.Prefix != "" && !validPrefix(prefix, m.Prefix) {
		c.problem(fmt.Sprintf("$.match[%d].prefix", i),
			"%q must begin with / and hold whole segments of letters, digits, - . _ ~", m.Prefix)
	}
	added := claim{host: host, prefix: prefix, wildcard: wildcard}
	if slices.Contains(c.service.claims, added) {
		c.problem(fmt.Sprintf("$.match[%d]", i), "%s stands twice", added)
		return
	}
	c.service.claims = append(c.service.claims, added)
}

// validPrefix keeps prefixes to characters that have one spelling in canonical paths, so that no other spelling
// of the same path belongs to another service.
func validPrefix(prefix, written string) bool {
	if written == "/" {
		return true
	}
	for i := 0; i < len(prefix); i++ {
		if prefix[i] != '/' && !isUnreserved(prefix[i]) {
			return false
		}
	}
	canonical, found, ok := canonicalPath(prefix)
	return ok && canonical == prefix && found == 0 && prefix != "/"
}

func (c *compiler) route(i int) {
	f := &c.source.Routes[i]
	at := fmt.Sprintf("$.routes[%d]", i)
	r := &Route{
		Service: c.service, Index: i, Name: f.Name, Template: f.Path,
		Methods: slices.Clone(f.Methods), Action: f.Action,
		Public: f.Access == "public", resourceType: "route",
	}
	c.service.Routes[i] = r
	if f.Access != "" && f.Access != "public" {
		c.problem(at+".access", "must be public or left out, not %q", f.Access)
	}
	if f.Purpose != "" && f.Purpose != "login" {
		c.problem(at+".purpose", "must be login or left out, not %q", f.Purpose)
	}
	if f.Resource != nil {
		r.resourceType = f.Resource.Type
	}
	if r.Action != "" {
		c.service.actions[r.Action] = append(c.service.actions[r.Action], r)
	}
	segments, ok := c.template(i)
	if !c.methods(i) || !ok {
		return
	}
	r.params = paramNames(segments)
	c.insert(r, segments)
}

// template reads a route's path and checks that it can be reached under the service's options and prefixes.
func (c *compiler) template(i int) ([]segment, bool) {
	at, path := fmt.Sprintf("$.routes[%d].path", i), c.source.Routes[i].Path
	segments, err := parseTemplate(path)
	if err != nil {
		c.problem(at, "%v", err)
		return nil, false
	}
	for j, s := range segments {
		if s.kind != literalSegment || s.text == "" {
			continue
		}
		canonical, found, _ := canonicalPath("/" + s.text)
		accepted, ok := c.service.options.accept(canonical, found)
		if !ok {
			c.problem(at, "the service's path options refuse the segment %q", s.text)
			return nil, false
		}
		segments[j].text = accepted[1:]
	}
	if c.service.options.ignoreTrailingSlash && path != "/" && strings.HasSuffix(path, "/") {
		c.problem(at, "with trailing_slash: ignore no canonical path ends in /")
		return nil, false
	}
	if !c.reachable(path) {
		c.problem(at, "%s is outside every prefix of match; templates are full paths", path)
		return nil, false
	}
	return segments, true
}

func (c *compiler) reachable(path string) bool {
	if c.service.options.foldCase {
		path = strings.ToLower(path)
	}
	return len(c.service.claims) == 0 || slices.ContainsFunc(c.service.claims, func(m claim) bool { return hasPrefix(path, m.prefix) })
}

func (c *compiler) methods(i int) bool {
	at, methods := fmt.Sprintf("$.routes[%d].methods", i), c.source.Routes[i].Methods
	if len(methods) == 0 {
		c.problem(at, "at least one method is needed")
		return false
	}
	sound := true
	for j, m := range methods {
		where := fmt.Sprintf("%s[%d]", at, j)
		switch {
		case !validMethod(m):
			c.problem(where, "%q is no method; methods are upper case", m)
			sound = false
		case m == "CONNECT":
			c.problem(where, "CONNECT has no path to decide about")
			sound = false
		case slices.Contains(methods[:j], m):
			c.problem(where, "%s stands twice", m)
			sound = false
		}
	}
	return sound
}

// validMethod accepts tokens (RFC 9110, section 9.1) without lower-case letters: methods are case-sensitive, and a
// lower-case one is a mistake.
func validMethod(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'a' <= c && c <= 'z' || !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

func (c *compiler) insert(r *Route, segments []segment) {
	l := c.service.tree.leafFor(segments)
	for _, m := range r.Methods {
		if other := l.route(m); other != nil {
			c.problem(fmt.Sprintf("$.routes[%d].path", r.Index), "%s %s has the same shape and method as route %q (%s)",
				m, r.Template, other.Name, other.Template)
			return
		}
	}
	l.routes = append(l.routes, r)
	l.allow = append(l.allow, r.Methods...)
	slices.Sort(l.allow)
}
