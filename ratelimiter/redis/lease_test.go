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

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
	"github.com/durward-pdp/durward/ratelimiter/redis"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

const replicas = 4

// fleet is some replicas over one store. Their clocks run as fast as that of the store and show another time, and calls take
// a while, before and behind the moment at which the store decides.
type fleet struct {
	t        testing.TB
	store    ratelimiter.Store
	now      int64 // of the store, in microseconds
	slowest  int64 // microseconds of a call's way to the store, and of that back
	rng      *rand.Rand
	calls    int
	limiters []*ratelimiter.Limiter
}

func newFleet(t testing.TB, kind string) *fleet {
	t.Helper()
	f := &fleet{t: t, now: 1_790_000_000_000_000, rng: rand.New(rand.NewPCG(1, 2))}
	clock := func() time.Time { return time.UnixMicro(f.now) }
	if kind == "redis" {
		f.store = newRedis(t, redistest.Start(t).URL(), func(o *redis.Options) { o.ScriptTime = clock })
	} else {
		f.store = newMemory(t, clock)
	}
	for i := range replicas {
		skewed := func() time.Time { return time.UnixMicro(f.now + int64(i-1)*1_234_567_891) }
		l, err := ratelimiter.New(ratelimiter.Options{Shared: f, Local: newMemory(t, skewed), Now: skewed, Replicas: replicas})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close(context.Background()) })
		f.limiters = append(f.limiters, l)
	}
	return f
}

func (f *fleet) travel() {
	if f.slowest > 0 {
		f.now += f.rng.Int64N(f.slowest)
	}
}

// Take implements ratelimiter.Store.
func (f *fleet) Take(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	f.calls++
	f.travel()
	defer f.travel()
	return f.store.Take(ctx, c)
}

// Settle implements ratelimiter.Store.
func (f *fleet) Settle(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return f.store.Settle(ctx, c)
}

// Peek implements ratelimiter.Store.
func (f *fleet) Peek(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return f.store.Peek(ctx, c)
}

func (f *fleet) take(replica int, charges ...ratelimiter.Charge) ratelimiter.Decision {
	f.t.Helper()
	return must(f.t)(f.limiters[replica].Take(context.Background(), charges))
}

// meter holds what was admitted against the promise: the algorithm itself, with all of its burst and without leases, would
// have admitted each unit at the moment at which it passed. For GCRA that says that no span of any length t has more than
// burst + rate·t units.
type meter struct {
	rate   gcra.Rate
	window window.Rate
	gcra   bool
	tat    gcra.Instant
	used   window.Counter
}

func newMeter(t testing.TB, d ratelimiter.Definition) *meter {
	t.Helper()
	d.Lease = 0
	l := limit(t, d)
	return &meter{rate: l.Rate(), window: l.Window(), gcra: d.Algorithm == ratelimiter.GCRA}
}

func (m *meter) admits(now, cost int64) (ok bool) {
	if m.gcra {
		m.tat, ok = m.rate.Take(m.tat, now, cost)
		return ok
	}
	m.used, ok = m.window.Take(m.used, now, cost)
	return ok
}

// leasedLimits are limits of every algorithm that has leases.
var leasedLimits = map[string]ratelimiter.Definition{
	"gcra":              {Count: 1000, Window: time.Second, Lease: 25},
	"gcra tight burst":  {Count: 1000, Window: time.Second, Burst: 100, Lease: 25},
	"gcra slow":         {Count: 7, Window: 3 * time.Second, Burst: 40, Lease: 10},
	"gcra without room": {Count: 1000, Window: time.Second, Burst: 7, Lease: 1},
	"fixed window":      {Count: 100, Window: time.Second, Lease: 25, Algorithm: ratelimiter.FixedWindow},
	"sliding window":    {Count: 100, Window: time.Second, Lease: 25, Algorithm: ratelimiter.SlidingWindow},
	"quota":             {Count: 100, Calendar: window.Day, Lease: 25, Algorithm: ratelimiter.Quota},
}

// TestLeasesNeverPassTheCap: whatever the replicas do, together, nothing passes that the algorithm would not have admitted
// at that moment. The traces collect leases on all replicas, wait for a while that is chosen to hurt, and take all there is;
// or they come at random, with costs.
func TestLeasesNeverPassTheCap(t *testing.T) {
	for name, d := range leasedLimits {
		for _, kind := range []string{"memory", "redis"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				f := newFleet(t, kind)
				steps := 20_000
				if kind == "redis" {
					steps = 1_500
				}
				scale := int64(1_000_000)
				if d.Algorithm == ratelimiter.Quota {
					scale = 86_400_000_000
				}
				c := charge(limit(t, d), "k", 1)
				m := newMeter(t, d)
				passed, local := 0, 0
				try := func(replica int, cost int64) bool {
					c.Cost = cost
					at := f.now
					got := f.take(replica, c)
					if !got.Allowed {
						return false
					}
					passed++
					if got.Limits[0].Leased {
						local++
					} else {
						at = f.now // somewhere on the way: the store has decided by now
					}
					if f.slowest == 0 && !m.admits(at, cost) {
						t.Fatalf("after %d: %d units passed replica %d, leased %v, and are too many", passed, cost, replica, got.Limits[0].Leased)
					}
					return true
				}
				for passed < steps {
					switch f.rng.IntN(3) {
					case 0: // each collects, then all wait, then all take
						for r := range replicas {
							try(r, 1)
						}
						f.now += f.rng.Int64N([]int64{scale / 100, scale / 8, scale / 5, scale, 3 * scale}[f.rng.IntN(5)])
						for r := range replicas {
							for try(r, 1) {
							}
						}
					case 1: // to just before a border, and over it
						f.now += scale - f.now%scale - 1
						for r := range replicas {
							try(r, 1)
						}
						f.now += f.rng.Int64N(3)
						for r := range replicas {
							for try(r, 1) {
							}
						}
					case 2:
						for range 50 {
							try(f.rng.IntN(replicas), 1+f.rng.Int64N(4))
							f.now += f.rng.Int64N(scale / 100)
						}
					}
				}
				t.Logf("%d passed, %d of them without the store, %d calls", passed, local, f.calls)
				if local < passed/50 {
					t.Errorf("only %d of %d were served from leases", local, passed)
				}
			})
		}
	}
}

// Where calls take time, what was charged for good is what the store has decided, and what is held passes later at the most by
// the clock: the cap holds for the moments at which the replicas decide.
func TestLeasesNeverPassTheCapOnSlowWays(t *testing.T) {
	for name, d := range leasedLimits {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "memory")
			f.slowest = 20_000
			c := charge(limit(t, d), "k", 1)
			m := newMeter(t, d)
			decided := f.now
			f.store = &spy{Store: f.store, at: func() { decided = f.now }}
			for range 10_000 {
				r := f.rng.IntN(replicas)
				for range 1 + f.rng.IntN(40) {
					at := f.now
					got := f.take(r, c)
					if !got.Allowed {
						break
					}
					if !got.Limits[0].Leased {
						at = decided
					}
					if !m.admits(at, 1) {
						t.Fatal("a unit too many passed")
					}
				}
				f.now += f.rng.Int64N([]int64{2, 2000, 200_000}[f.rng.IntN(3)])
			}
		})
	}
}

// spy hears of the moment at which the store decides.
type spy struct {
	ratelimiter.Store
	at func()
}

// Take implements ratelimiter.Store.
func (s *spy) Take(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	s.at()
	return s.Store.Take(ctx, c)
}

// commands returns how many script calls a Redis has had.
func commands(t *testing.T, server *redistest.Server) int {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	defer func() { _ = client.Close() }()
	info := client.Info(context.Background(), "commandstats").Val()
	n := 0
	for line := range strings.SplitSeq(info, "\r\n") {
		if stats, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			count, _, _ := strings.Cut(stats, ",")
			n, _ = strconv.Atoi(count)
		}
	}
	return n
}

// TestLeasesSaveCalls: with a lease of 25 and a steady load under the limit a real Redis hears a tenth of the calls, at the
// most, and nobody is refused.
func TestLeasesSaveCalls(t *testing.T) {
	const seconds = 5
	for name, d := range map[string]ratelimiter.Definition{
		"gcra":           {Count: 60_000, Window: time.Minute},
		"fixed window":   {Count: 1000, Window: time.Second, Algorithm: ratelimiter.FixedWindow},
		"sliding window": {Count: 1000, Window: time.Second, Algorithm: ratelimiter.SlidingWindow},
		"quota":          {Count: 1_000_000, Calendar: window.Month, Algorithm: ratelimiter.Quota},
	} {
		for _, perSecond := range []int64{200, 500, 800} { // of 1000
			t.Run(fmt.Sprint(name, "/", perSecond), func(t *testing.T) {
				server := redistest.Start(t)
				made := map[int64]int{}
				for _, d.Lease = range []int64{0, 25} {
					now := time.UnixMicro(1_790_000_000_000_000)
					clock := func() time.Time { return now }
					s := newRedis(t, server.URL(), func(o *redis.Options) { o.ScriptTime = clock })
					if err := s.Prepare(context.Background()); err != nil {
						t.Fatal(err)
					}
					var limiters []*ratelimiter.Limiter
					for range replicas {
						l, err := ratelimiter.New(ratelimiter.Options{Shared: s, Local: newMemory(t, clock), Now: clock, Replicas: replicas})
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(func() { _ = l.Close(context.Background()) })
						limiters = append(limiters, l)
					}
					c := charge(limit(t, d), fmt.Sprint(d.Lease), 1)
					m := newMeter(t, d)
					rng := rand.New(rand.NewPCG(7, 7))
					before := commands(t, server)
					for range seconds * perSecond {
						got := must(t)(limiters[rng.IntN(replicas)].Take(context.Background(), []ratelimiter.Charge{c}))
						if !got.Allowed {
							t.Fatalf("refused with a lease of %d: %+v", d.Lease, got.Limits[0])
						}
						if !m.admits(now.UnixMicro(), 1) {
							t.Fatal("a unit too many passed")
						}
						now = now.Add(time.Second / time.Duration(perSecond))
					}
					made[d.Lease] = commands(t, server) - before
				}
				t.Logf("%d decisions: %d calls without a lease, %d with", seconds*perSecond, made[0], made[25])
				if made[0] != int(seconds*perSecond) || made[25]*10 > made[0] {
					t.Errorf("%d calls without a lease, %d with", made[0], made[25])
				}
			})
		}
	}
}

// TestStrandingIsBounded: at any moment the store counts at most a lease for each replica more than what was used, however
// seldom the replicas use what they hold.
func TestStrandingIsBounded(t *testing.T) {
	const lease = 25
	for name, d := range map[string]ratelimiter.Definition{
		"gcra":         {Count: 1000, Window: 10 * time.Second, Lease: lease},
		"fixed window": {Count: 1000, Window: 10 * time.Second, Lease: lease, Algorithm: ratelimiter.FixedWindow},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, "memory")
			l := limit(t, d)
			c := charge(l, "k", 1)
			d.Lease, d.Burst = 0, 0
			if d.Algorithm == ratelimiter.GCRA {
				d.Burst = l.Definition().Burst
			}
			used := newMeter(t, d)
			worst := int64(0)
			for range 20_000 {
				f.now += f.rng.Int64N([]int64{1000, 50_000, 2_000_000}[f.rng.IntN(3)])
				at := f.now
				if !f.take(f.rng.IntN(replicas), c).Allowed {
					t.Fatal("refused far below the limit")
				}
				if !used.admits(at, 1) {
					t.Fatal("a unit too many")
				}
				held := must(t)(f.store.Peek(context.Background(), []ratelimiter.Charge{c})).Limits[0].Remaining
				exact := used.window.Remaining(used.used, f.now)
				if used.gcra {
					exact = used.rate.Remaining(used.tat, f.now)
				}
				worst = max(worst, exact-held)
			}
			t.Logf("%d units were stranded at the worst", worst)
			if worst > replicas*lease || worst < lease {
				t.Errorf("%d units were stranded at the worst", worst)
			}
		})
	}
}

// TestLeasesUnderContention: many callers on all replicas get the whole burst and not a unit more, in the real Redis, where
// nothing comes back meanwhile.
func TestLeasesUnderContention(t *testing.T) {
	const burst = 2000
	s := newRedis(t, redistest.Start(t).URL(), nil)
	c := charge(limit(t, ratelimiter.Definition{Count: burst, Window: ratelimiter.MaxWindow, Lease: 100}), "k", 1)
	tight := charge(limit(t, ratelimiter.Definition{Name: "tight", Count: 20, Window: ratelimiter.MaxWindow}), "k", 1)
	var passed, both, local atomic.Int64
	var wg sync.WaitGroup
	for range replicas {
		l, err := ratelimiter.New(ratelimiter.Options{Shared: s, Local: newMemory(t, time.Now), Now: time.Now, Replicas: replicas})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close(context.Background()) })
		for caller := range 16 {
			wg.Go(func() {
				for range 200 {
					charges := []ratelimiter.Charge{c}
					if caller%4 == 0 { // what a refusal by another limit has drawn goes back
						charges = append(charges, tight)
					}
					d, err := l.Take(context.Background(), charges)
					switch {
					case err != nil || d.Degraded:
						t.Errorf("%+v, %v", d, err)
					case d.Allowed && len(charges) == 2:
						both.Add(1)
						passed.Add(1)
					case d.Allowed:
						passed.Add(1)
						if d.Limits[0].Leased {
							local.Add(1)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d passed, %d with the tight limit, %d without the store", passed.Load(), both.Load(), local.Load())
	if passed.Load() != burst || both.Load() > 20 || local.Load() == 0 {
		t.Errorf("%d passed of %d, %d with the tight limit of 20, %d without the store", passed.Load(), burst, both.Load(), local.Load())
	}
}

// TestLeasesWithoutRedis: what is in hand stays good while Redis is down, and no longer.
func TestLeasesWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	l, err := ratelimiter.New(ratelimiter.Options{Shared: s, Local: newMemory(t, time.Now), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(context.Background()) })
	c := charge(limit(t, ratelimiter.Definition{Count: 1000, Window: ratelimiter.MaxWindow, Lease: 25, OnError: ratelimiter.Deny}), "k", 1)
	take := func() ratelimiter.Decision { return must(t)(l.Take(context.Background(), []ratelimiter.Charge{c})) }
	if d := take(); !d.Allowed || d.Degraded || d.Limits[0].Ahead != 25 {
		t.Fatalf("%+v", d)
	}
	server.Kill()
	for i := range 25 {
		if d := take(); !d.Allowed || d.Degraded || !d.Limits[0].Leased {
			t.Fatalf("unit %d in hand: %+v", i, d)
		}
	}
	if d := take(); d.Allowed || !d.Unavailable {
		t.Errorf("without a unit in hand: %+v", d)
	}
}
