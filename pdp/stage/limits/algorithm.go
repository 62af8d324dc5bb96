package limits

import (
	"time"

	"github.com/durward-pdp/durward/pdp/bundle/format"
	"github.com/durward-pdp/durward/ratelimiter"
	"github.com/durward-pdp/durward/ratelimiter/window"
)

// algorithms are the words of the format; the empty one is the default.
var algorithms = map[string]ratelimiter.Algorithm{
	"": ratelimiter.GCRA, "gcra": ratelimiter.GCRA, "fixed_window": ratelimiter.FixedWindow,
	"sliding_window": ratelimiter.SlidingWindow, "sliding_log": ratelimiter.SlidingLog, "quota": ratelimiter.Quota,
}

// algorithm says how a definition counts: which algorithm, whether its burst means something, and for quotas which calendar.
func (c *compiler) algorithm(d *definition, made *ratelimiter.Definition) {
	l := &d.source
	switch {
	case l.Concurrency != 0:
		c.concurrency(d, made)
		return
	case l.Expires != nil || l.WithoutRelease != "":
		c.add(d, "", "expires and without_release are for limits with concurrency")
	}
	if l.Distinct != nil {
		c.distinct(d, made)
		return
	}
	var ok bool
	if made.Algorithm, ok = word(l.Algorithm, algorithms); !ok {
		c.add(d, ".algorithm", "algorithm is gcra, fixed_window, sliding_window, sliding_log or quota, not %q", l.Algorithm)
	}
	if made.Algorithm != ratelimiter.GCRA && l.Burst != 0 {
		c.add(d, ".burst", "only gcra has a burst; with %s all units of a window may pass at once", l.Algorithm)
		made.Burst = 0
	}
	if l.ByClass != nil {
		return // the classes say the rates, and take gcra alone
	}
	switch made.Calendar = calendar(l.Rate); {
	case made.Algorithm != ratelimiter.Quota && l.Rate.Calendar != "":
		c.add(d, ".rate", "windows of a %s are for algorithm: quota", l.Rate.Calendar)
	case made.Algorithm == ratelimiter.Quota && made.Calendar == window.None:
		c.add(d, ".rate", "the rate of a quota is N/d, N/7d (from Monday), N/month or N/year, by the calendar in UTC")
		made.Calendar = window.Day // what is wrong has been said
	}
	if made.Algorithm == ratelimiter.Quota {
		made.Window = 0
	} else {
		made.Calendar = window.None
	}
}

// calendar returns the calendar of a quota's rate, None if it has none.
func calendar(r format.Rate) window.Calendar {
	const day = 24 * time.Hour
	switch {
	case r.Calendar == "month":
		return window.Month
	case r.Calendar == "year":
		return window.Year
	case r.Window == day:
		return window.Day
	case r.Window == 7*day:
		return window.Week
	}
	return window.None
}
