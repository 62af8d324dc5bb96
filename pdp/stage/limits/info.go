package limits

import (
	"maps"
	"slices"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/ratelimiter"
)

// Info is what a compiled limit is, for those who look at limits instead of taking them.
type Info struct {
	// Limit is the one for all requests; with classes the one for those in none.
	Limit *ratelimiter.Limit
	// ClassOf is the attribute that tells classes apart, "" without classes.
	ClassOf string
	Classes []ClassInfo
	// Keys are the limit's counters; Shared is set for those of all services of the bundle.
	Keys   ratelimiter.KeySpace
	Shared bool
	// By and When are the attributes that it counts by, in order, and those that say to which requests it applies; CostOf is
	// the one that holds the cost, or "".
	By, When []string
	CostOf   string
	// Distinct is the attribute whose different values it counts, or "".
	Distinct string
	// Expires is set for a limit on concurrency whose permits may just expire.
	Expires bool
	// Gate is set where the gate takes it.
	Gate bool
	// Routes are the service's routes that name it.
	Routes []string
}

// ClassInfo is one class of a limit.
type ClassInfo struct {
	Name  string
	Limit *ratelimiter.Limit
}

// Infos returns the limits of a compiled service that its routes name, those of the bundle first. They must not be changed.
func Infos(s *pipeline.Service) []Info {
	p, ok := s.Parts[Name].(*part)
	if !ok {
		return nil
	}
	return p.infos
}

// Class returns the limit of a class, or that of everybody in none for "". It reports false for a class that is none.
func (i *Info) Class(name string) (*ratelimiter.Limit, bool) {
	if name == "" {
		return i.Limit, true
	}
	for _, c := range i.Classes {
		if c.Name == name {
			return c.Limit, true
		}
	}
	return nil, false
}

// infos describes the limits that routes name.
func (c *compiler) infos(p *part) []Info {
	routes := map[string][]string{}
	for i := range p.routes {
		for _, b := range p.routes[i].all {
			name := b.limit.Definition().Name
			routes[name] = append(routes[name], c.service.Routes[i].Name)
		}
	}
	var shared, own []Info
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		d := c.made[name]
		info := Info{
			Limit: d.limit, Keys: c.keys(d), Shared: d.shared, When: slices.Sorted(maps.Keys(d.source.When)),
			Gate: d.source.At == "gate", Routes: routes[name],
		}
		for _, by := range d.source.By {
			info.By = append(info.By, by.Name)
		}
		info.CostOf, _ = d.source.Cost.(string)
		if d.source.Distinct != nil {
			info.Distinct = d.source.Distinct.Name
		}
		info.Expires = d.source.WithoutRelease == "expire"
		if d.source.ByClass != nil {
			info.ClassOf = d.source.ByClass.Of
		}
		for i := range d.classes {
			info.Classes = append(info.Classes, ClassInfo{Name: d.classes[i].name.texts[0], Limit: d.classes[i].limit})
		}
		if d.shared {
			shared = append(shared, info)
		} else {
			own = append(own, info)
		}
	}
	return append(shared, own...)
}
