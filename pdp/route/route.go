// Package route turns hosts and raw paths into services and routes, or refuses them.
//
// Paths are canonical or refused, never repaired, so that no gateway and no API behind can read a path another
// way than the policy did. The package imports request, verdict and bundle/format; the pipeline, the engine and
// the bundle compiler import it. It decides nothing about access.
package route

import "github.com/durward-pdp/durward/pdp/verdict"

// Service is one API that a bundle protects. It is immutable.
type Service struct {
	// Bundle and Name identify the service.
	Bundle, Name string
	// Revision is the revision of the bundle that it came from.
	Revision string
	// TLSRequired is set unless the service says that plain text is fine.
	TLSRequired bool
	// Routes are the service's routes in file order.
	Routes []*Route

	claims  []claim
	options pathOptions
	status  int // of an undeclared path: 403 or 404
	tree    *node
	actions map[string][]*Route
}

// Route is one path template and its methods. It is immutable.
type Route struct {
	// Service is the route's service; Index its position in the service's file, which stages use to find their part.
	Service *Service
	Index   int
	// Name is the route's name, Template its path as written.
	Name, Template string
	// Methods are the declared methods.
	Methods []string
	// Public is set for routes that need neither identity nor policy.
	Public bool
	// Action is the declared action; "" takes the method.
	Action string

	params       []string
	resourceType string
}

// Match is a request's place in the policy.
type Match struct {
	// Service is set whenever the host and prefix belong to one, also when the route is not found.
	Service *Service
	// Route is nil when Reason is set.
	Route *Route
	// Params are the decoded values of the template's parameters, in template order.
	Params []Param
	// Host and Path are the canonical forms that rules and records see; "" when refused before.
	Host, Path string
	// Query is the raw query without its question mark.
	Query string
	// Reason says why there is no route; "" when there is one. Status is 0 or the status to answer with.
	Reason verdict.Reason
	Status int
	// Template is that of the path when Reason is method_not_allowed: the path may hold what no record shows.
	Template string
	// Allow lists the path's methods, sorted, when Reason is method_not_allowed (RFC 9110, section 15.5.6).
	Allow []string
}

// Param is one path parameter.
type Param struct {
	Name, Value string
}
