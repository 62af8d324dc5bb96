package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/concurrency"
	"github.com/durward-pdp/durward/ratelimiter/distinct"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// What the script calls things. See script.lua, and encode.go.
const (
	codeGCRA    = 1
	codeWindows = 2
	codeLogs    = 3
	codeSets    = 4
	codePermits = 5

	listNumbers = 2  // of each list, before its rules
	maxPlain    = 16 // charges of a plain take
	maxPlans    = 8  // that are kept in a call

	replyRoom    = 1
	replyCharged = 2
	doubleBytes  = 8 // of each number
)

// maxRedirects is how often a call goes where a cluster sends it.
const maxRedirects = 3

// replyNumbers returns how many numbers the script answers for a charge.
func replyNumbers(c *ratelimiter.Charge) int {
	n := 4 // the windows, and permits
	switch c.Limit.Algorithm() {
	case ratelimiter.GCRA, ratelimiter.Distinct:
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
	node  *node
	jobs  []*job

	keys  []keyText
	keyAt map[home]int   // counted from 1, as the script does
	lists map[listID]int // the places before their first numbers
	stems map[listID]int // lists that others go on from, counted from 1
	homes []place        // of the charges of a decision
	plans []plan         // of takes that came before
	turn  int            // of the plans: which is next
	rules array
	asked array
	args  []any
}

// ruleID tells rules apart: most decisions of a call meet the same limits at the same cost.
type ruleID struct {
	limit   *ratelimiter.Limit
	record  string
	cost    int64
	lease   ratelimiter.Lease
	member  uint64
	permit  concurrency.ID
	release bool
}

// listID tells lists of rules apart: by the last rule, and the list before it, 0 for none.
type listID struct {
	stem int
	rule ruleID
}

// place is where a charge's counter lies.
type place struct {
	home   home
	record string
}

func newLane(s *Store, n *node) *lane {
	l := &lane{store: s, node: n, keyAt: map[home]int{}, lists: map[listID]int{}, stems: map[listID]int{}}
	l.forget()
	return l
}

// run answers batch after batch until the queue is closed and empty.
func (l *lane) run() {
	for {
		now, ok := l.node.queue.next(l)
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
	reply, err := l.call(now)
	s.observe(describe(l.jobs, s.opt.Now().Sub(now), err))
	if goredis.IsTryAgainError(err) && len(l.jobs) > 1 {
		l.apart()
		return
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

// apart makes a call for each job: while a slot moves, its nodes run no call whose counters they do not all hold, which may
// be none of one job's.
func (l *lane) apart() {
	jobs := append([]*job(nil), l.jobs...)
	clear(l.jobs)
	l.forget()
	for _, j := range jobs {
		now := l.store.opt.Now()
		if now.Sub(j.start) > l.node.queue.patient {
			j.finish(ErrBusy)
			continue
		}
		l.jobs = append(l.jobs[:0], j)
		l.answer(now)
	}
}

func (l *lane) forget() {
	clear(l.keyAt)
	clear(l.lists)
	clear(l.stems)
	clear(l.homes[:cap(l.homes)]) // of all jobs
	for i := range l.plans {
		l.plans[i].clear()
	}
	l.turn = 0
	for i := range l.keys {
		l.keys[i].clear()
	}
	clear(l.args)
	l.keys, l.args = l.keys[:0], l.args[:0]
	l.rules.reset()
	l.asked.reset()
}

// call runs the script. Its deadline is that of the job that has waited longest: whoever still waits came later.
func (l *lane) call(now time.Time) ([]int64, error) {
	timeout := l.store.opt.Timeout - now.Sub(l.jobs[0].start)
	ctx, cancel := context.WithTimeout(context.Background(), timeout) //nolint:forbidigo // it is for many callers, any of whom may leave
	defer cancel()
	if err := l.node.breaker.refusal(now); err != nil {
		return nil, err
	}
	want := 1 + l.encode()
	reply, err := l.send(ctx, now)
	if err != nil {
		return nil, err
	}
	if len(reply) != want {
		return nil, fmt.Errorf("the script answered %d numbers instead of %d", len(reply), want)
	}
	return reply, nil
}

// send asks the lane's node, and then whom that names instead: it has run nothing.
func (l *lane) send(ctx context.Context, now time.Time) ([]int64, error) {
	n, asking := l.node, false
	for hop := 0; ; hop++ {
		reply, err := l.ask(ctx, n, asking, now)
		to, moved, ok := redirection(err, n.addr)
		if !ok || hop == maxRedirects || !l.store.directory.clustered() {
			return reply, err
		}
		if asking = !moved; moved {
			n, err = l.store.directory.moved(l.jobs[0].slot, to)
		} else {
			n, err = l.store.directory.node(to)
		}
		if err != nil {
			return nil, err
		}
	}
}

// ask asks one node, unless its breaker is open. What is repeated here has not run.
func (l *lane) ask(ctx context.Context, n *node, asking bool, now time.Time) ([]int64, error) {
	s := l.store
	p, err := n.breaker.enter(now)
	if err != nil {
		return nil, err
	}
	reply, err := l.eval(ctx, n, asking, "evalsha", s.script.Hash())
	if goredis.HasErrorPrefix(err, "NOSCRIPT") {
		reply, err = l.eval(ctx, n, asking, "eval", scriptText())
	}
	_, _, elsewhere := redirection(err, n.addr)
	works := err == nil || s.directory.clustered() && (elsewhere || goredis.IsTryAgainError(err))
	n.breaker.leave(p, works, err, s.opt.Now())
	if !works {
		s.directory.doubt()
	}
	return reply, err
}

// eval sends the script once. asking tells a node that it was named by one that is handing the slot over to it.
func (l *lane) eval(ctx context.Context, n *node, asking bool, command, script string) ([]int64, error) {
	l.args[0], l.args[1] = command, script
	cmd := goredis.NewStringCmd(ctx, l.args...)
	if !asking {
		_ = n.client.Process(ctx, cmd) // the command holds the error too
		return answered(cmd)
	}
	pipe := n.client.Pipeline()
	pipe.Do(ctx, "asking")
	_ = pipe.Process(ctx, cmd)
	_, _ = pipe.Exec(ctx)
	return answered(cmd)
}

// answered returns the numbers of the script's answer. They are integers, and in a double each.
func answered(cmd *goredis.StringCmd) ([]int64, error) {
	text, err := cmd.Bytes()
	if err != nil {
		return nil, err
	}
	if len(text)%doubleBytes != 0 {
		return nil, fmt.Errorf("the script answered %d bytes, which are no doubles", len(text))
	}
	numbers := make([]int64, len(text)/doubleBytes)
	for i := range numbers {
		numbers[i] = int64(math.Float64frombits(binary.LittleEndian.Uint64(text[doubleBytes*i:])))
	}
	return numbers, nil
}

// notRun reports whether an error says that nothing was charged: nothing was sent, or Redis answered with an error, which
// the script can meet at its first write at the latest. After any other error what was sent may be charged.
func notRun(err error) bool {
	for _, unsent := range []error{ErrOpen, ErrBusy, ErrClosed, errLeft, errNoServer, goredis.ErrPoolTimeout, goredis.ErrClosed} {
		if errors.Is(err, unsent) {
			return true
		}
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return true
	}
	var reply goredis.Error
	return errors.As(err, &reply)
}

// decide reads the script's answer to one job.
func decide(j *job) ratelimiter.Decision {
	d := ratelimiter.Decision{Allowed: true, Limits: make([]ratelimiter.Status, len(j.charges))}
	reply := j.reply
	if j.plain {
		j.decidePlain(&d)
		return d
	}
	for i := range j.charges {
		c := &j.charges[i]
		n := replyNumbers(c)
		r := reading(c, reply[:n])
		r.Now, reply = j.now, reply[n:]
		d.Limits[i] = c.Status(&r)
		if j.found != nil && j.op != refund {
			j.found[i] = r
		}
		if !r.Room && j.op != settle && !c.Limit.Definition().Shadow {
			d.Allowed = false
		}
	}
	return d
}

// decidePlain reads the script's answer to a plain take.
func (j *job) decidePlain(d *ratelimiter.Decision) {
	lacking := j.reply[0]
	for at, i := range j.order {
		r := ratelimiter.Reading{Now: j.now, Room: lacking>>at&1 == 0, Charged: lacking == 0}
		r.TAT = gcra.Instant{Micros: j.reply[1+2*at], Part: j.reply[2+2*at]}
		d.Limits[i] = j.charges[i].Status(&r)
		if j.found != nil {
			j.found[i] = r
		}
	}
	d.Allowed = lacking == 0
}

// paid returns the two numbers by which the script knows what a charge has left, from the counter after it.
func paid(l *ratelimiter.Limit, r *ratelimiter.Reading) []int64 {
	switch l.Algorithm() {
	case ratelimiter.GCRA:
		return []int64{r.TAT.Micros, r.TAT.Part}
	case ratelimiter.SlidingLog:
		return []int64{r.Log.Last, 0}
	default: // the windows
		return []int64{r.Window.Until, 0}
	}
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
	case ratelimiter.Distinct:
		out.Set = distinct.View{Until: r[1], Count: r[2]}
	case ratelimiter.Concurrency:
		out.Held = concurrency.View{Used: r[1], First: r[2], Last: r[3]}
	}
	return out
}
