package ratelimiter

import (
	"context"
	"errors"
	"fmt"
)

// ErrNotCleared is wrapped by the errors of Limiter.Clear: the counter may be there still.
var ErrNotCleared = errors.New("counter not cleared")

// Clearer is a Store that can forget a counter.
type Clearer interface {
	// Clear forgets a counter, whose key is then as good as new, and reports whether there was one. It may be repeated.
	Clear(ctx context.Context, key Key) (bool, error)
}

// Clear forgets a counter: first in the shared store, then what this replica counts, remembers and holds in advance of it.
// Other replicas may refuse from memory for a second more, as may this one where a refusal was on its way, and keep the units
// that they hold in advance. It reports whether the store in
// charge had the counter.
func (l *Limiter) Clear(ctx context.Context, key Key) (bool, error) {
	stores := []Store{l.local}
	if l.shared != nil {
		stores = []Store{l.shared, l.local}
	}
	had := false
	for i, s := range stores {
		c, ok := s.(Clearer)
		if !ok {
			return false, fmt.Errorf("%w: the store does not forget single counters", ErrNotCleared)
		}
		was, err := c.Clear(ctx, key)
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrNotCleared, err)
		}
		had = had || was && i == 0
	}
	l.exhausted.forget(key)
	if l.leases != nil {
		l.leases.forget(key) // they were charged to what is gone
	}
	return had, nil
}
