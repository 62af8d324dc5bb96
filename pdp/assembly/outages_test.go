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
	open := 0.0
	l := newRedisLog(log.logger(), func(n float64) { open = n })
	cause := errors.New("connection refused")
	tell := func(server string, state redis.State, second int, gone bool) {
		h := redis.Health{Server: server, State: state, Since: start.Add(time.Duration(second) * time.Second), Gone: gone}
		if state != redis.Closed {
			h.Cause = cause
		}
		l.health(h)
	}
	const one, other = "redis.example.com:6379", "other.example.com:6379"
	tell(one, redis.Closed, 0, false) // nothing was wrong
	for second := range 150 {
		tell(one, redis.Open, second, false)
		tell(one, redis.HalfOpen, second, false)
	}
	tell(other, redis.Open, 150, false)
	if open != 2 {
		t.Errorf("%v servers are only probed, want 2", open)
	}
	tell(one, redis.Closed, 150, false)
	tell(one, redis.Open, 151, false)
	tell(other, redis.Closed, 152, true)
	if open != 1 {
		t.Errorf("%v servers are only probed, want 1", open)
	}
	const fails = "ERROR Redis fails: it is only probed now, and limits do what their on_error says"
	if diff := cmp.Diff([]string{fails, "ERROR Redis still fails", "ERROR Redis still fails", fails, "INFO Redis answers again", fails, "INFO another server of Redis has taken over"}, messages(log)); diff != "" {
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
	m.redis(redis.Call{Operation: "take", Decisions: 1, Duration: time.Millisecond, Err: errors.New("timeout")})
	m.redis(redis.Call{Operation: "take", Decisions: 1, Err: fmt.Errorf("take: %w", redis.ErrOpen)})
	f := families(t, m)
	if calls, failed := f["durward_redis_duration_seconds"].samples["operation=take"], f["durward_redis_errors_total"].samples[""]; calls != 1 || failed != 1 {
		t.Errorf("%v calls, %v errors", calls, failed)
	}
}
