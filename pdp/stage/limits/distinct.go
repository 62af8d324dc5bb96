package limits

import (
	"github.com/durward-pdp/durward/ratelimiter"
)

// distinct is algorithm for a definition that counts different values.
func (c *compiler) distinct(d *definition, made *ratelimiter.Definition) {
	l := &d.source
	made.Algorithm = ratelimiter.Distinct
	if l.Algorithm != "" {
		c.add(d, ".algorithm", "distinct counts values in fixed windows: leave algorithm out")
	}
	if l.Burst != 0 {
		c.add(d, ".burst", "distinct counts values, all of which may come at once: leave burst out")
		made.Burst = 0
	}
	if l.Cost != nil {
		c.add(d, ".cost", "each new value counts as one: leave cost out")
	}
	if l.Rate.Calendar != "" {
		c.add(d, ".rate", "windows of a %s are for algorithm: quota", l.Rate.Calendar)
	}
}

// countsRequests leaves out the limits that count other things than requests: RateLimit fields would say that so many
// requests are left, and whoever enumerates objects need not be told how many more are.
func countsRequests(statuses []ratelimiter.Status) []ratelimiter.Status {
	out := make([]ratelimiter.Status, 0, len(statuses))
	for i := range statuses {
		if statuses[i].Limit.Algorithm() != ratelimiter.Distinct {
			out = append(out, statuses[i])
		}
	}
	return out
}
