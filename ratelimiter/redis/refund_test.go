package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/durward-pdp/durward/internal/redistest"
	"github.com/durward-pdp/durward/ratelimiter"
)

// charged makes a charge and returns it as a refund wants it.
func charged(t *testing.T, s *Store, c ratelimiter.Charge) (question, bool) {
	t.Helper()
	q := question{op: take, charges: []ratelimiter.Charge{c}, start: time.Now(), found: make([]ratelimiter.Reading, 1)}
	d, err := s.ask(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	q.op = refund
	return q, d.Allowed && d.Limits[0].Charged
}

// TestRefund: a charge that is given back while others charge and time passes leaves the counter as if it had never been made,
// and never with more room. GCRA may keep what flowed off since: a bucket that was full meanwhile lost that time anyway.
func TestRefund(t *testing.T) {
	now := time.UnixMicro(1_790_000_000_000_000)
	server := redistest.Start(t)
	s := newStore(t, server, func(o *Options) { o.ScriptTime = func() time.Time { return now } })
	rng := rand.New(rand.NewPCG(23, 29))
	for name, d := range map[string]ratelimiter.Definition{
		"gcra":           {Count: 7, Window: time.Second, Burst: 5},
		"fixed window":   {Count: 7, Window: time.Second, Algorithm: ratelimiter.FixedWindow},
		"sliding window": {Count: 7, Window: time.Second, Algorithm: ratelimiter.SlidingWindow},
		"sliding log":    {Count: 7, Window: time.Second, Algorithm: ratelimiter.SlidingLog},
	} {
		t.Run(name, func(t *testing.T) {
			d.Name = name
			refunded, differs := 0, 0
			for range 1500 {
				with, without := charge(t, d, "with", 1+rng.Int64N(2)), charge(t, d, "without", 1)
				q, ok := charged(t, s, with)
				if !ok {
					now = now.Add(time.Second)
					server.Do("FLUSHDB")
					continue
				}
				refunded++
				others := rng.IntN(3)
				for range others { // with as much room as there is with the charge, they pass in both counters
					now = now.Add(time.Duration(rng.IntN(200_000)) * time.Microsecond)
					if _, ok := charged(t, s, charge(t, d, "with", 1)); ok {
						if _, ok := charged(t, s, without); !ok {
							t.Fatal("no room where less was charged")
						}
					}
				}
				now = now.Add(time.Duration(rng.IntN([]int{1, 1000, 300_000}[rng.IntN(3)])) * time.Microsecond)
				if _, err := s.ask(context.Background(), q); err != nil {
					t.Fatal(err)
				}
				after, never := left(t, s, []ratelimiter.Charge{with}), left(t, s, []ratelimiter.Charge{without})
				if after > never || after < never-with.Cost {
					t.Fatalf("%d left after a refund of %d, %d without the charge", after, with.Cost, never)
				}
				if after != never {
					differs++
				}
				if others == 0 && after != never {
					t.Fatalf("%d left after a refund, %d without the charge", after, never)
				}
				now = now.Add(time.Duration(rng.IntN(400_000)) * time.Microsecond)
				if differs > 0 && name != "gcra" {
					t.Fatal("only GCRA may keep something")
				}
				if others > 0 { // it may have kept a part of a unit too: begin anew with counters that are the same
					server.Do("FLUSHDB")
				}
			}
			if refunded < 500 {
				t.Errorf("%d refunds: the sequence tries too little", refunded)
			}
			t.Logf("%d refunds, %d kept a unit", refunded, differs)
		})
	}
}

// TestNotRun: only what surely charged nothing is given back elsewhere.
func TestNotRun(t *testing.T) {
	server := redistest.Start(t)
	fails := func(change func(s *Store)) error {
		server.Restart()
		s := newStore(t, server, func(o *Options) { o.Timeout = 100 * time.Millisecond })
		left(t, s, daily(t, "k"))
		change(s)
		_, err := s.Take(context.Background(), daily(t, "k"))
		if err == nil {
			t.Fatal("no error")
		}
		return err
	}
	for _, tt := range []struct {
		name   string
		err    error
		notRun bool
	}{
		{"a replica", fails(func(*Store) { server.Do("REPLICAOF", "127.0.0.1", "1") }), true},
		{"closed", fails(func(s *Store) { _ = s.Close() }), true},
		{"hung", fails(func(*Store) { server.Stop() }), false},
		{"nobody listens", fails(func(s *Store) {
			server.Kill()
			_, _ = s.Take(context.Background(), daily(t, "k")) // meets the connection's end
		}), true},
		{"no server known", errNoServer, true},
		{"a wrong answer", errors.New("the script answered 3 numbers"), false},
	} {
		if got := notRun(tt.err); got != tt.notRun {
			t.Errorf("%s: %v: not run: %v", tt.name, tt.err, got)
		}
	}
}

// TestRefundLeavesNoKey: a counter that nothing is left in is gone, as it was before.
func TestRefundLeavesNoKey(t *testing.T) {
	server := redistest.Start(t)
	s := newStore(t, server, nil)
	for a := ratelimiter.GCRA; a <= ratelimiter.SlidingLog; a++ {
		if a == ratelimiter.Quota {
			continue
		}
		q, ok := charged(t, s, charge(t, ratelimiter.Definition{Name: a.String(), Count: 5, Window: time.Hour, Algorithm: a}, "k", 2))
		if !ok || server.Do("DBSIZE") != "1" {
			t.Fatalf("%v: not charged: %s keys", a, server.Do("DBSIZE"))
		}
		if _, err := s.ask(context.Background(), q); err != nil {
			t.Fatal(err)
		}
		if n := server.Do("DBSIZE"); n != "0" {
			t.Errorf("%v: %s keys after a refund", a, n)
		}
	}
}

// TestSlots compares with the slots that Redis' specification and a server name.
func TestSlots(t *testing.T) {
	c := SharedCluster(t)
	if got := slotOf("123456789"); got != 0x31c3 {
		t.Errorf("the specification's key lies in %d", got)
	}
	for _, key := range []string{"", "a", "{a}b", "a{b}c", "{}a", "{a", "a}b{", "{{a}}", "x{a}{b}", "rl:{acme}:6:orders", "\x00\xff{\xfe}"} {
		if got, want := slotOf(key), c.SlotOf(key); got != want {
			t.Errorf("%q lies in %d, want %d", key, got, want)
		}
	}
}

func TestRedirections(t *testing.T) {
	for _, tt := range []struct{ addr, from, want string }{
		{"10.0.0.1:7001", "10.0.0.9:7000", "10.0.0.1:7001"},
		{":7001", "10.0.0.9:7000", "10.0.0.9:7001"},
		{"?:7001", "10.0.0.9:7000", "10.0.0.9:7001"},
		{"2001:db8::1:7001", "10.0.0.9:7000", "[2001:db8::1]:7001"},
		{"[2001:db8::1]:7001", "10.0.0.9:7000", "[2001:db8::1]:7001"},
		{"node.example.com:7001", "[::1]:7000", "node.example.com:7001"},
		{":7001", "[::1]:7000", "[::1]:7001"},
		{"none", "[::1]:7000", "none"},
	} {
		if got := besides(tt.addr, tt.from); got != tt.want {
			t.Errorf("%s, named by %s: %s, want %s", tt.addr, tt.from, got, tt.want)
		}
	}
}

// TestRefundBesideLeases: units that others took in advance have their places behind a charge of GCRA, which therefore stays
// where anybody has charged since; and a decision in several slots takes nothing in advance.
func TestRefundBesideLeases(t *testing.T) {
	c := SharedCluster(t)
	s := newStore(t, c.Nodes[0], func(o *Options) { o.URL, o.Mode, o.Addresses = "", Cluster, c.Addrs() })
	ctx := context.Background()
	d := ratelimiter.Definition{Name: "leased", Count: 100, Window: ratelimiter.MaxWindow, Lease: 10}
	full := left(t, s, []ratelimiter.Charge{charge(t, d, "k", 1)})
	other := charge(t, ratelimiter.Definition{Name: "other", Count: 5, Window: time.Hour}, "k", 6) // which never passes
	other.Key = ratelimiter.NewKeySpace("globex", "", "other").Key()
	spread := func(cost int64) ratelimiter.Decision {
		leased := charge(t, d, "k", 1)
		leased.Lease, other.Cost = ratelimiter.Lease{Units: 10, Share: 4}, cost
		got, err := s.Take(ctx, []ratelimiter.Charge{leased, other})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := spread(6); got.Allowed || left(t, s, []ratelimiter.Charge{charge(t, d, "k", 1)}) != full {
		t.Errorf("a charge that nobody charged behind stays: %+v", got)
	}
	if got := spread(1); !got.Allowed || got.Limits[0].Ahead != 0 || left(t, s, []ratelimiter.Charge{charge(t, d, "k", 1)}) != full-1 {
		t.Errorf("units in advance in several slots: %+v", got)
	}
	slot, _ := s.slot([]ratelimiter.Charge{charge(t, d, "k", 1)})
	q := question{op: take, slot: slot, charges: []ratelimiter.Charge{charge(t, d, "k", 1)}, start: time.Now(), found: make([]ratelimiter.Reading, 1)}
	p := whole(q)
	p.start = q.start
	if s.put(ctx, take, p); p.err != nil {
		t.Fatal(p.err)
	}
	if _, err := s.Take(ctx, []ratelimiter.Charge{charge(t, d, "k", 1)}); err != nil {
		t.Fatal(err)
	}
	s.giveBack(ctx, []*part{p}, func(*ratelimiter.Status) bool { return true })
	if got := left(t, s, []ratelimiter.Charge{charge(t, d, "k", 1)}); got != full-3 {
		t.Errorf("%d left of %d after three charges: one that others charged behind was given back", got, full)
	}
}

// TestRefundOfValuesAndPermits: a permit that is given back is held no more, and no other is; a value stays, because others may
// have seen it before.
func TestRefundOfValuesAndPermits(t *testing.T) {
	server := redistest.Start(t)
	s := newStore(t, server, nil)
	held := ratelimiter.Definition{Name: "held", Count: 3, Window: time.Hour, Algorithm: ratelimiter.Concurrency}
	var questions []question
	for n := range 2 {
		c := charge(t, held, "k", 1)
		c.Permit[0] = byte(1 + n)
		q, ok := charged(t, s, c)
		if !ok {
			t.Fatal("no permit")
		}
		questions = append(questions, q)
	}
	for i, want := range []int64{2, 2, 3, 3} { // each twice
		if d, err := s.ask(t.Context(), questions[i/2]); err != nil || d.Limits[0].Remaining != want {
			t.Errorf("refund %d: %+v, %v", i, d, err)
		}
	}
	if got := server.Do("DBSIZE"); got != "0" {
		t.Errorf("%s keys", got)
	}
	seen := charge(t, ratelimiter.Definition{Name: "seen", Count: 3, Window: 24 * time.Hour, Algorithm: ratelimiter.Distinct}, "k", 1)
	seen.Member = 7
	q, _ := charged(t, s, seen)
	if d, err := s.ask(t.Context(), q); err != nil || d.Limits[0].Remaining != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := s.Take(t.Context(), []ratelimiter.Charge{seen}); err != nil || d.Limits[0].Remaining != 2 {
		t.Errorf("%+v, %v", d, err)
	}
}
