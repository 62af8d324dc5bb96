package limits

import (
	"slices"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/verdict"
)

// An enumeration is refused, and what was seen before is not, until the window ends. Whoever enumerates is told no numbers.
func TestDistinct(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("seen: {rate: 3/h, by: [subject.key], distinct: request.header.item, missing: deny}", "all: {rate: 1000/h, by: [subject.key], missing: deny}")
		b.advance(20 * time.Minute)
		for range 2 {
			for _, item := range []string{"a", "b", "c"} {
				c := b.decide("user=alice", "item="+item)
				b.want(c, verdict.Allowed, "")
				if got := fieldOf(c, "ratelimit-policy"); got != `"all";q=1000;w=3600` {
					t.Errorf("shown: %s", got)
				}
			}
		}
		for _, item := range []string{"d", "e", "d"} {
			c := b.decide("user=alice", "item="+item)
			b.want(c, verdict.LimitExceeded, "limits.take")
			if retry, policy := fieldOf(c, "retry-after"), fieldOf(c, "ratelimit-policy")+fieldOf(c, "ratelimit"); retry != "2400" || policy != "" || c.Verdict.Explanation.Limit != "seen" {
				t.Errorf("retry %s, policy %s, limit %s", retry, policy, c.Verdict.Explanation.Limit)
			}
			i := slices.IndexFunc(c.Verdict.Explanation.Limits, func(l verdict.LimitState) bool { return l.Name == "seen" })
			if l := c.Verdict.Explanation.Limits[i]; !l.Refused || l.Quota != 3 || l.Remaining != 0 || l.RetryAfter != 40*time.Minute {
				t.Errorf("recorded: %+v", l)
			}
		}
		b.want(b.decide("user=alice", "item=b"), verdict.Allowed, "")
		b.want(b.decide("user=bob", "item=d"), verdict.Allowed, "")
		if got := b.left("all", "user=alice", "item=a"); got != 1000-7 {
			t.Errorf("%d left of the other limit: refusals charged it", got)
		}
		b.advance(40 * time.Minute)
		b.want(b.decide("user=alice", "item=d"), verdict.Allowed, "")
		if got := b.left("seen", "user=alice", "item=x"); got != 2 {
			t.Errorf("%d left in the next window", got)
		}
	})
}

// Probes for what a subject may not see are denied by the policy; so many different ones lock it out.
func TestDistinctDenials(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("probes: {rate: 3/h, by: [client.address], distinct: request.header.item, count: denied}")
		for range 5 {
			b.want(b.decide("policy=deny", "item=a"), verdict.NoMatchingRule, "policy")
		}
		b.wantLeft(2, "probes", "item=x")
		for _, item := range []string{"b", "c"} {
			b.want(b.decide("policy=deny", "item="+item), verdict.NoMatchingRule, "policy")
		}
		b.wantLeft(0, "probes", "item=x")
		refused := b.decide("item=d")
		if refused.Verdict.Reason != verdict.LimitExceeded {
			t.Errorf("%+v", refused.Verdict)
		}
		b.want(b.decide("item=a"), verdict.Allowed, "")
	})
}

func TestDistinctMissing(t *testing.T) {
	for missing, want := range map[string]struct {
		reason verdict.Reason
		at     string
		left   int64
	}{
		"deny":  {verdict.AttributeMissing, "limits.take", 5},
		"skip":  {verdict.Allowed, "", 5},
		"share": {verdict.Allowed, "", 4},
	} {
		b := newBench(t, nil, "seen: {rate: 5/h, by: [], distinct: {attr: request.header.item, missing: "+missing+"}}")
		for range 2 {
			b.want(b.decide(), want.reason, want.at)
		}
		if got := b.left("seen", "item=x"); got != want.left {
			t.Errorf("%s: %d left, want %d", missing, got, want.left)
		}
	}
	b := newBench(t, nil, "seen: {rate: 5/h, by: [], distinct: request.header.item}")
	b.want(b.decide("item=a", "item=b"), verdict.AttributeMany, "limits.take")
}

// A shadow reports and lets pass; dry decisions see nothing.
func TestDistinctShadow(t *testing.T) {
	b := newBench(t, nil, "seen: {rate: 1/h, by: [], distinct: request.header.item, shadow: true}")
	for _, item := range []string{"a", "b", "c"} {
		c := b.decide("item=" + item)
		b.want(c, verdict.Allowed, "")
		if l := c.Verdict.Explanation.Limits[0]; l.Refused != (item != "a") || !l.Shadow {
			t.Errorf("%s: %+v", item, l)
		}
	}
}
