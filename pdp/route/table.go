package route

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// ServiceExtension is the context extension that names a request's service, as "bundle/service", or as "service"
// where only one bundle has a service of that name. Gateways set it; clients cannot.
const ServiceExtension = "durward.service"

// ErrConflict is wrapped by the error for services that cannot stand in one table.
var ErrConflict = errors.New("services in conflict")

// Table finds the service and route of requests. It is immutable and safe for concurrent use; a nil table finds none.
type Table struct {
	// exact and wildcard hold claims by host, and by the parent of "*."; the longest prefix comes first.
	exact, wildcard map[string][]owned
	// named are services by qualified name and by plain name; nil where a plain name is not unique.
	named map[string]*Service
}

// owned is a claim with its service.
type owned struct {
	claim
	service *Service
}

// NewTable joins the services of all bundles. Equal claims of two services are an error that names both.
func NewTable(services []*Service) (*Table, error) {
	t := &Table{exact: map[string][]owned{}, wildcard: map[string][]owned{}, named: map[string]*Service{}}
	var problems []error
	for _, s := range services {
		if t.named[s.qualified()] != nil {
			problems = append(problems, fmt.Errorf("%w: service %s stands twice", ErrConflict, s.qualified()))
			continue
		}
		t.named[s.qualified()] = s
		if _, taken := t.named[s.Name]; taken {
			t.named[s.Name] = nil
		} else {
			t.named[s.Name] = s
		}
		for _, c := range s.claims {
			if err := t.add(owned{c, s}); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	for _, byHost := range []map[string][]owned{t.exact, t.wildcard} {
		for _, claims := range byHost {
			slices.SortStableFunc(claims, func(a, b owned) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
		}
	}
	return t, nil
}

func (s *Service) qualified() string { return s.Bundle + "/" + s.Name }

func (t *Table) add(added owned) error {
	byHost := t.exact
	if added.wildcard {
		byHost = t.wildcard
	}
	for _, other := range byHost[added.host] {
		folded := added.service.options.foldCase || other.service.options.foldCase
		if other.prefix == added.prefix || folded && strings.EqualFold(other.prefix, added.prefix) {
			return fmt.Errorf("%w: %s and %s both claim %s", ErrConflict, other.service.qualified(), added.service.qualified(), added.claim)
		}
	}
	byHost[added.host] = append(byHost[added.host], added)
	return nil
}

// Match finds the service and route of an HTTP request or an operation. Without one the result says why.
func (t *Table) Match(r *request.Request) Match {
	if t == nil {
		return Match{Reason: verdict.NoService}
	}
	if r.Operation != nil {
		return t.operation(r.Operation)
	}
	var m Match
	host, ok := canonicalHost(r.Host)
	if !ok {
		m.Reason = verdict.HostInvalid
		return m
	}
	m.Host = host
	raw, query, ok := splitTarget(r.Target)
	if !ok {
		m.Reason = verdict.PathAmbiguous
		return m
	}
	m.Query = query
	path, found, ok := canonicalPath(raw)
	if !ok {
		m.Reason = verdict.PathAmbiguous
		return m
	}
	m.Service = t.service(r, host, path)
	if m.Service == nil {
		m.Reason = verdict.NoService
		return m
	}
	m.Path, ok = m.Service.options.accept(path, found)
	if !ok {
		m.Reason = verdict.PathAmbiguous
		return m
	}
	m.Service.find(r.Method, &m)
	return m
}

// service selects by extension or by the claims of the host. Claims of the exact host hide those of "*.".
func (t *Table) service(r *request.Request, host, path string) *Service {
	name, named := r.Extensions[ServiceExtension]
	if r.SelectExtension {
		return t.named[name]
	}
	claims := t.exact[host]
	if len(claims) == 0 {
		claims = t.wildcard[parent(host)]
	}
	if named {
		s := t.named[name]
		// The extension wins over longer prefixes of others, but the host must be one that the service claims.
		if s == nil || !slices.ContainsFunc(s.claims, func(c claim) bool { return c.fits(host) && s.covers(c.prefix, path) }) {
			return nil
		}
		return s
	}
	for _, c := range claims {
		if c.service.covers(c.prefix, path) {
			return c.service
		}
	}
	return nil
}

func (c claim) fits(host string) bool {
	if c.wildcard {
		return c.host == parent(host)
	}
	return c.host == host
}

// covers reports whether the path lies under a prefix of the service's.
func (s *Service) covers(prefix, path string) bool {
	if s.options.foldCase && len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix) {
		return len(path) == len(prefix) || path[len(prefix)] == '/'
	}
	return hasPrefix(path, prefix)
}

// hasPrefix reports whether prefix ends on a segment boundary of path.
func hasPrefix(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// find completes a match whose service and canonical path are known.
func (s *Service) find(method string, m *Match) {
	walk := search{path: m.Path}
	l := walk.find(s.tree, 1)
	switch {
	case walk.ambiguous:
		m.Reason = verdict.PathAmbiguous
	case l == nil:
		m.Reason, m.Status = verdict.NoRoute, s.status
	default:
		r := l.route(method)
		if r == nil {
			m.Reason, m.Allow, m.Template = verdict.RouteMethod, l.allow, l.routes[0].Template
			return
		}
		m.Route = r
		m.Params = walk.params(r)
	}
}

// operation finds the one route that declares an action; the resource type decides between several.
func (t *Table) operation(op *request.Operation) Match {
	s := t.named[op.Service]
	if s == nil {
		return Match{Reason: verdict.NoService}
	}
	candidates := s.actions[op.Action]
	var found *Route
	for _, r := range candidates {
		if len(candidates) > 1 && r.resourceType != op.ResourceType {
			continue
		}
		if found != nil {
			return Match{Service: s, Reason: verdict.ActionUnknown}
		}
		found = r
	}
	if found == nil {
		return Match{Service: s, Reason: verdict.ActionUnknown}
	}
	return Match{Service: s, Route: found}
}
