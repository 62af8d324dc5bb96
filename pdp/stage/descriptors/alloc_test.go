package descriptors

import (
	"context"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/ratelimiter"
)

// roomy answers every charge with room and counts nothing, so that the stage alone is measured.
type roomy struct {
	statuses [ratelimiter.MaxCharges]ratelimiter.Status
}

func (r *roomy) Take(_ context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	for i := range charges {
		c := &charges[i]
		r.statuses[i] = ratelimiter.Status{Limit: c.Limit, Key: c.Key, Cost: c.Cost, Room: true, Charged: true, Remaining: 1}
	}
	return ratelimiter.Decision{Allowed: true, Limits: r.statuses[:len(charges)]}, nil
}

func (r *roomy) Settle(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return r.Take(ctx, charges)
}

func (r *roomy) Peek(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return r.Take(ctx, charges)
}

// three is a request of an edge: a limit for all, one for a user, and one for a user and a path.
func three() *request.Request {
	user, path := request.Pair{Key: "user", Value: "user:corp:alice"}, request.Pair{Key: "path", Value: "/orders"}
	return &request.Request{Adapter: "ratelimit", Descriptors: &request.Descriptors{Domain: "edge", List: []request.Descriptor{
		{Pairs: []request.Pair{{Key: "all", Value: "edge"}}}, {Pairs: []request.Pair{user}}, {Pairs: []request.Pair{user, path}},
	}}}
}

const threeLimits = `domain: edge
descriptors:
  - {key: all, rate_limit: {unit: second, requests_per_unit: 10000}}
  - key: user
    rate_limit: {unit: minute, requests_per_unit: 600}
    descriptors:
      - {key: path, value: "/orders*", rate_limit: {unit: minute, requests_per_unit: 60}}
`

// evaluator returns a function that evaluates a request once.
func evaluator(tb testing.TB, r *request.Request) func() {
	tb.Helper()
	store := &roomy{}
	limiter, err := ratelimiter.New(ratelimiter.Options{Local: store, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = limiter.Close(context.Background()) })
	stage, err := New(Options{Limiter: limiter})
	if err != nil {
		tb.Fatal(err)
	}
	part, problems := compileFile(tb, threeLimits)
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	service := &pipeline.Service{Route: &route.Service{Bundle: "acme", Name: "edge"}, Parts: map[string]any{Name: part}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	tb.Cleanup(cancel)
	return func() {
		c := &pipeline.Case{Service: service}
		c.Request = r
		if outcome, err := stage.Evaluate(ctx, c); outcome != pipeline.Continue || err != nil {
			tb.Fatal(outcome, err)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	evaluate := evaluator(b, three())
	b.ReportAllocs()
	for b.Loop() {
		evaluate()
	}
}

// TestAllocations pins what the stage costs: no limit of the configuration is compiled for a request.
func TestAllocations(t *testing.T) {
	evaluate := evaluator(t, three())
	if got := testing.AllocsPerRun(100, evaluate); got != 20 {
		t.Errorf("%v allocations for three descriptors, want 20", got)
	}
}
