package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// newCluster returns a store that knows one node of a cluster to begin with.
func newCluster(t testing.TB, c *redistest.Cluster, change func(*redis.Options)) *redis.Store {
	t.Helper()
	return newRedis(t, "", func(o *redis.Options) {
		o.Mode, o.Addresses = redis.Cluster, c.Addrs()[:1]
		if change != nil {
			change(o)
		}
	})
}

// scopes are of three slots, one on each of three nodes.
var scopes = []string{"hooli", "stark", "globex"}

func TestScopesLieApart(t *testing.T) {
	c := redis.SharedCluster(t)
	seen := map[*redistest.Server]bool{}
	for _, scope := range scopes {
		seen[c.OwnerOf("rl:{"+scope+"}:")] = true
	}
	if len(seen) != 3 {
		t.Fatalf("the scopes of the other tests lie on %d nodes", len(seen))
	}
}

func scoped(l *ratelimiter.Limit, scope, key string, cost int64) ratelimiter.Charge {
	space := ratelimiter.NewKeySpace(scope, "orders", l.Definition().Name).For(l.Algorithm())
	return ratelimiter.Charge{Limit: l, Key: space.Key(ratelimiter.Value{Text: key}), Cost: cost}
}

// TestClusterAgreesWithMemory: while the clock stands, a decision in several slots answers and leaves what one step would,
// whichever slot refuses, with every algorithm and way of counting.
func TestClusterAgreesWithMemory(t *testing.T) {
	ctx, now := context.Background(), time.UnixMicro(1_790_000_000_000_000)
	clock := func() time.Time { return now }
	shared := newCluster(t, redis.SharedCluster(t), func(o *redis.Options) { o.ScriptTime = clock })
	local := newMemory(t, clock)
	rng := rand.New(rand.NewPCG(7, 11))
	var limits []*ratelimiter.Limit
	for i := range 30 {
		d := ratelimiter.Definition{
			Name: fmt.Sprintf("limit-%d", i), Count: 1 + rng.Int64N([]int64{3, 100, ratelimiter.MaxCost}[rng.IntN(3)]),
			Window: []time.Duration{7 * time.Microsecond, time.Second, time.Minute, 24 * time.Hour}[rng.IntN(4)],
			Shadow: rng.IntN(5) == 0, Counting: ratelimiter.Counting(rng.IntN(3)),
		}
		if d.Burst = max(1, d.Count/(1+rng.Int64N(3))); i%2 == 1 {
			d = withAlgorithm(d, ratelimiter.Algorithm(1+i/2%4), rng)
		}
		limits = append(limits, limit(t, d))
	}
	refunds := 0
	for step := range 4000 {
		var charges []ratelimiter.Charge
		first := rng.IntN(30)
		for i := range 2 + rng.IntN(5) {
			l := limits[(first+i)%30]
			most := max(l.Definition().Burst, 1)
			cost := []int64{0, 1, 1, 1, 1 + rng.Int64N(most), most + 1}[rng.IntN(6)]
			charges = append(charges, scoped(l, scopes[rng.IntN(3)], strconv.Itoa(rng.IntN(2)), min(cost, ratelimiter.MaxCost)))
		}
		do := []func(ratelimiter.Store) (ratelimiter.Decision, error){
			func(s ratelimiter.Store) (ratelimiter.Decision, error) { return s.Take(ctx, charges) },
			func(s ratelimiter.Store) (ratelimiter.Decision, error) { return s.Settle(ctx, charges) },
			func(s ratelimiter.Store) (ratelimiter.Decision, error) { return s.Peek(ctx, charges) },
		}[[]int{0, 0, 0, 0, 1, 2}[rng.IntN(6)]]
		want, got := must(t)(do(local)), must(t)(do(shared))
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *ratelimiter.Limit) bool { return a == b })); diff != "" {
			t.Fatalf("step %d: memory and the cluster differ: %s", step, diff)
		}
		if !want.Allowed {
			refunds++
		}
		now = now.Add(time.Duration(rng.Int64N([]int64{2, 1000, 1_000_000, 10_000_000_000}[rng.IntN(4)])) * time.Microsecond)
	}
	if refunds < 500 || refunds > 3500 {
		t.Fatalf("%d of 4000 decisions were refused: the sequence tries too little", refunds)
	}
}

// TestExactAcrossSlots: 64 callers, whose decisions have limits on all three nodes. Exactly as many pass as the tightest
// limit lets, and the others are charged for these alone, whatever was taken for a while and given back.
func TestExactAcrossSlots(t *testing.T) {
	const callers, calls, tight, roomy = 64, 50, 100, 10_000
	cluster := redis.SharedCluster(t)
	for i, scope := range scopes {
		for _, algorithm := range []ratelimiter.Algorithm{ratelimiter.GCRA, ratelimiter.FixedWindow, ratelimiter.SlidingWindow, ratelimiter.SlidingLog} {
			t.Run(fmt.Sprint(scope, " refuses, by ", algorithm), func(t *testing.T) {
				s := newCluster(t, cluster, nil)
				var charges []ratelimiter.Charge
				for j, scope := range scopes {
					d := ratelimiter.Definition{Name: "roomy", Count: roomy, Window: ratelimiter.MaxWindow, Algorithm: algorithm}
					if algorithm == ratelimiter.SlidingLog {
						d.Count = 1000
					}
					if j == i {
						d.Name, d.Count = "tight", tight
					}
					charges = append(charges, scoped(limit(t, d), scope, t.Name(), 1))
				}
				var passed atomic.Int64
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for range calls {
							if d, err := s.Take(context.Background(), charges); err != nil {
								t.Error(err)
							} else if d.Allowed {
								passed.Add(1)
							}
						}
					})
				}
				wg.Wait()
				if passed.Load() != tight {
					t.Errorf("%d passed, want %d", passed.Load(), tight)
				}
				for _, st := range must(t)(s.Peek(context.Background(), charges)).Limits {
					if want := st.Limit.Definition().Count - tight; st.Remaining != want {
						t.Errorf("%s has %d left, want %d", st.Limit.Definition().Name, st.Remaining, want)
					}
				}
			})
		}
	}
}

// errorsOf returns how many errors of a kind the nodes of a cluster have answered.
func errorsOf(t *testing.T, c *redistest.Cluster, kind string) (n int) {
	t.Helper()
	for _, s := range c.Nodes {
		for line := range strings.Lines(s.Do("INFO", "errorstats")) {
			if count, ok := strings.CutPrefix(strings.TrimSpace(line), "errorstat_"+kind+":count="); ok {
				k, err := strconv.Atoi(count)
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
		}
	}
	return n
}

// TestSlotMovesUnderLoad: every decision is answered and charged once while a slot is handed over, key by key, whatever the
// nodes say to calls with several counters of which only some are there.
func TestSlotMovesUnderLoad(t *testing.T) {
	const callers, count = 16, 100_000 // a unit comes back every five minutes
	c := redistest.StartCluster(t, 3, nil)
	s := newCluster(t, c, nil)
	scope := scopes[0]
	from, to, slot := c.OwnerOf("rl:{"+scope+"}:"), c.Nodes[2], c.SlotOf("rl:{"+scope+"}:")
	shared := limit(t, ratelimiter.Definition{Name: "shared", Count: count, Window: ratelimiter.MaxWindow})
	own := limit(t, ratelimiter.Definition{Name: "own", Count: count, Window: ratelimiter.MaxWindow, Algorithm: ratelimiter.FixedWindow})
	var takes, next atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// The second counter is often new.
				charges := []ratelimiter.Charge{scoped(shared, scope, "k", 1), scoped(own, scope, strconv.FormatInt(next.Add(1)%3000, 10), 1)}
				d, err := s.Take(context.Background(), charges)
				if err != nil || !d.Allowed || !d.Limits[0].Charged || !d.Limits[1].Charged {
					t.Errorf("%+v, %v", d, err)
					return
				}
				takes.Add(1)
			}
		})
	}
	took := func(n int64) { within(t, "more decisions", func() bool { return takes.Load() >= n || t.Failed() }) }
	took(200)
	c.BeginMove(slot, from, to)
	for n := takes.Load(); c.MoveKeys(slot, 50, from, to) > 0 && takes.Load() < n+2000; {
		took(takes.Load() + 20)
	}
	c.EndMove(slot, from, to)
	took(takes.Load() + 200)
	close(stop)
	wg.Wait()
	for _, kind := range []string{"ASK", "TRYAGAIN", "MOVED"} {
		n := errorsOf(t, c, kind)
		t.Logf("%d decisions; the nodes said %s %d times", takes.Load(), kind, n)
		if n == 0 {
			t.Errorf("no node said %s: the test moves too little", kind)
		}
	}
	if got := must(t)(s.Peek(context.Background(), []ratelimiter.Charge{scoped(shared, scope, "k", 1)})).Limits[0].Remaining; got != count-takes.Load() {
		t.Errorf("%d charged for %d decisions", count-got, takes.Load())
	}
	var charged int64
	for i := range 3000 {
		charged += count - must(t)(s.Peek(context.Background(), []ratelimiter.Charge{scoped(own, scope, strconv.Itoa(i), 1)})).Limits[0].Remaining
	}
	if charged != takes.Load() {
		t.Errorf("%d charged in all for %d decisions", charged, takes.Load())
	}
}

// inThree returns a charge in each scope, the first of which comes first in the order of slots.
func inThree(t *testing.T, key string) []ratelimiter.Charge {
	var charges []ratelimiter.Charge
	for _, scope := range scopes {
		charges = append(charges, scoped(limit(t, ratelimiter.Definition{Count: 100, Window: ratelimiter.MaxWindow}), scope, key, 1))
	}
	return charges
}

func remaining(t *testing.T, s *redis.Store, c ratelimiter.Charge) int64 {
	t.Helper()
	return must(t)(s.Peek(context.Background(), []ratelimiter.Charge{c})).Limits[0].Remaining
}

// TestRefusalChargesNothingBehindIt: what comes after the slot that refuses is only looked at, and so needs no refund.
func TestRefusalChargesNothingBehindIt(t *testing.T) {
	var mu sync.Mutex
	operations := map[string]int{}
	c := redis.SharedCluster(t)
	s := newCluster(t, c, func(o *redis.Options) {
		o.OnCall = func(c redis.Call) {
			mu.Lock()
			defer mu.Unlock()
			operations[c.Operation]++
		}
	})
	for i := range scopes {
		charges := inThree(t, t.Name()+strconv.Itoa(i))
		charges[i].Cost = 101 // which never passes
		if d := must(t)(s.Take(context.Background(), charges)); d.Allowed {
			t.Errorf("slot %d did not refuse: %+v", i, d)
		}
		mu.Lock()
		if diff := cmp.Diff(map[string]int{"take": 3, "refund": i}, operations); i > 0 && diff != "" || operations["refund"] != i {
			t.Errorf("slot %d refuses: %s", i, diff)
		}
		clear(operations)
		mu.Unlock()
	}
}

// TestDeadNodeCostsItsSlotsAlone: the breaker of one node is not that of the others; what was taken elsewhere for a decision
// that a dead node had no part in is given back.
func TestDeadNodeCostsItsSlotsAlone(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, nil)
	s := newCluster(t, c, func(o *redis.Options) { o.Breaker.MaxPause = 200 * time.Millisecond })
	ctx, charges := context.Background(), inThree(t, "k")
	must(t)(s.Take(ctx, charges))
	dead := c.OwnerOf(string(charges[1].Key))
	dead.Kill()
	for range 20 {
		if _, err := s.Take(ctx, charges); err == nil {
			t.Fatal("an answer from a dead node")
		}
		if d, err := s.Take(ctx, charges[:1]); err != nil || !d.Allowed {
			t.Fatalf("a slot of another node: %+v, %v", d, err)
		}
	}
	if h := s.Health(); h.State == redis.Closed || h.Server != dead.Addr() {
		t.Errorf("health %+v, want that of %s", h, dead.Addr())
	}
	if got := remaining(t, s, charges[2]); got != 99 {
		t.Errorf("the last slot has %d left: it was never asked", got)
	}
	fresh := inThree(t, "fresh")
	if _, err := s.Take(ctx, fresh); err == nil {
		t.Fatal("an answer from a dead node")
	}
	for _, i := range []int{0, 2} {
		if got := remaining(t, s, fresh[i]); got != 100 {
			t.Errorf("%d left of 100 after a decision that was not made", got)
		}
	}
	dead.Restart()
	within(t, "recovery", func() bool { _, err := s.Take(ctx, fresh); return err == nil })
	for _, i := range []int{0, 2} {
		if got := remaining(t, s, fresh[i]); got != 99 {
			t.Errorf("%d left of 100 after one decision", got)
		}
	}
}

// TestNodeOfAClusterAsASingleServer: what it does not serve is trouble that operators hear of, not a server that works.
func TestNodeOfAClusterAsASingleServer(t *testing.T) {
	c, charges := redis.SharedCluster(t), inThree(t, "k")
	s := newRedis(t, c.OwnerOf(string(charges[0].Key)).URL(), nil)
	must(t)(s.Take(context.Background(), charges[:1]))
	for range 10 {
		if d, err := s.Take(context.Background(), charges[1:2]); err == nil {
			t.Fatalf("%+v of a node that has no such key", d)
		}
	}
	if h := s.Health(); h.State == redis.Closed || !strings.HasPrefix(fmt.Sprint(h.Cause), "MOVED") {
		t.Errorf("health %+v", h)
	}
}

// TestLostAnswerInOneSlotCountsInAll: a node that got its part may have charged it; so the decision counts as charged.
func TestLostAnswerInOneSlotCountsInAll(t *testing.T) {
	t.Parallel()
	cut := map[string]*atomic.Bool{}
	var victim string
	c := redistest.StartCluster(t, 3, func(addr string) string {
		lost := new(atomic.Bool)
		cut[addr] = lost
		return proxy(t, addr, nil, func([]byte) bool { return !lost.CompareAndSwap(true, false) })
	})
	s := newCluster(t, c, nil)
	ctx, charges := context.Background(), inThree(t, "k")
	must(t)(s.Take(ctx, charges))
	victim = c.OwnerOf(string(charges[1].Key)).Addr()
	cut[victim].Store(true)
	d, err := s.Take(ctx, charges)
	if err == nil {
		t.Fatalf("the lost reply was not an error: %+v", d)
	}
	for i, want := range []int64{98, 98, 99} {
		if got := remaining(t, s, charges[i]); got != want {
			t.Errorf("slot %d: %d left of 100, want %d", i, got, want)
		}
	}
}

// TestReplicaOfACluster: a replica that takes over answers by what it has, without a restart of ours.
func TestReplicaOfACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, nil)
	s := newCluster(t, c, func(o *redis.Options) { o.Breaker.MaxPause, o.Timeout = 200*time.Millisecond, time.Second })
	ctx, charges := context.Background(), inThree(t, "k")[:1]
	master := c.OwnerOf(string(charges[0].Key))
	replica := c.AddReplica(master)
	for range 4 {
		must(t)(s.Take(ctx, charges))
	}
	within(t, "the replica has the counter", func() bool {
		return replica.Do("WAIT", "0", "0") != "" && strings.Contains(replica.Do("INFO", "keyspace"), "keys=1")
	})
	time.Sleep(100 * time.Millisecond) // for the last writes
	start := time.Now()
	master.Kill()
	within(t, "the replica answers", func() bool { _, err := s.Peek(ctx, charges); return err == nil })
	t.Logf("a replica answered after %v", time.Since(start))
	if got := remaining(t, s, charges[0]); got != 96 {
		t.Errorf("%d left of 100 after 4 decisions", got)
	}
}
