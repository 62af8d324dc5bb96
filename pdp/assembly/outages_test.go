package assembly

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/ratelimiter/redis"
)

// messages returns the levels and messages of a log.
func messages(l *logged) []string {
	var out []string
	for line := range strings.Lines(l.String()) {
		_, rest, _ := strings.Cut(line, `"level":"`)
		level, rest, _ := strings.Cut(rest, `","msg":"`)
		message, _, _ := strings.Cut(rest, `"`)
		out = append(out, level+" "+message)
	}
	return out
}

// TestRedisLog: an outage is one line, a long one is one a minute, and its end is one.
func TestRedisLog(t *testing.T) {
	log, start := &logged{}, time.Unix(1000, 0)
	l := &redisLog{logger: log.logger(), address: "redis.example.com:6379"}
	l.health(redis.Health{State: redis.Closed, Since: start}) // nothing was wrong
	cause := errors.New("connection refused")
	for second := range 150 {
		l.health(redis.Health{State: redis.Open, Since: start.Add(time.Duration(second) * time.Second), Cause: cause})
		l.health(redis.Health{State: redis.HalfOpen, Since: start.Add(time.Duration(second) * time.Second), Cause: cause})
	}
	l.health(redis.Health{State: redis.Closed, Since: start.Add(150 * time.Second)})
	l.health(redis.Health{State: redis.Open, Since: start.Add(151 * time.Second), Cause: cause})
	const fails = "ERROR Redis fails: it is only probed now, and limits do what their on_error says"
	if diff := cmp.Diff([]string{fails, "ERROR Redis still fails", "ERROR Redis still fails", "INFO Redis answers again", fails}, messages(log)); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{`"address":"redis.example.com:6379"`, `"cause":"connection refused"`, `"for":"2m0s"`, `"after":"2m30s"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

// TestRecordLog: the same for a sink.
func TestRecordLog(t *testing.T) {
	log, c := &logged{}, &clock{now: time.Unix(1000, 0)}
	l := &recordLog{logger: log.logger(), clock: c.Now}
	l.written()
	for range 61 {
		l.failed(errors.New("no space left on device"))
		c.advance(time.Second)
	}
	l.written()
	l.written()
	l.failed(errors.New("no space left on device"))
	const fails = "ERROR records cannot be written"
	if diff := cmp.Diff([]string{fails, fails, "INFO records are written again", fails}, messages(log)); diff != "" {
		t.Error(diff)
	}
}

// TestCallsNotMade: what the breaker did not let through is neither a call nor an error of Redis.
func TestCallsNotMade(t *testing.T) {
	m := newMetrics(settings.Metrics{}, Version{})
	m.redis("take", time.Millisecond, errors.New("timeout"))
	m.redis("take", 0, fmt.Errorf("take: %w", redis.ErrOpen))
	f := families(t, m)
	if calls, failed := f["durward_redis_duration_seconds"].samples["operation=take"], f["durward_redis_errors_total"].samples[""]; calls != 1 || failed != 1 {
		t.Errorf("%v calls, %v errors", calls, failed)
	}
}
