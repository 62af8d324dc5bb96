package redis

import (
	"errors"
	"testing"
	"time"
)

var errTest = errors.New("no answer")

// bench drives a breaker by a clock of its own.
type bench struct {
	t   *testing.T
	b   *breaker
	now time.Time
	log []State
}

func newBench(t *testing.T, o BreakerOptions) *bench {
	t.Helper()
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	x := &bench{t: t, now: time.Unix(1_790_000_000, 0)}
	x.b = newBreaker(o, func() float64 { return 1 }, func(h Health) { x.log = append(x.log, h.State) }, x.now)
	return x
}

const success, failure = true, false

// do makes one call if the breaker lets it and reports whether it did.
func (x *bench) do(success bool) bool {
	refused := x.b.refusal(x.now)
	p, err := x.b.enter(x.now)
	if (refused == nil) != (err == nil) {
		x.t.Fatalf("refusal %v, entered with %v", refused, err)
	}
	if err != nil {
		if !errors.Is(err, ErrOpen) || !errors.Is(err, errTest) {
			x.t.Fatalf("refused with %v", err)
		}
		return false
	}
	x.b.leave(p, success, errTest, x.now)
	return true
}

func (x *bench) want(s State) {
	x.t.Helper()
	if got := x.b.look().State; got != s {
		x.t.Fatalf("%v, want %v", got, s)
	}
}

func TestBreakerOpensOnFailuresInARow(t *testing.T) {
	x := newBench(t, BreakerOptions{})
	for range 4 {
		x.do(failure)
	}
	x.do(success)
	for range 4 {
		x.do(failure)
	}
	x.want(Closed)
	x.do(failure)
	x.want(Open)
	if x.do(success) {
		t.Fatal("a call while open")
	}
}

func TestBreakerOpensOnTheRatio(t *testing.T) {
	x := newBench(t, BreakerOptions{})
	for range 9 {
		x.do(failure)
		x.do(success)
	}
	x.do(success)
	x.want(Closed) // 19 calls: too few to tell
	x.do(failure)
	x.want(Open) // 10 of 20 within the window

	y := newBench(t, BreakerOptions{})
	for range 60 {
		y.do(failure)
		y.now = y.now.Add(200 * time.Millisecond)
		y.do(success)
	}
	y.want(Closed) // never 20 within a window
}

func TestBreakerProbes(t *testing.T) {
	x := newBench(t, BreakerOptions{MinPause: 100 * time.Millisecond, MaxPause: 300 * time.Millisecond})
	for range 5 {
		x.do(failure)
	}
	for _, pause := range []time.Duration{100, 200, 300, 300} {
		pause *= time.Millisecond
		x.now = x.now.Add(pause - 1)
		if x.do(success) {
			t.Fatalf("a call before the pause of %v is over", pause)
		}
		x.now = x.now.Add(1)
		if !x.do(failure) {
			t.Fatalf("no probe after %v", pause)
		}
		x.want(Open)
	}
	x.now = x.now.Add(300 * time.Millisecond)
	p, err := x.b.enter(x.now)
	if err != nil {
		t.Fatal(err)
	}
	x.want(HalfOpen)
	for range 10 {
		if x.do(success) {
			t.Fatal("two probes at once")
		}
	}
	x.b.leave(p, success, nil, x.now)
	x.want(Closed)
	if x.b.look().Cause != nil {
		t.Fatal("closed with a cause")
	}
}

func TestLateResultsCountForNothing(t *testing.T) {
	x := newBench(t, BreakerOptions{})
	var passes []pass
	for range 20 {
		p, err := x.b.enter(x.now)
		if err != nil {
			t.Fatal(err)
		}
		passes = append(passes, p)
	}
	for _, p := range passes {
		x.b.leave(p, failure, errTest, x.now)
	}
	if len(x.log) != 1 || x.log[0] != Open {
		t.Fatalf("states %v", x.log)
	}
	p, err := x.b.enter(x.now.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	x.b.leave(passes[0], success, nil, x.now) // from before: not the probe
	x.want(HalfOpen)
	x.b.leave(p, success, nil, x.now)
	x.want(Closed)
}

func TestStateNames(t *testing.T) {
	for s, want := range map[State]string{Closed: "closed", Open: "open", HalfOpen: "half_open", 9: "invalid"} {
		if s.String() != want {
			t.Errorf("%d: %q", s, s)
		}
	}
}
