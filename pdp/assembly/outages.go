package assembly

import (
	"log/slog"
	"sync"
	"time"

	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// stillDown is how often the log repeats that something is out of order.
const stillDown = time.Minute

// redisLog tells the log and the metric how the servers of Redis stand, without a line for every probe of an outage.
type redisLog struct {
	logger *slog.Logger
	open   func(float64) // hears how many servers are only probed

	mu      sync.Mutex
	outages map[string]*redisOutage // by address
}

type redisOutage struct {
	since time.Time
	told  time.Time // when the log last heard of it
}

func newRedisLog(logger *slog.Logger, open func(float64)) *redisLog {
	return &redisLog{logger: logger, open: open, outages: map[string]*redisOutage{}}
}

// health takes a change of a server's breaker.
func (l *redisLog) health(h redis.Health) {
	l.mu.Lock()
	defer l.mu.Unlock()
	outage, known := l.outages[h.Server]
	switch {
	case h.State == redis.Closed && known:
		l.ended(h, outage)
		delete(l.outages, h.Server)
	case h.State == redis.Open && !known:
		l.outages[h.Server] = &redisOutage{since: h.Since, told: h.Since}
		l.logger.Error("Redis fails: it is only probed now, and limits do what their on_error says", "address", h.Server, "cause", text(h.Cause))
	case h.State == redis.Open && h.Since.Sub(outage.told) >= stillDown:
		outage.told = h.Since
		l.logger.Error("Redis still fails", "address", h.Server, "cause", text(h.Cause), "for", h.Since.Sub(outage.since).Round(time.Second).String())
	}
	l.open(float64(len(l.outages)))
}

func (l *redisLog) ended(h redis.Health, outage *redisOutage) {
	after := h.Since.Sub(outage.since).Round(time.Millisecond).String()
	if h.Gone {
		l.logger.Info("another server of Redis has taken over", "address", h.Server, "after", after)
		return
	}
	l.logger.Info("Redis answers again", "address", h.Server, "after", after)
}

// replicaLog tells the log whether replicas can be counted, without a line for every try. One goroutine calls it.
type replicaLog struct {
	logger  *slog.Logger
	failing bool
}

// beat takes the result of one beat.
func (l *replicaLog) beat(live int, err error) {
	switch failing := err != nil; {
	case failing == l.failing:
	case failing:
		l.logger.Warn("replicas cannot be counted: local_share divides by the last number", "error", err.Error())
		l.failing = true
	default:
		l.logger.Info("replicas are counted again", "live", live)
		l.failing = false
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
