package assembly

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/stage/limits"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/usage"
)

// simulationWindow is longer than any log: keys of a simulation do not fade.
const simulationWindow = 50 * 366 * 24 * time.Hour

// Simulation takes the limits of an Offline's bundle for requests that were decided before, one after the other, with
// counters that nobody has touched and the clock of the requests. It is not safe for concurrent use. Close it.
type Simulation struct {
	snapshot *pipeline.Snapshot
	places   []*place
	routes   map[*route.Route][]simulated
	reads    map[LimitID][]string

	// These begin with the first request: clocks are relative to when they were started.
	clock    atomic.Pointer[time.Time]
	stage    *limits.Stage
	limiter  *ratelimiter.Limiter
	counters *memory.Store
	usage    *usage.Tracker
}

// simulated is one limit of a route.
type simulated struct {
	id    LimitID
	reads []string // attributes
	ends  bool     // counts until the request has ended, which no record says
}

// theEnd is what is not known of a request for a limit on concurrency.
const theEnd = "the end"

// LimitID names a limit of a bundle; Service is "" for those of the whole bundle.
type LimitID struct{ Service, Name string }

// SimulatedRequest is a request as it was decided.
type SimulatedRequest struct {
	Request *request.Request
	Time    time.Time
	Subject subject.Subject
	// Denied is set where something other than a limit denied it.
	Denied bool
	// Unknown reports whether nobody knows what an attribute of the request was. Limits that read one are left out.
	Unknown func(attribute string) bool
}

// SimulatedAnswer is what the limits say of one request.
type SimulatedAnswer struct {
	// Routed is set where a route of the bundle answers for the request.
	Routed bool
	// Limits are the limits of the route; LeftOut names, for some of them, what is not known: attributes, or
	// of limits on concurrency the end.
	Limits  []LimitID
	LeftOut map[LimitID][]string
	// Refused are those that had no room, shadows among them; Reason is why the request would be denied by its limits, or "".
	Refused []LimitID
	Reason  verdict.Reason
	// By is the limit of that Reason.
	By LimitID
}

// Simulate begins a simulation.
func (o *Offline) Simulate() *Simulation {
	s := &Simulation{snapshot: o.snapshot, routes: map[*route.Route][]simulated{}, reads: map[LimitID][]string{}, places: placesOf(o.snapshot)}
	for at, compiled := range o.snapshot.Services {
		infos := limits.Infos(compiled)
		for _, r := range at.Routes {
			s.routes[r] = simulatedOf(at, r, infos)
			for _, one := range s.routes[r] {
				s.reads[one.id] = one.reads
			}
		}
	}
	return s
}

// begin makes the counters, at the time of the first request.
func (s *Simulation) begin(at time.Time) (err error) {
	s.clock.Store(&at)
	if s.usage, err = usage.New(usage.Options{Now: s.now, Window: simulationWindow}); err != nil {
		return err
	}
	if s.counters, err = memory.New(memory.Options{Now: s.now}); err != nil {
		return err
	}
	if s.limiter, err = ratelimiter.New(ratelimiter.Options{Local: s.counters, Now: s.now, Observe: s.usage.Observe}); err != nil {
		return err
	}
	s.stage, err = limits.New(limits.Options{Limiter: s.limiter, Wait: true})
	return err
}

func simulatedOf(at *route.Service, r *route.Route, infos []limits.Info) []simulated {
	var out []simulated
	for i := range infos {
		info := &infos[i]
		if !slices.Contains(info.Routes, r.Name) {
			continue
		}
		one := simulated{id: LimitID{Service: at.Name, Name: info.Limit.Definition().Name}, reads: slices.Concat(info.By, info.When)}
		if info.Shared {
			one.id.Service = ""
		}
		one.ends = info.Limit.Algorithm() == ratelimiter.Concurrency
		for _, name := range []string{info.ClassOf, info.CostOf, info.Distinct} {
			if name != "" {
				one.reads = append(one.reads, name)
			}
		}
		slices.Sort(one.reads)
		one.reads = slices.Compact(one.reads)
		out = append(out, one)
	}
	return out
}

// Limits are the limits of the bundle's services that a route names.
func (s *Simulation) Limits() []limitsapi.Limit {
	var out []limitsapi.Limit
	for _, p := range s.places {
		if p.domain == "" {
			out = append(out, limitView(p, nil))
		}
	}
	return out
}

// Reads returns the attributes that a limit looks at.
func (s *Simulation) Reads(id LimitID) []string { return s.reads[id] }

// Take takes the limits of the next request. Time never goes back: a request from before the last one counts at its time.
func (s *Simulation) Take(ctx context.Context, r *SimulatedRequest) (SimulatedAnswer, error) {
	var a SimulatedAnswer
	if s.stage == nil {
		if err := s.begin(r.Time); err != nil {
			return a, err
		}
	} else if r.Time.After(s.now()) {
		s.clock.Store(&r.Time)
	}
	c := s.caseOf(r)
	if c == nil {
		return a, nil
	}
	a.Routed = true
	byName := map[string]LimitID{}
	leftOut := map[string]bool{}
	for _, l := range s.routes[c.Match.Route] {
		byName[l.id.Name] = l.id
		a.Limits = append(a.Limits, l.id)
		if unknown := l.unknown(r); len(unknown) > 0 {
			if a.LeftOut == nil {
				a.LeftOut = map[LimitID][]string{}
			}
			leftOut[l.id.Name] = true
			a.LeftOut[l.id] = unknown
		}
	}
	outcome, err := s.stage.Replay(ctx, c, r.Denied, func(limit string) bool { return leftOut[limit] })
	if err != nil {
		return a, err
	}
	why := &c.Verdict.Explanation
	for i := range why.Limits {
		if why.Limits[i].Refused {
			a.Refused = append(a.Refused, byName[why.Limits[i].Name])
		}
	}
	if outcome == pipeline.Stop {
		a.Reason, a.By = c.Verdict.Reason, byName[why.Limit]
	}
	return a, nil
}

// unknown returns what nobody knows of a request that the limit needs.
func (l *simulated) unknown(r *SimulatedRequest) (names []string) {
	for _, name := range l.reads {
		if r.Unknown(name) {
			names = append(names, name)
		}
	}
	if l.ends {
		names = append(names, theEnd)
	}
	return names
}

// caseOf finds the place of a request, nil for none.
func (s *Simulation) caseOf(r *SimulatedRequest) *pipeline.Case {
	c := &pipeline.Case{Facts: attribute.Facts{Request: r.Request, Now: s.now(), Subject: r.Subject}}
	c.Match = s.snapshot.Routes.Match(r.Request)
	if c.Match.Reason != "" || c.Match.Route == nil {
		return nil
	}
	c.Service = s.snapshot.Services[c.Match.Service]
	if c.Action = c.Match.Route.Action; c.Action == "" {
		c.Action = r.Request.Method
	}
	if op := r.Request.Operation; op != nil {
		c.Resource = attribute.Resource{Type: op.ResourceType, ID: op.ResourceID}
	} else if i := c.Match.Route.Index; i < len(c.Service.Resources) {
		_ = c.Service.Resources[i].Resolve(&c.Facts) // where it is ambiguous the request was denied, or its resource is not known
	}
	return c
}

// Top returns the keys that were near a limit or over it, at most n, who was refused most first.
func (s *Simulation) Top(id LimitID, n int) []limitsapi.Key {
	var out []limitsapi.Key
	for _, p := range s.places {
		if s.usage != nil && p.domain == "" && p.service == id.Service && p.name() == id.Name {
			for _, k := range s.usage.Keys(p.keys) {
				if len(out) < n {
					out = append(out, keyView(p, &k))
				}
			}
		}
	}
	return out
}

// Forgotten returns how many counters were forgotten for want of memory, each of which gave its key a whole limit again.
func (s *Simulation) Forgotten() uint64 {
	if s.counters == nil {
		return 0
	}
	_, evicted := s.counters.Stats()
	return evicted
}

// Close ends the simulation.
func (s *Simulation) Close() error {
	if s.limiter == nil {
		return nil
	}
	return closeLimiter(s.limiter)
}

func (s *Simulation) now() time.Time { return *s.clock.Load() }
