package limits

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/subject"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// TestChoose: the first class that fits, in the order written.
func TestChoose(t *testing.T) {
	claim := func(v any) *attribute.Facts { return factsOf(nil, map[string]any{"plan": v}) }
	nobody := factsOf(nil, nil)
	nobody.Subject = subject.Anonymous()
	for _, row := range []struct {
		of    string
		facts *attribute.Facts
		want  int64
	}{
		{"subject.roles", factsOf([]string{"gold"}, nil), 1000},
		{"subject.roles", factsOf([]string{"x", "silver"}, nil), 300},
		{"subject.roles", factsOf([]string{"silver", "gold"}, nil), 1000},
		{"subject.roles", factsOf([]string{"Gold", "golden", ""}, nil), 100},
		{"subject.roles", factsOf(nil, nil), 100},
		{"subject.roles", nobody, 100},
		{"subject.issuer", factsOf(nil, nil), 100},
		{"claims.plan", claim("gold"), 1000},
		{"claims.plan", claim("silver"), 300},
		{"claims.plan", claim("bronze"), 100},
		{"claims.plan", claim([]any{"silver", "gold"}), 1000},
		{"claims.plan", claim([]any{7.0, "silver"}), 300},
		{"claims.plan", claim(7.0), 100},
		{"claims.plan", claim(map[string]any{"gold": "gold"}), 100},
		{"claims.plan", factsOf(nil, nil), 100},
		{"request.header.x", factsOf(nil, nil, "x=silver"), 300},
		{"request.header.x", factsOf(nil, nil), 100},
	} {
		b := bound(t, "{by: [], by_class: {of: "+row.of+", first_of: [{gold: 1000/min}, {silver: 300/min}], otherwise: 100/min}}")
		l, wrong := b.choose(row.facts)
		if wrong.is() || l.Definition().Count != row.want || l.Definition().Burst != row.want || l.Definition().Name != "a" {
			t.Errorf("%s of %+v: %+v %+v, want %d", row.of, row.facts.Subject, l, wrong, row.want)
		}
	}
	b := bound(t, "{by: [], by_class: {of: request.header.x, first_of: [{gold: 1000/min}], otherwise: 100/min}}")
	if _, wrong := b.choose(factsOf(nil, nil, "x=gold", "x=gold")); wrong.reason != verdict.AttributeMany || wrong.detail != "request.header.x has no single value" {
		t.Errorf("%+v", wrong)
	}
}

// TestClassesAreShown: headers and records have the numbers of the class, and the class's burst bounds the cost.
func TestClassesAreShown(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {by: [subject.key], cost: request.header.cost, by_class: {of: request.header.plan, first_of: [{gold: {rate: 600/min, burst: 60}}], otherwise: {rate: 60/min, burst: 6}}}")
		for i, step := range []struct {
			headers []string
			reason  verdict.Reason
			quota   int64 // in the record
			want    shown
		}{
			{[]string{"user=alice", "cost=6", "plan=gold"}, verdict.Allowed, 600, shown{`"a";r=54;t=1`, `"a";q=600;w=60`, ""}},
			{[]string{"user=bob", "cost=6"}, verdict.Allowed, 60, shown{`"a";r=0;t=1`, `"a";q=60;w=60`, ""}},
			{[]string{"user=bob", "cost=6", "plan=silver"}, verdict.LimitExceeded, 60, shown{`"a";r=0;t=1`, `"a";q=60;w=60`, "6"}},
			{[]string{"user=carol", "cost=7"}, verdict.CostInvalid, 60, shown{}},
			{[]string{"user=carol", "cost=7", "plan=gold"}, verdict.Allowed, 600, shown{`"a";r=53;t=1`, `"a";q=600;w=60`, ""}},
		} {
			c := b.decide(step.headers...)
			if c.Verdict.Reason != step.reason {
				t.Errorf("step %d: %q, want %q", i, c.Verdict.Reason, step.reason)
			}
			if diff := cmp.Diff(step.want, fields(t, c)); diff != "" {
				t.Errorf("step %d: -want +got\n%s", i, diff)
			}
			for _, l := range c.Verdict.Explanation.Limits {
				if l.Quota != step.quota {
					t.Errorf("step %d: %+v", i, l)
				}
			}
		}
	})
}

// TestChangingClass: what is left of a bucket is the same part of it in every class.
func TestChangingClass(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {by: [subject.key], by_class: {of: request.header.plan, first_of: [{gold: 1000/d}, {silver: 100/d}], otherwise: 10/d}}")
		for range 5 {
			b.want(b.decide("user=alice"), verdict.Allowed, "")
		}
		b.wantLeft(500, "a", "user=alice", "plan=gold")
		b.wantLeft(50, "a", "user=alice", "plan=silver")
		for range 250 {
			b.want(b.decide("user=alice", "plan=gold"), verdict.Allowed, "")
		}
		b.wantLeft(2, "a", "user=alice")
		b.decide("user=alice")
		b.decide("user=alice")
		b.want(b.decide("user=alice"), verdict.LimitExceeded, "limits.take")
		b.wantLeft(50, "a", "user=alice", "plan=gold") // what is left of half a unit of the smallest
		b.wantLeft(10, "a", "user=bob")
	})
}

// TestNobodyGainsByChangingClass: whoever chooses a class for each request anew gets no more of all classes together than
// one bucket holds and time fills in. Each unit takes its class's part of both.
func TestNobodyGainsByChangingClass(t *testing.T) {
	classes := []struct {
		plan  string
		count float64
	}{{"gold", 997}, {"silver", 60}, {"", 7}}
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {by: [subject.key], count: allowed, by_class: {of: request.header.plan, first_of: [{gold: 997/min}, {silver: 60/min}], otherwise: 7/min}}")
		random := rand.New(rand.NewPCG(3, 4))
		var passed time.Duration
		used, changes, before := 0.0, 0, 0
		for range 3000 {
			at := random.IntN(len(classes))
			c := b.newCase("user=alice", "plan="+classes[at].plan)
			b.pipeline.Run(t.Context(), c)
			if c.Verdict.Allowed() {
				used += float64(time.Minute/time.Microsecond) / classes[at].count
				if at != before {
					changes++ // the counter's part of a microsecond is read anew
				}
				before = at
			}
			if most := float64((time.Minute + passed).Microseconds() + int64(changes)); used > most {
				t.Fatalf("%v µs of the bucket used, of %v", used, most)
			}
			step := time.Duration(random.IntN(int(200 * time.Millisecond)))
			b.advance(step)
			passed += step.Truncate(time.Microsecond)
		}
		if full := float64((time.Minute + passed).Microseconds()); used < full/2 {
			t.Errorf("%v of %v used: nothing was put to the test", used, full)
		}
	})
}

// TestClassesAreSettled: a denial is charged at the rate of the class, and each class's counter is the same one.
func TestClassesAreSettled(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {by: [client.address], count: denied, by_class: {of: request.header.plan, first_of: [{gold: 1000/d}], otherwise: 10/d}}")
		b.want(b.decide("policy=deny", "plan=gold"), verdict.NoMatchingRule, "policy")
		b.wantLeft(999, "a", "plan=gold")
		b.want(b.decide("identity=deny"), verdict.TokenSignature, "identity")
		b.wantLeft(899, "a", "plan=gold")
		b.wantLeft(8, "a")
	})
}

// TestClassAtTheGate: a class that the request itself tells is known at the gate, and one of the subject is not.
func TestClassAtTheGate(t *testing.T) {
	stores(t, func(t *testing.T, open func(...string) *bench) {
		b := open("a: {by: [client.address], at: gate, by_class: {of: request.header.plan, first_of: [{gold: 4/d}], otherwise: 2/d}}",
			"b: {by: [client.address], count: allowed, by_class: {of: subject.kind, first_of: [{user: 3/d}], otherwise: 1/d}}")
		for range 2 {
			b.want(b.decide("user=alice", "plan=gold"), verdict.Allowed, "")
		}
		b.want(b.decide(), verdict.LimitExceeded, "limits.take") // two thirds of b are used
		b.want(b.decide("user=alice"), verdict.LimitExceeded, "limits.gate")
		b.want(b.decide("user=alice", "plan=gold"), verdict.LimitExceeded, "limits.gate")
	})
}
