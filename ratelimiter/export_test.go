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
