// Package redis keeps the counters of package ratelimiter in Redis 6.2 or later: one script call for all limits of a
// decision, by the clock of the server, so that replicas agree however their clocks differ.
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
	"time"

	goredis "github.com/redis/go-redis/v9"

	_ "embed" // the script

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

//go:embed script.lua
var scriptText string

const (
	argsPerLimit  = 6
	replyPerLimit = 4

	flagEnforced = 1
	flagAllowed  = 2
	flagRefused  = 4
)

// Store implements ratelimiter.Store. It is safe for concurrent use.
type Store struct {
	client  *goredis.Client
	script  *goredis.Script
	breaker *breaker
	opt     Options
}

// New returns a store. It does not connect: a server that is down fails calls, not the start.
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
	return &Store{
		client:  goredis.NewClient(c),
		script:  goredis.NewScript(scriptText),
		breaker: newBreaker(o.Breaker, o.Random, o.OnHealth, o.Now()),
		opt:     o,
	}, nil
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Close closes the connections.
func (s *Store) Close() error {
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
	if err := slow.ScriptLoad(ctx, scriptText).Err(); err != nil {
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
	return s.call(ctx, "take", charges)
}

// Settle implements ratelimiter.Store.
func (s *Store) Settle(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.call(ctx, "settle", charges)
}

// Peek implements ratelimiter.Store.
func (s *Store) Peek(ctx context.Context, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	return s.call(ctx, "peek", charges)
}

func (s *Store) call(ctx context.Context, op string, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	if err := ratelimiter.Check(charges); err != nil {
		return ratelimiter.Decision{}, err
	}
	if len(charges) == 0 {
		return ratelimiter.Decision{Allowed: true}, nil
	}
	start := s.opt.Now()
	p, err := s.breaker.enter(start)
	var d ratelimiter.Decision
	if err == nil {
		d, err = s.run(ctx, op, charges)
		s.breaker.leave(p, s.judge(ctx, start, err), err, s.opt.Now())
	}
	if err != nil {
		err = fmt.Errorf("%s %d limits in Redis at %s: %w", op, len(charges), s.Address(), err)
	}
	if s.opt.OnCall != nil {
		s.opt.OnCall(Call{Operation: op, Limits: len(charges), Duration: s.opt.Now().Sub(start), Err: err})
	}
	if err != nil {
		return ratelimiter.Decision{}, err
	}
	return d, nil
}

// judge says what a call tells about Redis. A caller that gave up, or came with too little time to ask, tells nothing.
func (s *Store) judge(ctx context.Context, start time.Time, err error) result {
	if err == nil {
		return success
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ignored
	}
	var slow interface{ Timeout() bool } // of the context or, a moment earlier, of the socket
	if end, ok := ctx.Deadline(); ok && end.Sub(start) < s.opt.Timeout/2 && errors.As(err, &slow) && slow.Timeout() {
		return ignored
	}
	return failure
}

func (s *Store) run(ctx context.Context, op string, charges []ratelimiter.Charge) (ratelimiter.Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	keys, args := s.arguments(op, charges)
	reply, err := s.script.EvalSha(ctx, s.client, keys, args...).Int64Slice()
	if goredis.HasErrorPrefix(err, "NOSCRIPT") { // nothing ran: this is the one answer that is safe to ask again
		reply, err = s.script.Eval(ctx, s.client, keys, args...).Int64Slice()
	}
	if err != nil {
		return ratelimiter.Decision{}, err
	}
	return decide(op, charges, reply)
}

func (s *Store) arguments(op string, charges []ratelimiter.Charge) ([]string, []any) {
	keys := make([]string, len(charges))
	args := make([]any, 2, 2+argsPerLimit*len(charges))
	args[0], args[1] = op, ""
	if s.opt.ScriptTime != nil {
		args[1] = s.opt.ScriptTime().UnixMicro()
	}
	for i := range charges {
		c := &charges[i]
		keys[i] = string(c.Key)
		rate := c.Limit.Rate()
		step, span := rate.Step(c.Cost), rate.Span()
		args = append(args, rate.Count(), step.Micros, step.Part, span.Micros, span.Part, flags(c.Limit.Definition()))
	}
	return keys, args
}

func flags(d ratelimiter.Definition) int64 {
	var f int64
	if !d.Shadow {
		f |= flagEnforced
	}
	switch d.Counting {
	case ratelimiter.CountAllowed:
		f |= flagAllowed
	case ratelimiter.CountAll:
		f |= flagAllowed | flagRefused
	case ratelimiter.CountDenied: // Take only looks
	}
	return f
}

func decide(op string, charges []ratelimiter.Charge, reply []int64) (ratelimiter.Decision, error) {
	if len(reply) != 1+replyPerLimit*len(charges) {
		return ratelimiter.Decision{}, fmt.Errorf("the script answered %d numbers for %d limits", len(reply), len(charges))
	}
	d := ratelimiter.Decision{Allowed: true, Limits: make([]ratelimiter.Status, len(charges))}
	for i := range charges {
		r := reply[1+replyPerLimit*i:]
		d.Limits[i] = charges[i].Status(ratelimiter.Reading{
			Now:     reply[0],
			TAT:     gcra.Instant{Micros: r[2], Part: r[3]},
			Room:    r[0] == 1,
			Charged: r[1] == 1,
		})
		if r[0] != 1 && op != "settle" && !charges[i].Limit.Definition().Shadow {
			d.Allowed = false
		}
	}
	return d, nil
}
