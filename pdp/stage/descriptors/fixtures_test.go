package descriptors

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
)

// world is a stage with counters in memory and a clock that stands still until it is moved.
type world struct {
	t     *testing.T
	now   time.Time
	stage *Stage
	part  any
	calls []string // of the store
	down  bool     // it fails

	heard []string // of limits without room

	settled chan struct{} // one for each call that settles, which nobody waits for
}

func newWorld(t *testing.T, yaml string) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), settled: make(chan struct{}, 100)}
	clock := func() time.Time { return w.now }
	shared, err := memory.New(memory.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	local, err := memory.New(memory.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimiter.New(ratelimiter.Options{Shared: &noted{shared, w}, Local: local, Now: clock, Observe: func(s *ratelimiter.Status, settled bool) {
		if !s.Room && !settled { // what settles is another goroutine's
			w.heard = append(w.heard, s.Limit.Definition().Name)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limiter.Close(context.Background()) })
	if w.stage, err = New(Options{Limiter: limiter}); err != nil {
		t.Fatal(err)
	}
	part, problems := compileFile(t, yaml)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.part = part
	return w
}

// noted is a store that notes how it is called, and that fails while it is down.
type noted struct {
	ratelimiter.Store
	w *world
}

var errDown = errors.New("down")

func (n *noted) Take(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	n.w.calls = append(n.w.calls, "take")
	if n.w.down {
		return ratelimiter.Decision{}, errDown
	}
	return n.Store.Take(ctx, charges)
}

func (n *noted) Peek(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	n.w.calls = append(n.w.calls, "peek")
	if n.w.down {
		return ratelimiter.Decision{}, errDown
	}
	return n.Store.Peek(ctx, charges)
}

func (n *noted) Settle(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	d, err := n.Store.Settle(ctx, charges)
	n.w.settled <- struct{}{}
	return d, err
}

// ask evaluates a request.
func (w *world) ask(r *request.Request) (*pipeline.Case, pipeline.Outcome) {
	w.t.Helper()
	c := &pipeline.Case{}
	c.Request, c.Now = r, w.now
	c.Service = &pipeline.Service{Route: &route.Service{Bundle: "acme", Name: "edge"}, Parts: map[string]any{Name: w.part}}
	outcome, err := w.stage.Evaluate(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, outcome
}

// of is a request for descriptors of one pair each, "key" or "key=value".
func of(pairs ...request.Pair) *request.Request {
	d := &request.Descriptors{Domain: "edge"}
	for _, p := range pairs {
		d.List = append(d.List, request.Descriptor{Pairs: []request.Pair{p}})
	}
	return &request.Request{Adapter: "ratelimit", Descriptors: d}
}

// keys is a request for descriptors of one key each.
func keys(names ...string) *request.Request {
	var pairs []request.Pair
	for _, n := range names {
		pairs = append(pairs, request.Pair{Key: n, Value: "x"})
	}
	return of(pairs...)
}
