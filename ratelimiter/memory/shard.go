package memory

import (
	"sync"

	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/gcra"
)

const (
	chunkSize  = 256 // slots are allocated in chunks: growing never copies under the lock
	sweepSteps = 4   // slots looked at per new counter: expired ones go faster than new ones come
	sample     = 8   // slots compared to choose which counter to forget
)

// slot holds one counter; an empty key marks a free slot.
type slot struct {
	key ratelimiter.Key
	tat gcra.Instant
}

// shard is a part of the counters under one lock: an index into chunks of slots, over which a hand moves.
type shard struct {
	mu      sync.Mutex
	index   map[ratelimiter.Key]int
	chunks  []*[chunkSize]slot
	free    []int
	used    int // slots handed out at least once
	bound   int
	hand    int
	evicted uint64
}

func (s *shard) init(bound int) {
	s.bound = max(bound, 1)
	s.index = make(map[ratelimiter.Key]int)
}

func (s *shard) at(i int) *slot { return &s.chunks[i/chunkSize][i%chunkSize] }

func (s *shard) get(key ratelimiter.Key) (gcra.Instant, bool) {
	i, ok := s.index[key]
	if !ok {
		return gcra.Instant{}, false
	}
	return s.at(i).tat, true
}

func (s *shard) put(key ratelimiter.Key, tat gcra.Instant, now int64) {
	if i, ok := s.index[key]; ok {
		s.at(i).tat = tat
		return
	}
	s.sweep(now)
	i := s.room()
	*s.at(i) = slot{key: key, tat: tat}
	s.index[key] = i
}

// sweep moves the hand on and frees the counters under it that have expired: those whose bucket is full, which is what
// an absent counter means.
func (s *shard) sweep(now int64) {
	for range min(sweepSteps, s.used) {
		s.hand = (s.hand + 1) % s.used
		if e := s.at(s.hand); e.key != "" && e.tat.Micros < now {
			s.drop(s.hand)
		}
	}
}

func (s *shard) drop(i int) {
	e := s.at(i)
	delete(s.index, e.key)
	*e = slot{}
	s.free = append(s.free, i)
}

// room returns a free slot. At the bound it forgets, of a few counters after the hand, the one that expires soonest:
// the one that is worth least to who wants it forgotten.
func (s *shard) room() int {
	if len(s.free) == 0 && s.used >= s.bound {
		s.evict()
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

// evict is called with every slot in use.
func (s *shard) evict() {
	victim := -1
	for range min(sample, s.used) {
		s.hand = (s.hand + 1) % s.used
		if victim < 0 || s.at(s.hand).tat.Micros < s.at(victim).tat.Micros {
			victim = s.hand
		}
	}
	s.drop(victim)
	s.evicted++
}
