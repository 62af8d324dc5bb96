package redis_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// Under load and with the default deadline, each limit does what it says from the moment at which Redis stops
// answering, and Redis decides again once it is back.
func TestLimiterUnderLoadWithoutRedis(t *testing.T) {
	for name, hurt := range map[string][2]func(*redistest.Server){
		"killed": {(*redistest.Server).Kill, (*redistest.Server).Restart},
		"hung":   {(*redistest.Server).Stop, (*redistest.Server).Cont},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			s := newRedis(t, server.URL(), func(o *redis.Options) { o.Timeout, o.Breaker.MaxPause = 0, 200*time.Millisecond })
			l, err := ratelimiter.New(ratelimiter.Options{Shared: s, Local: newMemory(t, time.Now), Now: time.Now, Replicas: 2})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
			one := func(name string, on ratelimiter.OnError) ratelimiter.Charge {
				return charge(limit(t, ratelimiter.Definition{Name: name, Count: 1_000_000, Window: time.Minute, OnError: on}), "k", 1)
			}
			take := func(c ratelimiter.Charge) ratelimiter.Decision {
				return must(t)(l.Take(context.Background(), []ratelimiter.Charge{c}))
			}
			allow, deny := one("allow", ratelimiter.Allow), one("deny", ratelimiter.Deny)
			within(t, "Redis decides", func() bool { return !take(allow).Degraded })

			hurt[0](server)
			var longest, wrong atomic.Int64
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() {
					for range 50 {
						start := time.Now()
						a, errA := l.Take(context.Background(), []ratelimiter.Charge{allow})
						d, errD := l.Take(context.Background(), []ratelimiter.Charge{deny})
						if errA != nil || errD != nil || !a.Allowed || !a.Degraded || d.Allowed || !d.Unavailable {
							wrong.Add(1)
						}
						for took := int64(time.Since(start)); ; {
							old := longest.Load()
							if took <= old || longest.CompareAndSwap(old, took) {
								break
							}
						}
					}
				})
			}
			wg.Wait()
			t.Logf("the longest two decisions without Redis took %v", time.Duration(longest.Load()))
			if wrong.Load() != 0 {
				t.Errorf("%d decisions were not what their limits say", wrong.Load())
			}
			share := charge(limit(t, ratelimiter.Definition{Name: "share", Count: 10, Window: 24 * time.Hour}), "k", 1)
			passed := 0
			for range 20 {
				if take(share).Allowed {
					passed++
				}
			}
			if passed != 1 {
				t.Errorf("the local share gave %d units at once", passed)
			}

			hurt[1](server)
			within(t, "Redis decides again", func() bool { d := take(deny); return d.Allowed && !d.Degraded })
		})
	}
}
