package usage

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/ratelimiter"
)

// bench is a tracker and a clock.
type bench struct {
	*Tracker
	t  testing.TB
	at time.Time
}

func newBench(t testing.TB, o Options) *bench {
	t.Helper()
	b := &bench{t: t, at: time.Unix(1_790_000_000, 0)}
	o.Now = func() time.Time { return b.at }
	var err error
	if b.Tracker, err = New(o); err != nil {
		t.Fatal(err)
	}
	return b
}

func limitOf(t testing.TB, name string, count int64) *ratelimiter.Limit {
	t.Helper()
	l, err := ratelimiter.NewLimit(ratelimiter.Definition{Name: name, Count: count, Window: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func keyOf(limit, value string) ratelimiter.Key {
	return ratelimiter.NewKeySpace("acme", "orders", limit).Key(ratelimiter.Value{Text: value})
}

// see tells the tracker of an answer for a limit of 10.
func (b *bench) see(limit, value string, left int64, room bool) {
	b.t.Helper()
	b.Observe(&ratelimiter.Status{Key: keyOf(limit, value), Limit: limitOf(b.t, limit, 10), Remaining: left, Room: room}, false)
}

func (b *bench) totals(limit string) Totals {
	got, _ := b.Totals(keyOf(limit, "").Limit())
	return got
}

func (b *bench) keys(limit string) []Key {
	return b.Keys(keyOf(limit, "").Limit())
}

func TestNearAndOver(t *testing.T) {
	b := newBench(t, Options{})
	began := b.at
	b.see("l", "far", 3, true)
	b.see("l", "near", 2, true)
	b.see("l", "near", 1, true)
	b.see("l", "over", 0, true)
	b.see("l", "over", 0, false)
	b.see("l", "over", 0, false)
	b.see("l", "costly", 5, false) // no room for what it costs
	b.see("other", "far", 9, true)

	limit := limitOf(t, "l", 10)
	b.Observe(&ratelimiter.Status{Key: keyOf("l", "settled"), Limit: limit, Remaining: 0}, true)
	b.Observe(&ratelimiter.Status{Key: keyOf("l", "settled far"), Limit: limit, Remaining: 9, Room: true}, true)
	b.Observe(&ratelimiter.Status{Key: keyOf("l", "share"), Limit: limit, Remaining: 0, Room: true, Degraded: true}, false)

	if diff := cmp.Diff(Totals{Allowed: 5, Refused: 3, Since: began}, b.totals("l")); diff != "" {
		t.Error(diff)
	}
	want := []Key{
		{Key: keyOf("l", "over"), Refused: 2, Near: 1, Percent: 100},
		{Key: keyOf("l", "costly"), Refused: 1, Percent: 50},
		{Key: keyOf("l", "near"), Near: 2, Percent: 90},
		{Key: keyOf("l", "settled"), Near: 1, Percent: 100},
	}
	if diff := cmp.Diff(want, b.keys("l")); diff != "" {
		t.Error(diff)
	}
	if _, known := b.Totals("rl:{acme}:6:orders7:unknown"); known || b.keys("unknown") != nil || len(b.keys("other")) != 0 {
		t.Error("something is known of a limit that nobody met, or keys of one that nobody is near")
	}
}

func TestKeysFade(t *testing.T) {
	b := newBench(t, Options{Window: time.Minute})
	names := func() (out []string) {
		for _, k := range b.keys("l") {
			values, _ := k.Key.Values()
			out = append(out, fmt.Sprint(values[0].Text, k.Refused))
		}
		return out
	}
	expect := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, names()); diff != "" {
			t.Error(diff)
		}
	}
	b.see("l", "a", 0, false)
	b.at = b.at.Add(59 * time.Second)
	b.see("l", "b", 0, false)
	expect("a1", "b1")
	b.at = b.at.Add(time.Second) // the next window
	b.see("l", "b", 0, false)
	expect("b2", "a1")
	b.at = b.at.Add(time.Minute) // the one after
	expect("b1")
	b.at = b.at.Add(2 * time.Minute)
	expect()
	b.see("l", "c", 0, false)
	b.at = b.at.Add(2 * time.Minute)
	b.see("l", "d", 0, false)
	expect("d1")
}

// What two windows say of a key together holds for what really came in both.
func TestKeysBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 40 {
		b := newBench(t, Options{Window: time.Minute})
		near, refused := map[ratelimiter.Key]uint64{}, map[ratelimiter.Key]uint64{}
		for window := range 2 {
			b.at = b.at.Add(time.Duration(window) * time.Minute)
			for _, k := range stream(rng, 2000, 1+rng.IntN(900), 1.2, round%3) {
				value := strconv.Itoa(k)
				if room := rng.IntN(2) == 0; room {
					near[keyOf("l", value)]++
					b.see("l", value, 0, true)
				} else {
					refused[keyOf("l", value)]++
					b.see("l", value, 0, false)
				}
			}
		}
		keys := b.keys("l")
		if len(keys) > 2*summaryKeys {
			t.Fatalf("%d keys", len(keys))
		}
		for _, k := range keys {
			sum := near[k.Key] + refused[k.Key]
			if k.Near > near[k.Key] || k.Refused > refused[k.Key] || sum > k.Near+k.Refused+k.Missed {
				t.Fatalf("round %d: %+v, in truth %d near and %d refused", round, k, near[k.Key], refused[k.Key])
			}
		}
	}
}

// Of who was noticed from the first event on nothing can be missed in that window, however many others come.
func TestNothingIsMissedOfWhoWasThere(t *testing.T) {
	b := newBench(t, Options{})
	for range 1000 {
		b.see("l", "first", 0, false)
	}
	for i := range 10 * summaryKeys {
		b.see("l", strconv.Itoa(i), 0, false)
	}
	keys := b.keys("l")
	if keys[0].Key != keyOf("l", "first") || keys[0].Refused != 1000 || keys[0].Missed != 0 || keys[1].Missed == 0 {
		t.Errorf("%+v", keys[:2])
	}
}

func TestTrackerIsBounded(t *testing.T) {
	b := newBench(t, Options{Limits: 3, Recent: 2, Window: time.Minute})
	for i := range 5 {
		b.see(fmt.Sprint("l", i), "k", 0, false)
	}
	if n := len(*b.limits.Load()); n != 3 || b.recent != 2 || b.LeftOut() != 3 {
		t.Errorf("%d limits, %d with keys, %d left out", n, b.recent, b.LeftOut())
	}
	if b.totals("l2").Refused != 1 || b.keys("l2") != nil {
		t.Error("the third limit is counted, without its keys")
	}
	// What nobody is near any more makes room.
	b.at = b.at.Add(time.Minute)
	b.see("l2", "k", 0, false) // no room yet
	if b.keys("l2") != nil {
		t.Error("a limit within two windows was forgotten")
	}
	b.at = b.at.Add(time.Minute)
	b.see("l2", "k", 0, false)
	b.see("l4", "k", 0, false)
	if len(b.keys("l2")) != 1 || len(b.keys("l4")) != 1 || b.keys("l0") != nil || b.recent != 2 {
		t.Errorf("two windows later: %d limits with keys", b.recent)
	}
	if b.totals("l2").Refused != 3 || b.totals("l4").Refused != 1 {
		t.Error("totals of the limits that stay")
	}
}

// TestNoRoomIsLookedForRarely: of a server with more limits than are counted, each decision would else look through all of them, one
// after the other.
func TestNoRoomIsLookedForRarely(t *testing.T) {
	b := newBench(t, Options{Limits: 300, Recent: 100})
	for i := range 300 {
		b.see(fmt.Sprint("l", i), "k", 0, false)
	}
	counted := &ratelimiter.Status{Key: keyOf("l200", "k"), Limit: limitOf(t, "l", 10)} // without room for its keys
	beyond := &ratelimiter.Status{Key: keyOf("beyond", "k"), Limit: limitOf(t, "l", 10)}
	before, left := *b.limits.Load(), b.LeftOut()
	b.Observe(beyond, false)
	for _, s := range []*ratelimiter.Status{counted, beyond} {
		if n := testing.AllocsPerRun(100, func() { b.Observe(s, false) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
	if b.LeftOut() != left+1+2*101 || len(before) != len(*b.limits.Load()) {
		t.Errorf("%d left out, %d limits", b.LeftOut()-left, len(*b.limits.Load()))
	}
	looks := b.looks
	b.at = b.at.Add(retryAfter - 1)
	b.Observe(counted, false)
	b.Observe(beyond, false)
	if b.looks != looks {
		t.Errorf("%d looks for room too early", b.looks-looks)
	}
	b.at = b.at.Add(1)
	b.Observe(counted, false)
	b.Observe(beyond, false)
	if b.looks != looks+2 {
		t.Errorf("%d looks for room, want one for each bound", b.looks-looks)
	}
	b.at = b.at.Add(-time.Hour)
	if b.Observe(beyond, false); b.looks != looks+3 {
		t.Error("a clock that was set back is waited for")
	}
}

func BenchmarkObserveWithoutRoom(b *testing.B) {
	w := newBench(b, Options{})
	for i := range defaultLimits {
		w.see(fmt.Sprint("l", i), "k", 0, false)
	}
	s := &ratelimiter.Status{Key: keyOf("beyond", "k"), Limit: limitOf(b, "l", 10)}
	b.ReportAllocs()
	for b.Loop() {
		w.Observe(s, false)
	}
}

func TestNoKeyIsNoLimit(t *testing.T) {
	b := newBench(t, Options{})
	b.Observe(&ratelimiter.Status{Key: "x", Limit: limitOf(t, "l", 1)}, false)
	if len(*b.limits.Load()) != 0 || b.LeftOut() != 1 {
		t.Error("a text that is no key is counted")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, o := range []Options{{}, {Now: time.Now, Window: -1}, {Now: time.Now, Limits: -1}, {Now: time.Now, Recent: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// Once a limit is known nothing is allocated, however many keys take each other's places.
func TestObserveAllocations(t *testing.T) {
	b := newBench(t, Options{})
	status := &ratelimiter.Status{Limit: limitOf(t, "l", 10)}
	keys := make([]ratelimiter.Key, 10*summaryKeys)
	for i := range keys {
		keys[i] = keyOf("l", strconv.Itoa(i))
	}
	next := 0
	run := func() {
		status.Key = keys[next%len(keys)]
		b.Observe(status, false)
		next++
		b.at = b.at.Add(time.Second)
	}
	run()
	if n := testing.AllocsPerRun(5*len(keys), run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTrackerTogether(t *testing.T) {
	tracker, err := New(Options{Now: time.Now, Window: time.Millisecond, Limits: 20, Recent: 4})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	const each, workers = 2000, 8
	limit := limitOf(t, "l", 10)
	for w := range workers {
		all.Go(func() {
			for i := range each {
				name := strconv.Itoa(i % 8)
				tracker.Observe(&ratelimiter.Status{Limit: limit, Key: keyOf(name, strconv.Itoa(w*i))}, false)
				tracker.Keys(keyOf(name, "").Limit())
			}
		})
	}
	all.Wait()
	sum := uint64(0)
	for i := range 8 {
		totals, _ := tracker.Totals(keyOf(strconv.Itoa(i), "").Limit())
		sum += totals.Refused
	}
	if sum != each*workers {
		t.Errorf("%d of %d refusals are counted", sum, each*workers)
	}
}

func BenchmarkObserve(b *testing.B) {
	tracker, err := New(Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]ratelimiter.Key, 10*summaryKeys)
	for i := range keys {
		keys[i] = keyOf("per-subject", "user:corp:"+strconv.Itoa(i))
	}
	for name, s := range map[string]*ratelimiter.Status{
		"far":     {Limit: limitOf(b, "per-subject", 10), Remaining: 9, Room: true},
		"refused": {Limit: limitOf(b, "per-subject", 10)},
	} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				s.Key = keys[i%len(keys)]
				tracker.Observe(s, false)
			}
		})
	}
}
