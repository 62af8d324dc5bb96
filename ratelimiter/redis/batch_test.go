package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// calls counts what a store reports.
type calls struct{ made, decisions, failed, refused atomic.Int64 }

func (c *calls) call(x redis.Call) {
	if errors.Is(x.Err, redis.ErrOpen) {
		c.refused.Add(1)
		return
	}
	c.made.Add(1)
	c.decisions.Add(int64(x.Decisions))
	if x.Err != nil {
		c.failed.Add(1)
	}
}

// TestSharedCallsAreExact: callers of several scopes with several limits share calls, and exactly the burst of each scope
// passes; refusals charge nobody.
func TestSharedCallsAreExact(t *testing.T) {
	const callers, takes, burst, roomy = 64, 50, 100, 10_000
	for name, batch := range map[string]redis.BatchOptions{"mixed": {}, "one lane": {Lanes: 1}, "small": {Lanes: 4, Decisions: 3}} {
		t.Run(name, func(t *testing.T) {
			seen := new(calls)
			s := newRedis(t, redistest.Start(t).URL(), func(o *redis.Options) { o.Batch, o.OnCall = batch, seen.call })
			scopes := []string{"acme", "globex"}
			charges := map[string][]ratelimiter.Charge{}
			for _, scope := range scopes {
				for name, count := range map[string]int64{"tight": burst, "roomy": roomy, "other": roomy} {
					l := limit(t, ratelimiter.Definition{Name: name, Count: count, Window: ratelimiter.MaxWindow})
					charges[scope] = append(charges[scope], ratelimiter.Charge{Limit: l, Key: ratelimiter.NewKeySpace(scope, "orders", name).Key(), Cost: 1})
				}
			}
			passed := map[string]*atomic.Int64{"acme": {}, "globex": {}}
			var wg sync.WaitGroup
			for i := range callers {
				scope := scopes[i%len(scopes)]
				wg.Go(func() {
					for range takes {
						d, err := s.Take(context.Background(), charges[scope])
						if err != nil {
							t.Error(err)
						} else if d.Allowed {
							passed[scope].Add(1)
						}
					}
				})
			}
			wg.Wait()
			for _, scope := range scopes {
				if got := passed[scope].Load(); got != burst {
					t.Errorf("%s: %d passed", scope, got)
				}
				for _, st := range must(t)(s.Peek(context.Background(), charges[scope])).Limits {
					if want := st.Limit.Definition().Count - burst; st.Remaining != want {
						t.Errorf("%s of %s has %d left, want %d", st.Limit.Definition().Name, scope, st.Remaining, want)
					}
				}
			}
			t.Logf("%d decisions in %d calls", seen.decisions.Load(), seen.made.Load())
			if want := int64(callers*takes + len(scopes)); seen.decisions.Load() != want || seen.made.Load() >= want {
				t.Errorf("%d decisions in %d calls, want %d in fewer", seen.decisions.Load(), seen.made.Load(), want)
			}
		})
	}
}

// TestFlushedScriptsChargeOnce: a server that forgets the script says so before it runs anything.
func TestFlushedScriptsChargeOnce(t *testing.T) {
	const callers, takes, count = 16, 100, 10_000
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: count, Window: ratelimiter.MaxWindow}), "k", 1)}
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
				server.Do("SCRIPT", "FLUSH")
			}
		}
	}()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range takes {
				if d, err := s.Take(context.Background(), charges); err != nil || !d.Allowed {
					t.Errorf("%+v, %v", d, err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	t.Logf("flushed %d times", <-stopped)
	if got := must(t)(s.Peek(context.Background(), charges)).Limits[0].Remaining; got != count-callers*takes {
		t.Errorf("%d left, want %d", got, count-callers*takes)
	}
}

// TestHungServerFailsEverybody: all callers get an error, by few calls, and answers again when the server goes on.
func TestHungServerFailsEverybody(t *testing.T) {
	const callers = 64
	server, seen := redistest.Start(t), new(calls)
	s := newRedis(t, server.URL(), func(o *redis.Options) {
		o.Timeout, o.OnCall = 0, seen.call
		o.Breaker.MaxPause = 200 * time.Millisecond
	})
	charges := []ratelimiter.Charge{charge(limit(t, ratelimiter.Definition{Count: 1_000_000, Window: time.Second}), "k", 1)}
	take := func() error { _, err := s.Take(context.Background(), charges); return err }
	within(t, "a first answer", func() bool { return take() == nil })
	server.Stop()
	var longest atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range 20 {
				start := time.Now()
				if take() == nil {
					t.Error("an answer from a hung server")
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
	t.Logf("%d decisions, %d calls failed, %d refused by the breaker, the longest took %v",
		callers*20, seen.failed.Load(), seen.refused.Load(), time.Duration(longest.Load()))
	if seen.failed.Load() == 0 || seen.failed.Load() > callers {
		t.Errorf("%d calls failed", seen.failed.Load())
	}
	server.Cont()
	within(t, "recovery", func() bool { return take() == nil })
}

func TestBatchOptionsRefused(t *testing.T) {
	for i, b := range []redis.BatchOptions{{Lanes: -1}, {Decisions: -1}, {Keys: -1}, {Queue: -1}, {Lanes: 65}} {
		if _, err := redis.New(redis.Options{URL: "redis://localhost", Now: time.Now, Batch: b}); err == nil {
			t.Error(fmt.Sprint("accepted: ", i))
		}
	}
}
