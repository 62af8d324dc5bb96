// Package redis keeps the counters of package ratelimiter in Redis 6.2 or later: all limits of a decision in one step, by
// the clock of the server, so that replicas agree however their clocks differ. Decisions of concurrent callers share the
// calls of a script; a lone caller waits for nobody.
//
// Any user of package ratelimiter may import it; in this module it alone does, beside package state/redis, import the
// client library. A call whose outcome is unknown is never repeated: it may have charged. Each call has a short
// deadline, and a breaker keeps a Redis that fails from costing every decision that deadline. Counters are as durable as
// the server: one that restarts empty gives every key a full bucket.
package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	_ "embed" // the script

	"github.com/durward-pdp/durward/ratelimiter"
)

//go:embed windows.lua
var windowsText string

//go:embed script.lua
var batchText string

// scriptText returns the script: the counters of windows, then what calls them.
func scriptText() string { return windowsText + batchText }

// Store implements ratelimiter.Store. It is safe for concurrent use.
type Store struct {
	client  *goredis.Client
	script  *goredis.Script
	breaker *breaker
	queue   *queue
	lanes   sync.WaitGroup
	opt     Options
}

// New returns a store, which the caller closes. It does not connect: a server that is down fails calls, not the start.
func New(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	c, err := o.client()
	if err != nil {
		return nil, err
	}
	// The library writes lines of its own to standard error, which is the log of whoever runs us. All that they say
	// comes back as errors too.
	goredis.SetLogger(silent{})
	s := &Store{
		client:  goredis.NewClient(c),
		script:  goredis.NewScript(scriptText()),
		breaker: newBreaker(o.Breaker, o.Random, o.OnHealth, o.Now()),
		queue:   newQueue(o.Batch, o.Timeout/2, o.Now),
		opt:     o,
	}
	for range o.Batch.Lanes {
		s.lanes.Go(newLane(s).run)
	}
	return s, nil
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Close refuses what comes, waits until what was asked is answered or has had its time, and closes the connections.
func (s *Store) Close() error {
	s.queue.close()
	s.lanes.Wait()
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close the connections to Redis: %w", err)
	}
	return nil
}

// Address returns where the server is, without credentials.
func (s *Store) Address() string { return s.client.Options().Addr }

// Health returns the state of the breaker.
func (s *Store) Health() Health { return s.breaker.look() }

// Prepare connects, logs in and loads the script, within the deadline of ctx rather than that of a call. It charges
// nothing and does not move the breaker.
func (s *Store) Prepare(ctx context.Context) error {
	slow := s.client.WithTimeout(dialTimeout)
	if err := slow.ScriptLoad(ctx, scriptText()).Err(); err != nil {
		hint := ""
		var slow interface{ Timeout() bool }
		if s.client.Options().TLSConfig != nil && errors.As(err, &slow) && slow.Timeout() {
			hint = " (a port without TLS does not answer rediss)"
		}
		return fmt.Errorf("load the script of limits into Redis at %s: %w%s", s.Address(), err, hint)
	}
	return nil
}

// Take implements ratelimiter.Store.
func (s *Store) Take(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.call(ctx, take, charges)
}

// Settle implements ratelimiter.Store.
func (s *Store) Settle(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.call(ctx, settle, charges)
}

// Peek implements ratelimiter.Store.
func (s *Store) Peek(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.call(ctx, peek, charges)
}

func (s *Store) call(ctx context.Context, op operation, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if err := ratelimiter.Check(charges); err != nil {
		return ratelimiter.Decision{}, err
	}
	if len(charges) == 0 {
		return ratelimiter.Decision{Allowed: true}, nil
	}
	d, err := s.ask(ctx, op, charges)
	if err != nil {
		return ratelimiter.Decision{}, fmt.Errorf("%s %d limits in Redis at %s: %w", op, len(charges), s.Address(), err)
	}
	return d, nil
}

// ask hands a decision to the lanes, unless it is known that none would send it.
func (s *Store) ask(ctx context.Context, op operation, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if err := ctx.Err(); err != nil {
		return ratelimiter.Decision{}, err
	}
	start := s.opt.Now()
	if err := s.breaker.refusal(start); err != nil {
		if s.opt.OnCall != nil {
			s.opt.OnCall(Call{Operation: op.String(), Decisions: 1, Limits: len(charges), Err: err})
		}
		return ratelimiter.Decision{}, err
	}
	return s.queue.ask(ctx, op, charges, start)
}
