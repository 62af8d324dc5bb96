package assembly

import (
	"log/slog"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// stillDown is how often the log repeats that something is out of order.
const stillDown = time.Minute

// redisLog tells the log how Redis stands, without a line for every probe of an outage. The store calls it in turn.
type redisLog struct {
	logger  *slog.Logger
	address string
	since   time.Time // of the outage; zero while there is none
	told    time.Time // when the log last heard of it
}

// health takes a change of the breaker.
func (l *redisLog) health(h redis.Health) {
	switch {
	case h.State == redis.Closed && !l.since.IsZero():
		l.logger.Info("Redis answers again", "address", l.address, "after", h.Since.Sub(l.since).Round(time.Millisecond).String())
		l.since = time.Time{}
	case h.State == redis.Open && l.since.IsZero():
		l.since, l.told = h.Since, h.Since
		l.logger.Error("Redis fails: it is only probed now, and limits do what their on_error says", "address", l.address, "cause", text(h.Cause))
	case h.State == redis.Open && h.Since.Sub(l.told) >= stillDown:
		l.told = h.Since
		l.logger.Error("Redis still fails", "address", l.address, "cause", text(h.Cause), "for", h.Since.Sub(l.since).Round(time.Second).String())
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// recordLog tells the log whether records can be written, without a line for every try. The writer calls it in turn.
type recordLog struct {
	logger  *slog.Logger
	clock   func() time.Time
	failing bool
	told    time.Time
}

// failed takes a try that failed.
func (l *recordLog) failed(err error) {
	now := l.clock()
	if l.failing && now.Sub(l.told) < stillDown {
		return
	}
	l.failing, l.told = true, now
	l.logger.Error("records cannot be written", "error", err.Error())
}

// written takes a try that did not.
func (l *recordLog) written() {
	if l.failing {
		l.failing = false
		l.logger.Info("records are written again")
	}
}
