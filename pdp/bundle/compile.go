package bundle

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/route"
)

// compiled is one revision of a bundle, ready to stand in a snapshot.
type compiled struct {
	info     pipeline.BundleInfo
	main     *format.File // bundle.yaml
	shared   inputs       // bundle.yaml and the files that it refers to: every service is made of them too
	services []*built
	domains  []*pipeline.Service // of ratelimits/
	report   []string            // of the services that were made for this revision
}

// compile takes a bundle's files all the way, or says everything that is wrong with them. Services of before, the last
// good revision or nil, are taken over where nothing changed that they are made of.
func compile(files *format.Files, before *compiled, o *Options) (c *compiled, problems format.Problems) {
	// A fault of a compiler must not take the server down that still serves the last good revision.
	defer func() {
		if fault := recover(); fault != nil {
			c = nil
			problems = append(problems, format.Problem{Position: format.Position{File: "bundle.yaml"}, Message: fmt.Sprintf("internal fault while the bundle was loaded: %.200v", fault)})
		}
		problems = tidy(problems)
	}()
	stock := newStock(files, before)
	b, problems := parse(files, stock)
	if len(problems) > 0 {
		return nil, problems
	}
	if stock.main != nil {
		b.File = stock.main // the same text; compilers keep by it what they made for all services
	}
	c = &compiled{info: pipeline.BundleInfo{Name: b.Name, Revision: revisionOf(files)}, main: b.File}
	checked := check(b, stock, o)
	problems = checked.problems
	routes := make([]*route.Service, len(b.Services))
	for i, s := range b.Services {
		var found format.Problems
		routes[i], found = route.Compile(b.Name, c.info.Revision, s)
		problems = append(problems, found...)
	}
	var found format.Problems
	c.domains, found = compileDomains(b, c.info.Revision, o)
	problems = append(problems, found...)
	// Stages see bundles whose references hold, and nobody reads two reports of one mistake.
	if len(problems) > 0 {
		return nil, problems
	}
	if _, err := route.NewTable(routes); err != nil {
		return nil, format.Problems{b.File.Problem("", err.Error())}
	}
	c.shared = newInputs(files, "", append(checked.refs[nil], b.File.Path))
	var made []*pipeline.Service
	for i, s := range b.Services {
		if old := stock.find(s.Dir); old != nil {
			c.services = append(c.services, old.under(routes[i]))
			continue
		}
		fresh, found := c.build(b, s, checked.refs[s], o)
		fresh.service.Route = routes[i]
		problems = append(problems, found...)
		c.services, made = append(c.services, fresh), append(made, fresh.service)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	c.report = report(made)
	c.info.Load = pipeline.LoadInfo{Compiled: len(made), Reused: len(c.services) - len(made)}
	return c, nil
}

// build makes a service that was not there before, or that changed.
func (c *compiled) build(b *format.Bundle, s *format.Service, refs []string, o *Options) (*built, format.Problems) {
	fresh := &built{source: *s, inputs: newInputs(b.Files, s.Dir, refs), refs: refs}
	fresh.source.File = nil
	var problems format.Problems
	fresh.service, problems = compileService(view(b, s, &c.shared, &fresh.inputs), s, o)
	return fresh, problems
}

// compileService returns a service without its route.
func compileService(b *format.Bundle, s *format.Service, o *Options) (*pipeline.Service, format.Problems) {
	service := &pipeline.Service{
		Record:    pipeline.RecordNames{Headers: b.Record.Headers, Query: b.Record.Query, Params: b.Record.Params, Claims: b.Record.Claims},
		Resources: make([]*attribute.ResourceTemplate, len(s.Routes)),
		Parts:     make(map[string]any, len(o.Compilers)),
	}
	var problems format.Problems
	for i := range s.Routes {
		template, err := resourceOf(&s.Routes[i])
		if err != nil {
			problems = append(problems, s.File.Problem(fmt.Sprintf("$.routes[%d].resource", i), err.Error()))
		}
		service.Resources[i] = template
	}
	for _, compiler := range o.Compilers {
		part, found := compiler.Compile(b, s)
		problems = append(problems, found...)
		service.Parts[compiler.Name()] = part
		if reporter, ok := part.(reporter); ok && len(found) == 0 {
			service.Report = append(service.Report, reporter.Report()...)
		}
	}
	return service, problems
}

// resourceOf compiles a route's resource; nil when the route has none.
func resourceOf(r *format.Route) (*attribute.ResourceTemplate, error) {
	if r.Resource == nil {
		return nil, nil
	}
	template := &attribute.ResourceTemplate{Type: r.Resource.Type, Properties: make(map[string]attribute.Accessor, len(r.Resource.Properties))}
	accessor := func(a format.Attribute) (attribute.Accessor, error) {
		if a.Name == "" {
			return attribute.Accessor{}, nil // always missing
		}
		compiled, err := attribute.Compile(a.Name, paramsOf(r.Path))
		if err == nil && a.Missing != nil {
			compiled = compiled.WithMissing(*a.Missing)
		}
		return compiled, err
	}
	var err error
	template.ID, err = accessor(r.Resource.ID)
	for name, a := range r.Resource.Properties {
		compiled, propertyErr := accessor(a)
		template.Properties[name] = compiled
		err = errors.Join(err, propertyErr)
	}
	return template, err
}

// snapshot joins bundles. It fails when two of them claim the same name, host, service or domain.
func snapshot(bundles []*compiled) (*pipeline.Snapshot, error) {
	s := &pipeline.Snapshot{Services: map[*route.Service]*pipeline.Service{}, Domains: map[string]*pipeline.Service{}}
	var routes []*route.Service
	names := map[string]bool{}
	for _, b := range bundles {
		if names[b.info.Name] {
			return nil, fmt.Errorf("%w: two directories hold a bundle named %q", ErrConflict, b.info.Name)
		}
		names[b.info.Name] = true
		s.Bundles = append(s.Bundles, b.info)
		for _, made := range b.services {
			routes = append(routes, made.service.Route)
			s.Services[made.service.Route] = made.service
		}
		for _, domain := range b.domains {
			name := domain.Route.Name
			if other := s.Domains[name]; other != nil {
				return nil, fmt.Errorf("%w: the bundles %q and %q both hold the rate limit domain %q", ErrConflict, other.Route.Bundle, b.info.Name, name)
			}
			s.Domains[name] = domain
		}
	}
	table, err := route.NewTable(routes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	s.Routes = table
	slices.SortFunc(s.Bundles, func(a, b pipeline.BundleInfo) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

// ErrConflict is wrapped by the error for a bundle that cannot stand beside another one.
var ErrConflict = errors.New("bundle conflicts with another")

// Build compiles the files of one bundle, by slash-separated path, into a snapshot. The problems are sorted by file
// and place; the snapshot is nil when there are any.
func Build(contents map[string][]byte, o Options) (*pipeline.Snapshot, format.Problems) {
	c, problems := compile(format.NewFiles(contents), nil, &o)
	if len(problems) > 0 {
		return nil, problems
	}
	c.info.Sequence = 1
	if o.Clock != nil {
		c.info.Loaded = o.Clock()
	}
	s, err := snapshot([]*compiled{c})
	if err != nil {
		return nil, format.Problems{{Position: format.Position{File: "bundle.yaml"}, Message: err.Error()}}
	}
	return s, nil
}
