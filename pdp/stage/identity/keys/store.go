package keys

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/durward-pdp/durward/pdp/egress"
)

// tick is how often the store looks which sources are due. It looks, rather than computing when to, so that a clock that is set, or a machine
// that slept, costs a second.
const tick = time.Second

// Fetcher fetches from hosts that the operator allows. It must be safe for concurrent use.
type Fetcher interface {
	// Do sends a request for a bundle, within the request's context, and reads an answer of at most limit bytes.
	Do(r *http.Request, bundle string, limit int64) (*egress.Response, error)
}

// Options are what a Store needs. Fetcher and Clock are mandatory.
type Options struct {
	Fetcher Fetcher
	// Clock is the time of decisions.
	Clock func() time.Time
	// Jitter returns a random number from 0 to 1; nil is none.
	Jitter func() float64
	// Observe, if not nil, is told of every fetch that ended: how the source stood before it and stands after it. It is called by the fetch's
	// goroutine and must not call the store.
	Observe func(before, after State)
}

// Store holds the sources of a server, each as long as somebody else holds it too. It is safe for concurrent use. Close it.
type Store struct {
	options Options
	ctx     context.Context //nolint:containedctx // the life of the store, which no caller's request bounds
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	sources map[Place]weak.Pointer[Source]
}

// New starts an empty store.
func New(o Options) *Store {
	s := &Store{options: o, sources: map[Place]weak.Pointer[Source]{}}
	s.ctx, s.end = context.WithCancel(context.Background()) //nolint:forbidigo // no caller bounds the life of the store
	s.goes(s.watch)
	return s
}

// Close ends all fetches and waits for their end. What is known stays known.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
}

// goes runs something until the store is closed, and reports whether it will.
func (s *Store) goes(run func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Go(func() { run(s.ctx) })
	return true
}

// Source returns the source of a place. One that is new begins to fetch.
func (s *Store) Source(place Place) *Source {
	s.mu.Lock()
	source := s.sources[place].Value()
	fresh := source == nil
	if fresh {
		source = &Source{place: place, store: s}
		source.known.Store(&Known{})
		s.sources[place] = weak.Make(source)
	}
	s.mu.Unlock()
	if fresh {
		source.refresh(s.options.Clock())
	}
	return source
}

// States returns how all sources stand, ordered by bundle, issuer and URL.
func (s *Store) States() []State {
	var out []State
	for _, source := range s.live() {
		out = append(out, source.state(source.Current()))
	}
	slices.SortFunc(out, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Bundle, b.Bundle), cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.URL, b.URL))
	})
	return out
}

// live returns the sources that somebody holds, and forgets the others.
func (s *Store) live() []*Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Source, 0, len(s.sources))
	for place, held := range s.sources {
		if source := held.Value(); source != nil {
			out = append(out, source)
		} else {
			delete(s.sources, place)
		}
	}
	return out
}

// watch begins the fetches that are due.
func (s *Store) watch(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.refresh()
		}
	}
}

func (s *Store) refresh() {
	for _, source := range s.live() {
		source.refresh(s.options.Clock())
	}
}
