package redis

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrOpen is wrapped by the error of a call that was not made because the store failed too often just before.
var ErrOpen = errors.New("not asked: the breaker is open")

// State is the state of the breaker.
type State uint8

// States. Closed asks every time, open never, half-open one call at a time.
const (
	Closed State = iota
	Open
	HalfOpen
)

// String returns the state's name in metrics and logs.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	}
	return "invalid"
}

// Health is the state of a store for readiness and metrics. An open store learns that Redis is back from the next
// call after its pause: without calls it stays open.
type Health struct {
	State  State
	Since  time.Time // of the state
	Cause  error     // the last failure; nil while closed
	Server string    // its address
	Gone   bool      // another server has taken over, and nothing more is heard of this one
}

// BreakerOptions say when a store stops asking, and for how long. Zero values mean the defaults.
type BreakerOptions struct {
	Failures int           // in a row open it; 5
	Ratio    float64       // of failed calls within a Window opens it; 0.5
	Calls    int           // that a Window must have before Ratio counts; 20
	Window   time.Duration // 1 s
	MinPause time.Duration // until the first probe; doubled by each probe that fails; 100 ms
	MaxPause time.Duration // 5 s
}

func (o *BreakerOptions) complete() error {
	if o.Failures < 0 || o.Ratio < 0 || o.Ratio > 1 || o.Calls < 0 || o.Window < 0 || o.MinPause < 0 || o.MaxPause < 0 {
		return errors.New("redis store of limits: breaker setting out of range")
	}
	set := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	if o.Failures == 0 {
		o.Failures = 5
	}
	if o.Ratio == 0 {
		o.Ratio = 0.5
	}
	if o.Calls == 0 {
		o.Calls = 20
	}
	set(&o.Window, time.Second)
	set(&o.MinPause, 100*time.Millisecond)
	set(&o.MaxPause, 5*time.Second)
	if o.MinPause > o.MaxPause {
		return fmt.Errorf("redis store of limits: the breaker's least pause %v is above its largest %v", o.MinPause, o.MaxPause)
	}
	return nil
}

// breaker keeps calls from a store that fails. A pass is handed out per call and handed back with its result.
type breaker struct {
	opt    BreakerOptions
	random func() float64
	notify func(Health)

	mu      sync.Mutex
	health  Health
	round   uint64 // changes with the state: results of calls from before count for nothing
	row     int    // failures in a row
	start   time.Time
	calls   int // since start
	failed  int
	pause   time.Duration
	probeAt time.Time
	probing bool
}

type pass struct {
	round uint64
	probe bool
}

func newBreaker(o BreakerOptions, random func() float64, notify func(Health), now time.Time) *breaker {
	return &breaker{opt: o, random: random, notify: notify, start: now, health: Health{Since: now}}
}

// refusal returns why a call would not be made now, if so. It spares callers the way to a lane.
func (b *breaker) refusal(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused(now)
}

func (b *breaker) refused(now time.Time) error {
	if b.health.State != Closed && (b.probing || now.Before(b.probeAt)) {
		return fmt.Errorf("%w: %w", ErrOpen, b.health.Cause)
	}
	return nil
}

// enter reports whether a call may be made, and the last failure if not.
func (b *breaker) enter(now time.Time) (pass, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refused(now); err != nil {
		return pass{}, err
	}
	if b.health.State == Closed {
		return pass{round: b.round}, nil
	}
	b.probing = true
	b.become(HalfOpen, now, b.health.Cause)
	return pass{round: b.round, probe: true}, nil
}

// leave takes the result of the call that p was for, and the cause if it failed.
func (b *breaker) leave(p pass, success bool, cause error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.round != b.round {
		return
	}
	if p.probe {
		b.probed(success, cause, now)
		return
	}
	if now.Sub(b.start) >= b.opt.Window {
		b.start, b.calls, b.failed = now, 0, 0
	}
	b.calls++
	if success {
		b.row = 0
		return
	}
	b.row++
	b.failed++
	tooMany := b.calls >= b.opt.Calls && float64(b.failed) >= b.opt.Ratio*float64(b.calls)
	if b.row >= b.opt.Failures || tooMany {
		b.pause = b.opt.MinPause
		b.open(cause, now)
	}
}

func (b *breaker) probed(success bool, cause error, now time.Time) {
	b.probing = false
	if success {
		b.row, b.start, b.calls, b.failed = 0, now, 0, 0
		b.become(Closed, now, nil)
		return
	}
	b.pause = min(2*b.pause, b.opt.MaxPause)
	b.open(cause, now)
}

// open waits between half and all of the pause, so that replicas do not come back together.
func (b *breaker) open(cause error, now time.Time) {
	b.probeAt = now.Add(b.pause/2 + time.Duration(b.random()*float64(b.pause/2)))
	b.become(Open, now, cause)
}

func (b *breaker) become(s State, now time.Time, cause error) {
	b.round++
	b.health = Health{State: s, Since: now, Cause: cause}
	if b.notify != nil {
		b.notify(b.health)
	}
}

// retire tells the observer of a breaker that is not closed that its server is no longer asked.
func (b *breaker) retire(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notify != nil && b.health.State != Closed {
		b.notify(Health{State: Closed, Since: now, Gone: true})
	}
	b.notify = nil
}

func (b *breaker) look() Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.health
}
