package ratelimiter

import (
	"context"
	"fmt"
	"sync"
)

// settleBatch bounds how many waiting calls one store call carries.
const settleBatch = 64

// settler charges denials behind the callers' backs: one worker, a bounded queue.
type settler struct {
	queue  chan []Charge
	settle func(context.Context, []Charge)
	quit   chan struct{}
	done   chan struct{}

	mu     sync.RWMutex // held to write while closing, so that nothing is queued for nobody
	closed bool
}

func newSettler(size int, settle func(context.Context, []Charge)) *settler {
	s := &settler{
		queue:  make(chan []Charge, size),
		settle: settle,
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	go s.run()
	return s
}

// offer queues charges unless the queue is full or closed.
func (s *settler) offer(charges []Charge) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	select {
	case s.queue <- charges:
		return true
	default:
		return false
	}
}

func (s *settler) close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.quit)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("settle the waiting denials: %w", ctx.Err())
	}
}

func (s *settler) run() {
	defer close(s.done)
	for {
		select {
		case first := <-s.queue:
			s.batch(first)
		case <-s.quit:
			for {
				select {
				case first := <-s.queue:
					s.batch(first)
				default:
					return
				}
			}
		}
	}
}

// batch settles one call and those that wait behind it, counters that repeat as one charge. Stores have deadlines of
// their own.
func (s *settler) batch(next []Charge) {
	var merged []Charge
	place := make(map[Key]int)
	flush := func() {
		if len(merged) > 0 {
			s.settle(context.Background(), merged) //nolint:forbidigo // nobody waits for it, and stores have deadlines of their own
		}
		merged, place = nil, make(map[Key]int)
	}
	for n := 1; ; n++ {
		for _, c := range next {
			i, seen := place[c.Key]
			switch {
			case seen && merged[i].Limit == c.Limit && merged[i].Member == c.Member && merged[i].Permit == c.Permit:
				if c.Limit.def.Algorithm != Distinct && !c.Release {
					merged[i].Cost = min(merged[i].Cost+c.Cost, MaxCost)
				}
				continue
			case seen || len(merged) == MaxCharges: // another definition of the limit, another value or permit, or full
				flush()
			}
			place[c.Key] = len(merged)
			merged = append(merged, c)
		}
		if n == settleBatch {
			break
		}
		select {
		case next = <-s.queue:
			continue
		default:
		}
		break
	}
	flush()
}
