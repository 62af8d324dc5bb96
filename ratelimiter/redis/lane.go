package redis

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/concurrency"
	"github.com/durward-pdp/durward/ratelimiter/distinct"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
	"github.com/durward-pdp/durward/ratelimiter/slidinglog"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// What the script calls things. See script.lua.
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

// encode writes the arguments of the call and returns how many numbers will be answered for its charges.
func (l *lane) encode() int {
	numbers := 0
	for _, j := range l.jobs {
		if !l.encodeAsBefore(j) {
			l.encodeJob(j)
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

func (l *lane) encodeJob(j *job) {
	l.homes = l.homes[:0]
	for i := range j.charges {
		h, record := homeOf(&j.charges[i])
		l.homes = append(l.homes, place{home: h, record: record})
	}
	op := j.asked()
	if op == plain {
		l.encodePlain(j)
		return
	}
	l.asked.add(int64(op), int64(len(j.charges)))
	for i := range j.charges {
		c := &j.charges[i]
		l.asked.add(l.key(l.homes[i].home), l.list(j, 1<<i)+listNumbers)
		if j.op == refund {
			l.asked.add(paid(c.Limit, &j.found[i])...)
		}
	}
}

// encodePlain writes a plain take, key by key, and keeps for others how it did.
func (l *lane) encodePlain(j *job) {
	if len(l.plans) < maxPlans {
		l.plans = append(l.plans, plan{})
	}
	p := &l.plans[l.turn%maxPlans]
	l.turn++
	p.clear()
	done := uint32(0)
	for i := range j.charges {
		c, h := &j.charges[i], l.homes[i].home
		head := len(c.Key) - len(h.values)
		if h.values == "" {
			head = len(c.Key)
		}
		p.charges = append(p.charges, planned{limit: c.Limit, cost: c.Cost, head: c.Key[:head], service: len(h.service)})
		if done>>i&1 == 1 {
			continue
		}
		together := uint32(0)
		for k := i; k < len(j.charges); k++ {
			if l.homes[k].home == h {
				together |= 1 << k
				p.order = append(p.order, uint8(k))
			}
		}
		done |= together
		p.keys = append(p.keys, plannedKey{charges: together, list: l.list(j, together)})
	}
	l.follow(j, p)
}

// follow writes a plain take as planned.
func (l *lane) follow(j *job, p *plan) {
	j.plain, j.order = true, append(j.order[:0], p.order...)
	l.asked.add(int64(plain), int64(len(p.keys)))
	for _, k := range p.keys {
		l.asked.add(l.key(p.home(j, bits.TrailingZeros32(k.charges))), k.list)
	}
}

// encodeAsBefore writes a plain take that is like one before it in the call, but for the values in its keys: most are.
func (l *lane) encodeAsBefore(j *job) bool {
	if j.op != take {
		return false
	}
	for i := range l.plans {
		if p := &l.plans[i]; p.fits(j) {
			l.follow(j, p)
			return true
		}
	}
	return false
}

// plan is how a plain take was written.
type plan struct {
	charges []planned
	keys    []plannedKey
	order   []uint8 // the charges as they were asked
}

type planned struct {
	limit   *ratelimiter.Limit
	cost    int64
	head    ratelimiter.Key // the key up to its values
	service int             // the length of the part before the limit
}

// plannedKey is a key of Redis: its charges, one bit each, and the place of their list of rules.
type plannedKey struct {
	charges uint32
	list    int64
}

// clear forgets the keys of a plan, which then fits nothing.
func (p *plan) clear() {
	clear(p.charges)
	p.charges, p.keys, p.order = p.charges[:0], p.keys[:0], p.order[:0]
}

// fits reports whether a take may be written so: with the same limits at the same cost, of which the same lie in one key.
func (p *plan) fits(j *job) bool {
	if len(p.charges) != len(j.charges) {
		return false
	}
	for i := range p.charges {
		was, c := &p.charges[i], &j.charges[i]
		if was.limit != c.Limit || was.cost != c.Cost || c.Lease.Units > 0 || !was.heads(c.Key) {
			return false
		}
	}
	for i, k := range p.keys {
		first := bits.TrailingZeros32(k.charges)
		for rest := k.charges & (k.charges - 1); rest != 0; rest &= rest - 1 {
			if p.values(j, bits.TrailingZeros32(rest)) != p.values(j, first) {
				return false
			}
		}
		for _, other := range p.keys[:i] {
			if p.home(j, bits.TrailingZeros32(other.charges)) == p.home(j, first) {
				return false
			}
		}
	}
	return true
}

// heads reports whether a key differs in its values at most: what stands before them says where it ends.
func (c *planned) heads(k ratelimiter.Key) bool {
	if c.service == len(c.head) { // a counter that lies alone
		return k == c.head
	}
	return k.Under(string(c.head))
}

func (p *plan) values(j *job, i int) string { return string(j.charges[i].Key[len(p.charges[i].head):]) }

func (p *plan) home(j *job, i int) home {
	return home{service: string(j.charges[i].Key[:p.charges[i].service]), values: p.values(j, i)}
}

// list returns the place of a list of rules, those of the given charges of a job.
func (l *lane) list(j *job, charges uint32) int64 {
	id := listID{}
	for rest := charges; ; {
		i := bits.TrailingZeros32(rest)
		id.rule = l.ruleOf(&j.charges[i], l.homes[i].record)
		if rest &= rest - 1; rest == 0 {
			break
		}
		stem, ok := l.stems[id]
		if !ok {
			stem = len(l.stems) + 1
			l.stems[id] = stem
		}
		id.stem = stem
	}
	at, ok := l.lists[id]
	if !ok {
		at = int(l.rules.n)
		l.lists[id] = at
		l.addList(j, charges)
	}
	return int64(at)
}

// addList writes a list of rules.
func (l *lane) addList(j *job, charges uint32) {
	var names [8 * ratelimiter.MaxCharges]byte
	n := 0
	for rest := charges; rest != 0; rest &= rest - 1 {
		name := recordName(l.homes[bits.TrailingZeros32(rest)].record)
		n += copy(names[n:], name[:])
	}
	l.rules.add(int64(n / 8))
	l.rules.addText(names[:n])
	for rest := charges; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros32(rest)
		l.addRule(&j.charges[i], l.homes[i].record)
	}
}

func (l *lane) key(h home) int64 {
	at, ok := l.keyAt[h]
	if !ok {
		at = len(l.keys) + 1
		l.keys = slices.Grow(l.keys, 1)[:at]
		l.keys[at-1].set(h)
		l.keyAt[h] = at
	}
	return int64(at)
}

func (l *lane) ruleOf(c *ratelimiter.Charge, record string) ruleID {
	return ruleID{limit: c.Limit, record: record, cost: c.Cost, lease: c.Lease, member: c.Member, permit: c.Permit, release: c.Release}
}

// addRule writes one rule.
func (l *lane) addRule(c *ratelimiter.Charge, record string) {
	d := c.Limit.Definition()
	add := func(code int64, arguments ...int64) {
		l.rules.add(code, c.Cost, flag(!d.Shadow), flag(d.Counting != ratelimiter.CountDenied), flag(d.Counting == ratelimiter.CountAll))
		l.rules.add(arguments...)
	}
	var step gcra.Instant
	switch d.Algorithm {
	case ratelimiter.GCRA:
		rate := c.Limit.Rate()
		cost, span := rate.Step(c.Cost), rate.Span()
		step = rate.Step(1)
		add(codeGCRA, rate.Count(), cost.Micros, cost.Part, span.Micros, span.Part)
	case ratelimiter.FixedWindow, ratelimiter.SlidingWindow, ratelimiter.Quota:
		rate := c.Limit.Window()
		add(codeWindows, rate.Count(), rate.Length(), int64(rate.Calendar()), flag(rate.Sliding()), 0)
	case ratelimiter.SlidingLog:
		rate := c.Limit.Log()
		add(codeLogs, rate.Count(), rate.Window(), 0, 0, 0)
	case ratelimiter.Distinct:
		rate := c.Limit.Distinct()
		add(codeSets, rate.Count(), rate.Window())
		var salt [8]byte
		_, _ = rand.Read(salt[:]) // it never fails
		var member [8]byte
		binary.BigEndian.PutUint64(member[:], c.Member)
		l.rules.addText(member[:])
		l.rules.addText(salt[:])
		l.rules.add(0)
	case ratelimiter.Concurrency:
		rate := c.Limit.Concurrency()
		add(codePermits, rate.Count(), rate.Expiry())
		l.rules.addText(c.Permit[:])
		l.rules.add(flag(c.Release), 0)
	}
	l.rules.add(c.Lease.Units, c.Lease.Share, step.Micros, step.Part)
	name := recordName(record)
	l.rules.addText(name[:])
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

// array is a MessagePack array of integers that are not negative, and of short texts.
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
		switch {
		case v <= math.MaxInt8:
			a.buf = append(a.buf, byte(v)) //nolint:gosec // from 0 to 127
		case v <= math.MaxUint16: // most places of counters and rules
			a.buf = binary.BigEndian.AppendUint16(append(a.buf, 0xcd), uint16(v))
		default:
			a.buf = binary.BigEndian.AppendUint64(append(a.buf, 0xcf), uint64(v))
		}
	}
	a.n += uint32(len(numbers)) //nolint:gosec // a few
}

// addText adds up to 255 bytes: Lua's numbers do not hold 64 bits.
func (a *array) addText(text []byte) {
	if len(text) <= 31 {
		a.buf = append(a.buf, 0xa0|byte(len(text))) //nolint:gosec // as said
	} else {
		a.buf = append(a.buf, 0xd9, byte(len(text))) //nolint:gosec // as said
	}
	a.buf = append(a.buf, text...)
	a.n++
}

func (a *array) bytes() []byte {
	binary.BigEndian.PutUint32(a.buf[1:arrayHeader], a.n)
	return a.buf
}
