package ratelimiter

// Remembered returns how many counters the limiter remembers as exhausted.
func (l *Limiter) Remembered() int {
	n := 0
	for i := range l.exhausted.shards {
		s := &l.exhausted.shards[i]
		s.mu.Lock()
		n += len(s.seen)
		s.mu.Unlock()
	}
	return n
}

// Leases returns of how many counters the limiter holds units, or asks for some.
func (l *Limiter) Leases() int {
	n := 0
	for i := range l.leases.shards {
		s := &l.leases.shards[i]
		s.mu.Lock()
		n += len(s.held)
		s.mu.Unlock()
	}
	return n
}

// GivenBack returns how many entries the limiter keeps of units that were given back.
func (l *Limiter) GivenBack() int {
	n := 0
	for i := range l.leases.shards {
		s := &l.leases.shards[i]
		s.mu.Lock()
		for _, e := range s.held {
			n += len(e.back)
		}
		s.mu.Unlock()
	}
	return n
}
