package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// of returns a charge of one unit on a bucket of a service, counted by one value or by none.
func of(t *testing.T, service, name string, values ...string) ratelimiter.Charge {
	t.Helper()
	var all []ratelimiter.Value
	for _, v := range values {
		all = append(all, ratelimiter.Value{Text: v})
	}
	l := limit(t, ratelimiter.Definition{Name: name, Count: 100, Window: ratelimiter.MaxWindow})
	return ratelimiter.Charge{Limit: l, Key: ratelimiter.NewKeySpace("acme", service, name).Key(all...), Cost: 1}
}

// TestCountersOfASubjectShareAKey: what lies together, and that each of them still counts for itself.
func TestCountersOfASubjectShareAKey(t *testing.T) {
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	left := func(c ratelimiter.Charge) int64 {
		t.Helper()
		return must(t)(s.Peek(context.Background(), []ratelimiter.Charge{c})).Limits[0].Remaining
	}
	a, b, c := of(t, "orders", "a", "ann"), of(t, "orders", "b", "ann"), of(t, "orders", "c", "ann")
	other, elsewhere, all := of(t, "orders", "a", "bob"), of(t, "carts", "a", "ann"), of(t, "orders", "all")
	for _, set := range [][]ratelimiter.Charge{
		{a, other, b},       // of which two lie together, and apart in the decision
		{b}, {c, a}, {a, c}, // not in the order in which they are stored, and with another between them
		{all, elsewhere, c},   // each alone
		{c, b, a, other, all}, // everything in one service
	} {
		for i, st := range must(t)(s.Take(context.Background(), set)).Limits {
			if st.Key != set[i].Key || !st.Charged {
				t.Errorf("%s was asked, %s answered (charged: %t)", set[i].Key, st.Key, st.Charged)
			}
		}
	}
	for want, charges := range map[int64][]ratelimiter.Charge{96: {a, c}, 97: {b}, 98: {other, all}, 99: {elsewhere}} {
		for _, one := range charges {
			if got := left(one); got != want {
				t.Errorf("%s has %d left, want %d", one.Key, got, want)
			}
		}
	}
	want := []string{"rl:{acme}:5:carts*3:ann", "rl:{acme}:6:orders*3:ann", "rl:{acme}:6:orders*3:bob", "rl:{acme}:6:orders3:all"}
	keys := strings.Fields(server.Do("EVAL", "return table.concat(redis.call('KEYS', '*'), ' ')", "0"))
	slices.Sort(keys)
	if !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
	t.Logf("three counters in one key: %s bytes; one: %s; one without values: %s",
		server.Do("MEMORY", "USAGE", redis.StoredKey(a)), server.Do("MEMORY", "USAGE", redis.StoredKey(other)), server.Do("MEMORY", "USAGE", redis.StoredKey(all)))

	if got, err := s.Clear(t.Context(), of(t, "orders", "never", "ann").Key); err != nil || got {
		t.Errorf("a counter that never was is cleared: %t, %v", got, err)
	}
	for _, had := range []bool{true, false} { // one is forgotten, and its neighbours are not
		if got, err := s.Clear(t.Context(), b.Key); err != nil || got != had {
			t.Errorf("cleared %t, %v; want %t", got, err, had)
		}
	}
	if left(a) != 96 || left(b) != 100 || left(c) != 96 {
		t.Errorf("after one was cleared: %d, %d, %d left", left(a), left(b), left(c))
	}
	must(t)(s.Take(context.Background(), []ratelimiter.Charge{a, b, c}))
	if left(a) != 95 || left(b) != 99 || left(c) != 95 {
		t.Errorf("after one more each: %d, %d, %d left", left(a), left(b), left(c))
	}
}

// TestManyRecordsInAKey: a key may hold more counters than Lua passes values, and none is lost when one more comes.
func TestManyRecordsInAKey(t *testing.T) {
	const many = 6000
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), nil)
	var charges []ratelimiter.Charge
	for i := range many {
		charges = append(charges, of(t, "orders", fmt.Sprint("limit-", i), "ann"))
	}
	for set := range slices.Chunk(charges, ratelimiter.MaxCharges) {
		must(t)(s.Take(context.Background(), set))
	}
	pair := []ratelimiter.Charge{charges[0], charges[many-1]} // far apart
	must(t)(s.Take(context.Background(), pair))
	for _, i := range []int{0, 1, many / 2, many - 2, many - 1} {
		want := int64(99)
		if i == 0 || i == many-1 {
			want = 98
		}
		if got := must(t)(s.Peek(context.Background(), charges[i:i+1])).Limits[0].Remaining; got != want {
			t.Errorf("counter %d has %d left, want %d", i, got, want)
		}
	}
}

// TestDeadRecordsGo: a key that is written anew keeps no record that means nothing any more.
func TestDeadRecordsGo(t *testing.T) {
	now := time.UnixMicro(1_790_000_000_000_000)
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), func(o *redis.Options) { o.ScriptTime = func() time.Time { return now } })
	short := charge(limit(t, ratelimiter.Definition{Name: "short", Count: 1, Window: time.Second}), "ann", 1)
	long := charge(limit(t, ratelimiter.Definition{Name: "long", Count: 10, Window: time.Hour}), "ann", 1)
	must(t)(s.Take(context.Background(), []ratelimiter.Charge{short, long}))
	size := func() string { return server.Do("STRLEN", redis.StoredKey(long)) }
	both := size()
	now = now.Add(2 * time.Second)
	for range 9 {
		must(t)(s.Take(context.Background(), []ratelimiter.Charge{long}))
	}
	if one := size(); both != "56" || one != "32" {
		t.Errorf("two records have %s bytes, and %s when one is full again", both, one)
	}
}

// TestRecordsFollowWhoTakesThem: a key that two routes have made takes the order of the one that goes on, and loses what only the other
// counted, so that the short way finds its records again.
func TestRecordsFollowWhoTakesThem(t *testing.T) {
	now := time.UnixMicro(1_790_000_000_000_000)
	server := redistest.Start(t)
	s := newRedis(t, server.URL(), func(o *redis.Options) { o.ScriptTime = func() time.Time { return now } })
	every := func(name string, window time.Duration) ratelimiter.Charge {
		return charge(limit(t, ratelimiter.Definition{Name: name, Count: 100, Window: window}), "ann", 1)
	}
	all, one, two, hour := every("all", time.Second), every("one", time.Minute), every("two", time.Minute), every("hour", time.Hour)
	names := func() string {
		text := server.Do("GET", redis.StoredKey(all))
		return text[:(len(text)-8)/3]
	}
	must(t)(s.Take(context.Background(), []ratelimiter.Charge{all, one, hour}))
	must(t)(s.Take(context.Background(), []ratelimiter.Charge{all, two, hour}))
	if len(names()) != 4*8 {
		t.Fatalf("names %x", names())
	}
	for range 10 {
		now = now.Add(time.Second)
		for range 10 {
			must(t)(s.Take(context.Background(), []ratelimiter.Charge{all, one, hour}))
		}
	}
	if want := redis.RecordName(all) + redis.RecordName(one) + redis.RecordName(hour); names() != want {
		t.Errorf("names %x, want %x", names(), want)
	}
	d := must(t)(s.Peek(context.Background(), []ratelimiter.Charge{hour, two}))
	if d.Limits[0].Remaining != 0 || d.Limits[1].Remaining != 100 {
		t.Errorf("%d and %d left, want 0 and 100", d.Limits[0].Remaining, d.Limits[1].Remaining)
	}
}
