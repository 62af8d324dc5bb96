package redis_test

import (
	_ "embed"
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
	"github.com/durward-pdp/durward/ratelimiter/concurrency"
)

//go:embed concurrency.lua
var concurrencyFunctions string

// concurrencyScript acquires or releases a permit in the set of one key: ARGV is the time, the count, the expiry, the id and 1
// to release it. It returns whether there was room, the life of what was stored (-1 where nothing changed) and the reading.
const concurrencyScript = `
local s = permit_look(redis.call('GET', KEYS[1]), tonumber(ARGV[1]), 1, tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]))
local room, value, life = s.room, permit_charge(s)
if value then
  redis.call('SET', KEYS[1], value)
end
return {room and 1 or 0, life or -1, permit_reading(s)}
`

func permitID(n int) concurrency.ID {
	var id concurrency.ID
	copy(id[:], fmt.Sprintf("%016d", n)) // like the instants that stand before ids
	return id
}

// TestPermitsInLua: random acquires and releases give the same sets in Lua as in Go, also where a limit changes over a counter
// and a clock is set back.
func TestPermitsInLua(t *testing.T) {
	client := goredis.NewClient(&goredis.Options{Addr: redistest.Start(t).Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	script := goredis.NewScript(concurrencyFunctions + concurrencyScript)
	rng := rand.New(rand.NewPCG(30, 31))
	refused, released := 0, 0
	for i := range 60 {
		random := func() concurrency.Rate {
			r, err := concurrency.New(1+rng.Int64N([]int64{3, 40, concurrency.MaxCount}[rng.IntN(3)]), time.Duration(1+rng.Int64N(1_000_000))*time.Microsecond)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		rates := []concurrency.Rate{random(), random()}
		s, now := &concurrency.Set{}, int64(1_790_000_000_000_000)+rng.Int64N(1<<50)
		for step := range 150 {
			r, id, release := rates[min(rng.IntN(20), 1)^1], permitID(step), 0
			if rng.IntN(4) == 0 {
				id, release = permitID(rng.IntN(step+1)), 1
			}
			got, err := script.Run(t.Context(), client, []string{strconv.Itoa(i)}, now, r.Count(), r.Expiry(), string(id[:]), release).Int64Slice()
			if err != nil {
				t.Fatal(err)
			}
			want, changed := []int64{1, -1}, false
			if release == 1 {
				if changed = s.Release(id); changed {
					released++
				}
			} else if changed = r.Acquire(s, now, id, 1); !changed {
				want[0] = 0
				refused++
			}
			if changed {
				want[1] = max((s.Until()-now+999)/1000, 1)
			}
			v := r.View(s, now)
			if want = append(want, v.Used, v.First, v.Last); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("set %d %+v, step %d, release %d at %d: Lua %v, Go %v", i, r, step, release, now, got, want)
			}
			now += rng.Int64N(r.Expiry()) / []int64{2, 30, 1000}[rng.IntN(3)]
			if rng.IntN(30) == 0 {
				now -= rng.Int64N(3*r.Expiry() + 1)
			}
		}
	}
	t.Logf("%d refused, %d released", refused, released)
	if refused < 200 || released < 200 {
		t.Error("the sequence tries too little")
	}
	for _, v := range []string{"", "x", "p1", "p" + strings.Repeat("z", 64), "s123:", "12:34:5"} { // foreign
		if err := client.Set(t.Context(), "k", v, 0).Err(); err != nil {
			t.Fatal(err)
		}
		for _, release := range []int{1, 0} {
			if got, err := script.Run(t.Context(), client, []string{"k"}, 1_790_000_000_000_000, 3, 1000, "0123456789abcdef", release).Int64Slice(); err != nil || got[0] != 1 || release == 1 && got[1] != -1 {
				t.Errorf("%q: %v, %v", v, got, err)
			}
		}
	}
}

// TestNeverMoreAtOnce: callers that acquire, work and release never are more than the count at once, and all get their turn.
func TestNeverMoreAtOnce(t *testing.T) {
	const callers, count = 32, 5
	eachStore(t, func(t *testing.T, s ratelimiter.Store) {
		c := charge(limit(t, ratelimiter.Definition{Count: count, Window: time.Hour, Algorithm: ratelimiter.Concurrency}), "k", 1)
		limiter, err := ratelimiter.New(ratelimiter.Options{Shared: s, Local: newMemory(t, time.Now), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = limiter.Close(t.Context()) })
		var inside, most, turns, refused atomic.Int64
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for turn := 0; turn < 20; {
					mine := c
					mine.Permit = permitID(1 + caller*1000 + turn)
					d, err := limiter.Take(t.Context(), []ratelimiter.Charge{mine})
					if err != nil || d.Degraded {
						t.Errorf("%+v, %v", d, err)
						return
					}
					if !d.Allowed {
						refused.Add(1)
						continue
					}
					n := inside.Add(1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					time.Sleep(100 * time.Microsecond)
					inside.Add(-1)
					if err := limiter.Release(t.Context(), []ratelimiter.Permit{{Key: mine.Key, ID: mine.Permit}}); err != nil {
						t.Error(err)
					}
					turns.Add(1)
					turn++
				}
			})
		}
		wg.Wait()
		if most.Load() > count || turns.Load() != callers*20 || refused.Load() == 0 {
			t.Errorf("%d at once, %d turns, %d refused", most.Load(), turns.Load(), refused.Load())
		}
		if d := must(t)(s.Peek(t.Context(), []ratelimiter.Charge{c})); d.Limits[0].Remaining != count {
			t.Errorf("%d permits left when all are released", d.Limits[0].Remaining)
		}
	})
}

// Released permits leave no key behind, and who knows a permit's key cannot release it without its id.
func TestReleasedKeysGo(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	l := limit(t, ratelimiter.Definition{Count: 3, Window: time.Hour, Algorithm: ratelimiter.Concurrency})
	c := charge(l, "k", 1)
	c.Permit = permitID(1)
	must(t)(s.Take(t.Context(), []ratelimiter.Charge{c}))
	guess := c
	guess.Permit, guess.Release = permitID(2), true
	if d := must(t)(s.Settle(t.Context(), []ratelimiter.Charge{guess})); d.Limits[0].Remaining != 2 {
		t.Errorf("a guess released a permit: %+v", d)
	}
	c.Release = true
	if d := must(t)(s.Settle(t.Context(), []ratelimiter.Charge{c})); d.Limits[0].Remaining != 3 {
		t.Errorf("not released: %+v", d)
	}
	for end := time.Now().Add(patient); server.Do("EXISTS", string(c.Key)) != "0"; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the key stays")
		}
	}
}
