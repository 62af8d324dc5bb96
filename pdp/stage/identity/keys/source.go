package keys

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/pdp/token"
)

const (
	// Window is the shortest time between the beginnings of two fetches of one source, whatever they are for and however they end.
	Window = 30 * time.Second

	// maxWaiting bounds the decisions that wait for one fetch.
	maxWaiting = 256
	// margin is how much of its time a decision keeps for the answer.
	margin = 2 * time.Millisecond
)

// Known is what a source knew at one time. It is immutable.
type Known struct {
	last    *answered // nil before the first good answer
	fetched time.Time // when the issuer was asked for it
	due     time.Time // when it is to be asked again
	err     error     // of the last fetch, nil where it was good
	failing time.Time // since when fetches fail, zero while they do not
}

// Set returns the keys, nil where none were fetched or they were due for renewal longer than maxStale ago.
func (k *Known) Set(now time.Time, maxStale time.Duration) *token.KeySet {
	if k.last == nil || now.Sub(k.fetched) > k.last.fresh+maxStale {
		return nil
	}
	return k.last.set
}

// Source is one place that keys come from. It is safe for concurrent use.
type Source struct {
	place Place
	store *Store
	known atomic.Pointer[Known]

	mu      sync.Mutex
	done    chan struct{} // closed at the end of the fetch that runs; nil without one
	began   time.Time     // of the last fetch
	waiting int
}

// Current returns what is known now. It does not block.
func (s *Source) Current() *Known { return s.known.Load() }

// Next returns what is known after the given state: at once where more became known meanwhile, after a fetch where one runs or may begin, else
// that state itself. It waits until shortly before ctx ends; pending says that a fetch still runs that could know more.
func (s *Source) Next(ctx context.Context, after *Known) (known *Known, pending bool) {
	done, ok := s.join(after)
	if done == nil {
		return s.known.Load(), !ok
	}
	defer s.leave()
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-margin))
		defer cancel()
	}
	select {
	case <-done:
		return s.known.Load(), false
	case <-ctx.Done():
		return s.known.Load(), true
	}
}

// join makes the caller wait for a fetch, which it begins where none runs and one may. There is nothing to wait for where more is known than
// the given state, or the last fetch was a short while ago; ok is false where too many wait.
func (s *Source) join(after *Known) (done <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.known.Load() != after:
		return nil, true
	case s.done == nil && !s.begin(s.store.options.Clock()):
		return nil, true
	case s.waiting >= maxWaiting:
		return nil, false
	}
	s.waiting++
	return s.done, true
}

func (s *Source) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
}

// refresh begins a fetch where one is due.
func (s *Source) refresh(now time.Time) {
	known := s.known.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	// A clock that was set back would put it off for as long.
	if s.done == nil && (!now.Before(known.due) || now.Before(s.began)) {
		s.begin(now)
	}
}

// begin starts a fetch unless the last one began within the window. The caller holds the lock and has seen that none runs.
func (s *Source) begin(now time.Time) bool {
	if !s.began.IsZero() && now.Sub(s.began) < Window && !now.Before(s.began) {
		return false
	}
	done := make(chan struct{})
	if !s.store.goes(func(ctx context.Context) { s.run(ctx, now, done) }) {
		return false
	}
	s.began, s.done = now, done
	return true
}

// run fetches and notes what came of it.
func (s *Source) run(ctx context.Context, began time.Time, done chan struct{}) {
	before := s.known.Load()
	last, err := s.fetch(ctx, before.last)
	after := s.after(before, last, err, began)
	s.mu.Lock()
	s.known.Store(after)
	s.done = nil
	s.mu.Unlock()
	close(done)
	if s.store.options.Observe != nil && ctx.Err() == nil {
		s.store.options.Observe(s.state(before), s.state(after))
	}
}

// after returns what is known after a fetch.
func (s *Source) after(before *Known, last *answered, err error, began time.Time) *Known {
	jitter := 0.0
	if s.store.options.Jitter != nil {
		jitter = s.store.options.Jitter()
	}
	if err != nil {
		failed := *before
		failed.err, failed.due = err, began.Add(Window+time.Duration(jitter*float64(Window/2)))
		if failed.failing.IsZero() {
			failed.failing = began
		}
		return &failed
	}
	// Before it is due, so that a first failure is mended before anybody notices, and not all replicas at once.
	early := time.Duration((0.75 + 0.15*jitter) * float64(last.fresh))
	return &Known{last: last, fetched: began, due: began.Add(early)}
}
