package descriptors

import (
	"testing"

	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/request"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// answer is how the protocol would answer: ok or over, or the reason of an outage, and what is left.
func answer(c *pipeline.Case, outcome pipeline.Outcome) string {
	word := "ok"
	switch {
	case c.IsOutage():
		return string(c.Verdict.Reason)
	case outcome != pipeline.Continue:
		word = "over"
	}
	return word + " " + left(c.Verdict.Descriptors)
}

// TestModes: what envoyproxy/ratelimit switches for the whole service, SHADOW_MODE and QUOTA_MODE.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		name, compat string
		requests     []*request.Request
		want         []string
	}{
		{"shadow: statuses tell, and the request passes", "shadow_mode: true", []*request.Request{keys("two"), keys("two"), keys("two"), keys("none")}, []string{"ok 1", "ok 0", "ok 0!", "ok 0!"}},
		{"shadow: what has room is charged", "shadow_mode: true", []*request.Request{keys("q1"), keys("q1", "none", "ten"), keys("ten")}, []string{"ok 0", "ok 0!0!9", "ok 8"}},
		{"shadow: all quotas over", "shadow_mode: true", []*request.Request{keys("q1"), keys("q1")}, []string{"ok 0", "ok 0!"}},
		{"quota: one limit refuses alone", "quota_mode: true", []*request.Request{keys("two"), keys("two"), keys("two")}, []string{"ok 1", "ok 0", "over 0!"}},
		{"quota: one that has room lets pass", "quota_mode: true", []*request.Request{keys("two"), keys("two"), keys("two", "ten"), keys("none", "ten")}, []string{"ok 1", "ok 0", "ok 0!9", "ok 0!8"}},
		{"quota: all refuse together", "quota_mode: true", []*request.Request{keys("two"), keys("two"), keys("two", "none"), keys("none", "none")}, []string{"ok 1", "ok 0", "over 0!0!", "over 0!0!"}},
		{"quota: what nothing limits has room", "quota_mode: true", []*request.Request{keys("none", "other"), keys("other")}, []string{"ok 0!-", "ok -"}},
		{"quota: what is unlimited keeps nothing from refusing", "quota_mode: true", []*request.Request{keys("none", "free"), keys("free", "two"), keys("free")}, []string{"over 0!U", "ok U1", "ok U"}},
		{"both", "shadow_mode: true, quota_mode: true", []*request.Request{keys("none"), keys("two", "none")}, []string{"ok 0!", "ok 10!"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, edge+"compat: {"+c.compat+"}\n")
			for i, r := range c.requests {
				if got := answer(w.ask(r)); got != c.want[i] {
					t.Errorf("request %d: got %q, want %q", i, got, c.want[i])
				}
			}
		})
	}
}

// TestChargeDeniedEmpties: with charge_denied hits that find no room use up what is left, whether or not they refuse the request.
func TestChargeDeniedEmpties(t *testing.T) {
	zero, one, four, most, huge := uint64(0), uint64(1), uint64(4), uint64(1e9), uint64(2e9)
	hits := func(r *request.Request, of ...*uint64) *request.Request {
		for i := range of {
			r.Descriptors.List[i].Hits = of[i]
		}
		return r
	}
	for name, c := range map[string]struct {
		compat   string
		requests []*request.Request
		want     []string
	}{
		"a quota beside one with room":             {"charge_denied: true", []*request.Request{hits(keys("q5"), &four), hits(keys("q5", "q1"), &four, &one), hits(keys("q5"), &zero)}, []string{"ok 1", "ok 0!0", "over 0!"}},
		"more hits than can be counted":            {"charge_denied: true", []*request.Request{hits(keys("ten"), &huge), hits(keys("ten"), &zero), hits(keys("q5", "q1"), &huge), hits(keys("q5"), &zero)}, []string{"over 0!", "over 0!", "ok 0!0", "over 0!"}},
		"more than can be counted, without it":     {"shadow_mode: true", []*request.Request{hits(keys("vast"), &huge), hits(keys("vast"), &most)}, []string{"ok 0!", "ok 0"}},
		"a look at a quota takes nothing":          {"charge_denied: true", []*request.Request{hits(keys("q5", "q1"), &four, &one), hits(keys("q5", "q1"), &zero, &one), hits(keys("q5"), &zero)}, []string{"ok 10", "ok 10!", "ok 1"}},
		"a domain in shadow":                       {"charge_denied: true, shadow_mode: true", []*request.Request{hits(keys("ten"), &four), hits(keys("ten"), &four), hits(keys("ten"), &four), hits(keys("ten"), &one)}, []string{"ok 6", "ok 2", "ok 0!", "ok 0!"}},
		"without it hits without room are dropped": {"shadow_mode: true", []*request.Request{hits(keys("ten"), &four), hits(keys("ten"), &four), hits(keys("ten"), &four), hits(keys("ten"), &one)}, []string{"ok 6", "ok 2", "ok 0!", "ok 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, edge+"compat: {"+c.compat+"}\n")
			w.stage.wait = true
			for i, r := range c.requests {
				if got := answer(w.ask(r)); got != c.want[i] {
					t.Errorf("request %d: got %q, want %q", i, got, c.want[i])
				}
			}
		})
	}
}

// TestShadowModeRefusesNobody: nothing in the verdict says refused, but for the statuses and the record's limits.
func TestShadowModeRefusesNobody(t *testing.T) {
	w := newWorld(t, edge+"compat: {shadow_mode: true}\n")
	c, _ := w.ask(keys("none"))
	x := c.Verdict.Explanation
	if x.Limit != "" || c.Verdict.RetryAfter != 0 || len(x.Limits) != 1 || !x.Limits[0].Refused || !x.Limits[0].Shadow {
		t.Errorf("%+v", c.Verdict)
	}
}

// TestWithoutTheSharedCounters: on_error says what limits do then; deny makes an error of every call that needs a counter.
func TestWithoutTheSharedCounters(t *testing.T) {
	zero := uint64(0)
	look := keys("two")
	look.Descriptors.List[0].Hits = &zero
	const unavailable = string(verdict.LimitsUnavailable)
	for _, c := range []struct {
		compat   string
		requests []*request.Request
		want     []string
	}{
		{"", []*request.Request{keys("two"), keys("two")}, []string{"ok 0", "over 0!"}}, // a share begins with one unit
		{"on_error: local_share", []*request.Request{keys("two"), keys("two")}, []string{"ok 0", "over 0!"}},
		{"on_error: allow", []*request.Request{keys("two"), keys("two"), keys("two"), keys("none")}, []string{"ok 0", "ok 0", "ok 0", "over 0!"}},
		{"on_error: deny", []*request.Request{keys("two"), look, keys("shade"), keys("q1", "q5"), keys("none"), keys("other")}, []string{unavailable, unavailable, unavailable, unavailable, "over 0!", "ok -"}},
		{"on_error: deny, shadow_mode: true", []*request.Request{keys("two"), keys("other")}, []string{unavailable, "ok -"}},
	} {
		t.Run(c.compat, func(t *testing.T) {
			w := newWorld(t, edge+"compat: {"+c.compat+"}\n")
			w.down = true
			for i, r := range c.requests {
				got, outcome := w.ask(r)
				if text := answer(got, outcome); text != c.want[i] {
					t.Errorf("request %d: got %q, want %q", i, text, c.want[i])
				}
			}
			w.down = false
			if got := answer(w.ask(keys("ten"))); got != "ok 9" {
				t.Errorf("back again: %q", got)
			}
		})
	}
}
