package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
)

// Errors of decisions that were not sent, and so charged nothing.
var (
	// ErrBusy is wrapped by the error of a decision that found the queue full, or waited too long in it.
	ErrBusy = errors.New("not asked: too many decisions wait")
	// ErrClosed is wrapped by the error of a decision that came after Close.
	ErrClosed = errors.New("not asked: the store is closed")

	errLeft = errors.New("not asked")
)

// BatchOptions say how the decisions of concurrent callers share calls. Nobody waits for others to come: a call takes
// what is queued when a lane is free. Zero values mean the defaults.
type BatchOptions struct {
	Lanes     int // calls in flight at a time, each on a connection of its own; 2
	Decisions int // in one call; 64
	Keys      int // counters in one call; 256. A single decision may have more
	Queue     int // decisions that wait; 4,096. Beyond it they fail at once
}

func (o *BatchOptions) complete(pool int) error {
	if o.Lanes < 0 || o.Decisions < 0 || o.Keys < 0 || o.Queue < 0 {
		return errors.New("redis store of limits: negative batch setting")
	}
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Lanes, min(2, pool))
	set(&o.Decisions, 64)
	set(&o.Keys, 256)
	set(&o.Queue, 4096)
	if o.Lanes > pool {
		return fmt.Errorf("redis store of limits: %d lanes share %d connections", o.Lanes, pool)
	}
	return nil
}

// operation is what a decision asks, by the script's numbers.
type operation uint8

const (
	take operation = iota + 1
	settle
	peek
	refund  // gives back what take has charged
	refused // a take that another slot has refused
	plain   // a take for the script alone: see job.asked
)

func (o operation) String() string {
	switch o {
	case take:
		return "take"
	case settle:
		return "settle"
	case peek:
		return "peek"
	case refund:
		return "refund"
	case refused:
		return "take" // to whoever looks from outside
	case plain:
	}
	return "invalid"
}

// States of a job. Whoever moves it from waiting decides whether it is sent: its lane or its caller.
const (
	waiting int32 = iota
	claimed
	abandoned
)

// job is one question on its way through the queue. Its charges are a copy: a caller that leaves may change its own while
// the call runs.
type job struct {
	question
	state atomic.Int32
	done  chan struct{} // holds one element when the fields below are set

	now   int64
	reply []int64
	plain bool    // it was asked as a plain take
	order []uint8 // then: the charges as they were asked
	err   error

	behind *job // in its line
}

// numbers returns how many numbers the script answers for the job.
func (j *job) numbers() int {
	if j.plain {
		return 1 + 2*len(j.charges)
	}
	n := 0
	for i := range j.charges {
		n += replyNumbers(&j.charges[i])
	}
	return n
}

// asked returns the operation by the name under which the script does it fastest.
func (j *job) asked() operation {
	if j.op != take || len(j.charges) > maxPlain {
		return j.op
	}
	for i := range j.charges {
		c := &j.charges[i]
		d := c.Limit.Definition()
		if d.Algorithm != ratelimiter.GCRA || d.Shadow || d.Counting != ratelimiter.CountAllowed || c.Cost == 0 || c.Lease.Units > 0 {
			return take
		}
	}
	return plain
}

func (j *job) finish(err error) {
	j.err = err
	j.done <- struct{}{}
}

// queue holds the jobs that wait for a lane, in a line for each slot: a call has counters of one slot only. Slots are served
// in turn, so that a busy one does not hold up the others.
type queue struct {
	opt     BatchOptions
	patient time.Duration // a job that has waited longer is not sent: it has too little time left for a call
	now     func() time.Time
	pool    sync.Pool

	mu     sync.Mutex
	some   sync.Cond // there are jobs, or the queue is closed
	lines  map[int]line
	turn   []int // the slots of the lines, which are never empty, in the order in which they are served
	jobs   int   // in all lines
	closed bool
}

// line is the jobs of a slot in the order in which they came.
type line struct{ first, last *job }

func newQueue(o BatchOptions, patient time.Duration, now func() time.Time) *queue {
	q := &queue{opt: o, patient: patient, now: now, lines: map[int]line{}}
	q.pool.New = func() any { return &job{done: make(chan struct{}, 1)} }
	q.some.L = &q.mu
	return q
}

// ask queues one question and waits for the answer, or until ctx ends. Then what was not sent never will be (a refund
// will), and what was sent may be charged.
func (q *queue) ask(ctx context.Context, what question) (ratelimiter.Decision, error) {
	j, _ := q.pool.Get().(*job)
	charges := append(j.charges[:0], what.charges...)
	j.question = what
	j.charges = charges
	j.state.Store(waiting)
	if err := q.put(j); err != nil {
		q.recycle(j)
		return ratelimiter.Decision{}, err
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.op != refund && j.state.CompareAndSwap(waiting, abandoned) {
			return ratelimiter.Decision{}, fmt.Errorf("%w: %w", errLeft, ctx.Err())
		}
		select {
		case <-j.done: // the answer came as well
		default: // the job is its lane's to forget
			return ratelimiter.Decision{}, ctx.Err()
		}
	}
	var d ratelimiter.Decision
	err := j.err
	if err == nil {
		d = decide(j)
	}
	q.recycle(j)
	return d, err
}

// recycle takes back a job that nobody else holds. It keeps no caller's keys.
func (q *queue) recycle(j *job) {
	clear(j.charges)
	j.question = question{charges: j.charges}
	j.now, j.reply, j.plain, j.err, j.behind = 0, nil, false, nil, nil
	q.pool.Put(j)
}

func (q *queue) put(j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if q.jobs >= q.opt.Queue {
		return ErrBusy
	}
	l, waits := q.lines[j.slot]
	if waits {
		l.last.behind = j
	} else {
		l.first = j
		q.turn = append(q.turn, j.slot)
	}
	l.last = j
	q.lines[j.slot] = l
	q.jobs++
	q.some.Signal()
	return nil
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.jobs
}

// close lets the lanes end once they have answered what waits.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
}

// next waits for jobs and gives the lane those of its next call, which may be none. It reports false when the queue is
// closed and empty.
func (q *queue) next(l *lane) (time.Time, bool) {
	q.mu.Lock()
	for q.jobs == 0 {
		if q.closed {
			q.mu.Unlock()
			return time.Time{}, false
		}
		q.some.Wait()
	}
	q.mu.Unlock()
	runtime.Gosched() // callers that can run at this moment come along; when there are none it costs nothing
	now := q.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	l.jobs = q.drain(l.jobs[:0], now)
	return now, true
}

// drain moves the jobs of one call into batch. The one that has waited longest is the first.
func (q *queue) drain(batch []*job, now time.Time) []*job {
	if len(q.turn) == 0 {
		return batch // the other lane was faster
	}
	slot := q.turn[0]
	q.turn = append(q.turn[:0], q.turn[1:]...)
	l, keys := q.lines[slot], 0
	for l.first != nil {
		j := l.first
		if len(batch) > 0 && (len(batch) == q.opt.Decisions || keys+len(j.charges) > q.opt.Keys) {
			q.lines[slot] = l
			q.turn = append(q.turn, slot)
			return batch
		}
		l.first, j.behind = j.behind, nil
		q.jobs--
		if !j.state.CompareAndSwap(waiting, claimed) {
			continue // its caller has left
		}
		if now.Sub(j.start) > q.patient {
			j.finish(ErrBusy)
			continue
		}
		batch = append(batch, j)
		keys += len(j.charges)
	}
	delete(q.lines, slot)
	return batch
}

// describe tells an observer about one call.
func describe(jobs []*job, took time.Duration, err error) Call {
	c := Call{Operation: jobs[0].op.String(), Decisions: len(jobs), Duration: took, Err: err}
	for _, j := range jobs {
		c.Limits += len(j.charges)
		if j.op != jobs[0].op {
			c.Operation = "mixed"
		}
	}
	return c
}
