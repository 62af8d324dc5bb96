// Package redis keeps the counters of package ratelimiter in Redis 6.2 or later: all limits of a decision in one step, by
// the clock of the server, so that replicas agree however their clocks differ. Decisions of concurrent callers share the
// calls of a script; a lone caller waits for nobody. It knows single servers, masters that sentinels name, and clusters: there
// a step has the limits of one slot (of one scope of keys), and a decision with several takes them slot by slot.
//
// Any user of package ratelimiter may import it; in this module it, package connection below it and package state/redis
// alone import the client library. A call whose outcome is unknown is never repeated: it may have charged. Each call has a short
// deadline, and a breaker keeps a Redis that fails from costing every decision that deadline. Counters are as durable as
// the server: one that restarts empty gives every key a full bucket.
package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	_ "embed" // the script

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/redis/connection"
)

//go:embed windows.lua
var windowsText string

//go:embed distinct.lua
var distinctText string

//go:embed concurrency.lua
var concurrencyText string

//go:embed records.lua
var recordsText string

//go:embed general.lua
var generalText string

//go:embed script.lua
var batchText string

// scriptText returns the script. What a call may not need stands in functions, so that it makes what is in them only when it
// does: most of what a short script costs is to begin.
func scriptText() string {
	var b strings.Builder
	b.WriteString(recordsText)
	for _, part := range []struct{ name, parameters, text, functions string }{
		{"windows_and_logs", "", windowsText, "window_look, window_charge, window_refund, window_reading, window_lease, log_look, log_charge, log_refund, log_reading"},
		{"distinct_values", "", distinctText, "distinct_look, distinct_charge, distinct_refund, distinct_reading"},
		{"permits_held", "", concurrencyText, "permit_look, permit_charge, permit_refund, permit_reading"},
		{"general", "keys, rules, stored, now, hold, out, held, held_at, numbers, opened", generalText, "decided, refunded, ended"},
	} {
		b.WriteString("local function " + part.name + "(" + part.parameters + ")\n" + part.text + "return " + part.functions + "\nend\n")
	}
	return b.String() + batchText
}

// Store implements ratelimiter.Store. It is safe for concurrent use.
type Store struct {
	directory *directory
	script    *goredis.Script
	opt       Options
	turn      int // of the sentinels
}

// New returns a store, which the caller closes. A server that is down fails calls, not the start. It does not connect to a
// single server; sentinels and nodes of a cluster are asked in the background who is in charge.
func New(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	connection.Silence()
	s := &Store{script: goredis.NewScript(scriptText()), opt: o}
	switch o.Mode {
	case Single:
		s.directory = newDirectory(s, 1)
		n, err := s.directory.node(o.addr)
		if err != nil {
			return nil, err
		}
		s.directory.slots[0].Store(n)
		return s, nil
	case Sentinel:
		s.directory = newDirectory(s, 1)
		s.directory.look = s.lookSentinels
	case Cluster:
		s.directory = newDirectory(s, slotCount)
		s.directory.look = s.lookCluster
	}
	s.directory.start()
	return s, nil
}

// Close refuses what comes, waits until what was asked is answered or has had its time, and closes the connections.
func (s *Store) Close() error { return s.directory.close() }

// Address returns where the server is, or whom the store asks for it, without credentials.
func (s *Store) Address() string { return s.opt.target().Address(s.opt.addr) }

// Queued returns how many decisions wait for a call, at all servers.
func (s *Store) Queued() int {
	waiting := 0
	for _, n := range s.directory.all() {
		waiting += n.queue.length()
	}
	return waiting
}

// Health returns the state of the server, or of the one in the worst state.
func (s *Store) Health() Health {
	worst := Health{}
	for i, n := range s.directory.all() {
		h := n.breaker.look()
		h.Server = n.addr
		if i == 0 || severity(h.State) > severity(worst.State) {
			worst = h
		}
	}
	return worst
}

// severity orders states from healthy to not.
func severity(s State) int {
	switch s {
	case Closed:
		return 0
	case HalfOpen:
		return 1
	case Open:
	}
	return 2
}

// Prepare connects, logs in and loads the script, within the deadline of ctx rather than that of a call: at the server, or at
// each that is in charge of something. It charges nothing and does not move a breaker.
func (s *Store) Prepare(ctx context.Context) error {
	if s.directory.look != nil {
		if err := s.directory.refresh(ctx); err != nil {
			return err
		}
	}
	nodes := s.directory.all()
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { errs[i] = n.prepare(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
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
	if err := ctx.Err(); err != nil {
		return ratelimiter.Decision{}, fmt.Errorf("%s %d limits in Redis at %s: %w", op, len(charges), s.Address(), err)
	}
	slot, one := s.slot(charges)
	if !one {
		return s.spread(ctx, op, charges, s.split(charges))
	}
	q := question{op: op, slot: slot, charges: charges, start: s.opt.Now()}
	d, err := s.ask(ctx, q)
	if goredis.IsTryAgainError(err) && len(charges) > 1 {
		return s.spread(ctx, op, charges, singles(whole(q)))
	}
	if err != nil && notRun(err) {
		err = &unchargedError{err}
	}
	return d, err
}

// unchargedError is the error of a call that charged nothing.
type unchargedError struct{ error }

// Unwrap returns the cause.
func (e *unchargedError) Unwrap() error { return e.error }

// Uncharged is what package ratelimiter asks for.
func (*unchargedError) Uncharged() bool { return true }
