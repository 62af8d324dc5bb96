package bundle

import (
	"fmt"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/pdp/bundle/format/ratelimits"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/route"
)

// domainFiles returns the files of ratelimits/.
func domainFiles(files *format.Files) []*format.File {
	var found []*format.File
	for _, name := range filesIn(files, "ratelimits") {
		if file, ok := files.Get("", name); ok && placeOf(name) == domainPlace {
			found = append(found, file)
		}
	}
	return found
}

// domain are the files of one domain, in the order of their names, and what stands in each.
type domain struct {
	files   []*format.File
	sources []*ratelimits.File
}

// compileDomains compiles the files of ratelimits/, which are decoded without a problem. A file has at most 1 MiB: they
// are compiled for every revision.
func compileDomains(b *format.Bundle, revision string, o *Options) ([]*pipeline.Service, format.Problems) {
	domains, problems := readDomains(b)
	var compiled []*pipeline.Service
	for _, d := range domains {
		service, found := d.compile(b.Name, revision, o)
		problems = append(problems, found...)
		compiled = append(compiled, service)
	}
	return compiled, problems
}

// readDomains joins the files of each domain.
func readDomains(b *format.Bundle) ([]*domain, format.Problems) {
	var domains []*domain
	var problems format.Problems
	known := map[string]*domain{}
	for _, file := range domainFiles(b.Files) {
		source := &ratelimits.File{}
		if found := format.Decode(file, source); len(found) > 0 {
			problems = append(problems, found...)
			continue
		}
		d := known[string(source.Domain)]
		if d == nil || source.Domain == "" { // files without one are each wrong by themselves
			d = &domain{}
			known[string(source.Domain)] = d
			domains = append(domains, d)
		} else if wrong := d.refuses(file, source); wrong != nil {
			problems = append(problems, *wrong)
			continue
		}
		d.files, d.sources = append(d.files, file), append(d.sources, source)
	}
	return domains, problems
}

// refuses says why a file cannot hold more of the domain; nil when it can.
func (d *domain) refuses(file *format.File, source *ratelimits.File) *format.Problem {
	first := d.files[0].Path
	at, message := "$.compat", fmt.Sprintf("compat differs from that of %s; it is the same in all files of the domain %q", first, source.Domain)
	switch {
	case !source.Compat.MergeDomain || !d.sources[0].Compat.MergeDomain:
		at = "$.domain"
		message = fmt.Sprintf("the domain %q stands in %s already; a domain has one file, unless all its files say compat: {merge_domain: true}", source.Domain, first)
	case source.Compat == d.sources[0].Compat:
		return nil
	}
	problem := file.Problem(at, message)
	return &problem
}

// compile makes a domain look like a service, so that what decides, records and counts needs to know one thing only. Its
// one route is public: whoever may ask the listener may ask for limits, and there is no policy to ask.
func (d *domain) compile(bundle, revision string, o *Options) (*pipeline.Service, format.Problems) {
	if o.Domains == nil {
		return nil, format.Problems{{Position: format.Position{File: d.files[0].Path}, Message: "this file is part of the format, but this program does not enforce it"}}
	}
	service := &route.Service{Bundle: bundle, Name: string(d.sources[0].Domain), Revision: revision}
	service.Routes = []*route.Route{{Service: service, Name: "descriptors", Public: true}}
	part, problems := o.Domains.CompileDomain(bundle, d.files, d.sources)
	return &pipeline.Service{Route: service, Parts: map[string]any{o.Domains.Name(): part}}, problems
}
