package limits

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
	"github.com/durward-pdp/durward/ratelimiter"
)

// TestCounting: what a limit counts, by how the decision ended and by where the limit is taken.
func TestCounting(t *testing.T) {
	ends := []struct {
		name   string
		header string
		reason verdict.Reason
	}{
		{"allowed", "user=alice", verdict.Allowed},
		{"denied before the gate", "inspection=deny", verdict.HeaderInvalid},
		{"denied by identity", "identity=deny", verdict.TokenSignature},
		{"denied by policy", "policy=deny", verdict.NoMatchingRule},
		{"denied after take", "upstream=deny", verdict.HeaderUnsafe},
		{"identity is down", "identity=fail", verdict.StageFailed},
		{"the caller gave up", "identity=cancel", verdict.Cancelled},
	}
	stores(t, func(t *testing.T, open func(...string) *bench) {
		for _, row := range []struct {
			how    string
			counts [7]int64 // in the order of ends
		}{
			{"count: allowed", [7]int64{1, 0, 0, 0, 1, 0, 0}},
			{"count: denied", [7]int64{0, 1, 1, 1, 0, 0, 0}},
			{"count: all", [7]int64{1, 1, 1, 1, 1, 0, 0}},
			{"shadow: true", [7]int64{1, 1, 1, 1, 1, 0, 0}},
			{"at: gate, count: allowed", [7]int64{1, 0, 1, 1, 1, 1, 1}},
			{"at: gate, count: denied", [7]int64{0, 1, 1, 1, 0, 0, 0}},
			{"at: gate, count: all", [7]int64{1, 1, 1, 1, 1, 1, 1}},
		} {
			b := open("a: {rate: 100/d, by: [client.address], " + row.how + "}")
			left := int64(100)
			for i, end := range ends {
				if c := b.decide(end.header); c.Verdict.Reason != end.reason {
					t.Fatalf("%s: %q, want %q", end.name, c.Verdict.Reason, end.reason)
				}
				left -= row.counts[i]
				b.wantLeft(left, "a")
				if t.Failed() {
					t.Fatalf("%s: %s", row.how, end.name)
				}
			}
		}
	})
}

// TestRefusalCharges: a decision that a limit refuses charges only the limits that count all, and is no denial to settle.
func TestRefusalCharges(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("tight: {rate: 1/d, by: [subject.key]}",
			"allowed: {rate: 100/d, by: [client.address], count: allowed}",
			"denied: {rate: 100/d, by: [client.address], count: denied}",
			"all: {rate: 100/d, by: [client.address]}",
			"login: {rate: 100/d, by: [client.address], at: gate}")
		b.want(b.decide("user=alice"), verdict.Allowed, "")
		c := b.decide("user=alice")
		b.want(c, verdict.LimitExceeded, "limits.take")
		if c.Verdict.Explanation.Limit != "tight" || c.Verdict.RetryAfter != 24*time.Hour {
			t.Errorf("refused by %q for %v", c.Verdict.Explanation.Limit, c.Verdict.RetryAfter)
		}
		b.wantLeft(99, "allowed")
		b.wantLeft(100, "denied")
		b.wantLeft(98, "all")
		b.wantLeft(98, "login")
		b.want(b.decide("user=bob"), verdict.Allowed, "") // another counter
	})
}

// TestGateKnows: what has no room is refused before identity looks at a credential.
func TestGateKnows(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("per-address: {rate: 2/d, by: [client.network]}", "per-subject: {rate: 9/d, by: [subject.key], missing: deny}")
		b.want(b.decide("user=alice"), verdict.Allowed, "")
		b.want(b.decide("identity=deny"), verdict.TokenSignature, "identity")
		b.wantLeft(0, "per-address")
		b.decide("user=alice") // on Redis this one teaches the gate
		c := b.decide("user=alice")
		b.want(c, verdict.LimitExceeded, "limits.gate")
		if v := &c.Verdict; v.HTTPStatus() != 429 || v.Explanation.Limit != "per-address" {
			t.Errorf("%d by %q", v.HTTPStatus(), v.Explanation.Limit)
		}
		b.wantLeft(8, "per-subject", "user=alice")
		b.advance(12 * time.Hour)
		b.want(b.decide("user=alice"), verdict.Allowed, "")
	})
}

// TestGateKnowsNoSubject: before identity nobody is taken for anonymous, whose counter may be empty.
func TestGateKnowsNoSubject(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("per-subject: {rate: 1/d, by: [subject.key], missing: share}")
		b.want(b.decide(), verdict.Allowed, "")
		b.want(b.decide(), verdict.LimitExceeded, "limits.take")
		b.want(b.decide("user=alice"), verdict.Allowed, "")
	})
}

// TestAtGate: such a limit is taken before identity, alone, even where this process knows nothing of it.
func TestAtGate(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("logins: {rate: 2/d, by: [client.network, route.name], at: gate}", "other: {rate: 100/d, by: []}")
		b.decide("identity=deny")
		b.decide("user=alice")
		b.wantLeft(98, "other")
		c := b.decide("user=alice")
		b.want(c, verdict.LimitExceeded, "limits.gate")
		b.wantLeft(98, "other")
		for _, step := range c.Trace {
			if step.Point == "identity" {
				t.Error("identity ran")
			}
		}
	})
}

// TestShadow: a shadow limit is charged and reported; it never blocks and clients never see it.
func TestShadow(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("shade: {rate: 1/d, by: [client.address], shadow: true}",
			"odd: {rate: 1/d, by: [request.header.absent], shadow: true, cost: request.header.user}",
			"wide: {rate: 9/d, burst: 2, by: [client.address], shadow: true, cost: request.header.units}")
		b.decide("user=alice", "units=3")
		c := b.decide("user=alice", "units=3")
		b.want(c, verdict.Allowed, "")
		if n := len(c.Verdict.Obligations.SetResponse); n != 0 {
			t.Errorf("%d response fields", n)
		}
		states := c.Verdict.Explanation.Limits
		if len(states) != 2 || states[0].Name != "shade" || !states[0].Refused || !states[0].Shadow || states[0].Remaining != 0 || !states[1].Refused {
			t.Errorf("states %+v", states)
		}
	})
}

func TestDryChargesNothing(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {rate: 2/d, by: [subject.key]}", "g: {rate: 5/d, by: [client.address], at: gate}", "bad: {rate: 5/d, by: [client.address], count: denied}")
		dry := func(headers ...string) *pipeline.Case {
			c := b.newCase(headers...)
			c.Request.Mode = request.Dry
			b.pipeline.Run(t.Context(), c)
			return c
		}
		for range 3 {
			b.want(dry("user=alice"), verdict.Allowed, "")
			b.want(dry("policy=deny"), verdict.NoMatchingRule, "policy")
		}
		b.wantLeft(2, "a", "user=alice")
		b.wantLeft(5, "g")
		b.wantLeft(5, "bad")
		b.decide("user=alice")
		b.decide("user=alice")
		b.want(dry("user=alice"), verdict.LimitExceeded, "limits.take")
	})
}

// TestMissing: what a missing attribute does, for each word and each kind of attribute. Nobody vouches for an anonymous
// subject, so its key is missing too.
func TestMissing(t *testing.T) {
	for _, attr := range []string{"subject.key", "subject.kind", "subject.tenant", "claims.units", "request.header.absent", "request.query.absent", "client.certificate.subject", "extensions.absent", "params.absent"} {
		for word, want := range map[string]verdict.Reason{"deny": verdict.AttributeMissing, "skip": verdict.Allowed, "share": verdict.Allowed} {
			for _, form := range []string{"by: [" + attr + "], missing: " + word, "by: [{attr: " + attr + ", missing: " + word + "}]", "by: [{attr: " + attr + ", missing: " + word + "}], missing: deny"} {
				b := newBench(t, nil, "a: {rate: 1/d, "+form+"}")
				c := b.decide()
				if c.Verdict.Reason != want {
					t.Errorf("%s: %q, want %q", form, c.Verdict.Reason, want)
				}
				if states := c.Verdict.Explanation.Limits; (len(states) == 1) != (word == "share") {
					t.Errorf("%s: states %+v", form, states)
				}
				if word == "deny" && c.Verdict.Explanation.Detail != attr+" is missing" {
					t.Errorf("%s: detail %q", form, c.Verdict.Explanation.Detail)
				}
				if c = b.decide(); (c.Verdict.Reason == verdict.LimitExceeded) != (word == "share") {
					t.Errorf("%s: then %q", form, c.Verdict.Reason)
				}
			}
		}
	}
	// A client without an address cannot be counted by it, at either point.
	for form, point := range map[string]string{"by: [client.network]": "limits.take", "by: [client.network], at: gate": "limits.gate"} {
		b := newBench(t, nil, "a: {rate: 1/d, "+form+"}")
		c := b.newCase("user=alice")
		c.Request.Client = netip.Addr{}
		b.pipeline.Run(t.Context(), c)
		b.want(c, verdict.AttributeMissing, point)
		if c.Verdict.HTTPStatus() != 403 {
			t.Errorf("status %d", c.Verdict.HTTPStatus())
		}
	}
}

// TestMissingIsSettledForOthers: a request that one limit cannot count is a denial that others count.
func TestMissingIsSettledForOthers(t *testing.T) {
	b := newBench(t, nil, "a: {rate: 9/d, by: [request.header.absent]}", "all: {rate: 9/d, by: [client.address]}", "bad: {rate: 9/d, by: [client.address], count: denied}",
		"gate: {rate: 9/d, by: [client.address], at: gate}", "allowed: {rate: 9/d, by: [client.address], count: allowed}")
	b.want(b.decide("user=alice"), verdict.AttributeMissing, "limits.take")
	for name, want := range map[string]int64{"all": 8, "bad": 8, "gate": 8, "allowed": 9} {
		b.wantLeft(want, name)
	}
}

func TestAmbiguous(t *testing.T) {
	for _, attr := range []string{"request.header.twice", "claims.list", "claims.object"} {
		b := newBench(t, nil, "a: {rate: 1/d, by: ["+attr+"], missing: share}")
		c := b.newCase("twice=1", "twice=2")
		c.Subject = subject.Subject{Key: "user:corp:a", Kind: subject.KindUser, Claims: map[string]any{"list": []any{"x"}, "object": map[string]any{}}}
		outcome, err := b.stage.Take().Evaluate(t.Context(), c)
		if outcome != pipeline.Stop || err != nil || c.Verdict.Reason != verdict.AttributeMany {
			t.Errorf("%s: %v, %v, %q", attr, outcome, err, c.Verdict.Reason)
		}
	}
}

func TestCost(t *testing.T) {
	for _, row := range []struct {
		cost, header string
		want         verdict.Reason
		left         int64
	}{
		{"", "", verdict.Allowed, 9},
		{", cost: 4", "", verdict.Allowed, 6},
		{", cost: request.header.n", "n=10", verdict.Allowed, 0},
		{", cost: request.header.n", "n=1", verdict.Allowed, 9},
		{", cost: request.header.n", "n=0", verdict.Allowed, 9}, // a client cannot ask for nothing
		{", cost: request.header.n", "n=11", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n=99999999999999999999999", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n=-1", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n=1.5", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n=1e1", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n=+1", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n= 1", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n=", verdict.CostInvalid, 10},
		{", cost: request.header.n", "n=ten", verdict.CostInvalid, 10},
		{", cost: request.header.n", "other=1", verdict.AttributeMissing, 10},
		{", cost: params.id", "", verdict.Allowed, 3},
		{", cost: request.size", "", verdict.AttributeMissing, 10},
		{", cost: claims.units", "", verdict.Allowed, 7},
	} {
		b := newBench(t, nil, "a: {rate: 10/d, by: [client.address], count: allowed"+row.cost+"}", "whole: {rate: 10/d, by: [client.address], count: allowed}")
		c := b.decide("user=alice", row.header)
		if c.Verdict.Reason != row.want {
			t.Errorf("%s with %s: %q (%s), want %q", row.cost, row.header, c.Verdict.Reason, c.Verdict.Explanation.Detail, row.want)
		}
		if row.want == verdict.CostInvalid && (c.Verdict.HTTPStatus() != 400 || c.Verdict.Explanation.Limit != "a") {
			t.Errorf("%s with %s: status %d by %q", row.cost, row.header, c.Verdict.HTTPStatus(), c.Verdict.Explanation.Limit)
		}
		d, err := b.limiter.Peek(t.Context(), []ratelimiter.Charge{{Limit: bindingOf(t, b, "a").limit, Key: bindingOf(t, b, "a").keys.Key(ratelimiter.Value{Text: "192.0.2.1"})}})
		if err != nil || d.Limits[0].Remaining != row.left {
			t.Errorf("%s with %s: %d left, %v; want %d", row.cost, row.header, d.Limits[0].Remaining, err, row.left)
		}
	}
}

func bindingOf(t *testing.T, b *bench, name string) *binding {
	t.Helper()
	r, err := limitsOf(b.newCase())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.all {
		if l.limit.Definition().Name == name {
			return l
		}
	}
	t.Fatalf("no limit %s", name)
	return nil
}

// TestExactlyN: however many ask at once, a limit lets exactly its burst through.
func TestExactlyN(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {rate: 100/d, by: [client.address], count: allowed}", "b: {rate: 1000/d, by: [subject.key]}")
		var allowed, limited atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 20 {
					c := b.newCase("user=alice")
					b.pipeline.Run(t.Context(), c)
					switch c.Verdict.Reason {
					case verdict.Allowed:
						allowed.Add(1)
					case verdict.LimitExceeded:
						limited.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if allowed.Load() != 100 || limited.Load() != 220 {
			t.Errorf("%d allowed and %d limited of 320", allowed.Load(), limited.Load())
		}
	})
}

// TestNotCompiled: a case that this stage knows nothing of is an outage, never a pass.
func TestNotCompiled(t *testing.T) {
	b := newBench(t, nil, "a: {rate: 1/d, by: []}")
	for name, change := range map[string]func(*pipeline.Case){
		"no service":       func(c *pipeline.Case) { c.Service = nil },
		"another part":     func(c *pipeline.Case) { c.Service = &pipeline.Service{Parts: map[string]any{Name: 7}} },
		"no route":         func(c *pipeline.Case) { c.Match.Route = nil },
		"a route too many": func(c *pipeline.Case) { c.Match.Route = &route.Route{Index: 1} },
		"a negative route": func(c *pipeline.Case) { c.Match.Route = &route.Route{Index: -1} },
	} {
		for _, point := range []pipeline.Stage{b.stage.Gate(), b.stage.Take()} {
			c := b.newCase()
			change(c)
			if outcome, err := point.Evaluate(t.Context(), c); outcome != pipeline.Stop || err == nil {
				t.Errorf("%s: %v, %v", name, outcome, err)
			}
			b.stage.Settle(c)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a stage without a limiter")
	}
}

// TestLargeNumbersAreKeys: a claim that a float would round still tells accounts apart.
func TestLargeNumbersAreKeys(t *testing.T) {
	b := newBench(t, nil, "a: {rate: 1/d, by: [claims.account]}")
	for _, account := range []string{"9007199254740993", "9007199254740992"} {
		c := b.newCase()
		c.Subject = subject.Subject{Key: "user:corp:a", Kind: subject.KindUser, Claims: map[string]any{"account": json.Number(account)}}
		if outcome, err := b.stage.Take().Evaluate(t.Context(), c); outcome != pipeline.Continue || err != nil {
			t.Errorf("%s: %v, %v, %q", account, outcome, err, c.Verdict.Reason)
		}
	}
}

// TestAhead: the call ends before the decision does.
func TestAhead(t *testing.T) {
	end := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	early, done := ahead(ctx)
	defer done()
	if got, ok := early.Deadline(); !ok || !got.Equal(end.Add(-margin)) {
		t.Errorf("deadline %v, want %v", got, end.Add(-margin))
	}
	free, done := ahead(t.Context())
	defer done()
	if _, ok := free.Deadline(); ok {
		t.Error("a deadline out of nothing")
	}
}

// FuzzKeys: two requests share a counter only if everything that the limit counts by is the same.
func FuzzKeys(f *testing.F) {
	f.Add("a", "bc", true, "ab", "c", true)
	f.Add("", "x", false, "", "x", true)
	f.Add("-", "1:a", true, "-1:a", "", false)
	f.Add("1:a", "1:b", true, "1:a1:b", "", true)
	f.Add(strings.Repeat("x", 200), "y", true, strings.Repeat("x", 199), "xy", true)
	b := newBench(f, nil, "a: {rate: 1/d, by: [request.header.a, request.header.b, params.id], missing: share}")
	key := func(one, two string, has bool) ratelimiter.Key {
		c := b.newCase()
		c.Request.Header = append(c.Request.Header, request.Field{Name: "b", Value: two})
		if has {
			c.Request.Header = append(c.Request.Header, request.Field{Name: "a", Value: one})
		}
		r, err := limitsOf(c)
		if err != nil {
			f.Fatal(err)
		}
		charges, wrong := charge(&c.Facts, r.all)
		if wrong.is() || len(charges) != 1 {
			f.Fatalf("%+v", wrong)
		}
		return charges[0].Key
	}
	f.Fuzz(func(t *testing.T, a1, b1 string, has1 bool, a2, b2 string, has2 bool) {
		same := has1 == has2 && b1 == b2 && (!has1 || a1 == a2)
		if k1, k2 := key(a1, b1, has1), key(a2, b2, has2); (k1 == k2) != same {
			t.Errorf("(%q %v, %q) is %q and (%q %v, %q) is %q", a1, has1, b1, k1, a2, has2, b2, k2)
		}
	})
}

// FuzzWhole: only plain digits are a cost, and none is above what the limiter takes or below zero.
func FuzzWhole(f *testing.F) {
	for _, text := range []string{"", "0", "1", "-1", "1.0", "1e3", "007", "999999999999999999", "９"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ok := whole(text)
		if n < 0 || n > ratelimiter.MaxCost+1 || ok != (text != "" && len(text) <= 18 && strings.Trim(text, "0123456789") == "") {
			t.Errorf("whole(%q) = %d, %v", text, n, ok)
		}
	})
}
