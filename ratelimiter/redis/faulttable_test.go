package redis_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// fault is a way in which Redis fails.
type fault struct {
	name string
	// open starts what holds the counters. key is one of its counters.
	open func(t *testing.T, key string, change func(*redis.Options)) (s *redis.Store, hurt, heal func())
	// outage: decisions go by on_error meanwhile. ran: what was sent meanwhile was charged. forgets: counters start anew.
	outage, ran, forgets bool
	// says is what Redis answers meanwhile, for which it gets longer, and what it answers so is not charged.
	says string
}

func oneServer(hurt, heal func(*redistest.Server)) func(*testing.T, string, func(*redis.Options)) (*redis.Store, func(), func()) {
	return func(t *testing.T, _ string, change func(*redis.Options)) (*redis.Store, func(), func()) {
		server := redistest.Start(t)
		return newRedis(t, server.URL(), change), func() { hurt(server) }, func() { heal(server) }
	}
}

func behindFront(delay time.Duration) func(*testing.T, string, func(*redis.Options)) (*redis.Store, func(), func()) {
	return func(t *testing.T, _ string, change func(*redis.Options)) (*redis.Store, func(), func()) {
		front := redistest.StartFront(t, redistest.Start(t).Addr(), nil)
		return newRedis(t, "redis://"+front.Addr(), change), func() { front.Delay(delay) }, func() { front.Delay(0) }
	}
}

func nothing(*redistest.Server) {}

var faults = []fault{
	{name: "dead", open: oneServer((*redistest.Server).Kill, (*redistest.Server).Restart), outage: true, forgets: true},
	{name: "hung", open: oneServer((*redistest.Server).Stop, (*redistest.Server).Cont), outage: true},
	{name: "restarted without persistence", open: oneServer((*redistest.Server).Restart, nothing), forgets: true},
	{name: "slow", open: behindFront(300 * time.Millisecond), outage: true, ran: true},
	{name: "loading", open: oneServer((*redistest.Server).BeginLoading, (*redistest.Server).EndLoading), outage: true, says: "LOADING"},
	{name: "cluster that lacks slots", outage: true, says: "CLUSTERDOWN", open: func(t *testing.T, key string, change func(*redis.Options)) (*redis.Store, func(), func()) {
		c := redistest.StartCluster(t, 3, nil, "--cluster-require-full-coverage", "yes")
		owner, other := c.OwnerOf(key), c.Nodes[0]
		if other == owner {
			other = c.Nodes[1]
		}
		return newCluster(t, c, change), func() {
			other.Kill()
			within(t, "the cluster is down", func() bool { return strings.HasPrefix(owner.Do("GET", key), "-CLUSTERDOWN") })
		}, other.Restart
	}},
	{name: "replica promoted by a sentinel", outage: true, open: func(t *testing.T, key string, change func(*redis.Options)) (*redis.Store, func(), func()) {
		servers := redistest.StartSentinel(t, nil, nil)
		return newSentinel(t, servers, change), func() {
			within(t, "the replica has the counters", func() bool { return servers.Replica.Do("GET", key) == servers.Master.Do("GET", key) })
			servers.Master.Kill()
		}, func() {}
	}},
	{name: "replica promoted in a cluster", outage: true, open: func(t *testing.T, key string, change func(*redis.Options)) (*redis.Store, func(), func()) {
		c := redistest.StartCluster(t, 3, nil)
		master := c.OwnerOf(key)
		replica := c.AddReplica(master)
		return newCluster(t, c, change), func() {
			within(t, "the replica is in step", func() bool { return offset(replica, "slave_repl_offset") == offset(master, "master_repl_offset") })
			master.Kill()
		}, func() {}
	}},
	{name: "slot moved", open: func(t *testing.T, key string, change func(*redis.Options)) (*redis.Store, func(), func()) {
		c := redistest.StartCluster(t, 3, nil)
		from, to := c.OwnerOf(key), c.Nodes[0]
		if from == to {
			to = c.Nodes[1]
		}
		slot := c.SlotOf(key)
		return newCluster(t, c, change), func() { c.BeginMove(slot, from, to) }, func() { c.EndMove(slot, from, to) }
	}},
}

func offset(s *redistest.Server, name string) string {
	_, rest, _ := strings.Cut(s.Do("INFO", "replication"), name+":")
	value, _, _ := strings.Cut(rest, "\r")
	return value
}

// counted is a limit of the fault table, and what became of the decisions about it.
type counted struct {
	charges           []ratelimiter.Charge
	answered, unknown int64 // charged for sure, and perhaps
	degraded, shares  int   // decisions, and those of them that passed
	early             int   // shares that passed before the fault: on a busy machine a call can fail without one
}

// tableRun is one fault.
type tableRun struct {
	l    *ratelimiter.Limiter
	says string

	mu      sync.Mutex
	said    int64         // calls to which Redis answered what it says
	failed  int64         // others that were made and failed
	longest time.Duration // wait of a caller
}

func (r *tableRun) call(c redis.Call) {
	if c.Err == nil || errors.Is(c.Err, redis.ErrOpen) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.says != "" && strings.HasPrefix(c.Err.Error(), r.says) {
		r.said++
	} else {
		r.failed++
	}
}

func (r *tableRun) take(t *testing.T, c *counted) ratelimiter.Decision {
	t.Helper()
	r.mu.Lock()
	before := r.failed
	r.mu.Unlock()
	start := time.Now()
	d := must(t)(r.l.Take(context.Background(), c.charges))
	r.longest = max(r.longest, time.Since(start))
	r.mu.Lock()
	c.unknown += r.failed - before
	r.mu.Unlock()
	if d.Degraded {
		c.degraded++
		if d.Allowed {
			c.shares++
		}
	} else if d.Limits[0].Charged {
		c.answered++
	}
	return d
}

// TestFaultTable: for each way in which Redis fails and each on_error the answer meanwhile, what is charged, and that Redis
// decides again without anybody's help. How long callers wait is printed. Faults run side by side: most of it is waiting.
func TestFaultTable(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t)
		})
	}
}

func (f *fault) run(t *testing.T) {
	const count = 1000
	limits := map[ratelimiter.OnError]*counted{}
	for on, name := range map[ratelimiter.OnError]string{ratelimiter.LocalShare: "share", ratelimiter.Allow: "allow", ratelimiter.Deny: "deny"} {
		l := limit(t, ratelimiter.Definition{Name: name, Count: count, Window: ratelimiter.MaxWindow, OnError: on})
		limits[on] = &counted{charges: []ratelimiter.Charge{charge(l, "k", 1)}}
	}
	r := &tableRun{says: f.says}
	s, hurt, heal := f.open(t, redis.StoredKey(limits[ratelimiter.Deny].charges[0]), func(o *redis.Options) {
		o.OnCall, o.Timeout, o.Breaker.MaxPause = r.call, 100*time.Millisecond, 200*time.Millisecond
		switch {
		case !f.outage:
			o.Timeout = patient
		case f.says != "":
			o.Timeout = time.Second
		}
	})
	var err error
	if r.l, err = ratelimiter.New(ratelimiter.Options{Shared: s, Local: newMemory(t, time.Now), Now: time.Now, Replicas: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.l.Close(context.Background()) })
	r.healthy(t, limits)
	hurt()
	for _, c := range limits {
		if f.forgets { // what was charged before is no longer known
			c.answered, c.unknown = 0, 0
		}
		c.early, c.degraded, c.shares = c.shares, 0, 0
	}
	r.longest = 0
	if f.outage {
		r.checkOutage(t, limits)
		t.Logf("the longest wait of a caller meanwhile: %v", r.longest)
		if f.says != "" && r.said == 0 {
			t.Errorf("Redis never said %s", f.says)
		}
	} else {
		for on, c := range limits {
			for range 10 {
				if d := r.take(t, c); d.Degraded || !d.Allowed {
					t.Errorf("on_error %v: %+v without an outage", on, d)
				}
			}
		}
	}
	heal()
	start := time.Now()
	r.healthy(t, limits)
	t.Logf("Redis decides again after %v", time.Since(start))
	var total, answered int64
	for on, c := range limits {
		charged := count - must(t)(s.Peek(context.Background(), c.charges)).Limits[0].Remaining
		if charged < c.answered || charged > c.answered+c.unknown {
			t.Errorf("on_error %v: %d charged for %d answers and %d unknown outcomes", on, charged, c.answered, c.unknown)
		}
		total, answered = total+charged, answered+c.answered
	}
	if f.ran && total <= answered {
		t.Errorf("%d charged for %d answers: what was sent without an answer was not", total, answered)
	}
}

// healthy takes of each limit until Redis has decided five times.
func (r *tableRun) healthy(t *testing.T, limits map[ratelimiter.OnError]*counted) {
	t.Helper()
	for _, c := range limits {
		n := 0
		within(t, "Redis decides", func() bool {
			if d := r.take(t, c); !d.Degraded && d.Allowed {
				n++
			}
			return n == 5
		})
	}
}

// checkOutage wants what each on_error says.
func (r *tableRun) checkOutage(t *testing.T, limits map[ratelimiter.OnError]*counted) {
	t.Helper()
	for on, c := range limits {
		within(t, "the outage is noticed", func() bool { return r.take(t, c).Degraded })
		for range 10 {
			d := r.take(t, c)
			if !d.Degraded || d.Allowed && on == ratelimiter.Deny || !d.Allowed && on == ratelimiter.Allow || d.Unavailable != (on == ratelimiter.Deny) {
				t.Errorf("on_error %v: %+v", on, d)
			}
		}
		want := map[ratelimiter.OnError]int{ratelimiter.LocalShare: max(0, 1-c.early), ratelimiter.Allow: c.degraded, ratelimiter.Deny: 0}[on]
		if c.shares != want {
			t.Errorf("on_error %v: %d of %d passed, want %d", on, c.shares, c.degraded, want)
		}
	}
}
