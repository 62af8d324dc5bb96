package memory_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

func compiled(t testing.TB, d ratelimiter.Definition) *ratelimiter.Limit {
	t.Helper()
	l, err := ratelimiter.NewLimit(d)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// model is the naive store: it remembers every unit that was ever charged and counts by the words of the definition.
type model struct {
	charged map[ratelimiter.Key][]unit
}

type unit struct {
	at, cost int64
	member   uint64 // of a limit on distinct values
}

// room says whether a charge passes at now.
func (m *model) room(c *ratelimiter.Charge, now int64) bool {
	w := c.Limit.Definition().Window.Microseconds()
	if c.Limit.Algorithm() == ratelimiter.Distinct && slices.ContainsFunc(m.charged[c.Key], func(u unit) bool { return u.member == c.Member && u.at >= now-now%w }) {
		return true
	}
	return c.Cost <= m.left(c, now)
}

// left returns the units that would pass at now. For GCRA it plays the bucket, in parts of a unit so small that all is whole.
func (m *model) left(c *ratelimiter.Charge, now int64) int64 {
	d, units := c.Limit.Definition(), m.charged[c.Key]
	w := d.Window.Microseconds()
	sum := func(from, to int64) (n int64) {
		for _, u := range units {
			if u.at >= from && u.at < to {
				n += u.cost
			}
		}
		return n
	}
	start := now - now%w
	switch d.Algorithm {
	case ratelimiter.GCRA:
		debt, last := int64(0), int64(0) // in 1/w unit
		for _, u := range units {
			debt = min(max(debt-(u.at-last)*d.Count, 0)+u.cost*w, d.Burst*w)
			last = u.at
		}
		debt = max(debt-(now-last)*d.Count, 0)
		return (d.Burst*w - debt) / w
	case ratelimiter.FixedWindow:
		return d.Count - sum(start, start+w)
	case ratelimiter.SlidingWindow:
		return max(d.Count-sum(start, start+w)-(sum(start-w, start)*(start+w-now)+w-1)/w, 0)
	case ratelimiter.SlidingLog:
		return d.Count - sum(now-w+1, now+1)
	case ratelimiter.Distinct:
		seen := map[uint64]bool{}
		for _, u := range units {
			if u.at >= start {
				seen[u.member] = true
			}
		}
		return d.Count - int64(len(seen))
	case ratelimiter.Concurrency: // has a model of its own, in its package
	case ratelimiter.Quota:
		from, to := d.Calendar.Bounds(now)
		return d.Count - sum(from, to)
	}
	return 0
}

// do is the rule of ratelimiter.Store. It returns the decision and, for each charge, whether it was charged and what is left.
func (m *model) do(op string, charges []ratelimiter.Charge, now int64) (allowed bool, was []bool, left []int64) {
	allowed = true
	room := make([]bool, len(charges))
	for i := range charges {
		room[i] = m.room(&charges[i], now)
		if op != "settle" && !room[i] && !charges[i].Limit.Definition().Shadow {
			allowed = false
		}
	}
	for i := range charges {
		c := &charges[i]
		counting := c.Limit.Definition().Counting
		charge := c.Cost > 0 && (op == "settle" || op == "take" && room[i] && (allowed && counting != ratelimiter.CountDenied || counting == ratelimiter.CountAll))
		if charge {
			cost := c.Cost // a settled bucket is left empty, to the last part of a unit
			if c.Limit.Algorithm() != ratelimiter.GCRA {
				cost = min(cost, m.left(c, now))
			}
			if room[i] || c.Limit.Algorithm() != ratelimiter.Distinct {
				m.charged[c.Key] = append(m.charged[c.Key], unit{now, cost, c.Member})
			}
		}
		was, left = append(was, charge), append(left, m.left(c, now))
	}
	return allowed, was, left
}

// TestAgainstModel: random decisions over limits of all algorithms together, beside the naive store.
func TestAgainstModel(t *testing.T) {
	s, clock := newStore(t, 0)
	m := &model{charged: map[ratelimiter.Key][]unit{}}
	rng := rand.New(rand.NewPCG(8, 9))
	var limits []*ratelimiter.Limit
	for i := range 24 {
		d := ratelimiter.Definition{
			Name: strconv.Itoa(i), Algorithm: ratelimiter.Algorithm(i % 6), Count: 1 + rng.Int64N(30), Window: time.Duration(1+rng.Int64N(200_000)) * time.Microsecond,
			Shadow: rng.IntN(5) == 0, Counting: ratelimiter.Counting(rng.IntN(3)),
		}
		if d.Algorithm == ratelimiter.Quota {
			d.Window, d.Calendar = 0, window.Day
		}
		if d.Algorithm == ratelimiter.Distinct { // so long that values come again, and too many
			d.Count, d.Window = 1+d.Count/5, 5*time.Second
		}
		limits = append(limits, compiled(t, d))
	}
	ctx := context.Background()
	seen := map[string]int{}
	for step := range 20_000 {
		var charges []ratelimiter.Charge
		first := rng.IntN(len(limits))
		for i := range 1 + rng.IntN(5) {
			l := limits[(first+i)%len(limits)]
			c := ratelimiter.Charge{Limit: l, Key: ratelimiter.Key(l.Definition().Name), Cost: []int64{0, 1, 1, 2, l.Definition().Count + 1}[rng.IntN(5)]}
			if l.Algorithm() == ratelimiter.Distinct {
				c.Cost, c.Member = min(c.Cost, 1), uint64(rng.Int64N(2*l.Definition().Count))
			}
			charges = append(charges, c)
		}
		op := []string{"take", "take", "take", "settle", "peek"}[rng.IntN(5)]
		do := map[string]func(context.Context, []ratelimiter.Charge) (ratelimiter.Decision, error){"take": s.Take, "settle": s.Settle, "peek": s.Peek}[op]
		got, err := do(ctx, charges)
		if err != nil {
			t.Fatal(err)
		}
		allowed, was, left := m.do(op, charges, clock.at.UnixMicro())
		if got.Allowed != allowed {
			t.Fatalf("step %d: %s allowed %v", step, op, got.Allowed)
		}
		for i, status := range got.Limits {
			if status.Charged != was[i] || status.Remaining != left[i] {
				t.Fatalf("step %d: %s of %v: charged %v, %d left; want %v, %d", step, op, status.Limit.Algorithm(), status.Charged, status.Remaining, was[i], left[i])
			}
			if was[i] {
				seen[status.Limit.Algorithm().String()]++
			} else if op == "take" && !status.Room {
				seen["no room "+status.Limit.Algorithm().String()]++
			}
		}
		clock.at = clock.at.Add(time.Duration(rng.Int64N([]int64{2, 2000, 200_000}[rng.IntN(3)])) * time.Microsecond)
		if step%2000 == 0 { // to another day
			clock.at = clock.at.Add(23 * time.Hour)
		}
	}
	t.Log(seen)
	if len(seen) != 12 {
		t.Error("not every algorithm was charged and had no room")
	}
}
