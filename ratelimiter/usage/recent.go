package usage

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/durward-pdp/durward/ratelimiter"
)

// Key is a key that was near its limit or over it.
type Key struct {
	Key ratelimiter.Key
	// Near is how many decisions passed and left the key near its limit, Refused how many had no room. Both are exact since the
	// key was noticed; before that it had at most Missed of the two together.
	Near, Refused, Missed uint64
	// Percent is the highest part of the limit that was used.
	Percent int
	// By names what the values of the key are, as Definition.By did when it was last met: a limit may have been told since to
	// count by something else.
	By string
}

// recent are the keys of one limit in the last window and the one before.
type recent struct {
	mu            sync.Mutex
	began         time.Time // of the present window
	now, previous *summary
}

func newRecent(at time.Time) *recent {
	return &recent{began: at, now: &summary{}, previous: &summary{}}
}

func (r *recent) add(seed maphash.Seed, m met, at time.Time, window time.Duration) {
	hash := maphash.String(seed, string(m.key))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at, window)
	r.now.add(hash, m)
}

// turn begins a new window where the last one is over, and forgets what is older than two.
func (r *recent) turn(at time.Time, window time.Duration) {
	age := at.Sub(r.began)
	switch {
	case age < window:
		return
	case age >= 2*window:
		*r.now = summary{}
	}
	r.now, r.previous = r.previous, r.now
	*r.now = summary{}
	r.began = at
}

// keys returns what both windows hold, who was refused most first.
func (r *recent) keys(at time.Time, window time.Duration) []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at, window)
	var out []Key
	place := map[ratelimiter.Key]int{}
	for _, s := range []*summary{r.now, r.previous} {
		for i := range s.used {
			e := &s.rest[i]
			j, seen := place[e.key]
			if !seen {
				j = len(out)
				place[e.key] = j
				// What either window does not hold may have been there; what it does hold is set right below.
				out = append(out, Key{Key: e.key, By: e.by, Missed: r.now.floor() + r.previous.floor()})
			}
			k := &out[j]
			k.Refused += e.refused
			k.Near += s.counts[i] - e.inherited - e.refused
			k.Missed += e.inherited - s.floor()
			k.Percent = max(k.Percent, int(e.percent))
		}
	}
	slices.SortFunc(out, func(a, b Key) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(b.Near, a.Near), cmp.Compare(a.Key, b.Key))
	})
	return out
}
