package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
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
	"github.com/durward-pdp/durward/ratelimiter/memory"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// patient is a deadline that a loaded machine does not reach.
const patient = 20 * time.Second

func newStore(t testing.TB, server *redistest.Server, change func(*Options)) *Store {
	t.Helper()
	o := Options{URL: server.URL(), Now: time.Now, Timeout: patient}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func oneLane(o *Options) { o.Batch.Lanes = 1 }

func charge(t testing.TB, d ratelimiter.Definition, key string, cost int64) ratelimiter.Charge {
	t.Helper()
	l, err := ratelimiter.NewLimit(d)
	if err != nil {
		t.Fatal(err)
	}
	return ratelimiter.Charge{Limit: l, Key: ratelimiter.NewKeySpace("acme", "orders", d.Name).Key(ratelimiter.Value{Text: key}), Cost: cost}
}

// daily is a charge of one unit; the rate gives nothing back while a test runs.
func daily(t testing.TB, key string) []ratelimiter.Charge {
	return []ratelimiter.Charge{charge(t, ratelimiter.Definition{Name: "daily", Count: 100, Window: ratelimiter.MaxWindow}, key, 1)}
}

func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patient, what)
		}
	}
}

// only returns the node of a store with a single server.
func only(s *Store) *node { return s.directory.slots[0].Load() }

func left(t *testing.T, s *Store, charges []ratelimiter.Charge) int64 {
	t.Helper()
	d, err := s.Peek(context.Background(), charges)
	if err != nil {
		t.Fatal(err)
	}
	return d.Limits[0].Remaining
}

func newJob(op operation, start time.Time, charges []ratelimiter.Charge) *job {
	return &job{question: question{op: op, start: start, charges: charges}, done: make(chan struct{}, 1)}
}

// busy returns a store whose only lane waits for the answer to a job, from a server that hangs until Cont.
func busy(t *testing.T, change func(*Options)) (*redistest.Server, *Store, *job) {
	t.Helper()
	server := redistest.Start(t)
	s := newStore(t, server, func(o *Options) {
		oneLane(o)
		if change != nil {
			change(o)
		}
	})
	left(t, s, daily(t, "warm"))
	server.Stop()
	j := newJob(take, time.Now(), daily(t, "first"))
	if err := only(s).queue.put(j); err != nil {
		t.Fatal(err)
	}
	within(t, "the lane takes the job", func() bool { return j.state.Load() == claimed })
	return server, s, j
}

// TestBatchIsASequence: decisions in one call answer and leave what they would one by one, and in memory.
func TestBatchIsASequence(t *testing.T) {
	now := time.UnixMicro(1_790_000_000_000_000)
	clock := func() time.Time { return now }
	given := func(o *Options) { o.ScriptTime = clock }
	batched, single := newStore(t, redistest.Start(t), given), newStore(t, redistest.Start(t), given)
	local, err := memory.New(memory.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(17, 19))
	definitions := sequenceLimits(rng)
	l := newLane(batched, only(batched))
	shared, decisions := 0, 0
	for step := range 300 {
		keys := map[string]bool{}
		l.jobs = l.jobs[:0]
		for range 1 + rng.IntN(30) {
			l.jobs = append(l.jobs, newJob(take+operation(rng.IntN(8)/6), time.Now(), sequenceCharges(t, rng, definitions, keys)))
			if rng.IntN(8) == 0 {
				l.jobs[len(l.jobs)-1].op = peek
			}
		}
		jobs := append([]*job(nil), l.jobs...)
		l.answer(time.Now())
		for i, j := range jobs {
			if j.err != nil {
				t.Fatal(j.err)
			}
			decisions++
			shared += len(j.charges)
			got := decide(j)
			for name, other := range map[string]ratelimiter.Store{"one by one": single, "memory": local} {
				want, err := map[operation]func(context.Context, []ratelimiter.Charge) (ratelimiter.Decision, error){
					take: other.Take, settle: other.Settle, peek: other.Peek}[j.op](t.Context(), j.charges)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *ratelimiter.Limit) bool { return a == b })); diff != "" {
					t.Fatalf("step %d, decision %d of %d, %s: %s", step, i, len(jobs), name, diff)
				}
			}
		}
		sameCounters(t, now, batched, single, keys)
		shared -= len(keys)
		now = now.Add(time.Duration(rng.Int64N([]int64{2, 1000, 1_000_000, 10_000_000_000}[rng.IntN(4)])) * time.Microsecond)
	}
	t.Logf("%d decisions; %d charges met a counter that the call had already", decisions, shared)
	if shared < decisions/2 {
		t.Fatal("the decisions have little to do with each other")
	}
}

// TestLongAnswer: a call answers as many numbers as its decisions need, beyond what Lua passes at a time.
func TestLongAnswer(t *testing.T) {
	s := newStore(t, redistest.Start(t), nil)
	l := newLane(s, only(s))
	var charges []ratelimiter.Charge
	for i := range ratelimiter.MaxCharges {
		d := ratelimiter.Definition{Name: fmt.Sprint("limit-", i), Count: 100 + int64(i), Window: time.Hour, Algorithm: ratelimiter.SlidingLog}
		charges = append(charges, charge(t, d, "k", 1))
	}
	const decisions = 64
	for range decisions {
		l.jobs = append(l.jobs, newJob(take, time.Now(), charges))
	}
	jobs := append([]*job(nil), l.jobs...)
	l.answer(time.Now())
	for n, j := range jobs {
		if j.err != nil {
			t.Fatal(j.err)
		}
		for i, status := range decide(j).Limits {
			if want := 100 + int64(i) - int64(n) - 1; status.Remaining != want {
				t.Fatalf("decision %d, limit %d: %d left, want %d", n, i, status.Remaining, want)
			}
		}
	}
}

// sequenceLimits has two definitions of each name: a limit that changes keeps its counter, within one call too.
func sequenceLimits(rng *rand.Rand) (all []ratelimiter.Definition) {
	for i := range 16 {
		d := ratelimiter.Definition{
			Name:     fmt.Sprint("limit-", i%8),
			Count:    1 + rng.Int64N([]int64{3, 20, ratelimiter.MaxCost}[rng.IntN(3)]),
			Window:   []time.Duration{time.Microsecond, 7 * time.Microsecond, time.Second, time.Hour, ratelimiter.MaxWindow}[rng.IntN(5)],
			Shadow:   rng.IntN(4) == 0,
			Counting: ratelimiter.Counting(rng.IntN(3)),
		}
		switch d.Algorithm = ratelimiter.Algorithm(i % 8 % 7); d.Algorithm { // each name has one, as its counters have
		case ratelimiter.GCRA:
			d.Burst = max(1, d.Count/(1+rng.Int64N(3)))
		case ratelimiter.SlidingLog:
			d.Count, d.Window = min(d.Count, 1000), time.Second // a log keeps its units for the window under which they came
		case ratelimiter.Quota:
			d.Window, d.Calendar = 0, window.Calendar(1+rng.IntN(4))
		case ratelimiter.Distinct:
			d.Count = min(d.Count, 20)
		case ratelimiter.Concurrency:
			d.Count, d.Window, d.Counting = min(d.Count, 5), time.Hour, ratelimiter.CountAllowed
		default:
		}
		all = append(all, d)
	}
	return all
}

func sequenceCharges(t *testing.T, rng *rand.Rand, all []ratelimiter.Definition, keys map[string]bool) (charges []ratelimiter.Charge) {
	first := rng.IntN(8)
	for i := range 1 + rng.IntN(4) {
		d := all[(first+i)%8+8*rng.IntN(2)]
		most := max(d.Burst, 1)
		if d.Algorithm != ratelimiter.GCRA {
			most = d.Count
		}
		cost := []int64{0, 1, 1, 1, 1 + rng.Int64N(most), most + 1}[rng.IntN(6)]
		if d.Algorithm == ratelimiter.Distinct || d.Algorithm == ratelimiter.Concurrency {
			cost = min(cost, 1)
		}
		c := charge(t, d, strconv.Itoa(rng.IntN(2)), min(cost, ratelimiter.MaxCost))
		if d.Algorithm <= ratelimiter.Quota && d.Algorithm != ratelimiter.SlidingLog && rng.IntN(3) == 0 {
			c.Lease = ratelimiter.Lease{Units: 1 + rng.Int64N(30), Share: 4 + rng.Int64N(4)}
		}
		c.Member = ratelimiter.Value{Text: strconv.Itoa(rng.IntN(30))}.Member() // which others ignore
		c.Permit = concurrency.ID{byte(rng.IntN(40)), 1}
		c.Release = d.Algorithm == ratelimiter.Concurrency && rng.IntN(3) == 0
		keys[StoredKey(c)] = d.Algorithm == ratelimiter.GCRA
		charges = append(charges, c)
	}
	return charges
}

// sameCounters compares what is stored, and how long for: the deadlines of keys differ by what the test takes.
func sameCounters(t *testing.T, now time.Time, a, b *Store, keys map[string]bool) {
	t.Helper()
	for k, buckets := range keys {
		x, y := only(a).client.Get(t.Context(), k).Val(), only(b).client.Get(t.Context(), k).Val()
		lifeX, lifeY := only(a).client.PTTL(t.Context(), k).Val(), only(b).client.PTTL(t.Context(), k).Val()
		if buckets {
			// How long a key lives, and which records that mean nothing are still there, depends on when it was written anew.
			if diff := cmp.Diff(liveRecords(t, now, x, lifeX), liveRecords(t, now, y, lifeY)); diff != "" {
				t.Fatalf("%s after one call and after many: %s", k, diff)
			}
			continue
		}
		if x != y {
			t.Fatalf("%s holds %q after one call, %q after many", k, x, y)
		}
		if (lifeX - lifeY).Abs() > time.Minute {
			t.Fatalf("%s lives %v after one call, %v after many", k, lifeX, lifeY)
		}
	}
}

// liveRecords reads the buckets of a key that are not full at a time. The life that the key tells of, and its own, must end behind them.
// The time given does not move with the server's, so keys have an hour on top.
func liveRecords(t *testing.T, now time.Time, text string, life time.Duration) map[string][2]float64 {
	t.Helper()
	all, until := storedRecords(t, text)
	for name, v := range all {
		if v[0] < float64(now.UnixMicro()) {
			delete(all, name)
		} else if v[0] >= until || life < time.Duration(v[0]-float64(now.UnixMicro()))*time.Microsecond+59*time.Minute {
			t.Fatalf("a bucket is full at %f, its key tells of %f, and is kept for %v", v[0], until, life)
		}
	}
	return all
}

// storedRecords reads the buckets of a key by the names of their records, and how long the key says that it lives.
func storedRecords(t *testing.T, text string) (map[string][2]float64, float64) {
	t.Helper()
	all, n := map[string][2]float64{}, (len(text)-8)/24
	if text == "" {
		return all, 0
	}
	if len(text) != 24*n+8 {
		t.Fatalf("%x are no records", text)
	}
	values := make([]float64, 2*n+1)
	if _, err := binary.Decode([]byte(text[8*n:]), binary.BigEndian, values); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		all[text[8*i:8*i+8]] = [2]float64(values[2*i:])
	}
	if len(all) != n {
		t.Fatalf("%x has a record twice", text)
	}
	return all, values[2*n]
}

// TestCallerLeavesTheQueue: who gives up before the call is sent is not charged; who gives up after it may be.
func TestCallerLeavesTheQueue(t *testing.T) {
	server, s, first := busy(t, nil)
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := s.Take(ctx, daily(t, "second"))
		gone <- err
	}()
	within(t, "the second waits", func() bool { return only(s).queue.length() == 1 })
	stays := newJob(take, time.Now(), daily(t, "third"))
	if err := only(s).queue.put(stays); err != nil {
		t.Fatal(err)
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "not asked") {
		t.Errorf("the error of who left the queue: %v", err)
	}
	server.Cont()
	<-first.done
	<-stays.done
	if first.err != nil || stays.err != nil {
		t.Fatal(first.err, stays.err)
	}
	for key, want := range map[string]int64{"first": 99, "second": 100, "third": 99} {
		if got := left(t, s, daily(t, key)); got != want {
			t.Errorf("%s: %d left, want %d", key, got, want)
		}
	}
}

// TestCallerLeavesACall: its call goes on, and counts.
func TestCallerLeavesACall(t *testing.T) {
	server := redistest.Start(t)
	var clock atomic.Int64
	s := newStore(t, server, func(o *Options) {
		oneLane(o)
		o.Now = func() time.Time { clock.Add(1); return time.Now() }
	})
	left(t, s, daily(t, "k"))
	server.Stop()
	before := clock.Load()
	ctx, leave := context.WithCancel(t.Context())
	gone, charges := make(chan error, 1), daily(t, "k")
	go func() {
		_, err := s.Take(ctx, charges)
		gone <- err
	}()
	// The caller reads the clock, then the lane does, which has seen the job by then.
	within(t, "the lane takes the job", func() bool { return clock.Load() == before+2 && only(s).queue.length() == 0 })
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "not asked") {
		t.Errorf("the error of who left: %v", err)
	}
	clear(charges) // they are the caller's again, as the race detector would tell
	server.Cont()
	within(t, "the charge", func() bool { return left(t, s, daily(t, "k")) == 99 })
}

func TestQueueIsBounded(t *testing.T) {
	var refused atomic.Int64
	server, s, first := busy(t, func(o *Options) { o.Batch.Queue, o.OnBusy = 2, func() { refused.Add(1) } })
	var wait []*job
	for range 2 {
		j := newJob(take, time.Now(), daily(t, "first"))
		if err := only(s).queue.put(j); err != nil {
			t.Fatal(err)
		}
		wait = append(wait, j)
	}
	if _, err := s.Take(t.Context(), daily(t, "first")); !errors.Is(err, ErrBusy) || refused.Load() != 1 || s.Queued() != 2 {
		t.Errorf("a decision beyond the queue: %v, %d refused, %d queued", err, refused.Load(), s.Queued())
	}
	server.Cont()
	for _, j := range append(wait, first) {
		if <-j.done; j.err != nil {
			t.Error(j.err)
		}
	}
	if got := left(t, s, daily(t, "first")); got != 97 {
		t.Errorf("%d left, want 97", got)
	}
	if refused.Load() != 1 || s.Queued() != 0 {
		t.Errorf("%d refused, %d queued", refused.Load(), s.Queued())
	}
	if h := s.Health(); h.State != Closed {
		t.Errorf("a full queue opened the breaker: %v", h.Cause)
	}
}

func TestDrain(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	made := func(slot, n int, waited time.Duration) *job {
		return newJob(take, now.Add(-waited), make([]ratelimiter.Charge, n)).in(slot)
	}
	a, b, large, other := made(1, 2, 0), made(1, 2, 0), made(1, 9, 0), made(2, 2, 0)
	type calls = [][]*job
	for _, c := range []struct {
		name  string
		opt   BatchOptions
		queue []*job
		calls calls // one after the other
	}{
		{"all", BatchOptions{Decisions: 9, Keys: 90}, []*job{a, b, large}, calls{{a, b, large}, nil}},
		{"decisions", BatchOptions{Decisions: 2, Keys: 90}, []*job{a, b, large}, calls{{a, b}, {large}, nil}},
		{"keys", BatchOptions{Decisions: 9, Keys: 4}, []*job{a, b, large}, calls{{a, b}, {large}, nil}},
		{"more keys than fit", BatchOptions{Decisions: 9, Keys: 4}, []*job{large, a}, calls{{large}, {a}, nil}},
		{"slots apart", BatchOptions{Decisions: 9, Keys: 90}, []*job{a, other, large}, calls{{a, large}, {other}, nil}},
		{"slots in turn", BatchOptions{Decisions: 1, Keys: 90}, []*job{a, b, large, other}, calls{{a}, {other}, {b}, {large}, nil}},
	} {
		c.opt.Queue = 9
		q := newQueue(c.opt, time.Second, time.Now)
		for _, j := range c.queue {
			j.state.Store(waiting)
			if err := q.put(j); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range c.calls {
			if diff := cmp.Diff(want, q.drain(nil, now), cmp.Comparer(func(x, y *job) bool { return x == y })); diff != "" {
				t.Errorf("%s: call %d %s", c.name, i, diff)
			}
		}
		if q.length() != 0 || len(q.lines)+len(q.turn) != 0 {
			t.Errorf("%s: the queue keeps %d jobs, lines %v, turns %v", c.name, q.length(), q.lines, q.turn)
		}
	}
	q := newQueue(BatchOptions{Decisions: 9, Keys: 90, Queue: 9}, time.Second, time.Now)
	late, gone := made(1, 1, time.Second+1), made(1, 1, 0)
	for _, j := range []*job{late, gone} {
		if err := q.put(j); err != nil {
			t.Fatal(err)
		}
	}
	gone.state.Store(abandoned)
	if got := q.drain(nil, now); len(got) != 0 || q.length() != 0 || !errors.Is(late.err, ErrBusy) || len(gone.done) != 0 {
		t.Errorf("batch %v, %d in the queue, error %v", got, q.length(), late.err)
	}
}

func (j *job) in(slot int) *job {
	j.slot = slot
	return j
}

// TestReadOnly: a master that became a replica says so before anything is written. The error leaves no connection to it,
// so that the next call looks the address up again.
func TestReadOnly(t *testing.T) {
	server := redistest.Start(t)
	s := newStore(t, server, nil)
	left(t, s, daily(t, "k"))
	server.Do("REPLICAOF", "127.0.0.1", "1")
	if _, err := s.Take(t.Context(), daily(t, "k")); err == nil || !strings.Contains(err.Error(), "READONLY") {
		t.Fatalf("a take at a replica: %v", err)
	}
	if n := only(s).client.PoolStats().TotalConns; n != 0 {
		t.Errorf("%d connections to the replica stay", n)
	}
	server.Do("REPLICAOF", "NO", "ONE")
	if d, err := s.Take(t.Context(), daily(t, "k")); err != nil || d.Limits[0].Remaining != 99 {
		t.Errorf("after it became the master again: %+v, %v", d, err)
	}
}

// TestCloseAnswersWhoWaits: nobody waits for ever, no lane stays, and what comes later is refused.
func TestCloseAnswersWhoWaits(t *testing.T) {
	server := redistest.Start(t)
	before := runtime.NumGoroutine()
	s := newStore(t, server, func(o *Options) { o.Timeout = 100 * time.Millisecond })
	charges := daily(t, "k")
	server.Stop()
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			if _, err := s.Take(context.Background(), charges); err == nil {
				t.Error("an answer from a hung server")
			}
		})
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	callers.Wait()
	if _, err := s.Take(t.Context(), charges); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrOpen) {
		t.Errorf("after Close: %v", err)
	}
	_ = s.Close() // twice is harmless
	within(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	server.Cont()
}

// TestScratchForgets: keys hold values of requests, and are kept no longer than their call.
func TestScratchForgets(t *testing.T) {
	s := newStore(t, redistest.Start(t), nil)
	l := newLane(s, only(s))
	j := newJob(take, time.Now(), daily(t, "k"))
	l.jobs = append(l.jobs, j)
	l.answer(time.Now())
	if j.err != nil || len(l.keyAt)+len(l.lists)+len(l.stems)+len(l.keys)+len(l.args) != 0 || l.jobs[0] != nil || len(l.keys[:1][0].text[:1:1]) != 1 || l.keys[:1][0].text[:1][0] != 0 || l.args[:1][0] != nil {
		t.Errorf("error %v, lane %+v", j.err, l)
	}
	only(s).queue.recycle(j)
	if j.charges[0].Key != "" || j.reply != nil {
		t.Errorf("job %+v", j)
	}
}

// TestAllocations: what a call needs is there after the first one, whatever the number of decisions.
func TestAllocations(t *testing.T) {
	s := newStore(t, redistest.Start(t), nil)
	l := newLane(s, only(s))
	for i := range 32 {
		l.jobs = append(l.jobs, newJob(take, time.Now(), append(daily(t, strconv.Itoa(i)), charge(t, ratelimiter.Definition{Name: "all", Count: 9, Window: time.Second}, "all", 1))))
	}
	if n := testing.AllocsPerRun(100, func() { l.encode(); l.forget() }); n > 2 { // two arguments become interfaces
		t.Errorf("%v allocations to encode 32 decisions", n)
	}
	j := l.jobs[0]
	j.reply = make([]int64, j.numbers())
	if n := testing.AllocsPerRun(100, func() { decide(j) }); n > 1 { // the statuses
		t.Errorf("%v allocations to read an answer", n)
	}
}
