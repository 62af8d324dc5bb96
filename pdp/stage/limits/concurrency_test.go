package limits

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// Two exports go on at a time; who waits is told so, and passes when one has ended or has expired.
func TestConcurrency(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("exports: {concurrency: 2, expires: 30s, by: [subject.key], missing: deny}", "all: {rate: 1000/30d, by: [], count: allowed}")
		first := b.decide("user=alice", "releases=yes")
		b.want(first, verdict.Allowed, "")
		if got := fieldOf(first, "ratelimit-policy"); got != `"exports";q=2;qu="concurrent-requests", "all";q=1000;w=2592000` {
			t.Error(got)
		}
		if got := fieldOf(first, "ratelimit"); !strings.HasPrefix(got, `"exports";r=1;t=1, `) || len(first.Verdict.Permits) != 1 {
			t.Error(got, first.Verdict.Permits)
		}
		b.advance(10 * time.Second)
		second := b.decide("user=alice", "releases=yes")
		b.want(second, verdict.Allowed, "")
		b.want(b.decide("user=bob", "releases=yes"), verdict.Allowed, "")
		refused := b.decide("user=alice", "releases=yes")
		b.want(refused, verdict.LimitExceeded, "limits.take")
		if got := fieldOf(refused, "retry-after"); got != "1" || len(refused.Verdict.Permits) != 0 || refused.Verdict.Explanation.Limit != "exports" {
			t.Errorf("retry after %q, permits %v", got, refused.Verdict.Permits)
		}
		for range 2 { // again is no harm
			if err := b.stage.Release(t.Context(), second.Verdict.Permits); err != nil {
				t.Fatal(err)
			}
		}
		third := b.decide("user=alice", "releases=yes")
		b.want(third, verdict.Allowed, "")
		b.want(b.decide("user=alice", "releases=yes"), verdict.LimitExceeded, "limits.take")
		if slices.Equal(second.Verdict.Permits, third.Verdict.Permits) {
			t.Error("two permits are alike")
		}
		b.advance(20 * time.Second) // the first has expired
		b.want(b.decide("user=alice", "releases=yes"), verdict.Allowed, "")
		if got := b.left("all"); got != 1000-5 {
			t.Errorf("%d left of the other limit: refusals charged it", got)
		}
	})
}

// A caller that gives nothing back is denied, or its permits expire where the limit says so. A shadow never denies.
func TestCallersThatDoNotRelease(t *testing.T) {
	b := newBench(t, nil, "exports: {concurrency: 2, expires: 30s, by: []}")
	c := b.decide()
	b.want(c, verdict.PermitsUnsupported, "limits.take")
	if c.Verdict.HTTPStatus() != 403 || c.Verdict.Explanation.Limit != "exports" || b.left("exports", "releases=yes") != 2 {
		t.Errorf("%+v", c.Verdict)
	}
	b = newBench(t, nil, "exports: {concurrency: 2, expires: 30s, without_release: expire, by: []}")
	for range 2 {
		b.want(b.decide(), verdict.Allowed, "")
	}
	b.advance(30*time.Second - time.Microsecond)
	if got := b.decide().Verdict.Reason; got != verdict.LimitExceeded {
		t.Error(got)
	}
	b.advance(time.Microsecond)
	b.want(b.decide(), verdict.Allowed, "")
	b = newBench(t, nil, "exports: {concurrency: 1, expires: 30s, shadow: true, by: []}")
	b.want(b.decide(), verdict.Allowed, "")
	b.want(b.decide("releases=yes"), verdict.Allowed, "")
	b.want(b.decide("releases=yes"), verdict.Allowed, "")
}

// What is denied before holds nothing, and a dry decision holds nothing.
func TestPermitsOfNothing(t *testing.T) {
	b := newBench(t, nil, "exports: {concurrency: 2, expires: 30s, by: []}")
	b.want(b.decide("policy=deny", "releases=yes"), verdict.NoMatchingRule, "policy")
	c := b.newCase("releases=yes")
	c.Request.Mode = request.Dry
	b.pipeline.Run(t.Context(), c)
	b.want(c, verdict.Allowed, "")
	if len(c.Verdict.Permits) != 0 || b.left("exports", "releases=yes") != 2 {
		t.Errorf("permits %v, %d left", c.Verdict.Permits, b.left("exports", "releases=yes"))
	}
	denied := b.decide("upstream=deny", "releases=yes") // the engine gives it back
	b.want(denied, verdict.HeaderUnsafe, "upstream")
	b.stage.ReleaseLater(denied.Verdict.Permits)
	b.wantLeft(2, "exports", "releases=yes")
}

func TestPermitsThatAreNone(t *testing.T) {
	b := newBench(t, nil, "exports: {concurrency: 2, expires: 30s, by: []}")
	one, two := b.decide("releases=yes").Verdict.Permits, b.decide("releases=yes").Verdict.Permits
	for name, permits := range map[string][]string{
		"no permit": {"x"}, "two of one counter": slices.Concat(one, two), "too many": slices.Repeat(one, 33),
	} {
		if err := b.stage.Release(t.Context(), permits); !errors.Is(err, verdict.ErrPermit) {
			t.Errorf("%s: %v", name, err)
		}
		b.stage.ReleaseLater(permits)
	}
	if b.dropped.Load() != 3 || b.left("exports", "releases=yes") != 0 {
		t.Errorf("%d dropped, %d left", b.dropped.Load(), b.left("exports", "releases=yes"))
	}
}

// A store that did not answer may have acquired a permit: what is allowed without it can give it back. A dry decision asked for none.
func TestPermitsOfAnOutage(t *testing.T) {
	down := func(func() time.Time) ratelimiter.Store { return &broken{} }
	for _, on := range []string{"allow", "local_share"} {
		b := newBench(t, down, "exports: {concurrency: 2, expires: 30s, by: [], on_error: "+on+"}")
		c := b.decide("releases=yes")
		b.want(c, verdict.Allowed, "")
		if len(c.Verdict.Permits) != 1 || !c.Verdict.Degraded {
			t.Errorf("%s: %+v", on, c.Verdict)
		}
	}
	b := newBench(t, down, "exports: {concurrency: 2, expires: 30s, by: [], on_error: allow}")
	c := b.newCase("releases=yes")
	c.Request.Mode = request.Dry
	b.pipeline.Run(t.Context(), c)
	b.want(c, verdict.Allowed, "")
	if len(c.Verdict.Permits) != 0 {
		t.Errorf("a dry decision: %v", c.Verdict.Permits)
	}
}

// A source of random numbers that fails gives no permit that could be guessed.
func TestNoRandomNoPermit(t *testing.T) {
	b := newBench(t, nil, "exports: {concurrency: 2, expires: 30s, by: []}")
	b.stage.random = strings.NewReader("short")
	b.want(b.decide("releases=yes"), verdict.LimitsUnavailable, "limits.take")
}
