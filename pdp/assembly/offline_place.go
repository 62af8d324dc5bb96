package assembly

import "github.com/durward-pdp/durward/pdp/request"

// Place returns the service and the route that a request leads to, "" where nothing answers for it. For descriptors the
// service is their domain.
func (s *Session) Place(r *request.Request) (service, route string) {
	if r.Invalid != "" {
		return "", ""
	}
	if r.Descriptors != nil {
		if domain := s.engine.Snapshot().Domains[r.Descriptors.Domain]; domain != nil {
			return domain.Route.Name, domain.Route.Routes[0].Name
		}
		return "", ""
	}
	m := s.engine.Snapshot().Routes.Match(r)
	if m.Service != nil {
		service = m.Service.Name
	}
	if m.Route != nil {
		route = m.Route.Name
	}
	return service, route
}
