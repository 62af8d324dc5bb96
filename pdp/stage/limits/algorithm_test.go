package limits

import (
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestAlgorithms runs limits of every algorithm from the bundle to the header fields. The clock starts at midnight of a
// Thursday, the first of a month and of a year. It counts in memory.
func TestAlgorithms(t *testing.T) {
	const day = 24 * time.Hour
	for _, row := range []struct {
		name, limit  string
		after        time.Duration // until when nothing passes once three have
		policy, left string        // of the last that passed
		wait         string
	}{
		{"gcra", "{rate: 3/min, by: []}", 20 * time.Second, `"l";q=3;w=60`, `"l";r=0;t=20`, "20"},
		{"fixed window", "{rate: 3/min, by: [], algorithm: fixed_window}", time.Minute, `"l";q=3;w=60`, `"l";r=0;t=60`, "60"},
		{"sliding window", "{rate: 3/min, by: [], algorithm: sliding_window}", 80 * time.Second, `"l";q=3;w=60`, `"l";r=0;t=80`, "80"},
		{"sliding log", "{rate: 3/min, by: [], algorithm: sliding_log}", time.Minute, `"l";q=3;w=60`, `"l";r=0;t=60`, "60"},
		{"quota of a day", "{rate: 3/d, by: [], algorithm: quota}", day, `"l";q=3;w=86400`, `"l";r=0;t=86400`, "86400"},
		{"quota of a week", "{rate: 3/7d, by: [], algorithm: quota}", 4 * day, `"l";q=3;w=604800`, `"l";r=0;t=345600`, "345600"},
		{"quota of a month", "{rate: 3/month, by: [], algorithm: quota}", 31 * day, `"l";q=3;w=2678400`, `"l";r=0;t=2678400`, "2678400"},
		{"quota of a year", "{rate: 3/year, by: [], algorithm: quota}", 365 * day, `"l";q=3;w=31622400`, `"l";r=0;t=31536000`, "31536000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, nil, "l: "+row.limit)
			for range 2 {
				b.want(b.decide(), verdict.Allowed, "")
			}
			last := b.decide()
			b.want(last, verdict.Allowed, "")
			if policy, left := fieldOf(last, "ratelimit-policy"), fieldOf(last, "ratelimit"); policy != row.policy || left != row.left {
				t.Errorf("policy %s, left %s", policy, left)
			}
			refused := b.decide()
			b.want(refused, verdict.LimitExceeded, "limits.gate")
			if got := fieldOf(refused, "retry-after"); got != row.wait {
				t.Errorf("retry after %s", got)
			}
			b.advance(row.after - time.Microsecond)
			b.want(b.decide(), verdict.LimitExceeded, "limits.gate")
			b.advance(time.Microsecond)
			b.want(b.decide(), verdict.Allowed, "")
		})
	}
}

// Two algorithms of one name do not read each other's counters, as when a limit is changed.
func TestAlgorithmIsPartOfTheKey(t *testing.T) {
	keys := map[string]bool{}
	for _, a := range []string{"gcra", "fixed_window", "sliding_window", "sliding_log"} {
		p, problems := compileText(t, "", "limit_definitions: {l: {rate: 3/min, by: [], algorithm: "+a+"}}\nroutes: [{name: r, path: /r, limits: [l]}]\n")
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		keys[string(p.routes[0].all[0].keys.Key())] = true
	}
	if len(keys) != 4 {
		t.Errorf("%d keys: %v", len(keys), keys)
	}
}
