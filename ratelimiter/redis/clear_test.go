package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
)

// A counter that is cleared has room again, whatever counts it, and no other does.
func TestClearForgetsOneCounter(t *testing.T) {
	eachStore(t, func(t *testing.T, s ratelimiter.Store) {
		for name, d := range map[string]ratelimiter.Definition{
			"bucket": {Count: 1, Window: time.Hour},
			"window": {Count: 1, Window: time.Hour, Algorithm: ratelimiter.SlidingWindow},
			"log":    {Count: 1, Window: time.Hour, Algorithm: ratelimiter.SlidingLog},
		} {
			d.Name = name
			l := limit(t, d)
			one, other := []ratelimiter.Charge{charge(l, name+"1", 1)}, []ratelimiter.Charge{charge(l, name+"2", 1)}
			take := func(c []ratelimiter.Charge, want bool) {
				t.Helper()
				if d := must(t)(s.Take(context.Background(), c)); d.Allowed != want {
					t.Errorf("%s: %s allowed: %t", name, c[0].Key, d.Allowed)
				}
			}
			clearer, ok := s.(interface {
				Clear(ctx context.Context, key ratelimiter.Key) (bool, error)
			})
			if !ok {
				t.Fatal("the store forgets nothing")
			}
			clearOne := func(want bool) {
				t.Helper()
				if had, err := clearer.Clear(t.Context(), one[0].Key); err != nil || had != want {
					t.Errorf("%s: cleared %t, %v; want %t", name, had, err, want)
				}
			}
			clearOne(false)
			take(one, true)
			take(other, true)
			take(one, false)
			clearOne(true)
			clearOne(false)
			take(one, true)
			take(other, false)
		}
	})
}

func TestClearFailsWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	server.Stop()
	defer server.Cont()
	if _, err := s.Clear(t.Context(), "k"); err == nil {
		t.Error("a Redis that hangs has forgotten a counter")
	}
}

// In a cluster the counter is found wherever its slot is: at its node, at both ends of a move, and behind it.
func TestClearInACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, nil)
	s := newCluster(t, c, nil)
	l := limit(t, ratelimiter.Definition{Name: "one", Count: 1, Window: time.Hour})
	var charges [][]ratelimiter.Charge
	for _, scope := range scopes {
		charges = append(charges, []ratelimiter.Charge{scoped(l, scope, "k", 1)})
	}
	clearAll := func(when string) {
		t.Helper()
		for i := range charges {
			if d := must(t)(s.Take(context.Background(), charges[i])); !d.Allowed {
				t.Errorf("%s: %s is used", when, charges[i][0].Key)
			}
			if had, err := s.Clear(t.Context(), charges[i][0].Key); err != nil || !had {
				t.Errorf("%s: clear %s: %t, %v", when, charges[i][0].Key, had, err)
			}
			if had, err := s.Clear(t.Context(), charges[i][0].Key); err != nil || had {
				t.Errorf("%s: clear %s again: %t, %v", when, charges[i][0].Key, had, err)
			}
		}
	}
	clearAll("at rest")
	key := string(charges[0][0].Key)
	slot, from := c.SlotOf(key), c.OwnerOf(key)
	to := c.OwnerOf(string(charges[1][0].Key))
	c.BeginMove(slot, from, to)
	clearAll("during a move") // what is new lies at the receiver
	c.EndMove(slot, from, to)
	clearAll("behind it")
	if n := errorsOf(t, c, "ASK"); n == 0 {
		t.Error("no node said ASK: the test moves too little")
	}
}
