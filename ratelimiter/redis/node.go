package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
)

// node is a server that decides: the only one, the master that sentinels name, or a master of a cluster. Each has lanes, a
// queue and a breaker of its own, so that one that fails or is slow costs nobody else's decisions anything.
type node struct {
	addr    string
	client  *goredis.Client
	breaker *breaker
	queue   *queue
	lanes   sync.WaitGroup
}

func (s *Store) newNode(c *goredis.Options) *node {
	notify := s.opt.OnHealth
	if notify != nil {
		notify = func(h Health) {
			h.Server = c.Addr
			s.opt.OnHealth(h)
		}
	}
	n := &node{
		addr:    c.Addr,
		client:  goredis.NewClient(c),
		breaker: newBreaker(s.opt.Breaker, s.opt.Random, notify, s.opt.Now()),
		queue:   newQueue(s.opt.Batch, s.opt.Timeout/2, s.opt.Now),
	}
	for range s.opt.Batch.Lanes {
		n.lanes.Go(newLane(s, n).run)
	}
	return n
}

// close refuses what comes, waits until what was asked is answered or has had its time, and closes the connections.
func (n *node) close() error {
	n.queue.close()
	n.lanes.Wait()
	if err := n.client.Close(); err != nil && !errors.Is(err, goredis.ErrClosed) {
		return fmt.Errorf("close the connections to Redis at %s: %w", n.addr, err)
	}
	return nil
}

// prepare connects, logs in and loads the script.
func (n *node) prepare(ctx context.Context) error {
	err := n.client.WithTimeout(dialTimeout).ScriptLoad(ctx, scriptText()).Err()
	if err == nil {
		return nil
	}
	hint := ""
	var slow interface{ Timeout() bool }
	if n.client.Options().TLSConfig != nil && errors.As(err, &slow) && slow.Timeout() {
		hint = " (a port without TLS does not answer rediss)"
	}
	return fmt.Errorf("load the script of limits into Redis at %s: %w%s", n.addr, err, hint)
}

// question is what one call can decide of a decision: charges of one slot.
type question struct {
	op      operation
	slot    int
	charges []ratelimiter.Charge
	start   time.Time
	found   []ratelimiter.Reading // if set, one for each charge: set by the answer, or, for a refund, what the charges had left
}

// ask puts a question to the node that is in charge of its slot, unless it is known that no lane would send it.
func (s *Store) ask(ctx context.Context, q question) (ratelimiter.Decision, error) {
	for {
		n, err := s.directory.route(ctx, q.slot)
		if err != nil {
			return ratelimiter.Decision{}, fmt.Errorf("%s %d limits in Redis at %s: %w", q.op, len(q.charges), s.Address(), err)
		}
		var d ratelimiter.Decision
		if err = n.breaker.refusal(q.start); err == nil {
			if d, err = n.queue.ask(ctx, q); s.opt.OnBusy != nil && errors.Is(err, ErrBusy) {
				s.opt.OnBusy()
			}
		} else {
			s.directory.doubt()
			s.observe(Call{Operation: q.op.String(), Decisions: 1, Limits: len(q.charges), Err: err})
		}
		switch {
		case err == nil:
			return d, nil
		case errors.Is(err, ErrClosed) && s.directory.left(n, q.slot):
			continue // nothing was sent, and another node is in charge now
		}
		return ratelimiter.Decision{}, fmt.Errorf("%s %d limits in Redis at %s: %w", q.op, len(q.charges), n.addr, err)
	}
}

func (s *Store) observe(c Call) {
	if s.opt.OnCall != nil {
		s.opt.OnCall(c)
	}
}
