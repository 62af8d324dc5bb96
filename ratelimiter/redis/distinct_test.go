package redis_test

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
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
	"github.com/durward-pdp/durward/ratelimiter/distinct"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

//go:embed distinct.lua
var distinctFunctions string

// distinctScript sees the values of ARGV, from the fifth on, in the set of one key: the time, the count, the window, the salt.
// It returns for each whether it had room, the life of what was stored (-1 where nothing changed) and the reading.
const distinctScript = `
local now, count, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local value, out = redis.call('GET', KEYS[1]), {}
for i = 5, #ARGV do
  local s = distinct_look(value, now, 1, count, window, ARGV[i], ARGV[4])
  local room, changed, life = s.room, distinct_charge(s)
  value = changed or value
  local till, used = distinct_reading(s)
  for _, n in ipairs({room and 1 or 0, life or -1, till, used}) do
    out[#out + 1] = n
  end
end
if value then
  redis.call('SET', KEYS[1], value)
end
return out
`

func eight(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

func member(i int) uint64 { return ratelimiter.Value{Text: strconv.Itoa(i)}.Member() }

type distinctRedis struct {
	t      testing.TB
	client *goredis.Client
	script *goredis.Script
}

func newDistinctRedis(t testing.TB) *distinctRedis {
	client := goredis.NewClient(&goredis.Options{Addr: redistest.Start(t).Addr(), MaxRetries: -1, ReadTimeout: patient})
	t.Cleanup(func() { _ = client.Close() })
	return &distinctRedis{t: t, client: client, script: goredis.NewScript(distinctFunctions + distinctScript)}
}

func (d *distinctRedis) see(key string, r distinct.Rate, now int64, salt uint64, members ...uint64) []int64 {
	d.t.Helper()
	args := []any{now, r.Count(), r.Window(), eight(salt)}
	for _, m := range members {
		args = append(args, eight(m))
	}
	got, err := d.script.Run(d.t.Context(), d.client, []string{key}, args...).Int64Slice()
	if err != nil {
		d.t.Fatal(err)
	}
	return got
}

// TestDistinctInLua: random values at random times give the same sets and sketches in Lua as in Go, to the last digit, also
// where a limit changes over a counter and a clock is set back.
func TestDistinctInLua(t *testing.T) {
	d := newDistinctRedis(t)
	rng := rand.New(rand.NewPCG(20, 21))
	refused, again, sketched := 0, 0, 0
	for i := range 40 {
		random := func() distinct.Rate {
			r, err := distinct.New(1+rng.Int64N([]int64{5, 1500, distinct.MaxCount}[rng.IntN(3)]), time.Duration(1+rng.Int64N(1_000_000))*time.Microsecond)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		rates, salt := []distinct.Rate{random(), random()}, rng.Uint64()
		s, now := &distinct.Set{}, int64(1_790_000_000_000_000)+rng.Int64N(1<<50)
		values := 1 + rng.IntN(5000)
		for step := range 30 {
			r := rates[min(rng.IntN(10), 1)^1]
			var members []uint64
			for range 1 + rng.IntN(600) {
				members = append(members, member(rng.IntN(values)))
			}
			got := d.see(strconv.Itoa(i), r, now, salt, members...)
			for j, m := range members {
				before := r.View(s, now, m, 1)
				changed := r.Charge(s, now, m, 1, salt)
				after := r.View(s, now, m, 1)
				want := []int64{0, -1, after.Until, after.Count}
				if before.Room {
					want[0] = 1
				}
				if changed {
					want[1] = (after.Until - now + 999) / 1000
				}
				if has := got[4*j : 4*j+4]; fmt.Sprint(has) != fmt.Sprint(want) {
					t.Fatalf("set %d %+v, step %d, value %d at %d: Lua %v, Go %v", i, r, step, j, now, has, want)
				}
				refused += int(1 - want[0])
				if before.Room && !changed {
					again++
				}
			}
			if s.Size() == 2048 {
				sketched++
			}
			if rng.IntN(10) == 0 {
				now += rng.Int64N(r.Window())
			}
			if rng.IntN(40) == 0 {
				now -= rng.Int64N(3*r.Window()/2 + 1)
			}
		}
	}
	t.Logf("%d refused, %d seen again, %d steps with a sketch", refused, again, sketched)
	if refused < 1000 || again < 1000 || sketched < 100 {
		t.Error("the sequence tries too little")
	}
}

// A value whose bytes stand across two others was not seen.
func TestNeighboursInLua(t *testing.T) {
	d := newDistinctRedis(t)
	r, err := distinct.New(3, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got := d.see("k", r, 1_790_000_000_000_000, 1, 0x00000000aabbccdd, 0xeeff112200000000, 0xaabbccddeeff1122, 0xaabbccddeeff1122)
	if got[11] != 3 || got[12] != 1 || got[13] != -1 {
		t.Errorf("%v", got)
	}
}

func TestForeignSetsInLua(t *testing.T) {
	d := newDistinctRedis(t)
	r, err := distinct.New(3, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const now = int64(1_790_000_000_000_000)
	_, till, nines := 0, now-now%r.Window()+r.Window(), strings.Repeat("9", 400)
	for _, v := range []string{"", "x", "s", "s5", "s5:", "s-1:", "sx:", fmt.Sprintf("s%d:1234567", till), fmt.Sprintf("s%d:", till) + strings.Repeat("x", 8008), "s" + nines + ":", "h5:1:1:",
		fmt.Sprintf("h%d:1:1:", till), fmt.Sprintf("h%d:20000:%s:", till, nines) + strings.Repeat("\x00", 8+16384), fmt.Sprintf("h%d:1:1048576:", till) + strings.Repeat("\x00", 8+16384), fmt.Sprintf("h%d:20000:1:", till) + strings.Repeat("\x00", 16384)} {
		if err := d.client.Set(t.Context(), "k", v, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := d.see("k", r, now, 1, 7); got[0] != 1 || got[3] != 1 {
			t.Errorf("value %.30q: %v", v, got)
		}
	}
}

// TestSketchesAgree: above 1,000 values the two stores have salts of their own, and agree within the error of each.
func TestSketchesAgree(t *testing.T) {
	const count = 20_000
	now := time.UnixMicro(1_790_000_000_000_000)
	clock := func() time.Time { return now }
	shared := newRedis(t, redistest.Start(t).URL(), func(o *redis.Options) { o.ScriptTime = clock })
	local := newMemory(t, clock)
	l := limit(t, ratelimiter.Definition{Count: count, Window: time.Hour, Algorithm: ratelimiter.Distinct})
	for name, s := range map[string]ratelimiter.Store{"memory": local, "redis": shared} {
		var passed atomic.Int64
		var wg sync.WaitGroup
		for caller := range 64 {
			wg.Go(func() {
				for i := caller; i < 2*count; i += 64 {
					c := charge(l, "k", 1)
					c.Member = member(i)
					if d, err := s.Take(t.Context(), []ratelimiter.Charge{c}); err != nil {
						t.Error(err)
						return
					} else if d.Allowed {
						passed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%s: %d of %d values passed a limit of %d", name, passed.Load(), 2*count, count)
		if math.Abs(float64(passed.Load())/count-1) > 0.03 { // more than four standard errors
			t.Errorf("%s: %d passed", name, passed.Load())
		}
		c := charge(l, "k", 1)
		d := must(t)(s.Peek(t.Context(), []ratelimiter.Charge{c}))
		if got := d.Limits[0]; d.Allowed || got.Remaining != 0 || got.Retry <= 0 || got.Retry > time.Hour {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestExactlyTheValuesUnderContention: whoever asks at the same time, exactly the count of different values passes, each as often
// as it is asked for.
func TestExactlyTheValuesUnderContention(t *testing.T) {
	const callers, values, count = 32, 150, 100
	eachStore(t, func(t *testing.T, s ratelimiter.Store) {
		l := limit(t, ratelimiter.Definition{Count: count, Window: ratelimiter.MaxWindow, Algorithm: ratelimiter.Distinct})
		other := charge(limit(t, ratelimiter.Definition{Name: "other", Count: 1_000_000, Window: ratelimiter.MaxWindow}), "k", 1)
		passed := make([]atomic.Int64, values)
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for i := range values {
					v := (i + 7*caller) % values
					c := charge(l, "k", 1)
					c.Member = member(v)
					if d, err := s.Take(t.Context(), []ratelimiter.Charge{other, c}); err != nil {
						t.Error(err)
					} else if d.Allowed {
						passed[v].Add(1)
					}
				}
			})
		}
		wg.Wait()
		all, takes := 0, int64(0)
		for v := range passed {
			switch n := passed[v].Load(); {
			case n == callers:
				all++
			case n != 0:
				t.Errorf("the value %d passed %d times of %d", v, n, callers)
			}
			takes += passed[v].Load()
		}
		if all != count {
			t.Errorf("%d values passed", all)
		}
		if got := must(t)(s.Peek(t.Context(), []ratelimiter.Charge{other})).Limits[0].Remaining; got != 1_000_000-takes {
			t.Errorf("another limit has %d left after %d takes: a refusal charged it", got, takes)
		}
	})
}

// A value that was seen before writes nothing; a counter goes when its window ends.
func TestSeenValuesWriteNothing(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	c := charge(limit(t, ratelimiter.Definition{Count: 3, Window: ratelimiter.MaxWindow, Algorithm: ratelimiter.Distinct}), "k", 1)
	for range 20 {
		must(t)(s.Take(t.Context(), []ratelimiter.Charge{c}))
	}
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	if got := client.Info(t.Context(), "commandstats").Val(); !strings.Contains(got, "cmdstat_psetex:calls=1,") {
		t.Errorf("twenty takes of one value: %s", got)
	}
	end := time.UnixMicro((time.Now().UnixMicro()/ratelimiter.MaxWindow.Microseconds() + 1) * ratelimiter.MaxWindow.Microseconds())
	ms, err := strconv.Atoi(server.Do("PTTL", string(c.Key)))
	if left := time.Until(end) - time.Duration(ms)*time.Millisecond; err != nil || left.Abs() > time.Minute {
		t.Errorf("the key ends %v away from the window (%v)", left, err)
	}
}

// BenchmarkDistinct prints what a decision about a value that was seen before costs Redis, without the network, and what a key
// costs in memory.
func BenchmarkDistinct(b *testing.B) {
	server := redistest.Start(b)
	s := newRedis(b, server.URL(), nil)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr(), MaxRetries: -1})
	b.Cleanup(func() { _ = client.Close() })
	l := limit(b, ratelimiter.Definition{Count: distinct.MaxCount, Window: ratelimiter.MaxWindow, Algorithm: ratelimiter.Distinct})
	for _, values := range []int{10, 100, 1000, 20_000} {
		b.Run(fmt.Sprintf("values=%d", values), func(b *testing.B) {
			c := charge(l, strconv.Itoa(values), 1)
			take := func(i int) {
				c.Member = member(i % values)
				must(b)(s.Take(b.Context(), []ratelimiter.Charge{c}))
			}
			for i := range values {
				take(i)
			}
			server.Do("CONFIG", "RESETSTAT")
			for i := 0; b.Loop(); i++ {
				take(i)
			}
			_, info, _ := strings.Cut(client.Info(b.Context(), "commandstats").Val(), "cmdstat_evalsha:")
			_, info, _ = strings.Cut(info, "usec_per_call=")
			cost, _, _ := strings.Cut(info, ",")
			if us, err := strconv.ParseFloat(cost, 64); err == nil {
				b.ReportMetric(us, "redis-µs/op")
			}
			b.ReportMetric(float64(client.MemoryUsage(b.Context(), string(c.Key)).Val()), "B/key")
		})
	}
}
