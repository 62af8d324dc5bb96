package limits

import (
	"context"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
)

// takes counts what a store is asked.
type takes struct {
	ratelimiter.Store
	n int
}

// Take implements ratelimiter.Store.
func (s *takes) Take(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	s.n++
	return s.Store.Take(ctx, c)
}

// TestLease runs a limit with a lease from the bundle to the header fields: one call of the shared store pays for 26
// requests, each of which says so, and no more than the limit pass.
func TestLease(t *testing.T) {
	shared := &takes{}
	b := newBench(t, func(clock func() time.Time) ratelimiter.Store {
		var err error
		if shared.Store, err = memory.New(memory.Options{Now: clock}); err != nil {
			t.Fatal(err)
		}
		return shared
	}, "l: {rate: 200/d, by: [], lease: 25, algorithm: fixed_window, on_error: deny}")
	for i := range 200 {
		v := b.decide()
		b.want(v, verdict.Allowed, "")
		state := v.Verdict.Explanation.Limits[0]
		if i < 26 && (state.Leased != (i > 0) || shared.n != 1) {
			t.Fatalf("request %d: %+v after %d calls", i, state, shared.n)
		}
		if state.Remaining != int64(199-i) || state.Degraded || state.Refused {
			t.Fatalf("request %d: %+v", i, state)
		}
		if i == 3 {
			if left := fieldOf(v, "ratelimit"); left != `"l";r=196;t=86400` {
				t.Errorf("left %s", left)
			}
		}
	}
	b.want(b.decide(), verdict.LimitExceeded, "limits.take") // never from memory
	b.want(b.decide(), verdict.LimitExceeded, "limits.take")
}
