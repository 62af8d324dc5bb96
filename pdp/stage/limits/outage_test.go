package limits

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// broken is a shared store that never answers; Settle waits for release, where there is one.
type broken struct {
	mu       sync.Mutex
	settles  int
	release  chan struct{}
	deadline time.Time
}

func (s *broken) Take(ctx context.Context, _ []ratelimiter.Charge) (ratelimiter.Decision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline, _ = ctx.Deadline()
	return ratelimiter.Decision{}, errDown
}

func (s *broken) Peek(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.Take(ctx, c)
}

func (s *broken) Settle(_ context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if s.release != nil {
		<-s.release
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range charges {
		s.settles += int(charges[i].Cost)
	}
	return ratelimiter.Decision{Allowed: true, Limits: make([]ratelimiter.Status, len(charges))}, nil
}

func (s *broken) settled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settles
}

func newBroken(t *testing.T, release chan struct{}, definitions ...string) (*bench, *broken) {
	t.Helper()
	s := &broken{release: release}
	return newBench(t, func(func() time.Time) ratelimiter.Store { return s }, definitions...), s
}

func TestOnError(t *testing.T) {
	for _, at := range []struct{ key, point string }{{"", "limits.take"}, {", at: gate", "limits.gate"}} {
		t.Run(at.point, func(t *testing.T) {
			deny := "deny: {rate: 10/d, by: [client.address], on_error: deny" + at.key + "}"
			allow := "allow: {rate: 1/d, by: [client.address], on_error: allow" + at.key + "}"
			share := "share: {rate: 10/d, by: [client.address]" + at.key + "}"

			b, s := newBroken(t, nil, allow, deny)
			c := b.decide("user=alice")
			b.want(c, verdict.LimitsUnavailable, at.point)
			v := &c.Verdict
			if v.HTTPStatus() != 503 || !c.IsOutage() || !v.Degraded || v.Explanation.Limit != "deny" || v.RetryAfter != 0 || len(v.Obligations.SetResponse) != 0 {
				t.Errorf("deny: %+v", v)
			}
			if err := b.limiter.Close(t.Context()); err != nil || s.settled() != 0 {
				t.Errorf("an outage was charged %d times, %v", s.settled(), err)
			}

			b, _ = newBroken(t, nil, allow)
			for range 3 {
				c = b.decide("user=alice")
				b.want(c, verdict.Allowed, "")
				if !c.Verdict.Degraded || !c.Verdict.Explanation.Limits[0].Degraded || len(c.Verdict.Obligations.SetResponse) != 0 {
					t.Errorf("allow: %+v", c.Verdict)
				}
			}

			b, _ = newBroken(t, nil, share)
			b.want(b.decide("user=alice"), verdict.Allowed, "") // one unit: what the shared counter held is not known
			c = b.decide("user=alice")
			b.want(c, verdict.LimitExceeded, at.point)
			if !c.Verdict.Degraded || c.IsOutage() || c.Verdict.RetryAfter == 0 {
				t.Errorf("share: %+v", c.Verdict)
			}

			b, _ = newBroken(t, nil, "shade: {rate: 10/d, by: [client.address], on_error: deny, shadow: true"+at.key+"}")
			b.want(b.decide("user=alice"), verdict.Allowed, "")
		})
	}
}

// TestCallEndsBeforeTheDecision: the store is given less time than the decision has.
func TestCallEndsBeforeTheDecision(t *testing.T) {
	b, s := newBroken(t, nil, "a: {rate: 1/d, by: [], on_error: allow}")
	end := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	b.pipeline.Run(ctx, b.newCase("user=alice"))
	if !s.deadline.Equal(end.Add(-margin)) {
		t.Errorf("the store has until %v, the decision until %v", s.deadline, end)
	}
}

// TestSettleNeverWaits: with a store that hangs, denials beyond the queue are dropped and counted, and the others are
// charged when it answers.
func TestSettleNeverWaits(t *testing.T) {
	release := make(chan struct{})
	b, s := newBroken(t, release, "bad: {rate: 1000/d, by: [client.address], count: denied}")
	const denials = 100
	for range denials { // hangs here if Settle waits
		b.want(b.decide("identity=deny"), verdict.TokenSignature, "identity")
	}
	dropped := int(b.dropped.Load())
	if dropped == 0 || dropped == denials {
		t.Errorf("%d of %d dropped, with a queue of 4", dropped, denials)
	}
	close(release)
	if err := b.limiter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.settled() != denials-dropped {
		t.Errorf("%d charged, %d dropped of %d", s.settled(), dropped, denials)
	}
	b.decide("identity=deny")
	if int(b.dropped.Load()) != dropped+1 {
		t.Error("a denial after Close is neither charged nor counted")
	}
}

// TestRedisGone: a real Redis that dies and comes back.
func TestRedisGone(t *testing.T) {
	server := redistest.Start(t)
	b := newBench(t, func(clock func() time.Time) ratelimiter.Store {
		s, err := redis.New(redis.Options{URL: server.URL(), Now: time.Now, ScriptTime: clock, Timeout: 10 * time.Second,
			Breaker: redis.BreakerOptions{MaxPause: 100 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}, "a: {rate: 1000/d, by: [client.address], on_error: deny}", "b: {rate: 1000/d, by: [client.address], on_error: allow}")
	b.want(b.decide("user=alice"), verdict.Allowed, "")
	server.Kill()
	var c *pipeline.Case
	for range 10 {
		c = b.decide("user=alice")
		b.want(c, verdict.LimitsUnavailable, "limits.take")
	}
	if states := c.Verdict.Explanation.Limits; len(states) != 2 || !states[0].Refused || states[1].Refused || !states[0].Degraded {
		t.Errorf("states %+v", states)
	}
	server.Restart()
	end := time.Now().Add(20 * time.Second)
	for !b.decide("user=alice").Verdict.Allowed() {
		if time.Now().After(end) {
			t.Fatal("Redis is back and nothing passes")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
