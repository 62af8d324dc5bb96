package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/pipeline"
)

// reporter is a compiled part that has something to say about itself, as how it will run: a line for each remark.
type reporter interface {
	Report() []string
}

// Report returns what the parts of a bundle's services have to say about themselves, each line with the service that it
// is about. What several services say stands once, with their number. An empty name means all bundles.
func Report(s *pipeline.Snapshot, bundle string) []string {
	var services []*pipeline.Service
	for _, service := range s.Services {
		if bundle == "" || service.Route.Bundle == bundle {
			services = append(services, service)
		}
	}
	return report(services)
}

func report(services []*pipeline.Service) []string {
	slices.SortFunc(services, func(a, b *pipeline.Service) int {
		if c := strings.Compare(a.Route.Bundle, b.Route.Bundle); c != 0 {
			return c
		}
		return strings.Compare(a.Route.Name, b.Route.Name)
	})
	var order []string
	said := map[string][]string{}
	for _, service := range services {
		for _, line := range service.Report {
			if said[line] == nil {
				order = append(order, line)
			}
			if by := said[line]; len(by) == 0 || by[len(by)-1] != service.Route.Name {
				said[line] = append(by, service.Route.Name)
			}
		}
	}
	lines := make([]string, len(order))
	for i, line := range order {
		by := said[line][0]
		if more := len(said[line]) - 1; more > 0 {
			by = fmt.Sprintf("%s and %d more", by, more)
		}
		lines[i] = by + ": " + line
	}
	return lines
}
