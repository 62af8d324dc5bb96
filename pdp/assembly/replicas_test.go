package assembly

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// replica is what a server makes of the limiter's settings.
func replica(t *testing.T, url string) (*parts, *metrics) {
	t.Helper()
	o := Options{Settings: settings.Defaults(), Logger: (&logged{}).logger(), Clock: time.Now}
	o.Settings.Redis.URL = settings.Secret(url)
	m := newMetrics(settings.Metrics{}, Version{})
	p := &parts{closed: make(chan struct{}), leave: func() {}}
	if err := p.openLimiter(o, m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p, m
}

// Servers that share a Redis count each other, divide local shares by their number, and are gone when they end.
func TestReplicasCountEachOther(t *testing.T) {
	server := redistest.Start(t)
	p, m := replica(t, server.URL())
	if got := families(t, m)["durward_replicas"].samples[""]; got != 1 {
		t.Errorf("durward_replicas %v", got)
	}
	second, _ := replica(t, server.URL())
	// The second one's first beat comes at once, the first one's second within some seconds.
	for end := time.Now().Add(30 * time.Second); p.limiter.Replicas() != 2 || second.limiter.Replicas() != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("they count %d and %d replicas", p.limiter.Replicas(), second.limiter.Replicas())
		}
	}
	if got := families(t, m)["durward_replicas"].samples[""]; got != 2 {
		t.Errorf("durward_replicas %v", got)
	}
	second.leave()
	if got := server.Do("ZCARD", redis.ReplicasKey); got != ":1" && got != "1" {
		t.Errorf("%q replicas in Redis after one of two left", got)
	}
	server.Kill()
	if got := p.limiter.Replicas(); got != 2 {
		t.Errorf("%d replicas without Redis", got)
	}
}

// Without Redis, or before it answered, the configured number counts.
func TestReplicasWithoutRedis(t *testing.T) {
	for _, url := range []string{"", "redis://127.0.0.1:1"} {
		o := Options{Settings: settings.Defaults(), Logger: (&logged{}).logger(), Clock: time.Now}
		o.Settings.Redis.URL, o.Settings.Redis.Replicas = settings.Secret(url), 3
		m := newMetrics(settings.Metrics{}, Version{})
		p := &parts{closed: make(chan struct{}), leave: func() {}}
		if err := p.openLimiter(o, m); err != nil {
			t.Fatal(err)
		}
		if got, shown := p.limiter.Replicas(), families(t, m)["durward_replicas"].samples[""]; got != 3 || shown != 3 {
			t.Errorf("%q: %d replicas, durward_replicas %v", url, got, shown)
		}
		if err := p.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestReplicaLog: a count that fails is one line, and so is its end.
func TestReplicaLog(t *testing.T) {
	log := &logged{}
	l := &replicaLog{logger: log.logger()}
	l.beat(1, nil)
	for range 3 {
		l.beat(0, errors.New("NOPERM"))
	}
	l.beat(2, nil)
	l.beat(2, nil)
	if diff := cmp.Diff([]string{"WARN replicas cannot be counted: local_share divides by the last number", "INFO replicas are counted again"}, messages(log)); diff != "" {
		t.Error(diff)
	}
}

// TestLimiterMetrics: what a server's limits do with Redis, and without it, shows in its metrics.
func TestLimiterMetrics(t *testing.T) {
	server := redistest.Start(t)
	p, m := replica(t, server.URL())
	limit, err := ratelimiter.NewLimit(ratelimiter.Definition{Name: "failures", Count: 10, Window: time.Hour, Counting: ratelimiter.CountDenied})
	if err != nil {
		t.Fatal(err)
	}
	charges := []ratelimiter.Charge{{Limit: limit, Key: "rl:{acme}:k", Cost: 2}}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) { // a call may meet a machine that is slow
		if d, err := p.limiter.Take(t.Context(), charges); err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", d, err)
		} else if !d.Degraded {
			break
		}
	}
	f := families(t, m)
	if f["durward_redis_call_decisions"].samples[""] == 0 || f["durward_redis_queue_length"].samples[""] != 0 {
		t.Errorf("calls %v, queue %v", f["durward_redis_call_decisions"].samples, f["durward_redis_queue_length"].samples)
	}
	server.Kill()
	if err := p.limiter.Settle(t.Context(), charges); err != nil {
		t.Fatal(err)
	}
	if got := families(t, m)["durward_limit_settles_degraded_total"].samples[""]; got != 2 {
		t.Errorf("%v units of denials that Redis was not told of", got)
	}
}
