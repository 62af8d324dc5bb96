package limits

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/ratelimiter"
)

// definition is a limit as its author wrote it, and what of it is the same on every route.
type definition struct {
	source format.Limit
	file   *format.File
	at     string // its place in the file
	shared bool   // by all services of the bundle

	limit   *ratelimiter.Limit // nil when the definition is wrong
	classes []class            // in the order of first_of
	when    []condition        // with accessors that take any parameter
}

type compiler struct {
	bundle   *format.Bundle
	service  *format.Service
	made     map[string]*definition
	problems format.Problems
}

// Compile builds the limits of a service's routes: the service's defaults, then the route's own, each once.
func (*Stage) Compile(b *format.Bundle, s *format.Service) (any, format.Problems) {
	c := &compiler{bundle: b, service: s, made: map[string]*definition{}}
	for _, name := range slices.Sorted(maps.Keys(b.LimitDefinitions)) {
		c.define(name, &definition{source: b.LimitDefinitions[name], file: b.File, shared: true})
	}
	for _, name := range slices.Sorted(maps.Keys(s.LimitDefinitions)) {
		if _, twice := c.made[name]; twice {
			c.problems = append(c.problems, s.File.Problem(path(name), fmt.Sprintf("the bundle shares a limit of the name %q; a name means one limit", name)))
			continue
		}
		c.define(name, &definition{source: s.LimitDefinitions[name], file: s.File})
	}
	p := &part{routes: make([]routeLimits, len(s.Routes))}
	for i := range s.Routes {
		p.routes[i] = c.route(i)
	}
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	p.infos = c.infos(p)
	return p, nil
}

func path(name string) string { return "$.limit_definitions." + name }

func (c *compiler) add(d *definition, below, format string, args ...any) {
	c.problems = append(c.problems, d.file.Problem(d.at+below, fmt.Sprintf(format, args...)))
}

// define checks what does not depend on a route.
func (c *compiler) define(name string, d *definition) {
	d.at = path(name)
	c.made[name] = d
	before := len(c.problems)
	l := &d.source
	made := ratelimiter.Definition{Name: name, Count: l.Rate.Count, Window: l.Rate.Window, Burst: l.Burst, Shadow: l.Shadow, Lease: l.Lease, By: byLines(l.By)}
	var ok bool
	if made.OnError, ok = word(l.OnError, onErrors); !ok {
		c.add(d, ".on_error", "on_error is local_share, allow or deny, not %q", l.OnError)
	}
	if made.Counting, ok = word(l.Count, countings); !ok {
		c.add(d, ".count", "count is allowed, denied or all, not %q", l.Count)
	}
	if l.Count == "" && !known(l.By) {
		made.Counting = ratelimiter.CountAllowed
	}
	if l.At != "" && l.At != "gate" {
		c.add(d, ".at", "at is gate or left out, not %q", l.At)
	}
	c.algorithm(d, &made)
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.add(d, "", "the name of a limit is shown in header fields, which take printable ASCII only")
	}
	limit := c.limit(d, made)
	c.parts(d)
	d.when = c.conditions(d)
	if cost, ok := l.Cost.(int64); ok && limit != nil {
		burst := limit.Definition().Burst
		for i := range d.classes {
			burst = min(burst, d.classes[i].limit.Definition().Burst)
		}
		if cost < 1 || cost > burst {
			c.add(d, ".cost", "a cost is from 1 to %d, which is what passes at once: what costs more can never pass", burst)
		}
	}
	if len(c.problems) == before {
		d.limit = limit
	}
}

// byLines names attributes, one a line.
func byLines(by []format.Attribute) string {
	names := make([]string, len(by))
	for i := range by {
		names[i] = by[i].Name
	}
	return strings.Join(names, "\n")
}

// limit compiles the rate of a definition, or those of its classes. It returns nil where something is wrong.
func (c *compiler) limit(d *definition, made ratelimiter.Definition) *ratelimiter.Limit {
	if d.source.ByClass != nil && d.source.Concurrency == 0 {
		return c.byClass(d, made)
	}
	limit, err := ratelimiter.NewLimit(made)
	switch {
	case errors.Is(err, ratelimiter.ErrLease):
		c.add(d, ".lease", "%v", err)
	case err != nil:
		c.add(d, "", "%v", err)
	}
	return limit
}

// parts checks the attributes of a definition by themselves.
func (c *compiler) parts(d *definition) {
	if _, ok := word(d.source.Missing, missings); !ok {
		c.add(d, ".missing", "missing is deny, skip or share, not %q", d.source.Missing)
	}
	counted := func(at string, by format.Attribute) {
		if by.Missing != nil {
			if _, ok := word(*by.Missing, missings); !ok || *by.Missing == "" {
				c.add(d, at, "missing is deny, skip or share, not %q", *by.Missing)
			}
		}
		c.attribute(d, at, by.Name)
	}
	for i, by := range d.source.By {
		counted(fmt.Sprintf(".by[%d]", i), by)
	}
	if d.source.Distinct != nil {
		counted(".distinct", *d.source.Distinct)
	}
	switch cost := d.source.Cost.(type) {
	case nil, int64:
	case string:
		c.attribute(d, ".cost", cost)
	default:
		c.add(d, ".cost", "a cost is a whole number or the name of an attribute")
	}
}

func (c *compiler) attribute(d *definition, at, name string) {
	a, err := attribute.Compile(name, nil)
	switch {
	case err != nil:
		c.add(d, at, "%v", err)
	case a.IsObject() || a.IsList():
		c.add(d, at, "%s has no single value; a limit counts by single values", name)
	default:
		c.early(d, at, a)
	}
}

// single compiles an attribute that a limit looks at and does not count by, which may be a list.
func (c *compiler) single(d *definition, at, name string) (attribute.Accessor, bool) {
	a, err := attribute.Compile(name, nil)
	switch {
	case err != nil:
		c.add(d, at, "%v", err)
		return a, false
	case a.IsObject():
		c.add(d, at, "%q is a whole object; name one attribute of it", name)
		return a, false
	}
	return a, c.early(d, at, a)
}

// early refuses what is not known yet where the gate takes the limit.
func (c *compiler) early(d *definition, at string, a attribute.Accessor) bool {
	late := d.source.At == "gate" && a.UsesSubject()
	if late {
		c.add(d, at, "a limit at the gate is taken before the subject is known; %s cannot be used there", a.Name())
	}
	return !late
}

// route binds the limits of a route.
func (c *compiler) route(index int) routeLimits {
	r := &c.service.Routes[index]
	params, _ := route.Params(r.Path) // a wrong template is reported by the route's own compiler, and takes any name here
	var out routeLimits
	seen := map[string]bool{}
	for _, name := range slices.Concat(c.service.Defaults.Limits, r.Limits) {
		if seen[name] {
			continue
		}
		seen[name] = true
		d, ok := c.made[name]
		if !ok {
			c.problems = append(c.problems, c.service.File.Problem(fmt.Sprintf("$.routes[%d].limits", index), fmt.Sprintf("there is no limit %q", name)))
			continue
		}
		if d.limit == nil {
			continue // reported
		}
		b := c.bind(d, r, params)
		out.all = append(out.all, b)
		if b.gate {
			out.gate = append(out.gate, b)
		} else {
			out.take = append(out.take, b)
		}
	}
	if len(out.all) > ratelimiter.MaxCharges {
		c.problems = append(c.problems, c.service.File.Problem(fmt.Sprintf("$.routes[%d]", index),
			fmt.Sprintf("the route %q has %d limits, at most %d can be taken together", r.Name, len(out.all), ratelimiter.MaxCharges)))
	}
	return out
}

// bind compiles what depends on the route: attributes against its parameters, and what a missing one does.
func (c *compiler) bind(d *definition, r *format.Route, params []string) *binding {
	b := &binding{limit: d.limit, classes: d.classes, gate: d.source.At == "gate", cost: 1, keys: c.keys(d), expires: d.source.WithoutRelease == "expire"}
	c.selection(b, d, r, params)
	for i, by := range d.source.By {
		b.by = append(b.by, c.part(b, d, fmt.Sprintf(".by[%d]", i), by, r, params))
	}
	if d.source.Distinct != nil {
		part := c.part(b, d, ".distinct", *d.source.Distinct, r, params)
		b.distinct = &part
	}
	switch cost := d.source.Cost.(type) {
	case int64:
		b.cost = cost
	case string:
		a, err := attribute.Compile(cost, params)
		if err != nil {
			c.add(d, ".cost", "on the route %q: %v", r.Name, err)
		}
		b.costOf, b.late = a, b.late || a.UsesSubject()
	}
	return b
}

// part binds one attribute that the limit counts by.
func (c *compiler) part(b *binding, d *definition, at string, by format.Attribute, r *format.Route, params []string) keyPart {
	said := d.source.Missing
	if by.Missing != nil {
		said = *by.Missing
	}
	action, _ := word(said, missings)
	a, err := attribute.Compile(by.Name, params)
	switch {
	case err != nil && said == "":
		c.add(d, at, "on the route %q: %v; say missing: skip, or do not use the limit there", r.Name, err)
	case err != nil:
		a, _ = attribute.Compile(by.Name, nil) // always missing on this route, which the author has an answer for
	case a.UsesSubject() && said == "" && c.anonymous(r):
		c.add(d, at, "the route %q can be called without a subject: say what happens then, missing: deny, skip or share", r.Name)
	}
	b.late = b.late || a.UsesSubject()
	return keyPart{attribute: a, missing: action}
}

// selection binds what says whether a limit applies, and which class counts. A parameter that the route lacks would be
// missing in each request: a condition on it would say nothing, so nobody means it.
func (c *compiler) selection(b *binding, d *definition, r *format.Route, params []string) {
	accessor := func(at, name string) attribute.Accessor {
		a, err := attribute.Compile(name, params)
		if err != nil {
			c.add(d, at, "on the route %q: %v; do not use the limit there", r.Name, err)
		}
		b.late = b.late || a.UsesSubject()
		return a
	}
	for _, made := range d.when {
		made.attribute = accessor(".when."+made.attribute.Name(), made.attribute.Name())
		b.when = append(b.when, made)
	}
	if d.source.ByClass != nil {
		b.classOf = accessor(".by_class.of", d.source.ByClass.Of)
	}
}

// keys returns the counters of a limit: one set for the bundle, or one for the service.
func (c *compiler) keys(d *definition) ratelimiter.KeySpace {
	service := c.service.Name
	if d.shared {
		service = ""
	}
	return ratelimiter.NewKeySpace(c.bundle.Name, service, d.limit.Definition().Name).For(d.limit.Algorithm())
}

// anonymous reports whether a route can be called without a subject.
func (c *compiler) anonymous(r *format.Route) bool {
	mode := r.Identity
	if mode == "" {
		mode = c.service.Identity.Mode
	}
	return r.Access == "public" || mode != "" && mode != "required"
}

// known reports whether attributes stand in the request itself, so that requests that are denied are counted as well.
// A header or a query value alone does not do: whoever knows another's could drain that counter with requests that are
// denied. Beside the client's address it does, because then each client has a counter of its own.
func known(by []format.Attribute) bool {
	chosen, addressed := false, false
	for _, a := range by {
		family, _, _ := strings.Cut(a.Name, ".")
		if family != "client" && family != "request" && family != "route" {
			return false
		}
		chosen = chosen || strings.HasPrefix(a.Name, "request.header.") || strings.HasPrefix(a.Name, "request.query.")
		addressed = addressed || a.Name == "client.address" || a.Name == "client.network"
	}
	return !chosen || addressed
}

// The words of the format; the empty one is the default.
var (
	onErrors  = map[string]ratelimiter.OnError{"": ratelimiter.LocalShare, "local_share": ratelimiter.LocalShare, "allow": ratelimiter.Allow, "deny": ratelimiter.Deny}
	countings = map[string]ratelimiter.Counting{"": ratelimiter.CountAll, "allowed": ratelimiter.CountAllowed, "denied": ratelimiter.CountDenied, "all": ratelimiter.CountAll}
	missings  = map[string]missing{"": missingDenies, "deny": missingDenies, "skip": missingSkips, "share": missingShares}
)

func word[T any](text string, words map[string]T) (T, bool) {
	v, ok := words[text]
	return v, ok
}
