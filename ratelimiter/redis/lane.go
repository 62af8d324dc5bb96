package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// What the script calls things. See script.lua.
const (
	codeGCRA    = 1
	codeWindows = 2
	codeLogs    = 3

	replyRoom    = 1
	replyCharged = 2
)

// replyNumbers returns how many numbers the script answers for a charge.
func replyNumbers(c *ratelimiter.Charge) int {
	n := 4 // the windows
	switch c.Limit.Algorithm() {
	case ratelimiter.GCRA:
		n = 3
	case ratelimiter.SlidingLog:
		n = 5
	default:
	}
	if c.Lease.Units > 0 {
		n++
	}
	return n
}

// lane makes one call at a time. What it allocates for a call serves the next one too, but holds nobody's keys between.
type lane struct {
	store *Store
	jobs  []*job

	keys   []string
	keyAt  map[ratelimiter.Key]int // both count from 1, as the script does
	ruleAt map[ruleID]int
	rules  array
	asked  array
	args   []any
}

// ruleID tells rules apart: most decisions of a call meet the same limits at the same cost.
type ruleID struct {
	limit *ratelimiter.Limit
	cost  int64
	lease ratelimiter.Lease
}

func newLane(s *Store) *lane {
	l := &lane{store: s, keyAt: map[ratelimiter.Key]int{}, ruleAt: map[ruleID]int{}}
	l.forget()
	return l
}

// run answers batch after batch until the queue is closed and empty.
func (l *lane) run() {
	for {
		now, ok := l.store.queue.next(l)
		if !ok {
			return
		}
		l.answer(now)
	}
}

// answer makes the call for the lane's jobs and tells each what became of it.
func (l *lane) answer(now time.Time) {
	if len(l.jobs) == 0 { // all had left
		return
	}
	s := l.store
	p, err := s.breaker.enter(now)
	var reply []int64
	if err == nil {
		reply, err = l.call(s.opt.Timeout - now.Sub(l.jobs[0].start))
		s.breaker.leave(p, err == nil, err, s.opt.Now())
	}
	if s.opt.OnCall != nil {
		s.opt.OnCall(describe(l.jobs, s.opt.Now().Sub(now), err))
	}
	at := 1
	for i, j := range l.jobs {
		if err == nil {
			end := at + j.numbers()
			j.now, j.reply, at = reply[0], reply[at:end], end
		}
		j.finish(err)
		l.jobs[i] = nil
	}
	l.forget()
}

func (l *lane) forget() {
	clear(l.keyAt)
	clear(l.ruleAt)
	clear(l.keys)
	clear(l.args)
	l.keys, l.args = l.keys[:0], l.args[:0]
	l.rules.reset()
	l.asked.reset()
}

// call runs the script. Its deadline is that of the job that has waited longest: whoever still waits came later.
func (l *lane) call(timeout time.Duration) ([]int64, error) {
	s := l.store
	ctx, cancel := context.WithTimeout(context.Background(), timeout) //nolint:forbidigo // it is for many callers, any of whom may leave
	defer cancel()
	want := 1 + l.encode()
	reply, err := l.eval(ctx, "evalsha", s.script.Hash())
	if goredis.HasErrorPrefix(err, "NOSCRIPT") { // nothing ran: this is the one answer that is safe to ask again
		reply, err = l.eval(ctx, "eval", scriptText())
	}
	if err != nil {
		return nil, err
	}
	if len(reply) != want {
		return nil, fmt.Errorf("the script answered %d numbers instead of %d", len(reply), want)
	}
	return reply, nil
}

func (l *lane) eval(ctx context.Context, command, script string) ([]int64, error) {
	l.args[0], l.args[1] = command, script
	cmd := goredis.NewIntSliceCmd(ctx, l.args...)
	_ = l.store.client.Process(ctx, cmd) // the command holds the error too
	return cmd.Result()
}

// encode writes the arguments of the call and returns how many numbers will be answered for its charges.
func (l *lane) encode() int {
	numbers := 0
	for _, j := range l.jobs {
		l.asked.add(int64(j.op), int64(len(j.charges)))
		for i := range j.charges {
			c := &j.charges[i]
			l.asked.add(l.key(c.Key), l.rule(c))
		}
		numbers += j.numbers()
	}
	l.args = append(l.args, "", "", len(l.keys))
	for i := range l.keys {
		l.args = append(l.args, &l.keys[i]) // a pointer needs no allocation
	}
	at := ""
	if l.store.opt.ScriptTime != nil {
		at = fmt.Sprint(l.store.opt.ScriptTime().UnixMicro())
	}
	l.args = append(l.args, at, l.rules.bytes(), l.asked.bytes())
	return numbers
}

func (l *lane) key(k ratelimiter.Key) int64 {
	at, ok := l.keyAt[k]
	if !ok {
		l.keys = append(l.keys, string(k))
		at = len(l.keys)
		l.keyAt[k] = at
	}
	return int64(at)
}

func (l *lane) rule(c *ratelimiter.Charge) int64 {
	id := ruleID{limit: c.Limit, cost: c.Cost, lease: c.Lease}
	at, ok := l.ruleAt[id]
	if !ok {
		at = len(l.ruleAt) + 1
		l.ruleAt[id] = at
		l.addRule(c)
	}
	return int64(at)
}

// addRule writes one rule.
func (l *lane) addRule(c *ratelimiter.Charge) {
	d := c.Limit.Definition()
	var step gcra.Instant
	add := func(code int64, arguments [5]int64) {
		l.rules.add(code, c.Cost, flag(!d.Shadow), flag(d.Counting != ratelimiter.CountDenied), flag(d.Counting == ratelimiter.CountAll))
		l.rules.add(arguments[:]...)
		l.rules.add(c.Lease.Units, c.Lease.Share, step.Micros, step.Part)
	}
	switch d.Algorithm {
	case ratelimiter.GCRA:
		rate := c.Limit.Rate()
		cost, span := rate.Step(c.Cost), rate.Span()
		step = rate.Step(1)
		add(codeGCRA, [5]int64{rate.Count(), cost.Micros, cost.Part, span.Micros, span.Part})
	case ratelimiter.FixedWindow, ratelimiter.SlidingWindow, ratelimiter.Quota:
		rate := c.Limit.Window()
		add(codeWindows, [5]int64{rate.Count(), rate.Length(), int64(rate.Calendar()), flag(rate.Sliding())})
	case ratelimiter.SlidingLog:
		rate := c.Limit.Log()
		add(codeLogs, [5]int64{rate.Count(), rate.Window()})
	}
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// decide reads the script's answer to one job.
func decide(j *job) ratelimiter.Decision {
	d := ratelimiter.Decision{Allowed: true, Limits: make([]ratelimiter.Status, len(j.charges))}
	reply := j.reply
	for i := range j.charges {
		c := &j.charges[i]
		n := replyNumbers(c)
		r := reading(c, reply[:n])
		r.Now, reply = j.now, reply[n:]
		d.Limits[i] = c.Status(&r)
		if !r.Room && j.op != settle && !c.Limit.Definition().Shadow {
			d.Allowed = false
		}
	}
	return d
}

// reading reads the script's numbers for one charge.
func reading(c *ratelimiter.Charge, r []int64) ratelimiter.Reading {
	out := ratelimiter.Reading{Room: r[0]&replyRoom != 0, Charged: r[0]&replyCharged != 0}
	if c.Lease.Units > 0 {
		out.Ahead = r[len(r)-1]
	}
	switch c.Limit.Algorithm() {
	case ratelimiter.GCRA:
		out.TAT = gcra.Instant{Micros: r[1], Part: r[2]}
	case ratelimiter.FixedWindow, ratelimiter.SlidingWindow, ratelimiter.Quota:
		out.Window = window.Counter{Until: r[1], Used: r[2], Before: r[3]}
	case ratelimiter.SlidingLog:
		out.Log = slidinglog.View{Used: r[1], More: r[2], Enough: r[3], Last: r[4]}
	}
	return out
}

// array is a MessagePack array of integers that are not negative.
type array struct {
	buf []byte
	n   uint32
}

const arrayHeader = 5 // a byte and the length

func (a *array) reset() {
	a.buf, a.n = append(a.buf[:0], 0xdd, 0, 0, 0, 0), 0
}

func (a *array) add(numbers ...int64) {
	for _, v := range numbers {
		if v <= math.MaxInt8 {
			a.buf = append(a.buf, byte(v)) //nolint:gosec // from 0 to 127
			continue
		}
		a.buf = binary.BigEndian.AppendUint64(append(a.buf, 0xcf), uint64(v))
	}
	a.n += uint32(len(numbers)) //nolint:gosec // a few
}

func (a *array) bytes() []byte {
	binary.BigEndian.PutUint32(a.buf[1:arrayHeader], a.n)
	return a.buf
}
