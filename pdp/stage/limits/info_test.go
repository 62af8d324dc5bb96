package limits

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/verdict"
)

func TestInfos(t *testing.T) {
	bundle, service := load(t, "limit_definitions:\n  everybody: {rate: 5/s, by: []}\n  nobody: {rate: 5/s, by: []}\n", `
limit_definitions:
  per-subject:
    by: [subject.key, {attr: subject.tenant, missing: share}]
    by_class: {of: subject.roles, first_of: [{gold: {rate: 600/min, burst: 6}}], otherwise: {rate: 200/min, burst: 2}}
    when: {request.method: [POST], client.network: {present: true}}
    cost: request.header.units
  logins: {rate: 5/min, by: [client.network], at: gate}
  unused: {rate: 5/min, by: []}
routes:
  - {name: one, path: /one, methods: [GET], limits: [everybody, per-subject]}
  - {name: two, path: /two, methods: [GET], limits: [per-subject, logins]}
`)
	part, problems := (&Stage{}).Compile(bundle, service)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := Infos(&pipeline.Service{Parts: map[string]any{Name: part}})
	type view struct {
		Name, Keys, ClassOf, CostOf string
		Classes, By, When, Routes   []string
		Shared, Gate                bool
	}
	var views []view
	for _, i := range got {
		v := view{i.Limit.Definition().Name, i.Keys.Limit(), i.ClassOf, i.CostOf, nil, i.By, i.When, i.Routes, i.Shared, i.Gate}
		for _, c := range i.Classes {
			v.Classes = append(v.Classes, c.Name)
		}
		views = append(views, v)
	}
	want := []view{
		{Name: "everybody", Keys: "rl:{acme}:0:9:everybody", Routes: []string{"one"}, Shared: true},
		{Name: "logins", Keys: "rl:{acme}:6:orders6:logins", By: []string{"client.network"}, Routes: []string{"two"}, Gate: true},
		{
			Name: "per-subject", Keys: "rl:{acme}:6:orders11:per-subject", ClassOf: "subject.roles", CostOf: "request.header.units", Classes: []string{"gold"},
			By: []string{"subject.key", "subject.tenant"}, When: []string{"client.network", "request.method"}, Routes: []string{"one", "two"},
		},
	}
	if diff := cmp.Diff(want, views); diff != "" {
		t.Error(diff)
	}
	for class, want := range map[string]int64{"": 2, "gold": 6, "silver": 0} {
		l, ok := got[2].Class(class)
		if ok != (want > 0) || ok && l.Definition().Burst != want {
			t.Errorf("class %q: %v", class, ok)
		}
	}
	if Infos(&pipeline.Service{}) != nil {
		t.Error("limits of a service that this stage did not compile")
	}
}

func TestReplay(t *testing.T) {
	b := newBench(t, nil,
		"gated: {rate: 3/min, by: [client.network], at: gate, count: all}",
		"late: {rate: 2/min, by: [subject.key], missing: skip}",
		"lockout: {rate: 2/min, by: [client.network], count: denied}",
		"headed: {rate: 1/min, by: [request.header.x]}")
	b.stage.wait = true
	none := func(string) bool { return false }
	replay := func(denied bool, without func(string) bool) *pipeline.Case {
		t.Helper()
		c := b.decideNothing("user=alice")
		outcome, err := b.stage.Replay(context.Background(), c, denied, without)
		if err != nil {
			t.Fatal(err)
		}
		if c.Verdict.Reason == "" && outcome == pipeline.Continue {
			c.Verdict.Reason = verdict.Allowed
		}
		return c
	}
	if c := replay(false, none); c.Verdict.Reason != verdict.AttributeMissing || c.Verdict.Explanation.Limit != "headed" {
		t.Errorf("without what it counts by: %q by %q", c.Verdict.Reason, c.Verdict.Explanation.Limit)
	}
	unheaded := func(name string) bool { return name == "headed" }
	if c := replay(false, unheaded); c.Verdict.Reason != verdict.Allowed || len(c.Verdict.Explanation.Limits) != 3 {
		t.Errorf("%q, %d limits", c.Verdict.Reason, len(c.Verdict.Explanation.Limits))
	}
	b.wantLeft(1, "gated") // the first one was charged at the gate too
	b.wantLeft(1, "late", "user=alice")
	b.wantLeft(2, "lockout")

	// A denial by something else: the limits at the gate and those that count denials are charged, others are not.
	b.advance(time.Minute)
	for _, left := range []int64{1, 0} {
		if c := replay(true, unheaded); c.Verdict.Reason != "" {
			t.Errorf("a denial: %q", c.Verdict.Reason)
		}
		b.wantLeft(left, "lockout")
	}
	b.wantLeft(2, "late", "user=alice")
	if c := replay(true, unheaded); c.Verdict.Reason != verdict.LimitExceeded || c.Verdict.Explanation.Limit != "lockout" {
		t.Errorf("locked out: %q by %q", c.Verdict.Reason, c.Verdict.Explanation.Limit)
	}
	if c := replay(false, func(name string) bool { return name != "late" }); c.Verdict.Reason != verdict.Allowed || len(c.Verdict.Explanation.Limits) != 1 {
		t.Errorf("one limit alone: %q, %d limits", c.Verdict.Reason, len(c.Verdict.Explanation.Limits))
	}
}

// decideNothing is a case of a request that no stage has seen, on the bench's route, with its subject.
func (b *bench) decideNothing(headers ...string) *pipeline.Case {
	c := b.newCase(headers...)
	if _, err := b.act("identity", verdict.TokenSignature).Evaluate(b.t.Context(), c); err != nil {
		b.t.Fatal(err)
	}
	return c
}

func TestReplayNeedsCompiledLimits(t *testing.T) {
	b := newBench(t, nil, "l: {rate: 1/min, by: []}")
	c := b.newCase()
	c.Service = &pipeline.Service{}
	if _, err := b.stage.Replay(context.Background(), c, false, func(string) bool { return false }); err == nil {
		t.Error("replayed")
	}
}
