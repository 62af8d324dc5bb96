package introspection

import (
	"sync"
	"time"
)

// A server that failed so often in a row is left alone for a while, doubled by each probe that fails.
const (
	failures = 5
	minPause = time.Second
	maxPause = 30 * time.Second
	// maxRetry bounds what a server says itself: it must not shut clients out for days.
	maxRetry = time.Minute
)

// breaker keeps calls from a server that fails. Closed it lets all pass; open none until its pause has passed, then one at a time, a
// probe, until one succeeds.
type breaker struct {
	mu      sync.Mutex
	row     int // failures in a row
	open    bool
	pause   time.Duration
	until   time.Time
	probing bool
}

// enter says whether a call may be made, as a probe or not, and how long to wait where it may not. Who enters must leave.
func (b *breaker) enter(now time.Time) (probe bool, wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return false, 0, true
	case now.Before(b.until):
		return false, b.until.Sub(now), false
	case b.probing:
		return false, minPause, false
	}
	b.probing = true
	return true, 0, true
}

// leave takes how a call went. Of calls that began before the circuit opened it only hears that the server wants to be left alone.
func (b *breaker) leave(probe bool, o Outcome, retry time.Duration, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe {
		b.probing = false
	}
	if o == Throttled {
		b.open = true
		if until := now.Add(min(max(retry, minPause), maxRetry)); until.After(b.until) { // of several answers the longest pause holds
			b.until = until
		}
		return
	}
	if b.open && !probe {
		return
	}
	switch health := o.health(); {
	case health > 0:
		b.open, b.row, b.pause = false, 0, 0
	case health < 0:
		if b.row++; b.open || b.row >= failures {
			b.pause = min(max(2*b.pause, minPause), maxPause)
			b.open, b.until = true, now.Add(b.pause)
		}
	}
}

func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
