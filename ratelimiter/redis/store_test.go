package redis_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/concurrency"
	"github.com/durward-pdp/durward/ratelimiter/distinct"
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/redis"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// patient is a deadline that a loaded machine does not reach.
const patient = 20 * time.Second

func newRedis(t testing.TB, url string, change func(*redis.Options)) *redis.Store {
	t.Helper()
	o := redis.Options{URL: url, Now: time.Now, Timeout: patient}
	if change != nil {
		change(&o)
	}
	s, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newMemory(t testing.TB, now func() time.Time) *memory.Store {
	t.Helper()
	s, err := memory.New(memory.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func limit(t testing.TB, d ratelimiter.Definition) *ratelimiter.Limit {
	t.Helper()
	if d.Name == "" {
		d.Name = "test"
	}
	l, err := ratelimiter.NewLimit(d)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func charge(l *ratelimiter.Limit, key string, cost int64) ratelimiter.Charge {
	space := ratelimiter.NewKeySpace("acme", "orders", l.Definition().Name)
	return ratelimiter.Charge{Limit: l, Key: space.Key(ratelimiter.Value{Text: key}), Cost: cost}
}

// eachStore runs a test against all stores with the real clock.
func eachStore(t *testing.T, test func(*testing.T, ratelimiter.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, newMemory(t, time.Now)) })
	t.Run("redis", func(t *testing.T) { test(t, newRedis(t, redistest.Start(t).URL(), nil)) })
	t.Run("cluster", func(t *testing.T) { test(t, newCluster(t, redis.SharedCluster(t), nil)) })
}

func must(t testing.TB) func(ratelimiter.Decision, error) ratelimiter.Decision {
	return func(d ratelimiter.Decision, err error) ratelimiter.Decision {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestExactlyTheBurstUnderContention(t *testing.T) {
	const callers, calls, burst = 64, 50, 100
	eachStore(t, func(t *testing.T, s ratelimiter.Store) {
		// The rate gives nothing back while the test runs.
		c := charge(limit(t, ratelimiter.Definition{Count: burst, Window: ratelimiter.MaxWindow, Burst: burst}), "k", 1)
		other := charge(limit(t, ratelimiter.Definition{Name: "other", Count: 10_000, Window: ratelimiter.MaxWindow}), "k", 1)
		var passed, failed atomic.Int64
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range calls {
					d, err := s.Take(context.Background(), []ratelimiter.Charge{other, c})
					if err != nil {
						failed.Add(1)
					} else if d.Allowed {
						passed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if passed.Load() != burst || failed.Load() != 0 {
			t.Fatalf("%d passed and %d failed of %d", passed.Load(), failed.Load(), callers*calls)
		}
		d := must(t)(s.Peek(context.Background(), []ratelimiter.Charge{other}))
		if got := d.Limits[0].Remaining; got != 10_000-burst {
			t.Fatalf("the roomy limit has %d left: a refusal charged it", got)
		}
	})
}

func TestTogetherOrNotAtAll(t *testing.T) {
	ctx := context.Background()
	eachStore(t, func(t *testing.T, s ratelimiter.Store) {
		day := 24 * time.Hour
		tight := charge(limit(t, ratelimiter.Definition{Name: "tight", Count: 2, Window: day}), "a", 1)
		roomy := charge(limit(t, ratelimiter.Definition{Name: "roomy", Count: 100, Window: day}), "a", 1)
		all := charge(limit(t, ratelimiter.Definition{Name: "all", Count: 100, Window: day, Counting: ratelimiter.CountAll}), "a", 1)
		denied := charge(limit(t, ratelimiter.Definition{Name: "denied", Count: 100, Window: day, Counting: ratelimiter.CountDenied}), "a", 1)
		shadow := charge(limit(t, ratelimiter.Definition{Name: "shadow", Count: 1, Window: day, Shadow: true}), "a", 1)
		set := []ratelimiter.Charge{tight, roomy, all, denied, shadow}
		remaining := func(d ratelimiter.Decision) (out []int64) {
			for _, s := range d.Limits {
				out = append(out, s.Remaining)
			}
			return out
		}
		for i, want := range []struct {
			allowed bool
			left    []int64
		}{
			{true, []int64{1, 99, 99, 100, 0}},
			{true, []int64{0, 98, 98, 100, 0}}, // the shadow limit has no room and refuses nothing
			{false, []int64{0, 98, 97, 100, 0}},
			{false, []int64{0, 98, 96, 100, 0}},
		} {
			d := must(t)(s.Take(ctx, set))
			if d.Allowed != want.allowed {
				t.Fatalf("take %d: allowed %v", i, d.Allowed)
			}
			if diff := cmp.Diff(want.left, remaining(d)); diff != "" {
				t.Fatalf("take %d: %s", i, diff)
			}
		}
		if d := must(t)(s.Peek(ctx, set)); d.Allowed || d.Limits[2].Remaining != 96 {
			t.Fatalf("peek: %+v", d)
		}
		d := must(t)(s.Settle(ctx, []ratelimiter.Charge{denied, all}))
		if diff := cmp.Diff([]int64{99, 95}, remaining(d)); diff != "" || !d.Allowed {
			t.Fatalf("settle: %s", diff)
		}
	})
}

func TestDeniedDecisionsFillTheirLimit(t *testing.T) {
	ctx := context.Background()
	eachStore(t, func(t *testing.T, s ratelimiter.Store) {
		c := charge(limit(t, ratelimiter.Definition{Count: 3, Window: 15 * time.Minute, Counting: ratelimiter.CountDenied}), "203.0.113.7", 1)
		for range 10 { // allowed decisions leave it alone
			if d := must(t)(s.Take(ctx, []ratelimiter.Charge{c})); !d.Allowed || d.Limits[0].Charged {
				t.Fatalf("%+v", d)
			}
		}
		for range 1000 {
			must(t)(s.Settle(ctx, []ratelimiter.Charge{c}))
		}
		d := must(t)(s.Take(ctx, []ratelimiter.Charge{c}))
		if d.Allowed {
			t.Fatal("allowed after as many denials as fit")
		}
		if wait, ok := d.Retry(); !ok || wait > 5*time.Minute {
			t.Fatalf("a flood of denials locks out for %v", wait)
		}
	})
}

func TestCosts(t *testing.T) {
	ctx := context.Background()
	eachStore(t, func(t *testing.T, s ratelimiter.Store) {
		l := limit(t, ratelimiter.Definition{Count: 10, Window: time.Hour})
		if d := must(t)(s.Take(ctx, []ratelimiter.Charge{charge(l, "k", 11)})); d.Allowed || !d.Limits[0].Never || d.Limits[0].Remaining != 10 {
			t.Fatalf("a cost above the burst: %+v", d)
		} else if _, ok := d.Retry(); ok {
			t.Fatal("it can never pass, yet there is a time to retry")
		}
		if d := must(t)(s.Take(ctx, []ratelimiter.Charge{charge(l, "k", 7)})); !d.Allowed || d.Limits[0].Remaining != 3 {
			t.Fatalf("cost 7 of 10: %+v", d)
		}
		if d := must(t)(s.Take(ctx, []ratelimiter.Charge{charge(l, "k", 4)})); d.Allowed || d.Limits[0].Remaining != 3 {
			t.Fatalf("cost 4 of 3: %+v", d)
		}
		if d := must(t)(s.Take(ctx, []ratelimiter.Charge{charge(l, "k", 0)})); !d.Allowed || d.Limits[0].Charged || d.Limits[0].Remaining != 3 {
			t.Fatalf("cost 0 looks: %+v", d)
		}
		for name, bad := range map[string][]ratelimiter.Charge{
			"negative":        {charge(l, "k", -1)},
			"one key twice":   {charge(l, "k", 1), charge(l, "k", 1)},
			"no limit":        {{Key: "k", Cost: 1}},
			"more than bound": make([]ratelimiter.Charge, ratelimiter.MaxCharges+1),
		} {
			if d, err := s.Take(ctx, bad); !errors.Is(err, ratelimiter.ErrCharges) || d.Allowed {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
		}
	})
}

// withAlgorithm makes a definition of GCRA one of another algorithm.
func withAlgorithm(d ratelimiter.Definition, a ratelimiter.Algorithm, rng *rand.Rand) ratelimiter.Definition {
	d.Algorithm, d.Burst = a, 0
	switch a {
	case ratelimiter.SlidingLog:
		d.Count = min(d.Count, 1000)
	case ratelimiter.Quota:
		d.Window, d.Calendar = 0, window.Calendar(1+rng.IntN(4))
	case ratelimiter.Distinct: // as many as an exact set holds; TestSketchesAgree has the others
		d.Count, d.Window = 1+min(d.Count, distinct.MaxExact)/150, []time.Duration{24 * time.Hour, 100 * 24 * time.Hour}[rng.IntN(2)]
	case ratelimiter.Concurrency:
		d.Count, d.Window, d.Counting = 1+min(d.Count, 1000)/300, time.Duration(10+rng.IntN(10))*time.Hour, ratelimiter.CountAllowed
	default:
	}
	return d
}

// TestStoresAgree drives both stores with the same random charges at the same instants and wants the same answers.
func TestStoresAgree(t *testing.T) {
	ctx := context.Background()
	now := time.UnixMicro(1_790_000_000_000_000)
	clock := func() time.Time { return now }
	shared := newRedis(t, redistest.Start(t).URL(), func(o *redis.Options) { o.ScriptTime = clock })
	local := newMemory(t, clock)
	rng := rand.New(rand.NewPCG(3, 5))
	windows := []time.Duration{time.Microsecond, 7 * time.Microsecond, time.Second, time.Minute, 24 * time.Hour, ratelimiter.MaxWindow}
	var limits []*ratelimiter.Limit
	for i := range 60 {
		d := ratelimiter.Definition{
			Name:     fmt.Sprintf("limit-%d", i%30), // two definitions of each name: a limit that is changed keeps its counter
			Count:    1 + rng.Int64N([]int64{3, 100, ratelimiter.MaxCost}[rng.IntN(3)]),
			Window:   windows[rng.IntN(len(windows))],
			Shadow:   rng.IntN(4) == 0,
			Counting: ratelimiter.Counting(rng.IntN(3)),
		}
		if d.Burst = max(1, d.Count/(1+rng.Int64N(3))); i%2 == 1 { // each name has one algorithm, as its counters have
			d = withAlgorithm(d, ratelimiter.Algorithm(1+i%30/2%6), rng)
			if d.Algorithm == ratelimiter.SlidingLog { // a log keeps its units for the window under which they came: stores forget them later at will
				d.Window = windows[i%30%len(windows)]
			}
		}
		limits = append(limits, limit(t, d))
	}
	same := cmp.Comparer(func(a, b *ratelimiter.Limit) bool { return a == b })
	given := map[ratelimiter.Key][]concurrency.ID{}
	allowed, refused, charged, leases, unseen, held := 0, 0, 0, 0, 0, 0
	for step := range 6000 {
		var charges []ratelimiter.Charge
		first := rng.IntN(30)
		for i := range 1 + rng.IntN(4) {
			l := limits[(first+i)%30+30*rng.IntN(2)]
			cost := []int64{0, 1, 1, 1, 1 + rng.Int64N(l.Definition().Burst), l.Definition().Burst + 1}[rng.IntN(6)]
			c := charge(l, strconv.Itoa(rng.IntN(2)), min(cost, ratelimiter.MaxCost))
			if l.Algorithm() == ratelimiter.Distinct {
				c.Cost, c.Member = min(c.Cost, 1), member(rng.IntN(200))
			} else if l.Algorithm() != ratelimiter.SlidingLog && l.Algorithm() != ratelimiter.Concurrency && rng.IntN(2) == 0 {
				c.Lease = ratelimiter.Lease{Units: 1 + rng.Int64N(ratelimiter.MaxLease), Share: 4 + rng.Int64N(60)}
			}
			if l.Algorithm() == ratelimiter.Concurrency {
				c.Cost, c.Permit = min(c.Cost, 1), concurrency.ID{byte(step), byte(step >> 8), 1}
				given[c.Key] = append(given[c.Key], c.Permit)
			}
			charges = append(charges, c)
		}
		if step%4 == 0 {
			now = now.Add(time.Minute)
			for _, key := range slices.Sorted(maps.Keys(given)) { // one of each counter, which may be held, released, expired or never acquired
				c := ratelimiter.Charge{Limit: limits[rng.IntN(len(limits))], Key: key, Cost: 1, Permit: given[key][rng.IntN(len(given[key]))], Release: true}
				if c.Limit.Algorithm() != ratelimiter.Concurrency {
					continue
				}
				want, got := must(t)(local.Settle(ctx, []ratelimiter.Charge{c})), must(t)(shared.Settle(ctx, []ratelimiter.Charge{c}))
				if diff := cmp.Diff(want, got, same); diff != "" {
					t.Fatalf("step %d: memory and redis differ after a release: %s", step, diff)
				}
			}
		}
		do := []func(ratelimiter.Store) (ratelimiter.Decision, error){
			func(s ratelimiter.Store) (ratelimiter.Decision, error) { return s.Take(ctx, charges) },
			func(s ratelimiter.Store) (ratelimiter.Decision, error) { return s.Settle(ctx, charges) },
			func(s ratelimiter.Store) (ratelimiter.Decision, error) { return s.Peek(ctx, charges) },
		}[[]int{0, 0, 0, 0, 1, 2}[rng.IntN(6)]]
		want, got := must(t)(do(local)), must(t)(do(shared))
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Fatalf("step %d: memory and redis differ: %s", step, diff)
		}
		if want.Allowed {
			allowed++
		} else {
			refused++
		}
		for _, s := range want.Limits {
			if s.Charged {
				charged++
			}
			if s.Ahead > 0 {
				leases++
			}
			if s.Limit.Algorithm() == ratelimiter.Distinct && !s.Room {
				unseen++
			}
			if s.Limit.Algorithm() == ratelimiter.Concurrency && !s.Room {
				held++
			}
		}
		now = now.Add(time.Duration(rng.Int64N([]int64{2, 1000, 1_000_000, 10_000_000_000}[rng.IntN(4)])) * time.Microsecond)
	}
	t.Logf("%d allowed, %d refused, %d charges, %d leases, %d values and %d permits without room", allowed, refused, charged, leases, unseen, held)
	if allowed < 500 || refused < 500 || charged < 500 || leases < 300 || unseen < 100 || held < 100 {
		t.Fatal("the sequence tries too little")
	}
}

// TestClockSetBack: whatever a counter says after a clock was a day ahead, or a limit was made much smaller, it is well again when two
// windows (of a bucket: the time in which it fills) have passed.
func TestClockSetBack(t *testing.T) {
	now := time.UnixMicro(1_790_000_000_000_000)
	clock := func() time.Time { return now }
	stores := map[string]ratelimiter.Store{
		"memory": newMemory(t, clock), "redis": newRedis(t, redistest.Start(t).URL(), func(o *redis.Options) { o.ScriptTime = clock }),
	}
	// To the microsecond: two spans ahead a bucket drains, beyond that it heals. A unit comes back in 6 seconds.
	for name, s := range stores {
		for by, want := range map[time.Duration]bool{time.Minute: false, time.Minute + time.Microsecond: true} {
			c, start := charge(limit(t, ratelimiter.Definition{Count: 10, Window: time.Minute}), by.String(), 10), now
			must(t)(s.Take(context.Background(), []ratelimiter.Charge{c}))
			now = start.Add(-by)
			must(t)(s.Take(context.Background(), []ratelimiter.Charge{c}))
			now = now.Add(6 * time.Second)
			if c.Cost = 1; must(t)(s.Take(context.Background(), []ratelimiter.Charge{c})).Allowed != want {
				t.Errorf("%s, set back by %v: a unit passes: %v", name, by, !want)
			}
			now = start
		}
	}
	for a := range ratelimiter.Quota {
		small := limit(t, ratelimiter.Definition{Name: a.String(), Count: 10, Window: time.Minute, Algorithm: a})
		large := limit(t, ratelimiter.Definition{Name: a.String(), Count: 1000, Window: 24 * time.Hour, Algorithm: a})
		for name, s := range stores {
			for why, before := range map[string]struct {
				limit *ratelimiter.Limit
				by    time.Duration
			}{"set back": {small, 24 * time.Hour}, "made smaller": {large, 0}} {
				start := now
				key := name + a.String() + why
				now = now.Add(before.by)
				must(t)(s.Settle(context.Background(), []ratelimiter.Charge{charge(before.limit, key, 1000)}))
				now = start
				c, waited := charge(small, key, 1), time.Duration(0)
				for !must(t)(s.Take(context.Background(), []ratelimiter.Charge{c})).Allowed && waited < time.Hour {
					waited += time.Second
					now = start.Add(waited)
				}
				if waited > 2*time.Minute {
					t.Errorf("%s, %v, %s: nothing passed for %v", name, a, why, waited)
				}
			}
		}
	}
}

// A key lives until its bucket is full, and not much longer, so that the number of keys is that of recent callers.
func TestKeysExpireWhenFull(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	c := charge(limit(t, ratelimiter.Definition{Count: 90, Window: 90 * time.Minute}), "k", 1)
	for units := 1; units <= 90; units++ {
		d := must(t)(s.Take(context.Background(), []ratelimiter.Charge{c}))
		ms, err := strconv.Atoi(server.Do("PTTL", redis.StoredKey(c)))
		full, left := d.Limits[0].Full, time.Duration(ms)*time.Millisecond
		if most := full + full/2 + 1101*time.Millisecond; err != nil || left < full || left > most {
			t.Fatalf("after %d units the bucket is full in %v, and the key lives %v (%v)", units, full, left, err)
		}
	}
	// Only a life that is outgrown is written anew.
	if calls := server.Calls("psetex"); calls > 12 {
		t.Errorf("90 charges set the life of the key %d times", calls)
	}
	must(t)(s.Peek(context.Background(), []ratelimiter.Charge{charge(c.Limit, "never charged", 1)}))
	if n := server.Do("DBSIZE"); n != "1" {
		t.Fatalf("%s keys: looking made one", n)
	}
}

// The counters of windows and logs live as long as they mean something, and a tenth of a second longer.
func TestKeysOutliveTheirCounters(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	for a := ratelimiter.FixedWindow; a <= ratelimiter.Quota; a++ {
		d := ratelimiter.Definition{Count: 90, Window: 90 * time.Minute, Algorithm: a}
		if a == ratelimiter.Quota {
			d.Window, d.Calendar = 0, window.Month
		}
		c := charge(limit(t, d), a.String(), 1)
		start := time.Now()
		full := must(t)(s.Take(context.Background(), []ratelimiter.Charge{c})).Limits[0].Full
		ms, err := strconv.Atoi(server.Do("PTTL", redis.StoredKey(c)))
		least, left := full+99*time.Millisecond, time.Duration(ms)*time.Millisecond // PTTL rounds
		if err != nil || left+time.Since(start) < least || left > least+2*time.Millisecond {
			t.Errorf("%v: nothing counts after %v, and the key lives %v (%v)", a, full, left, err)
		}
	}
}

// A microsecond time has 16 digits; Lua's own conversion to text keeps 14.
func TestNoDigitIsLost(t *testing.T) {
	server := redistest.Start(t)
	at := time.UnixMicro(1_790_123_456_789_123)
	s := newRedis(t, server.URL(), func(o *redis.Options) { o.ScriptTime = func() time.Time { return at } })
	c := charge(limit(t, ratelimiter.Definition{Count: 999_999_937, Window: ratelimiter.MaxWindow}), "k", 999_999_936)
	must(t)(s.Take(context.Background(), []ratelimiter.Charge{c}))
	step := c.Limit.Rate().Step(c.Cost)
	var got [2]float64
	text := server.Do("GET", redis.StoredKey(c))
	if _, err := binary.Decode([]byte(text[min(8, len(text)):]), binary.BigEndian, &got); err != nil { // behind the name
		t.Fatal(err)
	}
	if want := [2]float64{float64(at.UnixMicro() + step.Micros), float64(step.Part)}; got != want {
		t.Fatalf("stored %f, want %f", got, want)
	}
}

func TestForeignValuesAreNotFatal(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	c := charge(limit(t, ratelimiter.Definition{Count: 3, Window: time.Hour}), "k", 1)
	for _, v := range []string{"", "x", "-5", "1e400", "nan", "12.", "1.2.3", strings.Repeat("9", 400), "99999999999999999.7",
		strings.Repeat("\x00", 32), strings.Repeat("\xff", 32), strings.Repeat("\x7f\xf0\x00\x00\x00\x00\x00\x00", 4), strings.Repeat("9", 56),
		redis.RecordName(c), redis.RecordName(c) + strings.Repeat("\xff", 24), redis.RecordName(c) + strings.Repeat("\x7f\xf0\x00\x00\x00\x00\x00\x00", 3),
		strings.Repeat("9", 8) + redis.RecordName(c) + strings.Repeat("9", 40), "9999" + redis.RecordName(c) + strings.Repeat("9", 44)} {
		server.Do("SET", redis.StoredKey(c), v)
		if _, err := s.Take(context.Background(), []ratelimiter.Charge{c}); err != nil {
			t.Errorf("value %.20q: %v", v, err)
		}
	}
	server.Do("DEL", redis.StoredKey(c))
	server.Do("LPUSH", redis.StoredKey(c), "a list")
	if d, err := s.Take(context.Background(), []ratelimiter.Charge{c}); err != nil || !d.Allowed || d.Limits[0].Remaining != 2 {
		t.Errorf("a list: %+v, %v", d, err)
	}
}

func TestScriptIsLoadedAgain(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	if err := s.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	c := charge(limit(t, ratelimiter.Definition{Count: 5, Window: 24 * time.Hour}), "k", 1)
	for want := int64(4); want >= 2; want-- {
		if d := must(t)(s.Take(ctx, []ratelimiter.Charge{c})); d.Limits[0].Remaining != want {
			t.Fatalf("%d left, want %d", d.Limits[0].Remaining, want)
		}
		server.Do("SCRIPT", "FLUSH")
	}
	// At most one EVAL for each flush, and none when the script is there.
	must(t)(s.Take(ctx, []ratelimiter.Charge{c}))
	d := must(t)(s.Take(ctx, []ratelimiter.Charge{c}))
	if d.Limits[0].Remaining != 0 {
		t.Fatalf("%d left after five takes", d.Limits[0].Remaining)
	}
}

func BenchmarkTake(b *testing.B) {
	s := newRedis(b, redistest.Start(b).URL(), nil)
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("limits=%d", n), func(b *testing.B) {
			var charges []ratelimiter.Charge
			for i := range n {
				l := limit(b, ratelimiter.Definition{Name: fmt.Sprintf("l%d", i), Count: 1000, Window: time.Second})
				charges = append(charges, charge(l, "k", 1))
			}
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Take(context.Background(), charges); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
