package redis

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

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
		head := len(c.Key) - len(h.values) // all of a key that one counter has
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
