package ratelimiter

import (
	"context"
	"errors"
	"fmt"
)

var errNotCleared = errors.New("counter not cleared")

// clearer is a Store that can forget a counter.
type clearer interface {
	// Clear forgets a counter, whose key is then as good as new, and reports whether there was one. It may be repeated.
	Clear(ctx context.Context, key Key) (bool, error)
}

// Clear forgets a counter: first in the shared store, then what this replica counts, remembers and holds in advance of it.
// Other replicas may refuse from memory for a second more, as may this one where a refusal was on its way, and keep the units
// that they hold in advance. It reports whether the store in
// charge had the counter. After an error it may be there still. Stores forget counters with a method of the same form.
func (l *Limiter) Clear(ctx context.Context, key Key) (bool, error) {
	stores := []Store{l.local}
	if l.shared != nil {
		stores = []Store{l.shared, l.local}
	}
	had := false
	for i, s := range stores {
		c, ok := s.(clearer)
		if !ok {
			return false, fmt.Errorf("%w: the store does not forget single counters", errNotCleared)
		}
		was, err := c.Clear(ctx, key)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errNotCleared, err)
		}
		had = had || was && i == 0
	}
	l.exhausted.forget(key)
	if l.leases != nil {
		l.leases.forget(key) // they were charged to what is gone
	}
	return had, nil
}
