package redis_test

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

//go:embed windows.lua
var windowFunctions string

// windowScript runs the functions on one key: ARGV is take, settle or peek, the time, the cost, and the rate.
const windowScript = `
local op, a = ARGV[1], {}
for i = 2, #ARGV do a[i - 1] = tonumber(ARGV[i]) end
local look, charge, reading = window_look, window_charge, window_reading
if #a == 4 then look, charge, reading = log_look, log_charge, log_reading end
local s = look(redis.call('GET', KEYS[1]), unpack(a))
local room, life = s.room, 0
if op == 'settle' or op == 'take' and room then
  local value
  value, life = charge(s)
  redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', life + 3600000)) -- the time given may stand still
end
return {room and 1 or 0, life, reading(s)}
`

type windowRedis struct {
	t      testing.TB
	client *goredis.Client
	script *goredis.Script
	server *redistest.Server
}

func newWindowRedis(t testing.TB) *windowRedis {
	server := redistest.Start(t)
	client := goredis.NewClient(&goredis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return &windowRedis{t: t, client: client, script: goredis.NewScript(windowFunctions + windowScript), server: server}
}

// run returns whether there was room, the life of the value in milliseconds, and the reading.
func (w *windowRedis) run(key, op string, args ...int64) (room bool, life int64, reading []int64) {
	w.t.Helper()
	all := []any{op}
	for _, a := range args {
		all = append(all, a)
	}
	got, err := w.script.Run(context.Background(), w.client, []string{key}, all...).Int64Slice()
	if err != nil {
		w.t.Fatal(err)
	}
	return got[0] == 1, got[1], got[2:]
}

func (w *windowRedis) window(key, op string, r window.Rate, now, cost int64) (bool, int64, window.Counter) {
	w.t.Helper()
	sliding := int64(0)
	if r.Sliding() {
		sliding = 1
	}
	room, life, got := w.run(key, op, now, cost, r.Count(), r.Length(), int64(r.Calendar()), sliding)
	return room, life, window.Counter{Until: got[0], Used: got[1], Before: got[2]}
}

func (w *windowRedis) log(key, op string, r slidinglog.Rate, now, cost int64) (bool, int64, slidinglog.View) {
	w.t.Helper()
	room, life, got := w.run(key, op, now, cost, r.Count(), r.Window())
	return room, life, slidinglog.View{Used: got[0], More: got[1], Enough: got[2], Last: got[3]}
}

func randomWindow(t testing.TB, rng *rand.Rand) window.Rate {
	count := 1 + rng.Int64N([]int64{3, 100, window.MaxCount}[rng.IntN(3)])
	length := time.Duration(1+rng.Int64N([]int64{10, 1_000_000, window.MaxLength.Microseconds()}[rng.IntN(3)])) * time.Microsecond
	r, err := window.NewFixed(count, length)
	switch rng.IntN(4) {
	case 0:
		r, err = window.NewQuota(count, window.Calendar(1+rng.IntN(4)))
	case 1, 2:
		r, err = window.NewSliding(count, length)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func anyOp(rng *rand.Rand) string {
	return []string{"take", "take", "take", "settle", "peek"}[rng.IntN(5)]
}

// TestWindowsInLua: random charges give the same counters in Lua as in Go, also where a limit changes over a counter and a
// clock is set back.
func TestWindowsInLua(t *testing.T) {
	w := newWindowRedis(t)
	rng := rand.New(rand.NewPCG(10, 11))
	refused, large := 0, 0
	for i := range 150 {
		rates := []window.Rate{randomWindow(t, rng), randomWindow(t, rng)}
		var c window.Counter
		now := int64(1_790_000_000_000_000) + rng.Int64N(1<<50)
		for step := range 40 {
			r := rates[0]
			if rng.IntN(10) == 0 {
				r = rates[1]
			}
			cost, op := []int64{0, 1, 1 + rng.Int64N(r.Count()), r.Count(), r.Count() + 1}[rng.IntN(5)], anyOp(rng)
			want, room := r.Take(c, now, cost)
			if op == "settle" {
				want = r.Charge(c, now, cost)
			}
			gotRoom, life, got := w.window(strconv.Itoa(i), op, r, now, cost)
			if op == "peek" {
				want = r.Bound(c, now)
			} else if op == "settle" || room {
				c = want
				if life != (c.Until-now+999)/1000 {
					t.Fatalf("rate %d, step %d: lives %d ms, not until %d", i, step, life, c.Until-now)
				}
			}
			if gotRoom != room || got != want {
				t.Fatalf("rate %d %+v, step %d, %s %d at %d of %+v:\nLua %v %+v\n Go %v %+v", i, r, step, op, cost, now, c, gotRoom, got, room, want)
			}
			if !room {
				refused++
			}
			if got.Before > 1<<20 && r.Length() > 1<<33 {
				large++
			}
			now += rng.Int64N(r.Length()) / []int64{1, 1, 30, 1000}[rng.IntN(4)]
			if rng.IntN(20) == 0 {
				now -= rng.Int64N(3*r.Length()/2 + 1)
			}
		}
	}
	t.Logf("%d without room, %d with a product beyond 2^52", refused, large)
	if refused < 500 || large < 50 {
		t.Error("the sequence tries too little")
	}
}

// The vectors that package window pins for the weight of a window before.
func TestWeightInLua(t *testing.T) {
	w := newWindowRedis(t)
	for i, c := range []struct{ before, rest, length, want int64 }{
		{100, 1, 1_000_000, 1},
		{3, 333_334, 1_000_000, 2},
		{1_000_000_000, 15_811_200_000_000, 31_622_400_000_000, 500_000_001},
		{999_999_937, 31_622_399_999_999, 31_622_400_000_000, 999_999_937},
		{999_999_937, 7_777_777_777_777, 31_622_400_000_000, 245_957_844},
		{52_125, 43_200_000_000, 86_400_000_000, 26_063},
	} {
		r, err := window.NewSliding(window.MaxCount, time.Duration(c.length)*time.Microsecond)
		if err != nil {
			t.Fatal(err)
		}
		start := int64(1_790_000_000_000_000) / c.length * c.length
		key := "weight-" + strconv.Itoa(i)
		w.server.Do("SET", key, fmt.Sprintf("%d:%d:0", start+c.length, c.before))
		left := window.MaxCount - c.want
		for cost, want := range map[int64]bool{left: true, left + 1: false} {
			if room, _, _ := w.window(key, "peek", r, start+c.length-c.rest, cost); room != want {
				t.Errorf("%+v: room for %d is %v", c, cost, room)
			}
		}
	}
}

// TestCalendarInLua compares the ends of windows at random instants, and around the borders after them.
func TestCalendarInLua(t *testing.T) {
	w := newWindowRedis(t)
	rng := rand.New(rand.NewPCG(12, 13))
	for c := window.Day; c <= window.Year; c++ {
		r, err := window.NewQuota(5, c)
		if err != nil {
			t.Fatal(err)
		}
		instants := []int64{0, 1<<52 - 1}
		for range 1500 {
			_, end := c.Bounds(rng.Int64N(1 << 52))
			instants = append(instants, end-1, end, rng.Int64N(1<<52))
		}
		for _, now := range instants {
			if now >= 1<<52 {
				continue
			}
			_, want := c.Bounds(now)
			if _, _, got := w.window("none", "peek", r, now, 1); got.Until != want {
				t.Fatalf("%v: the window of %v ends %v, in Lua %v", c, time.UnixMicro(now).UTC(), time.UnixMicro(want).UTC(), time.UnixMicro(got.Until).UTC())
			}
		}
	}
}

// TestLogsInLua is TestWindowsInLua for sliding logs.
func TestLogsInLua(t *testing.T) {
	w := newWindowRedis(t)
	rng := rand.New(rand.NewPCG(14, 15))
	random := func() slidinglog.Rate {
		length := 1 + rng.Int64N([]int64{10, 1_000_000, slidinglog.MaxWindow.Microseconds()}[rng.IntN(3)])
		r, err := slidinglog.New(1+rng.Int64N([]int64{3, 30, slidinglog.MaxCount}[rng.IntN(3)]), time.Duration(length)*time.Microsecond)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	refused := 0
	for i := range 100 {
		rates := []slidinglog.Rate{random(), random()}
		log := &slidinglog.Log{}
		now := int64(1_790_000_000_000_000) + rng.Int64N(1<<50)
		for step := range 80 {
			r := rates[0]
			if rng.IntN(20) == 0 {
				r = rates[1]
			}
			cost, op := []int64{0, 1, 1, 1 + rng.Int64N(r.Count()), r.Count() + 1}[rng.IntN(5)], anyOp(rng)
			room := r.Room(r.View(log, now, cost), cost)
			charged := op == "settle" || op == "take" && room
			gotRoom, life, got := w.log(strconv.Itoa(i), op, r, now, cost)
			if charged {
				r.Charge(log, now, cost)
			}
			want := r.View(log, now, cost)
			if gotRoom != room || got != want {
				t.Fatalf("rate %d %+v, step %d, %s %d at %d:\nLua %v %+v\n Go %v %+v", i, r, step, op, cost, now, gotRoom, got, room, want)
			}
			if charged && want.Used > 0 && life != (want.Last+r.Window()-now+999)/1000 {
				t.Fatalf("rate %d, step %d: lives %d ms", i, step, life)
			}
			if !room {
				refused++
			}
			now += rng.Int64N(r.Window()) / []int64{1, 5, 30, 1000}[rng.IntN(4)]
			if rng.IntN(20) == 0 {
				now -= rng.Int64N(3*r.Window()/2 + 1)
			}
		}
	}
	t.Logf("%d without room", refused)
	if refused < 500 {
		t.Error("the sequence tries too little")
	}
}

func TestForeignValuesInLua(t *testing.T) {
	w := newWindowRedis(t)
	r, err := window.NewSliding(3, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	l, err := slidinglog.New(3, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"", "x", "-5", "1:2", "1790000000000000.5", "1:2:3:4", "0:5:", "1:5:abc", "16:99999999999999999999:1", "7:1790000000000000:123", strings.Repeat("9", 400), "1:" + strings.Repeat("9", 400) + ":1", strings.Repeat("9", 400) + ":1:1"} {
		w.server.Do("SET", "k", v)
		if room, _, got := w.window("k", "take", r, 1_790_000_000_000_000, 1); !room || got.Used != 1 {
			t.Errorf("window, value %.20q: %+v", v, got)
		}
		w.server.Do("SET", "k", v)
		if room, _, got := w.log("k", "take", l, 1_790_000_000_000_000, 1); !room || got.Used == 0 {
			t.Errorf("log, value %.20q: %+v", v, got)
		}
	}
}

// BenchmarkWindowsInLua prints what a charge costs Redis, without the network, and what a key costs in memory. The steady log
// has one unit that goes for each that comes.
func BenchmarkWindowsInLua(b *testing.B) {
	w := newWindowRedis(b)
	measure := func(name string, run func(key string, i int64)) {
		b.Run(name, func(b *testing.B) {
			w.t = b
			for i := range int64(2000) { // until a log is full
				run(name, i)
			}
			w.server.Do("CONFIG", "RESETSTAT")
			i := int64(2000)
			for b.Loop() {
				run(name, i)
				i++
			}
			info := w.client.Info(context.Background(), "commandstats").Val()
			_, info, _ = strings.Cut(info, "cmdstat_evalsha:")
			_, info, _ = strings.Cut(info, "usec_per_call=")
			cost, _, _ := strings.Cut(info, ",")
			if us, err := strconv.ParseFloat(strings.TrimSpace(cost), 64); err == nil {
				b.ReportMetric(us, "redis-µs/op")
			}
			bytes, err := w.client.MemoryUsage(context.Background(), name).Result()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(bytes), "B/key")
		})
	}
	const start = int64(1_790_000_000_000_000)
	sliding, err := window.NewSliding(100, time.Second)
	if err != nil {
		b.Fatal(err)
	}
	measure("sliding_window", func(key string, i int64) { w.window(key, "take", sliding, start+11_000*i, 1) })
	for _, length := range []time.Duration{time.Second, time.Hour, 30 * 24 * time.Hour} {
		for _, n := range []int64{100, 1000} {
			l, err := slidinglog.New(n, length)
			if err != nil {
				b.Fatal(err)
			}
			gap := length.Microseconds() / n * 21 / 20
			measure(fmt.Sprintf("log/%v/units=%d", length, n), func(key string, i int64) { w.log(key, "take", l, start+gap*i, 1) })
			measure(fmt.Sprintf("log/%v/units=%d/refused", length, n), func(key string, i int64) { w.log(key, "take", l, start+i, 1) })
		}
	}
}
