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

// compileDomains compiles the files of ratelimits/, which are decoded without a problem. A file has at most 1 MiB: they
// are compiled for every revision.
func compileDomains(b *format.Bundle, revision string, o *Options) ([]*pipeline.Service, format.Problems) {
	var domains []*pipeline.Service
	var problems format.Problems
	first := map[string]string{} // the files by domain
	for _, file := range domainFiles(b.Files) {
		source := &ratelimits.File{}
		if found := format.Decode(file, source); len(found) > 0 {
			problems = append(problems, found...)
			continue
		}
		name := string(source.Domain)
		if other := first[name]; name != "" && other != "" {
			problems = append(problems, file.Problem("$.domain", fmt.Sprintf("the domain %q stands in %s already; a domain has one file", name, other)))
			continue
		}
		first[name] = file.Path
		domain, found := compileDomain(b.Name, revision, file, source, o)
		problems = append(problems, found...)
		domains = append(domains, domain)
	}
	return domains, problems
}

// compileDomain makes a domain look like a service, so that what decides, records and counts needs to know one thing only.
// Its one route is public: whoever may ask the listener may ask for limits, and there is no policy to ask.
func compileDomain(bundle, revision string, file *format.File, source *ratelimits.File, o *Options) (*pipeline.Service, format.Problems) {
	if o.Domains == nil {
		return nil, format.Problems{{Position: format.Position{File: file.Path}, Message: "this file is part of the format, but this program does not enforce it"}}
	}
	service := &route.Service{Bundle: bundle, Name: string(source.Domain), Revision: revision}
	service.Routes = []*route.Route{{Service: service, Name: "descriptors", Public: true}}
	part, problems := o.Domains.CompileDomain(bundle, file, source)
	return &pipeline.Service{Route: service, Parts: map[string]any{o.Domains.Name(): part}}, problems
}
