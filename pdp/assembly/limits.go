package assembly

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/durward-pdp/durward/pdp/assembly/limitsapi"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/descriptors"
	"github.com/durward-pdp/durward/pdp/stage/limits"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/usage"
)

// limitsTimeout bounds what a request under /limits waits for: the store, the record, and whoever reads the answer.
const limitsTimeout = 5 * time.Second

// limitsAdmin shows limits over the admin listener, looks at counters and clears them.
type limitsAdmin struct {
	snapshot func() *pipeline.Snapshot
	limiter  *ratelimiter.Limiter
	usage    *usage.Tracker
	journal  journal
}

// register adds the paths. host is the listener's own.
func (a *limitsAdmin) register(mux *http.ServeMux, known *callers, address string) {
	host, _, _ := net.SplitHostPort(address)
	loaded := func(r *http.Request, who caller, handle func(*http.Request, caller) (any, *refusal)) (any, *refusal) {
		if a.snapshot() == nil { // which is not the same as no limit
			return nil, &refusal{http.StatusServiceUnavailable, "no bundle is in force yet, every request is denied: see the server's log"}
		}
		return handle(r, who)
	}
	look := func(handle func(*http.Request, caller) (any, *refusal)) http.Handler {
		return known.serve(func(r *http.Request, who caller) (any, *refusal) {
			if no := mayRead(r, who, host); no != nil {
				return nil, no
			}
			return loaded(r, who, handle)
		})
	}
	mux.Handle("GET "+limitsapi.ListPath, look(a.list))
	mux.Handle("GET "+limitsapi.TopPath, look(a.top))
	mux.Handle("GET "+limitsapi.PeekPath, look(a.peek))
	mux.Handle("POST "+limitsapi.UnblockPath, known.serve(func(r *http.Request, who caller) (any, *refusal) {
		if no := mayChange(r, host); no != nil {
			return nil, no
		}
		return loaded(r, who, a.unblock)
	}))
}

// serve answers known callers with a JSON document.
func (c *callers) serve(handle func(*http.Request, caller) (any, *refusal)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The listener has no bound of its own, for profiles take long. A writer that takes none is that of a test.
		ctx, cancel := context.WithTimeout(r.Context(), limitsTimeout)
		defer cancel()
		if deadline, ok := ctx.Deadline(); ok {
			_ = http.NewResponseController(w).SetWriteDeadline(deadline.Add(limitsTimeout))
		}
		r.Body = http.MaxBytesReader(w, r.Body, limitsapi.MaxBody)
		who, ok := c.ofHTTP(r)
		if !ok {
			writeDocument(w, http.StatusForbidden, limitsapi.Error{Error: "unknown caller"})
			return
		}
		document, no := handle(r.WithContext(ctx), who)
		if no != nil {
			writeDocument(w, no.status, limitsapi.Error{Error: no.text})
			return
		}
		writeDocument(w, http.StatusOK, document)
	})
}

func writeDocument(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

// list answers what is limited.
func (a *limitsAdmin) list(*http.Request, caller) (any, *refusal) {
	out := limitsapi.List{Limits: []limitsapi.Limit{}, Domains: []limitsapi.Domain{}, LeftOut: a.usage.LeftOut()}
	for _, l := range a.places() {
		if l.domain != "" {
			out.Domains = append(out.Domains, domainView(l, a.used(l.keys)))
		} else {
			out.Limits = append(out.Limits, limitView(l, a.used(l.keys)))
		}
	}
	return out, nil
}

// top answers who is near a limit or over it. Who looked is recorded.
func (a *limitsAdmin) top(r *http.Request, who caller) (any, *refusal) {
	query := r.URL.Query()
	most := 20
	if text := query.Get("n"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > limitsapi.MaxTop {
			return nil, &refusal{http.StatusBadRequest, "n is a number from 1 to " + strconv.Itoa(limitsapi.MaxTop)}
		}
		most = n
	}
	wanted := limitsapi.Target{Bundle: query.Get("bundle"), Service: query.Get("service"), Domain: query.Get("domain"), Limit: query.Get("limit")}
	meant := slices.DeleteFunc(a.places(), func(p *place) bool { return !p.isMeant(&wanted) })
	if len(meant) == 0 && wanted.Bundle+wanted.Service+wanted.Domain+wanted.Limit != "" {
		return nil, &refusal{http.StatusNotFound, "there is no such limit in force"}
	}
	do, no := a.begin(r, who, "limits.top", &counter{Place: limitsapi.Place{Bundle: wanted.Bundle, Service: wanted.Service, Domain: wanted.Domain, Limit: wanted.Limit}})
	if no != nil {
		return nil, no
	}
	if no := do.record("done"); no != nil {
		return nil, no
	}
	out := limitsapi.Top{WindowMS: a.usage.Window().Milliseconds(), Keys: []limitsapi.Key{}}
	for _, l := range meant {
		for _, k := range a.usage.Keys(l.keys) {
			out.Keys = append(out.Keys, keyView(l, &k))
		}
	}
	slices.SortStableFunc(out.Keys, func(x, y limitsapi.Key) int {
		return cmp.Or(cmp.Compare(y.Refused, x.Refused), cmp.Compare(y.Near, x.Near), cmp.Compare(y.Percent, x.Percent))
	})
	out.Keys = out.Keys[:min(most, len(out.Keys))]
	return out, nil
}

func (a *limitsAdmin) used(keys string) *limitsapi.Usage {
	t, ok := a.usage.Totals(keys)
	if !ok {
		return nil
	}
	return &limitsapi.Usage{Allowed: t.Allowed, Refused: t.Refused, Since: t.Since.UTC()}
}

// place is where a limit stands: in a service, in a bundle, or as a domain, whose rules share it.
type place struct {
	bundle, service, domain string
	services                []string // that name a limit of the bundle
	keys                    string   // ratelimiter.Key.Limit of its counters
	info                    *limits.Info
	compiled                *pipeline.Service // of a domain
	rules                   descriptors.Info
}

// name returns the limit's name, "" for a domain.
func (p *place) name() string {
	if p.info == nil {
		return ""
	}
	return p.info.Limit.Definition().Name
}

// isMeant reports whether a target may mean the place.
func (p *place) isMeant(t *limitsapi.Target) bool {
	return (t.Bundle == "" || t.Bundle == p.bundle) && (t.Service == "" || t.Service == p.service || slices.Contains(p.services, t.Service)) &&
		(t.Domain == "" || t.Domain == p.domain) && (t.Limit == "" || t.Limit == p.name())
}

// places returns all limits in force, ordered by bundle, service and name, domains last.
func (a *limitsAdmin) places() []*place {
	s := a.snapshot()
	if s == nil {
		return nil
	}
	return placesOf(s)
}

func placesOf(s *pipeline.Snapshot) []*place {
	var out []*place
	seen := map[string]*place{}
	for at, compiled := range s.Services {
		infos := limits.Infos(compiled)
		for i := range infos {
			keys := infos[i].Keys.Limit()
			p := seen[keys]
			if p == nil {
				p = &place{bundle: at.Bundle, keys: keys, info: &infos[i]}
				seen[keys] = p
				out = append(out, p)
			}
			if infos[i].Shared {
				p.services = append(p.services, at.Name)
			} else {
				p.service = at.Name
			}
		}
	}
	for name, compiled := range s.Domains {
		if rules, ok := descriptors.InfoOf(compiled); ok {
			out = append(out, &place{bundle: compiled.Route.Bundle, domain: name, keys: rules.Keys.Limit(), compiled: compiled, rules: rules})
		}
	}
	slices.SortFunc(out, func(a, b *place) int {
		return cmp.Or(cmp.Compare(a.domain, b.domain), cmp.Compare(a.bundle, b.bundle), cmp.Compare(a.service, b.service), cmp.Compare(a.name(), b.name()))
	})
	return out
}
