package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-pdp/durward/pdp/attribute"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/route"
	"github.com/durward-pdp/durward/pdp/verdict"
)

var errDown = errors.New("dependency is down")

// stage is a Stage from a function.
type stage func(context.Context, *Case) (Outcome, error)

func (s stage) Evaluate(ctx context.Context, c *Case) (Outcome, error) { return s(ctx, c) }

// settler counts what it is told to settle.
type settler struct{ settled int }

func (s *settler) Settle(*Case) { s.settled++ }

// ticking is a clock that moves a millisecond with every look.
func ticking() func() time.Time {
	now := time.Unix(1767225600, 0)
	return func() time.Time {
		now = now.Add(time.Millisecond)
		return now
	}
}

// newCase is a request that found its route; public routes need no policy.
func newCase(public bool) *Case {
	return &Case{
		Facts:   attribute.Facts{Request: &request.Request{}, Match: route.Match{Route: &route.Route{Public: public}}},
		Service: &Service{Parts: map[string]any{"mine": 7}},
	}
}

func pass(context.Context, *Case) (Outcome, error) { return Continue, nil }
func grant(_ context.Context, c *Case) (Outcome, error) {
	c.Grant = &Grant{By: "main"}
	return Continue, nil
}
func deny(_ context.Context, c *Case) (Outcome, error) { return c.Deny(verdict.NoMatchingRule), nil }
func fail(context.Context, *Case) (Outcome, error)     { return Continue, errDown }

func TestNewChecksTheTable(t *testing.T) {
	one := func(s Step) Options { return Options{Clock: ticking(), Steps: []Step{s}} }
	for name, options := range map[string]Options{
		"no clock":               {},
		"no stage":               one(Step{Point: "a"}),
		"no point":               one(Step{Stage: stage(pass)}),
		"a point twice":          {Clock: ticking(), Steps: []Step{{Point: "a", Stage: stage(pass)}, {Point: "a", Stage: stage(pass)}}},
		"identity fails open":    one(Step{Point: "identity", Stage: stage(pass), FailOpen: true}),
		"policy fails open":      one(Step{Point: "policy", Stage: stage(pass), FailOpen: true}),
		"upstream fails open":    one(Step{Point: "upstream", Stage: stage(pass), FailOpen: true}),
		"a name alike":           one(Step{Point: "limitsx", Stage: stage(pass), FailOpen: true}),
		"policy under its guise": one(Step{Point: "policy.limits", Stage: stage(pass), FailOpen: true}),
	} {
		if p, err := New(options); !errors.Is(err, ErrSteps) || p != nil {
			t.Errorf("%s: New = %v, %v; want ErrSteps", name, p, err)
		}
	}
	for _, point := range []string{"limits", "limits.gate", "inspection", "inspection.body"} {
		if _, err := New(one(Step{Point: point, Stage: stage(pass), FailOpen: true})); err != nil {
			t.Errorf("%s cannot fail open: %v", point, err)
		}
	}
}

func TestRun(t *testing.T) {
	redirect := func(_ context.Context, c *Case) (Outcome, error) {
		c.Verdict.Effect = verdict.Allow // not a stage's to say
		c.Grant = &Grant{By: "main"}
		return Stop, nil
	}
	outage := func(_ context.Context, c *Case) (Outcome, error) { return c.Outage(verdict.LimitsUnavailable), nil }
	settled := func(_ context.Context, c *Case) (Outcome, error) {
		c.MarkSettled()
		return Continue, nil
	}
	for _, tc := range []struct {
		name     string
		steps    []Step
		public   bool
		want     verdict.Reason // Allowed for an allow
		at       string
		degraded bool
		settles  int
	}{
		{"granted", []Step{{Point: "policy", Stage: stage(grant)}}, false, verdict.Allowed, "", false, 0},
		{"no stages at all", nil, false, verdict.NotGranted, "", false, 1},
		{"nobody grants", []Step{{Point: "identity", Stage: stage(pass)}}, false, verdict.NotGranted, "", false, 1},
		{"public", []Step{{Point: "identity", Stage: stage(pass)}}, true, verdict.Allowed, "", false, 0},
		{"public, but a stage denies", []Step{{Point: "limits", Stage: stage(deny)}}, true, verdict.NoMatchingRule, "limits", false, 1},
		{"denied after the grant", []Step{{Point: "policy", Stage: stage(grant)}, {Point: "limits.take", Stage: stage(deny)}}, false, verdict.NoMatchingRule, "limits.take", false, 1},
		{"denied before the grant", []Step{{Point: "identity", Stage: stage(deny)}, {Point: "policy", Stage: stage(grant)}}, false, verdict.NoMatchingRule, "identity", false, 1},
		{"the zero outcome stops", []Step{{Point: "policy", Stage: stage(func(context.Context, *Case) (o Outcome, _ error) { return o, nil })}}, true, verdict.NotGranted, "policy", false, 1},
		{"an unknown outcome stops", []Step{{Point: "policy", Stage: stage(func(context.Context, *Case) (Outcome, error) { return 7, nil })}}, true, verdict.NotGranted, "policy", false, 1},
		{"stopping wins over an effect", []Step{{Point: "upstream", Stage: stage(redirect)}}, false, verdict.NotGranted, "upstream", false, 1},
		{"a stage errs", []Step{{Point: "policy", Stage: stage(fail)}}, true, verdict.StageFailed, "policy", true, 0},
		{"a stage errs, with a reason", []Step{{Point: "identity", Stage: stage(fail), Failure: verdict.KeysUnavailable}}, true, verdict.KeysUnavailable, "identity", true, 0},
		{"a stage errs and may", []Step{{Point: "limits.take", Stage: stage(fail), FailOpen: true}}, true, verdict.Allowed, "", true, 0},
		{"failing open is no grant", []Step{{Point: "limits.take", Stage: stage(fail), FailOpen: true}}, false, verdict.NotGranted, "", true, 1},
		{"a stage's own outage", []Step{{Point: "limits.take", Stage: stage(outage), FailOpen: true}}, true, verdict.LimitsUnavailable, "limits.take", true, 0},
		{"limits are settled already", []Step{{Point: "limits.take", Stage: stage(settled)}, {Point: "upstream", Stage: stage(deny)}}, true, verdict.NoMatchingRule, "upstream", false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &settler{}
			p, err := New(Options{Steps: tc.steps, Settler: s, Clock: ticking()})
			if err != nil {
				t.Fatal(err)
			}
			c := newCase(tc.public)
			p.Run(t.Context(), c)
			v := &c.Verdict
			if v.Reason != tc.want || v.Allowed() != (tc.want == verdict.Allowed) || v.Stage != tc.at || v.Degraded != tc.degraded {
				t.Errorf("%v %q at %q, degraded %v; want %q at %q, %v", v.Effect, v.Reason, v.Stage, v.Degraded, tc.want, tc.at, tc.degraded)
			}
			if s.settled != tc.settles {
				t.Errorf("settled %d times, want %d", s.settled, tc.settles)
			}
			if c.IsOutage() != (v.HTTPStatus() == 503) {
				t.Errorf("outage %v with status %d", c.IsOutage(), v.HTTPStatus())
			}
		})
	}
}

func TestStagesRunInOrderUntilOneStops(t *testing.T) {
	var ran []string
	step := func(point string, s stage) Step {
		return Step{Point: point, Stage: stage(func(ctx context.Context, c *Case) (Outcome, error) {
			ran = append(ran, point)
			return s(ctx, c)
		})}
	}
	type observation struct {
		point   string
		outcome Outcome
		err     error
	}
	var observed []observation
	p, err := New(Options{
		Clock: ticking(),
		Steps: []Step{step("a", pass), step("b", grant), step("c", deny), step("d", pass)},
		Observe: func(point string, took time.Duration, outcome Outcome, err error) {
			if took <= 0 {
				t.Errorf("%s took %v", point, took)
			}
			observed = append(observed, observation{point, outcome, err})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := newCase(false)
	p.Run(t.Context(), c)
	if got := strings.Join(ran, ""); got != "abc" {
		t.Errorf("ran %q, want abc", got)
	}
	want := []observation{{"a", Continue, nil}, {"b", Continue, nil}, {"c", Stop, nil}}
	if !slices.Equal(observed, want) {
		t.Errorf("observed %v, want %v", observed, want)
	}
	if len(c.Trace) != 3 || c.Trace[2] != (StepTime{Point: "c", Took: time.Millisecond}) {
		t.Errorf("trace %v", c.Trace)
	}
}

// TestContexts: a decision that comes too late is none, whatever the stages said.
func TestContexts(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancelLate()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		want verdict.Reason
	}{{"cancelled", cancelled, verdict.Cancelled}, {"late", late, verdict.Deadline}} {
		t.Run(tc.name, func(t *testing.T) {
			s := &settler{}
			p, err := New(Options{Settler: s, Clock: ticking(), Steps: []Step{{Point: "limits", FailOpen: true, Stage: stage(func(context.Context, *Case) (Outcome, error) {
				t.Error("a stage ran")
				return Continue, nil
			})}}})
			if err != nil {
				t.Fatal(err)
			}
			c := newCase(true)
			p.Run(tc.ctx, c)
			if c.Verdict.Allowed() || c.Verdict.Reason != tc.want || !c.Verdict.Degraded || s.settled != 0 {
				t.Errorf("verdict %+v, settled %d", c.Verdict, s.settled)
			}
		})
	}
	ends := func(name, at string, step func(cancel func()) Step) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, err := New(Options{Clock: ticking(), Steps: []Step{step(cancel)}})
			if err != nil {
				t.Fatal(err)
			}
			c := newCase(true)
			p.Run(ctx, c)
			if c.Verdict.Allowed() || c.Verdict.Reason != verdict.Cancelled || c.Verdict.Stage != at {
				t.Errorf("verdict %+v", c.Verdict)
			}
		})
	}
	ends("ends during the last stage", "", func(cancel func()) Step {
		return Step{Point: "upstream", Stage: stage(func(context.Context, *Case) (Outcome, error) {
			cancel()
			return Continue, nil
		})}
	})
	for _, open := range []bool{true, false} {
		ends("ends during a stage that errs", "limits", func(cancel func()) Step {
			return Step{Point: "limits", FailOpen: open, Stage: stage(func(ctx context.Context, _ *Case) (Outcome, error) {
				cancel()
				return Continue, ctx.Err()
			})}
		})
	}
}

// TestBudget: a stage's own budget ends the stage, by its failure mode, and not the decision.
func TestBudget(t *testing.T) {
	wait := stage(func(ctx context.Context, _ *Case) (Outcome, error) {
		<-ctx.Done()
		return Continue, ctx.Err()
	})
	for _, tc := range []struct {
		open bool
		want verdict.Reason
	}{{true, verdict.Allowed}, {false, verdict.LimitsUnavailable}} {
		var kept context.Context
		p, err := New(Options{Clock: ticking(), Steps: []Step{
			{Point: "limits", Stage: wait, Budget: time.Nanosecond, FailOpen: tc.open, Failure: verdict.LimitsUnavailable},
			{Point: "upstream", Budget: time.Hour, Stage: stage(func(ctx context.Context, _ *Case) (Outcome, error) {
				kept = ctx
				return Continue, ctx.Err()
			})},
		}})
		if err != nil {
			t.Fatal(err)
		}
		c := newCase(true)
		p.Run(t.Context(), c)
		if c.Verdict.Reason != tc.want || !c.Verdict.Degraded {
			t.Errorf("open %v: verdict %+v", tc.open, c.Verdict)
		}
		if tc.open && kept.Err() == nil {
			t.Error("a stage's context outlives the stage")
		}
	}
}

func TestNothingToSettleWithoutAService(t *testing.T) {
	s := &settler{}
	p, err := New(Options{Clock: ticking(), Settler: s})
	if err != nil {
		t.Fatal(err)
	}
	c := newCase(false)
	c.Service = nil
	p.Run(t.Context(), c)
	if s.settled != 0 || c.Verdict.Reason != verdict.NotGranted {
		t.Errorf("settled %d, verdict %+v", s.settled, c.Verdict)
	}
}

func TestPart(t *testing.T) {
	c := newCase(false)
	if part, ok := Part[int](c, "mine"); !ok || part != 7 {
		t.Errorf("Part = %v, %v", part, ok)
	}
	if _, ok := Part[string](c, "mine"); ok {
		t.Error("a part of another type is found")
	}
	if _, ok := Part[int](c, "other"); ok {
		t.Error("a part that was not compiled is found")
	}
	if _, ok := Part[int](&Case{}, "mine"); ok {
		t.Error("a case without a service has parts")
	}
}
