package usage

import "github.com/durward-pdp/durward/ratelimiter"

// summaryKeys is the number of keys that a summary holds.
const summaryKeys = 64

// summary is a Space-Saving summary (Metwally, Agrawal, El Abbadi 2005) of a stream of keys: of N events, every key with more
// than N/summaryKeys of them is in it, and the count of a key is never too low, and too high by at most what it inherited.
// The zero summary is empty.
type summary struct {
	used   int
	hashes [summaryKeys]uint64 // apart from the rest, for they are searched at each event
	counts [summaryKeys]uint64
	rest   [summaryKeys]entry
}

// met is a decision that found a key near its limit, or over it.
type met struct {
	key     ratelimiter.Key
	by      string // Definition.By of its limit
	refused bool
	percent uint8
}

// entry is what is known of a key beside its count.
type entry struct {
	key ratelimiter.Key
	by  string // when it was last met
	// inherited is the count of the key whose place this one took: events of this one before that it may or may not have had.
	inherited uint64
	// refused is how many events since then were refusals; percent is the highest used part of the limit.
	refused uint64
	percent uint8
}

// add counts one event.
func (s *summary) add(hash uint64, m met) {
	i := s.find(hash, m.key)
	if i < 0 {
		i = s.place()
		s.hashes[i] = hash
		s.rest[i] = entry{key: m.key, inherited: s.counts[i]}
	}
	s.counts[i]++
	e := &s.rest[i]
	if m.refused {
		e.refused++
	}
	e.by, e.percent = m.by, max(e.percent, m.percent)
}

func (s *summary) find(hash uint64, key ratelimiter.Key) int {
	for i, h := range s.hashes[:s.used] {
		if h == hash && s.rest[i].key == key {
			return i
		}
	}
	return -1
}

// place returns an unused place, or that of a key with the lowest count.
func (s *summary) place() int {
	if s.used < summaryKeys {
		s.used++
		return s.used - 1
	}
	lowest := 0
	for i, n := range s.counts {
		if n < s.counts[lowest] {
			lowest = i
		}
	}
	return lowest
}

// floor is how many events a key that is not in the summary may have had.
func (s *summary) floor() uint64 {
	if s.used < summaryKeys {
		return 0
	}
	lowest := s.counts[0]
	for _, n := range s.counts {
		lowest = min(lowest, n)
	}
	return lowest
}
