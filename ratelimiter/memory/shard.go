package memory

import (
	"sync"

	"github.com/durward-pdp/durward/ratelimiter"
)

const (
	chunkSize  = 256 // slots are allocated in chunks: growing never copies under the lock
	sweepSteps = 4   // slots looked at per new counter: expired ones go faster than new ones come
	sample     = 8   // slots compared to choose which counter to forget
	unitsAKey  = 25  // numbers in logs and sets that take the memory of one more counter
)

// value is what is kept of one counter, in the shape of the limit's algorithm.
type value struct {
	// until is the instant in microseconds at which the counter means nothing any more: the TAT without its part, the end of
	// a window or of that of a set, or a window after the last unit of a log.
	until int64
	// more is the part of the TAT; or the units of the window, and above 32 bits those of the window before.
	more int64
}

// slot holds one counter; an empty key marks a free slot.
type slot struct {
	key   ratelimiter.Key
	value value
	kept  kept // of a sliding log or a set; then value.more is its size as the shard has counted it
}

// kept is a counter that does not fit a value.
type kept interface {
	// Size returns how many numbers of eight bytes it has memory for.
	Size() int
}

// shard is a part of the counters under one lock: an index into chunks of slots, over which a hand moves.
type shard struct {
	mu      sync.Mutex
	index   map[ratelimiter.Key]int
	chunks  []*[chunkSize]slot
	free    []int
	used    int // slots handed out at least once
	units   int // numbers that logs and sets have memory for
	bound   int
	hand    int
	evicted uint64
}

func (s *shard) init(bound int) {
	s.bound = max(bound, 1)
	s.index = make(map[ratelimiter.Key]int)
}

func (s *shard) at(i int) *slot { return &s.chunks[i/chunkSize][i%chunkSize] }

// get returns the counter of a key, the zero value if it has none.
func (s *shard) get(key ratelimiter.Key) value {
	i, ok := s.index[key]
	if !ok {
		return value{}
	}
	return s.at(i).value
}

// kept returns the log or the set of a key, nil if it has none.
func (s *shard) kept(key ratelimiter.Key) kept {
	i, ok := s.index[key]
	if !ok {
		return nil
	}
	return s.at(i).kept
}

func (s *shard) put(key ratelimiter.Key, v value, now int64) {
	e := s.at(s.slot(key, now))
	s.forgetKept(e)
	e.value = v
}

// slot returns the slot of a key, an empty one if it has none yet.
func (s *shard) slot(key ratelimiter.Key, now int64) int {
	if i, ok := s.index[key]; ok {
		return i
	}
	s.sweep(now)
	i := s.room()
	*s.at(i) = slot{key: key}
	s.index[key] = i
	return i
}

// putKept keeps a log or a set, which may have grown, and forgets others while they take more memory than the bound leaves.
func (s *shard) putKept(key ratelimiter.Key, k kept, until, now int64) {
	i := s.slot(key, now)
	e := s.at(i)
	s.forgetKept(e)
	s.units += k.Size()
	e.kept, e.value = k, value{until: until, more: int64(k.Size())}
	for len(s.index) > 1 && len(s.index)+s.units/unitsAKey > s.bound {
		s.evict(i)
	}
}

// sweep moves the hand on and frees the counters under it that have expired: those whose bucket is full, which is what
// an absent counter means.
func (s *shard) sweep(now int64) {
	for range min(sweepSteps, s.used) {
		s.hand = (s.hand + 1) % s.used
		if e := s.at(s.hand); e.key != "" && e.value.until < now {
			s.drop(s.hand)
		}
	}
}

func (s *shard) drop(i int) {
	e := s.at(i)
	s.forgetKept(e)
	delete(s.index, e.key)
	*e = slot{}
	s.free = append(s.free, i)
}

// forgetKept takes the log or set, if there is one, out of the slot and of the count.
func (s *shard) forgetKept(e *slot) {
	if e.kept != nil {
		s.units -= int(e.value.more)
		e.kept = nil
	}
}

// room returns a free slot. At the bound it forgets, of a few counters after the hand, the one that expires soonest:
// the one that is worth least to who wants it forgotten.
func (s *shard) room() int {
	if len(s.index)+s.units/unitsAKey >= s.bound && len(s.index) > 0 {
		s.evict(-1)
	}
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if s.used%chunkSize == 0 {
		s.chunks = append(s.chunks, new([chunkSize]slot))
	}
	s.used++
	return s.used - 1
}

// evict forgets one counter, and not the one in the slot spared. Most slots are in use when it is called: there are more
// counters, or logs and sets so large that few fit, than the bound allows.
func (s *shard) evict(spared int) {
	victim, seen := -1, 0
	for looked := 0; looked < s.used && seen < sample; looked++ {
		s.hand = (s.hand + 1) % s.used
		e := s.at(s.hand)
		if e.key == "" || s.hand == spared {
			continue
		}
		seen++
		if victim < 0 || e.value.until < s.at(victim).value.until {
			victim = s.hand
		}
	}
	if victim >= 0 {
		s.drop(victim)
		s.evicted++
	}
}
