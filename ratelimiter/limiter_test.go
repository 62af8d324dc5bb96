package ratelimiter_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/memory"
)

// errDown says that nothing was charged, so that nothing is given back behind a test; errLost does not.
var (
	errDown error = uncharged{errors.New("the shared store is down")}
	errLost       = errors.New("no answer in time")
)

// uncharged is the error of a store that knows that it has charged nothing.
type uncharged struct{ error }

func (uncharged) Uncharged() bool { return true }

// bench is a limiter on a shared store that can be broken, and a clock.
type bench struct {
	t       testing.TB
	at      time.Time
	shared  *switchable
	limiter *ratelimiter.Limiter
	heard   []error
}

// switchable is a store that fails while down and counts its calls.
type switchable struct {
	ratelimiter.Store
	mu    sync.Mutex
	down  bool
	calls int
	hold  chan struct{} // if set, Settle waits for it
	slow  func()        // if set, is called before Take fails
	cause error         // if set, what Take fails with
}

func (s *switchable) ask() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.down {
		return errDown
	}
	return nil
}

func (s *switchable) Take(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if err := s.ask(); err != nil {
		if s.slow != nil {
			s.slow()
		}
		return ratelimiter.Decision{}, cmp.Or(s.cause, err)
	}
	return s.Store.Take(ctx, c)
}

func (s *switchable) Settle(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if s.hold != nil {
		<-s.hold
	}
	if err := s.ask(); err != nil {
		return ratelimiter.Decision{}, err
	}
	return s.Store.Settle(ctx, c)
}

func (s *switchable) Peek(ctx context.Context, c []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if err := s.ask(); err != nil {
		return ratelimiter.Decision{}, err
	}
	return s.Store.Peek(ctx, c)
}

func (s *switchable) Clear(ctx context.Context, key ratelimiter.Key) (bool, error) {
	if err := s.ask(); err != nil {
		return false, err
	}
	return s.Store.(*memory.Store).Clear(ctx, key)
}

func (b *bench) store() *memory.Store {
	s, err := memory.New(memory.Options{Now: func() time.Time { return b.at }})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func newBench(t testing.TB, change func(*ratelimiter.Options)) *bench {
	t.Helper()
	b := &bench{t: t, at: time.Unix(1_790_000_000, 0)}
	b.shared = &switchable{Store: b.store()}
	o := ratelimiter.Options{
		Shared: b.shared, Local: b.store(), Now: func() time.Time { return b.at },
		OnDegraded: func(err error) { b.heard = append(b.heard, err) },
	}
	if change != nil {
		change(&o)
	}
	l, err := ratelimiter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close(l) })
	b.limiter = l
	return b
}

func (b *bench) close(l *ratelimiter.Limiter) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) take(charges ...ratelimiter.Charge) ratelimiter.Decision {
	b.t.Helper()
	d, err := b.limiter.Take(context.Background(), charges)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// passed takes n times and returns how often it was allowed.
func (b *bench) passed(n int, charges ...ratelimiter.Charge) int {
	b.t.Helper()
	count := 0
	for range n {
		if b.take(charges...).Allowed {
			count++
		}
	}
	return count
}

func charge(t testing.TB, d ratelimiter.Definition, key string) ratelimiter.Charge {
	t.Helper()
	if d.Name == "" {
		d.Name = "test"
	}
	if d.Window == 0 && d.Algorithm != ratelimiter.Quota {
		d.Window = time.Minute
	}
	l, err := ratelimiter.NewLimit(d)
	if err != nil {
		t.Fatal(err)
	}
	return ratelimiter.Charge{Limit: l, Key: ratelimiter.NewKeySpace("acme", "orders", d.Name).For(d.Algorithm).Key(ratelimiter.Value{Text: key}), Cost: 1}
}

func TestNewRefuses(t *testing.T) {
	b := &bench{t: t}
	for name, o := range map[string]ratelimiter.Options{
		"no local store": {Now: time.Now},
		"no clock":       {Local: b.store()},
		"replicas":       {Local: b.store(), Now: time.Now, Replicas: -1},
		"queue":          {Local: b.store(), Now: time.Now, Queue: -1},
	} {
		if _, err := ratelimiter.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLocalStoreAlone(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Shared = nil })
	c := charge(t, ratelimiter.Definition{Count: 10}, "k")
	if got := b.passed(30, c); got != 10 {
		t.Fatalf("%d passed", got)
	}
	if d := b.limiter.Gate([]ratelimiter.Charge{c}); d.Allowed {
		t.Fatal("the gate lets an exhausted limit pass")
	}
	if d := b.take(c); d.Degraded || d.Limits[0].Degraded {
		t.Fatal("degraded without a shared store to miss")
	}
	b.at = b.at.Add(6 * time.Second)
	if d := b.limiter.Gate([]ratelimiter.Charge{c}); !d.Allowed {
		t.Fatal("the gate refuses a limit with room")
	}
	if d := b.take(); !d.Allowed {
		t.Fatal("no limits: refused")
	}
}

func TestInvalidChargesAreRefused(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 10}, "k")
	twice := []ratelimiter.Charge{c, c}
	ctx := context.Background()
	if d, err := b.limiter.Take(ctx, twice); !errors.Is(err, ratelimiter.ErrCharges) || d.Allowed {
		t.Errorf("take: %+v, %v", d, err)
	}
	if d, err := b.limiter.Peek(ctx, twice); !errors.Is(err, ratelimiter.ErrCharges) || d.Allowed {
		t.Errorf("peek: %+v, %v", d, err)
	}
	if b.limiter.Gate(twice).Allowed {
		t.Error("gate")
	}
	if err := b.limiter.Settle(ctx, twice); !errors.Is(err, ratelimiter.ErrCharges) {
		t.Errorf("settle: %v", err)
	}
	if err := b.limiter.SettleLater(ctx, twice); !errors.Is(err, ratelimiter.ErrCharges) {
		t.Errorf("settle later: %v", err)
	}
}

func TestOnError(t *testing.T) {
	for _, c := range []struct {
		name        string
		on          ratelimiter.OnError
		shadow      bool
		passed      int // of 50
		unavailable bool
	}{
		{"allow", ratelimiter.Allow, false, 50, false},
		{"deny", ratelimiter.Deny, false, 0, true},
		{"deny of a shadow limit", ratelimiter.Deny, true, 50, false},
		{"local share", ratelimiter.LocalShare, false, 1, false},
		{"local share of a shadow limit", ratelimiter.LocalShare, true, 50, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			limited := charge(t, ratelimiter.Definition{Count: 100, OnError: c.on, Shadow: c.shadow}, "k")
			if d := b.take(limited); !d.Allowed || d.Degraded {
				t.Fatalf("while the store answers: %+v", d)
			}
			b.shared.down = true
			passed := 0
			for range 50 {
				d := b.take(limited)
				if !d.Degraded || d.Unavailable != c.unavailable || !d.Limits[0].Degraded || d.Limits[0].Limit != limited.Limit {
					t.Fatalf("%+v", d)
				}
				if d.Allowed {
					passed++
				}
			}
			if passed != c.passed || len(b.heard) != 50 || !errors.Is(b.heard[0], errDown) {
				t.Fatalf("%d passed, %d heard", passed, len(b.heard))
			}
			b.shared.down = false
			if d := b.take(limited); !d.Allowed || d.Degraded {
				t.Fatalf("after recovery: %+v", d)
			}
		})
	}
}

// A refusal by decree leaves the local shares of the other limits alone.
func TestDenyOnErrorChargesNoShare(t *testing.T) {
	b := newBench(t, nil)
	b.shared.down = true
	deny := charge(t, ratelimiter.Definition{Name: "login", Count: 5, OnError: ratelimiter.Deny}, "k")
	share := charge(t, ratelimiter.Definition{Name: "address", Count: 60, Counting: ratelimiter.CountAll}, "k")
	for range 5 {
		if d := b.take(deny, share); d.Allowed || !d.Unavailable || !d.Limits[1].Room || d.Limits[1].Charged {
			t.Fatalf("%+v", d)
		}
	}
	if got := b.passed(5, share); got != 1 {
		t.Fatalf("%d passed", got)
	}
}

// TestSettleDuringAnOutage: a batch holds denials of several requests, and a limit that denies on errors for one of them
// does not spare the shares of the others.
func TestSettleDuringAnOutage(t *testing.T) {
	b := newBench(t, nil)
	b.shared.down = true
	deny := charge(t, ratelimiter.Definition{Name: "login", Count: 5, OnError: ratelimiter.Deny, Counting: ratelimiter.CountDenied}, "k")
	share := charge(t, ratelimiter.Definition{Name: "address", Count: 60, Counting: ratelimiter.CountAll}, "k")
	if err := b.limiter.Settle(context.Background(), []ratelimiter.Charge{deny, share}); err != nil {
		t.Fatal(err)
	}
	if got := b.passed(5, share); got != 0 {
		t.Fatalf("%d passed on a share that was empty", got)
	}
}

// While the store is away each of four replicas gives a quarter of the rate, and no burst at the start.
func TestLocalShare(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 4 })
	c := charge(t, ratelimiter.Definition{Count: 240}, "k") // four a second, one of them here
	b.shared.down = true
	if got := b.passed(10, c); got != 1 {
		t.Fatalf("%d passed at once", got)
	}
	passed := 0
	for range 100 {
		b.at = b.at.Add(100 * time.Millisecond)
		passed += b.passed(3, c)
	}
	if passed != 10 {
		t.Fatalf("%d passed in ten seconds", passed)
	}
	// A caller who comes late in a long failure finds what has filled since, at most this replica's part of the burst.
	b.at = b.at.Add(10 * time.Minute)
	if got := b.passed(200, charge(t, ratelimiter.Definition{Count: 240}, "another")); got != 60 {
		t.Fatalf("%d passed after a long failure", got)
	}
	// The next failure starts over, for whom this one has never heard of and for whom it has.
	b.shared.down = false
	b.take(c)
	b.shared.down = true
	for _, key := range []string{"a third", "another", "k"} {
		if got := b.passed(200, charge(t, ratelimiter.Definition{Count: 240}, key)); got > 1 || got == 0 && key != "another" {
			t.Fatalf("%d passed at the start of the next failure, for %s", got, key)
		}
	}
}

// TestShareFillsFromTheFirstFailedCall: a store that hangs failed when the first call was sent, not when that call was given up. Calls
// that were in flight together are given up together, and would else find room for one.
func TestShareFillsFromTheFirstFailedCall(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 4 })
	b.shared.down = true
	b.shared.slow = func() {
		b.at, b.shared.slow = b.at.Add(20*time.Millisecond), nil
	}
	if got := b.passed(100, charge(t, ratelimiter.Definition{Count: 1000, Window: time.Second}, "k")); got != 1+5 { // 250 a second here
		t.Errorf("%d passed after 20 ms", got)
	}
}

// TestCallersThatLeaveBeginNoFailure: a caller that left an hour ago, the last one before a failure, gives nobody an hour's share.
func TestCallersThatLeaveBeginNoFailure(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 4 })
	c := charge(t, ratelimiter.Definition{Count: 240}, "k")
	answers := b.shared.Store
	b.shared.Store = left{answers}
	if d := b.take(c); !d.Degraded {
		t.Fatalf("%+v", d)
	}
	b.at, b.shared.Store, b.shared.down = b.at.Add(time.Hour), answers, true
	if got := b.passed(100, charge(t, ratelimiter.Definition{Count: 240}, "another")); got != 1 {
		t.Errorf("%d passed at the start of the failure", got)
	}
}

// left is a store whose callers leave.
type left struct{ ratelimiter.Store }

// Take implements ratelimiter.Store.
func (left) Take(context.Context, []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return ratelimiter.Decision{}, fmt.Errorf("take: %w", context.Canceled)
}

func TestShareOfLargeCosts(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 4 })
	b.shared.down = true
	c := charge(t, ratelimiter.Definition{Count: 10}, "k")
	c.Cost = 5
	d := b.take(c)
	if wait, ok := d.Retry(); d.Allowed || !ok || d.Limits[0].Never || wait == 0 {
		t.Fatalf("a cost above the share, within the limit: %+v", d)
	}
	c.Cost = 11
	if d := b.take(c); d.Allowed || !d.Limits[0].Never {
		t.Fatalf("a cost above the limit: %+v", d)
	}
}

func TestSharesOfAnyLimit(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Replicas = 1_000_000_000 })
	b.shared.down = true
	for i, d := range []ratelimiter.Definition{
		{Count: 1, Window: ratelimiter.MaxWindow}, {Count: 1, Window: ratelimiter.MaxWindow, Burst: 10},
		{Count: ratelimiter.MaxCost, Window: time.Microsecond}, {Count: ratelimiter.MaxCost, Window: ratelimiter.MaxWindow}, {Count: 1, Window: time.Microsecond},
	} {
		c := charge(t, d, strconv.Itoa(i))
		if got := b.passed(3, c); got != 1 {
			t.Errorf("%+v: %d passed", d, got)
		}
	}
}

func TestDenyIsFree(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 6}, "k") // one every ten seconds
	if got := b.passed(6, c); got != 6 {
		t.Fatalf("%d passed", got)
	}
	before := b.shared.calls
	for range 100 {
		if d := b.take(c); d.Allowed || d.Limits[0].Charged || d.Limits[0].Remaining != 0 || d.Limits[0].Retry > 10*time.Second || d.Limits[0].Retry < 9*time.Second {
			t.Fatalf("%+v", d)
		}
		if b.limiter.Gate([]ratelimiter.Charge{c}).Allowed {
			t.Fatal("the gate lets it pass")
		}
	}
	if b.shared.calls != before {
		t.Fatalf("%d calls for refusals that were known", b.shared.calls-before)
	}
	// A reset of the shared store is noticed within a second.
	b.shared.Store = b.store()
	b.at = b.at.Add(time.Second)
	if !b.limiter.Gate([]ratelimiter.Charge{c}).Allowed || !b.take(c).Allowed {
		t.Fatal("still refused a second after the reset")
	}
}

func TestDenyCacheKnowsCosts(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 10}, "k")
	large := c
	large.Cost = 8
	b.passed(5, c)
	if b.take(large).Allowed {
		t.Fatal("8 of 5")
	}
	before := b.shared.calls
	if b.take(large).Allowed || b.shared.calls != before {
		t.Fatal("the refusal was not remembered")
	}
	if !b.take(c).Allowed || b.shared.calls == before {
		t.Fatal("a smaller cost was answered from the refusal of a larger one")
	}
}

func TestShadowIsNeverRemembered(t *testing.T) {
	b := newBench(t, nil)
	c := charge(t, ratelimiter.Definition{Count: 2, Shadow: true}, "k")
	for range 5 {
		if !b.limiter.Gate([]ratelimiter.Charge{c}).Allowed || !b.take(c).Allowed {
			t.Fatal("a shadow limit refused")
		}
	}
	if b.shared.calls != 5 {
		t.Fatalf("%d calls", b.shared.calls)
	}
}

// A refusal must still charge the limits that count all, so it goes to the store until they are exhausted too.
func TestRememberedRefusalsCountAll(t *testing.T) {
	b := newBench(t, nil)
	tight := charge(t, ratelimiter.Definition{Name: "tight", Count: 1}, "k")
	all := charge(t, ratelimiter.Definition{Name: "all", Count: 5, Counting: ratelimiter.CountAll}, "k")
	b.passed(100, tight, all)
	if b.shared.calls != 5 {
		t.Fatalf("%d calls", b.shared.calls)
	}
	if d := b.take(all); d.Allowed {
		t.Fatal("the limit that counts all was not charged by refusals")
	}
}

// TestGateIsNeverStricter: two replicas, whose clocks differ from that of the store, share it. Whenever the gate of one
// refuses, the store would.
func TestGateIsNeverStricter(t *testing.T) {
	b := newBench(t, nil)
	ahead, err := ratelimiter.New(ratelimiter.Options{Shared: b.shared, Local: b.store(), Now: func() time.Time { return b.at.Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close(ahead)
	rng := rand.New(rand.NewPCG(7, 11))
	var all []ratelimiter.Charge
	for i := range 12 {
		d := ratelimiter.Definition{
			Name: strconv.Itoa(i), Count: 1 + rng.Int64N(40), Window: time.Duration(1+rng.Int64N(3000)) * time.Millisecond,
			Counting: ratelimiter.Counting(i % 3), Algorithm: ratelimiter.Algorithm(i / 3),
		}
		all = append(all, charge(t, d, "k"))
	}
	refused := make(map[ratelimiter.Algorithm]int)
	for range 60_000 {
		l := []*ratelimiter.Limiter{b.limiter, ahead}[rng.IntN(2)]
		c := all[rng.IntN(len(all))]
		c.Cost = rng.Int64N(c.Limit.Definition().Burst + 1)
		charges := []ratelimiter.Charge{c}
		gate := l.Gate(charges)
		want, err := b.shared.Store.Peek(context.Background(), charges)
		if err != nil {
			t.Fatal(err)
		}
		if !gate.Allowed {
			refused[c.Limit.Algorithm()]++
			if want.Allowed {
				t.Fatalf("the gate refused %+v, the store has room: %+v", c, want)
			}
		}
		got, err := l.Take(context.Background(), charges)
		if err != nil || got.Allowed != want.Allowed {
			t.Fatalf("take %+v, %v; the store says %v", got, err, want.Allowed)
		}
		if rng.IntN(3) == 0 {
			if err := l.Settle(context.Background(), charges); err != nil {
				t.Fatal(err)
			}
		}
		b.at = b.at.Add(time.Duration(rng.Int64N(20_000)) * time.Microsecond)
	}
	t.Logf("the gate refused %v times", refused)
	for a := range ratelimiter.Quota { // a quota is a fixed window
		if refused[a] < 1000 {
			t.Errorf("the gate is hardly used for %v", a)
		}
	}
}

func TestDenyCacheIsBounded(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.DenyCache = 16 })
	for i := range 2000 {
		c := charge(t, ratelimiter.Definition{Count: 1}, strconv.Itoa(i))
		b.passed(2, c)
	}
	if n := b.limiter.Remembered(); n > 16 {
		t.Fatalf("%d entries", n)
	}
}

func TestSettleChargesWhatCountsDenials(t *testing.T) {
	b := newBench(t, nil)
	var charges []ratelimiter.Charge
	for _, c := range []ratelimiter.Counting{ratelimiter.CountAllowed, ratelimiter.CountDenied, ratelimiter.CountAll} {
		charges = append(charges, charge(t, ratelimiter.Definition{Name: c.String(), Count: 10, Counting: c}, "k"))
	}
	if err := b.limiter.Settle(context.Background(), charges); err != nil {
		t.Fatal(err)
	}
	d, err := b.limiter.Peek(context.Background(), charges)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{10, 9, 9} {
		if got := d.Limits[i].Remaining; got != want {
			t.Errorf("%s: %d left, want %d", d.Limits[i].Limit.Definition().Name, got, want)
		}
	}
	// Once full of denials, the gate knows.
	for range 10 {
		if err := b.limiter.Settle(context.Background(), charges); err != nil {
			t.Fatal(err)
		}
	}
	if d := b.limiter.Gate(charges[1:2]); d.Allowed {
		t.Fatal("the gate lets an exhausted limit of denials pass")
	}
}

// What the shared store was not told of is heard of, in units, whatever its limits do then.
func TestUnsettledIsHeard(t *testing.T) {
	units := int64(0)
	b := newBench(t, func(o *ratelimiter.Options) { o.OnUnsettled = func(n int64) { units += n } })
	denied := charge(t, ratelimiter.Definition{Name: "denied", Count: 10, Counting: ratelimiter.CountDenied, OnError: ratelimiter.Deny}, "k")
	denied.Cost = 3
	charges := []ratelimiter.Charge{denied, charge(t, ratelimiter.Definition{Name: "all", Count: 10, Counting: ratelimiter.CountAll}, "k"), charge(t, ratelimiter.Definition{Name: "allowed", Count: 10}, "k")}
	for _, step := range []struct {
		down bool
		want int64
	}{{false, 0}, {true, 4}, {true, 8}, {false, 8}} {
		b.shared.down = step.down
		if err := b.limiter.Settle(context.Background(), charges); err != nil || units != step.want {
			t.Errorf("%+v: %d units, %v", step, units, err)
		}
		b.take(charges[2]) // what is no denial is not unsettled
		if units != step.want {
			t.Errorf("%+v: %d units after a take", step, units)
		}
	}
}

func TestSettleLaterLosesNothing(t *testing.T) {
	b := newBench(t, func(o *ratelimiter.Options) { o.Queue = 8 })
	b.shared.hold = make(chan struct{}, 1000)
	ctx := context.Background()
	c := charge(t, ratelimiter.Definition{Name: "denied", Count: 1000, Counting: ratelimiter.CountDenied}, "k")
	other := charge(t, ratelimiter.Definition{Name: "denied", Count: 1000, Counting: ratelimiter.CountDenied}, "other")
	changed := charge(t, ratelimiter.Definition{Name: "denied", Count: 2000, Counting: ratelimiter.CountDenied}, "k")
	// The worker is held; one batch is in its hands at most and eight wait, so some of these settle here.
	done := make(chan error)
	const calls = 60
	reused := []ratelimiter.Charge{{}}
	go func() {
		for i := range calls {
			reused[0] = []ratelimiter.Charge{c, other, changed}[i%3]
			if err := b.limiter.SettleLater(ctx, reused); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 1000 {
		b.shared.hold <- struct{}{}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.close(b.limiter)
	if err := b.limiter.SettleLater(ctx, []ratelimiter.Charge{c}); err != nil { // after Close the caller does it
		t.Fatal(err)
	}
	d, err := b.shared.Store.Peek(ctx, []ratelimiter.Charge{c, other})
	if err != nil {
		t.Fatal(err)
	}
	// On the one counter: 20 units of 60 ms and one more, 20 of 30 ms.
	if got, want := d.Limits[0].Full, 21*60*time.Millisecond+20*30*time.Millisecond; got != want {
		t.Errorf("the counter of the changed limit: %v of debt, want %v", got, want)
	}
	if d.Limits[1].Remaining != 980 {
		t.Errorf("%d left of 1000 after 20 denials", d.Limits[1].Remaining)
	}
}

func TestSettleLaterBatches(t *testing.T) {
	b := newBench(t, nil)
	b.shared.hold = make(chan struct{})
	c := charge(t, ratelimiter.Definition{Count: 1000, Counting: ratelimiter.CountDenied}, "k")
	for range 60 {
		if err := b.limiter.SettleLater(context.Background(), []ratelimiter.Charge{c}); err != nil {
			t.Fatal(err)
		}
	}
	close(b.shared.hold)
	b.close(b.limiter)
	if b.shared.calls > 2 { // what the worker had already taken, and the rest
		t.Errorf("%d calls for 60 denials", b.shared.calls)
	}
	if d := b.take(c); d.Limits[0].Remaining != 940 {
		t.Errorf("%d left of 1000", d.Limits[0].Remaining)
	}
}

func TestCloseIsBounded(t *testing.T) {
	b := newBench(t, nil)
	b.shared.hold = make(chan struct{})
	c := charge(t, ratelimiter.Definition{Count: 1000, Counting: ratelimiter.CountDenied}, "k")
	if err := b.limiter.SettleLater(context.Background(), []ratelimiter.Charge{c}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.limiter.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	close(b.shared.hold)
}

func TestGateAllocations(t *testing.T) {
	b := newBench(t, nil)
	charges := []ratelimiter.Charge{charge(t, ratelimiter.Definition{Count: 1000}, "k"), charge(t, ratelimiter.Definition{Count: 1000}, "l")}
	if got := testing.AllocsPerRun(1000, func() {
		if !b.limiter.Gate(charges).Allowed {
			t.Fatal("refused")
		}
	}); got != 0 {
		t.Fatalf("%v allocations for a gate that lets pass", got)
	}
}
