package descriptors

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

const edge = `domain: edge
descriptors:
  - {key: two, rate_limit: {unit: hour, requests_per_unit: 2, name: pair}, metadata: {tier: low}}
  - {key: ten, rate_limit: {unit: minute, requests_per_unit: 10}}
  - {key: none, rate_limit: {unit: day, requests_per_unit: 0}}
  - {key: shade, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: shut, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 0}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: q1, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: q5, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 5}}
  - {key: vast, rate_limit: {unit: hour, requests_per_unit: 1000000000}}
`

// left are what the limits of a request's descriptors have left: "-" for no limit, "!" behind one that is over.
func left(states []verdict.DescriptorState) string {
	var b strings.Builder
	for i := range states {
		s := &states[i]
		switch {
		case s.Unlimited:
			b.WriteString("U")
		case s.Limit == nil:
			b.WriteString("-")
		default:
			b.WriteString(string(rune('0' + s.Remaining)))
		}
		if s.Over {
			b.WriteString("!")
		}
	}
	return b.String()
}

// TestDecisions asks again and again; after each request stands what is left.
func TestDecisions(t *testing.T) {
	zero, four := uint64(0), uint64(4)
	hits := func(r *request.Request, of ...*uint64) *request.Request {
		for i := range of {
			r.Descriptors.List[i].Hits = of[i]
		}
		return r
	}
	huge, half, most, one := uint64(1)<<63, uint64(1e9/2), uint64(1e9), uint64(1)
	for _, c := range []struct {
		name    string
		compat, // adds charge_denied
		calls string // of the store, "" where it does not matter
		requests []*request.Request
		want     []string // "ok …" or "over …"
	}{
		{name: "exactly the limit passes", requests: []*request.Request{keys("two"), keys("two"), keys("two")}, want: []string{"ok 1", "ok 0", "over 0!"}, calls: "take take"},
		{name: "denied is free", requests: []*request.Request{keys("two"), keys("two"), keys("two"), keys("two"), keys("two")}, want: []string{"ok 1", "ok 0", "over 0!", "over 0!", "over 0!"}, calls: "take take"},
		{name: "no limit, unlimited", requests: []*request.Request{keys("other", "free")}, want: []string{"ok -U"}, calls: "-"},
		{name: "requests_per_unit 0", requests: []*request.Request{keys("none"), keys("ten", "none"), keys("ten")}, want: []string{"over 0!", "over :0!", "ok 9"}},
		{name: "a refused request charges nothing", requests: []*request.Request{keys("two"), keys("two"), keys("two", "ten"), keys("ten")}, want: []string{"ok 1", "ok 0", "over 0!-", "ok 9"}},
		{name: "compat.charge_denied charges the others", compat: "yes", requests: []*request.Request{keys("two"), keys("two"), keys("two", "ten"), keys("ten")}, want: []string{"ok 1", "ok 0", "over 0!9", "ok 8"}},
		{name: "compat.charge_denied empties what is over", compat: "yes", requests: []*request.Request{hits(keys("ten"), &four), hits(keys("ten"), &four), hits(keys("ten"), &four), keys("ten")}, want: []string{"ok 6", "ok 2", "over 0!", "over 0!"}},
		{name: "hits", requests: []*request.Request{hits(keys("ten"), &four), hits(keys("ten"), &four), hits(keys("ten"), &four), keys("ten")}, want: []string{"ok 6", "ok 2", "over 0!", "ok 1"}},
		{name: "hits above all limits", requests: []*request.Request{hits(keys("ten", "other"), &huge, &huge), keys("ten")}, want: []string{"over 0!-", "ok 9"}},
		{name: "hits above all limits, in shadow", requests: []*request.Request{hits(keys("shade", "ten"), &huge), keys("shade")}, want: []string{"ok 09", "ok 0"}},
		{name: "hits above all limits, by two", requests: []*request.Request{hits(keys("vast", "vast"), &most, &one), hits(keys("vast", "vast"), &half, &half), keys("vast")}, want: []string{"over 0!0!", "ok 00", "over 0!"}},
		{name: "a look", requests: []*request.Request{hits(keys("two"), &zero), hits(keys("two"), &zero), keys("two"), keys("two"), hits(keys("two"), &zero)}, want: []string{"ok 2", "ok 2", "ok 1", "ok 0", "over 0!"}, calls: "peek peek take take peek"},
		{name: "a look beside a charge", requests: []*request.Request{hits(keys("two", "ten"), &zero), keys("two"), keys("two"), hits(keys("two", "ten"), &zero), keys("ten")}, want: []string{"ok 29", "ok 1", "ok 0", "over 0!9", "ok 8"}},
		{name: "shadow_mode", requests: []*request.Request{keys("shade"), keys("shade"), keys("shade", "ten"), keys("shut")}, want: []string{"ok 0", "ok 0", "ok 09", "ok 0"}},
		{name: "one quota refuses alone", requests: []*request.Request{keys("q1"), keys("q1"), keys("q1", "ten"), keys("ten")}, want: []string{"ok 0", "over 0!", "over 0!-", "ok 9"}},
		{name: "quotas refuse together", requests: []*request.Request{keys("q1", "q5"), keys("q1", "q5"), keys("q1", "q5", "ten")}, want: []string{"ok 04", "ok 0!3", "ok 0!29"}},
		{
			name:     "all quotas over: nothing else is charged",
			requests: []*request.Request{keys("q1", "q5"), hits(keys("q5"), &four), keys("q1", "q5", "ten"), keys("ten")}, want: []string{"ok 04", "ok 0", "over 0!0!:", "ok 9"},
		},
		{name: "the same descriptor twice is charged twice", requests: []*request.Request{keys("two", "two"), keys("two", "two")}, want: []string{"ok 00", "over 0!0!"}},
		{name: "twice, and more than is left", requests: []*request.Request{keys("two"), keys("two", "two"), keys("two")}, want: []string{"ok 1", "over 0!0!", "ok 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := edge
			if c.compat != "" {
				text += "compat: {charge_denied: true}\n"
			}
			w := newWorld(t, text)
			for i, r := range c.requests {
				answer, outcome := w.ask(r)
				got := "ok "
				if outcome != pipeline.Continue {
					got = "over "
					if c.compat != "" {
						<-w.settled
					}
					if answer.Verdict.Reason != verdict.LimitExceeded {
						t.Errorf("request %d: reason %s", i, answer.Verdict.Reason)
					}
				}
				if got += left(answer.Verdict.Descriptors); got != c.want[i] {
					t.Errorf("request %d: got %q, want %q", i, got, c.want[i])
				}
			}
			if calls := strings.Join(w.calls, " "); c.calls != "" && calls != strings.Trim(c.calls, "-") {
				t.Errorf("the store was asked to %s, want %s", calls, c.calls)
			}
		})
	}
}

// TestState shows all of what a caller and a record learn.
func TestState(t *testing.T) {
	w := newWorld(t, edge)
	w.ask(keys("two"))
	w.now = w.now.Add(10 * time.Minute)
	c, _ := w.ask(keys("two"))
	limit := &verdict.DescriptorLimit{Name: "pair", RequestsPerUnit: 2, Unit: "hour"}
	want := []verdict.DescriptorState{{Rule: "edge.two", Hits: 1, Charged: true, Limit: limit, Remaining: 0, Reset: 50 * time.Minute, Metadata: map[string]any{"tier": "low"}}}
	if diff := cmp.Diff(want, c.Verdict.Descriptors); diff != "" {
		t.Error(diff)
	}
	c, _ = w.ask(keys("two"))
	want[0].Over, want[0].Exceeded, want[0].Charged = true, true, false
	if diff := cmp.Diff(want, c.Verdict.Descriptors); diff != "" {
		t.Error(diff)
	}
	if x := c.Verdict; x.Explanation.Limit != "edge.two" || x.RetryAfter != 50*time.Minute || len(x.Explanation.Limits) != 1 || !x.Explanation.Limits[0].Refused || x.Explanation.Limits[0].Window != time.Hour {
		t.Errorf("verdict %+v", x)
	}
}

// TestResets: what a gateway is told of a window's end does not depend on what was charged in it.
func TestResets(t *testing.T) {
	zero, three := uint64(0), uint64(3)
	for name, c := range map[string]struct {
		key  string
		hits *uint64
		want time.Duration
	}{
		"charged":                     {"two", nil, 20 * time.Minute},
		"a look at an unused counter": {"two", &zero, 20 * time.Minute},
		"more than ever passes":       {"two", &three, 20 * time.Minute},
		"requests_per_unit 0":         {"none", nil, 11*time.Hour + 20*time.Minute},
		"a shadow of 0":               {"shut", nil, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, edge)
			w.now = w.now.Add(40*time.Minute + time.Millisecond) // in whole seconds a second more is left
			r := keys(c.key)
			r.Descriptors.List[0].Hits = c.hits
			answer, _ := w.ask(r)
			if got := answer.Verdict.Descriptors[0]; got.Limit == nil || got.Reset != c.want {
				t.Errorf("%+v, want the window to end in %v", got, c.want)
			}
		})
	}
}

// TestDry: a dry run answers as a request would and charges nothing.
func TestDry(t *testing.T) {
	w := newWorld(t, edge)
	dry := keys("two")
	dry.Mode = request.Dry
	for range 5 {
		if _, outcome := w.ask(dry); outcome != pipeline.Continue {
			t.Fatal("a dry run is charged")
		}
	}
	w.ask(keys("two"))
	w.ask(keys("two"))
	if _, outcome := w.ask(dry); outcome != pipeline.Stop {
		t.Error("a dry run sees no limit")
	}
	if slices.Contains(w.calls[:5], "take") {
		t.Errorf("calls %v", w.calls)
	}
}

// TestOverride: section 1.2. An override of an unknown unit is the caller's mistake, and nothing else.
func TestOverride(t *testing.T) {
	w := newWorld(t, edge)
	with := func(unit string) *request.Request {
		r := keys("two")
		r.Descriptors.List[0].Override = &request.Override{RequestsPerUnit: 4, Unit: unit}
		return r
	}
	if c, outcome := w.ask(with("hour")); outcome != pipeline.Continue || left(c.Verdict.Descriptors) != "3" || !c.Verdict.Descriptors[0].RuleByRequest {
		t.Errorf("%+v", c.Verdict)
	}
	// It counts in the same counter as the domain's own limit, which has room for one more.
	if c, outcome := w.ask(keys("two")); outcome != pipeline.Continue || left(c.Verdict.Descriptors) != "0" || c.Verdict.Descriptors[0].RuleByRequest {
		t.Errorf("%+v", c.Verdict)
	}
	for _, unit := range []string{"", "unknown", "fortnight"} {
		c, outcome := w.ask(with(unit))
		if outcome != pipeline.Stop || c.Verdict.Reason != verdict.MalformedRequest || !strings.Contains(c.Verdict.Explanation.Detail, "its unit is not second, minute") {
			t.Errorf("%q: %+v", unit, c.Verdict)
		}
	}
}

// TestRepeated: a counter that a request names twice, by a limit and by an override, is bound by the stricter of both.
func TestRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		key      string
		override uint32
		first    bool // the override stands first
		want     string
	}{
		"the override is smaller":             {"ten", 2, false, "ok 00"},
		"the override is smaller, and first":  {"ten", 2, true, "ok 00"},
		"the override is larger":              {"ten", 50, false, "ok 88"},
		"the override is too small":           {"ten", 1, false, "over 0!0!"},
		"a limit in shadow":                   {"shade", 1, false, "over 00!"},
		"a limit in shadow, behind":           {"shade", 1, true, "over 0!0"},
		"a limit in shadow, and room for two": {"shade", 2, true, "over 0!0"}, // the shadow's own number is the smaller one
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, edge)
			r := keys(c.key, c.key)
			i, unit := 1, "hour"
			if c.first {
				i = 0
			}
			if c.key == "ten" {
				unit = "minute"
			}
			r.Descriptors.List[i].Override = &request.Override{RequestsPerUnit: c.override, Unit: unit}
			answer, outcome := w.ask(r)
			got := "over "
			if outcome == pipeline.Continue {
				got = "ok "
			}
			if got += left(answer.Verdict.Descriptors); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestTooMany: what cannot be taken together is refused, and what repeats counts once.
func TestTooMany(t *testing.T) {
	w := newWorld(t, edge)
	many := func(n int) *request.Request {
		var pairs []request.Pair
		for i := range n {
			pairs = append(pairs, request.Pair{Key: "ten", Value: string(rune('A' + i))}, request.Pair{Key: "ten", Value: string(rune('A' + i))}, request.Pair{Key: "other"})
		}
		return of(pairs...)
	}
	if c, outcome := w.ask(many(32)); outcome != pipeline.Continue {
		t.Errorf("32 counters: %+v", c.Verdict)
	}
	c, outcome := w.ask(many(33))
	if outcome != pipeline.Stop || c.Verdict.Reason != verdict.MalformedRequest || c.Verdict.Explanation.Detail != "33 limits hold for the request, at most 32 can be taken together" {
		t.Errorf("33 counters: %+v", c.Verdict)
	}
}

// TestWithoutADomain: what nobody limits passes, and what this stage did not compile does not.
func TestWithoutADomain(t *testing.T) {
	w := newWorld(t, edge)
	c := &pipeline.Case{}
	c.Request = keys("two", "ten")
	if outcome, err := w.stage.Evaluate(t.Context(), c); outcome != pipeline.Continue || err != nil || left(c.Verdict.Descriptors) != "--" {
		t.Errorf("an unknown domain: %v, %v, %+v", outcome, err, c.Verdict)
	}
	c.Service = &pipeline.Service{}
	if outcome, err := w.stage.Evaluate(t.Context(), c); outcome != pipeline.Stop || !errors.Is(err, ErrNotCompiled) {
		t.Errorf("a domain without its part: %v, %v", outcome, err)
	}
	c.Request = &request.Request{}
	if outcome, err := w.stage.Evaluate(t.Context(), c); outcome != pipeline.Stop || !errors.Is(err, ErrNotCompiled) {
		t.Errorf("a request without descriptors: %v, %v", outcome, err)
	}
	c.Request = keys("two")
	if outcome, err := (&Stage{}).Evaluate(t.Context(), c); outcome != pipeline.Stop || !errors.Is(err, ErrNotCompiled) {
		t.Errorf("a stage that does not count: %v, %v", outcome, err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a stage without a limiter")
	}
}

// TestOneRuleTwice: two values that meet one rule in one request have a counter each.
func TestOneRuleTwice(t *testing.T) {
	w := newWorld(t, edge)
	user := func(name string) request.Pair { return request.Pair{Key: "two", Value: name} }
	for i, c := range []struct {
		r    *request.Request
		want string
	}{
		{of(user("alice")), "ok 1"},
		{of(user("alice"), user("bob")), "ok 01"},
		{of(user("bob"), user("alice")), "over -0!"}, // refused from memory, which knows alice alone
		{of(user("bob"), user("carol")), "ok 01"},
	} {
		if got := answer(w.ask(c.r)); got != c.want {
			t.Errorf("request %d: got %q, want %q", i, got, c.want)
		}
	}
}

// TestStricterRefusesAll: where a counter is named in shadow and by an override, what refuses charges nothing else.
func TestStricterRefusesAll(t *testing.T) {
	w := newWorld(t, edge)
	r := keys("shade", "shade", "ten")
	r.Descriptors.List[1].Override = &request.Override{RequestsPerUnit: 1, Unit: "hour"}
	if got := answer(w.ask(r)); !strings.HasPrefix(got, "over 00!") {
		t.Errorf("got %q", got)
	}
	if got := answer(w.ask(keys("ten"))); got != "ok 9" {
		t.Errorf("the other limit was charged: %q", got)
	}
}
