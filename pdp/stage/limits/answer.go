package limits

import (
	"slices"
	"strconv"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// Response fields (draft-ietf-httpapi-ratelimit-headers-11; RFC 9110, section 10.2.3).
const (
	fieldLeft   = "ratelimit"
	fieldPolicy = "ratelimit-policy"
	fieldRetry  = "retry-after"
)

// refuse denies for a decision of the limiter: 503 where the counters did not answer and a limit denies then, else 429.
// A refusal is never charged as a denial.
func refuse(c *pipeline.Case, d *ratelimiter.Decision) (pipeline.Outcome, error) {
	c.Verdict.Degraded = c.Verdict.Degraded || d.Degraded
	refusing := enforced(d.Limits, func(s *ratelimiter.Status) bool { return !s.Room })
	if len(refusing) == 0 {
		return pipeline.Stop, errUndecided
	}
	explain(c, d.Limits)
	c.MarkSettled()
	if d.Unavailable {
		i := max(0, slices.IndexFunc(refusing, func(s ratelimiter.Status) bool { return s.Unavailable }))
		c.Verdict.Explanation.Limit = refusing[i].Limit.Definition().Name
		return c.Outage(verdict.LimitsUnavailable), nil
	}
	longest := slices.MaxFunc(refusing, func(a, b ratelimiter.Status) int { return compareWait(&a, &b) })
	c.Verdict.Explanation.Limit = longest.Limit.Definition().Name
	// Only the limits that refuse are shown: whether a refusal came from memory or from the store looks the same, and
	// none of them promises more units after the wait that retry-after asks for.
	shown := countsRequests(refusing)
	setField(c, fieldPolicy, quotas(shown))
	setField(c, fieldLeft, left(shown))
	if wait, can := d.Retry(); can {
		seconds := max(1, ratelimiter.Seconds(wait))
		c.Verdict.RetryAfter = time.Duration(seconds) * time.Second
		setField(c, fieldRetry, strconv.FormatInt(seconds, 10))
	}
	return c.Deny(verdict.LimitExceeded), nil
}

// compareWait orders by how long a limit makes the request wait; never is longest.
func compareWait(a, b *ratelimiter.Status) int {
	switch {
	case a.Never != b.Never && a.Never:
		return 1
	case a.Never != b.Never:
		return -1
	}
	return int(min(max(a.Retry-b.Retry, -1), 1))
}

// publish shows clients what is left of the limits that let the request pass, behind those that an earlier point showed.
func publish(c *pipeline.Case, statuses []ratelimiter.Status) {
	shown := countsRequests(enforced(statuses, func(s *ratelimiter.Status) bool { return !s.Unavailable }))
	if len(shown) == 0 {
		return
	}
	addField(c, fieldPolicy, quotas(shown))
	addField(c, fieldLeft, left(shown))
}

// enforced returns the limits that are no shadow and that the function takes.
func enforced(statuses []ratelimiter.Status, take func(*ratelimiter.Status) bool) []ratelimiter.Status {
	out := make([]ratelimiter.Status, 0, len(statuses))
	for i := range statuses {
		if s := &statuses[i]; !s.Limit.Definition().Shadow && take(s) {
			out = append(out, *s)
		}
	}
	return out
}

// explain records what each limit had left.
func explain(c *pipeline.Case, statuses []ratelimiter.Status) {
	e := &c.Verdict.Explanation
	e.Limits = slices.Grow(e.Limits, len(statuses))
	for i := range statuses {
		s := &statuses[i]
		d := s.Limit.Definition()
		e.Limits = append(e.Limits, verdict.LimitState{
			Name: d.Name, Quota: d.Count, Remaining: s.Remaining, Window: d.Window,
			Reset: s.Full, RetryAfter: s.Retry, Refused: !s.Room, Shadow: d.Shadow, Degraded: s.Degraded, Leased: s.Leased,
		})
	}
}

// quotas writes the RateLimit-Policy of limits: a list of strings (RFC 9651) with the quota and its window in seconds.
func quotas(statuses []ratelimiter.Status) string {
	var b []byte
	for i := range statuses {
		d := statuses[i].Limit.Definition()
		b = appendName(b, d.Name)
		b = strconv.AppendInt(append(b, ";q="...), d.Count, 10)
		if d.Algorithm == ratelimiter.Concurrency {
			b = append(b, `;qu="concurrent-requests"`...)
			continue
		}
		b = strconv.AppendInt(append(b, ";w="...), ratelimiter.Seconds(d.Window), 10)
	}
	return string(b)
}

// left writes the RateLimit of limits: the units that remain and the seconds until there is one more, if one can come.
func left(statuses []ratelimiter.Status) string {
	var b []byte
	for i := range statuses {
		s := &statuses[i]
		b = appendName(b, s.Limit.Definition().Name)
		b = strconv.AppendInt(append(b, ";r="...), s.Remaining, 10)
		if s.More > 0 {
			b = strconv.AppendInt(append(b, ";t="...), ratelimiter.Seconds(s.More), 10)
		}
	}
	return string(b)
}

// appendName appends the next member of a list. Names are printable ASCII; the compiler refuses others.
func appendName(b []byte, name string) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = append(b, '"')
	for i := range len(name) {
		if name[i] == '"' || name[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, name[i])
	}
	return append(b, '"')
}

// setField sets a response field in place of what an earlier point set; without a value there is none.
func setField(c *pipeline.Case, name, value string) {
	if value == "" {
		fields := &c.Verdict.Obligations.SetResponse
		*fields = slices.DeleteFunc(*fields, func(f verdict.Field) bool { return f.Name == name })
		return
	}
	if f := field(c, name); f != nil {
		f.Value = value
		return
	}
	c.Verdict.Obligations.SetResponse = append(c.Verdict.Obligations.SetResponse, verdict.Field{Name: name, Value: value})
}

// addField appends members to a response field that is a list.
func addField(c *pipeline.Case, name, members string) {
	if f := field(c, name); f != nil {
		members = f.Value + ", " + members
	}
	setField(c, name, members)
}

func field(c *pipeline.Case, name string) *verdict.Field {
	fields := c.Verdict.Obligations.SetResponse
	if i := slices.IndexFunc(fields, func(f verdict.Field) bool { return f.Name == name }); i >= 0 {
		return &fields[i]
	}
	return nil
}
