package assembly

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/assembly/settings"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// statistics are what was counted of rate limit requests: the metrics' middle words and the rule.
func statistics(t *testing.T, m *metrics) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for name, f := range families(t, m) {
		word, ok := strings.CutPrefix(name, "durward_ratelimit_")
		for labels, n := range f.samples {
			if ok && labels != "" {
				out[strings.TrimSuffix(word, "_total")+" "+strings.TrimPrefix(labels, "limit=")] = n
			}
		}
	}
	return out
}

// TestRatelimitStatistics counts hits as envoyproxy/ratelimit's statistics do.
func TestRatelimitStatistics(t *testing.T) {
	ten := &verdict.DescriptorLimit{RequestsPerUnit: 10}
	charged := func(hits uint64, left int64) verdict.DescriptorState {
		return verdict.DescriptorState{Rule: "r", Hits: hits, Limit: ten, Charged: true, Remaining: left}
	}
	for name, c := range map[string]struct {
		states []verdict.DescriptorState
		edit   func(*pdp.Observation)
		want   map[string]float64
	}{
		"far from the limit":          {states: []verdict.DescriptorState{charged(3, 5)}, want: map[string]float64{"hits r": 3, "within_limit_hits r": 3}},
		"up to the bound":             {states: []verdict.DescriptorState{charged(1, 2)}, want: map[string]float64{"hits r": 1, "within_limit_hits r": 1}},
		"across the bound":            {states: []verdict.DescriptorState{charged(5, 1)}, want: map[string]float64{"hits r": 5, "within_limit_hits r": 5, "near_limit_hits r": 1}},
		"beyond the bound":            {states: []verdict.DescriptorState{charged(1, 0)}, want: map[string]float64{"hits r": 1, "within_limit_hits r": 1, "near_limit_hits r": 1}},
		"over":                        {states: []verdict.DescriptorState{{Rule: "r", Hits: 4, Limit: ten, Exceeded: true, Over: true}}, want: map[string]float64{"hits r": 4, "over_limit_hits r": 4}},
		"over in shadow":              {states: []verdict.DescriptorState{{Rule: "r", Hits: 4, Limit: ten, Exceeded: true, Shadow: true}}, want: map[string]float64{"hits r": 4, "over_limit_hits r": 4, "shadow_hits r": 4}},
		"room, and another refused":   {states: []verdict.DescriptorState{{Rule: "r", Hits: 2, Limit: ten, Remaining: 9}}, want: map[string]float64{"hits r": 2}},
		"another refused from memory": {states: []verdict.DescriptorState{{Rule: "r", Hits: 2}}, want: map[string]float64{"hits r": 2}},
		"a look":                      {states: []verdict.DescriptorState{{Rule: "r", Limit: ten, Remaining: 1}}, want: map[string]float64{"hits r": 0}},
		"no rule, and no limit":       {states: []verdict.DescriptorState{{Hits: 1}, {Rule: "r", Hits: 1, Unlimited: true}}, want: map[string]float64{}},
		"two descriptors":             {states: []verdict.DescriptorState{charged(1, 9), {Rule: "q", Hits: 1, Exceeded: true}}, want: map[string]float64{"hits r": 1, "within_limit_hits r": 1, "hits q": 1, "over_limit_hits q": 1}},
		"hits without end":            {states: []verdict.DescriptorState{{Rule: "r", Hits: 1 << 63, Limit: ten, Exceeded: true}}, want: map[string]float64{"hits r": 1 << 63, "over_limit_hits r": 1 << 63}},
		"a share of the limit": {
			states: []verdict.DescriptorState{charged(1, 0)}, edit: func(o *pdp.Observation) { o.Verdict.Degraded = true },
			want: map[string]float64{"hits r": 1, "within_limit_hits r": 1},
		},
		"a dry run": {states: []verdict.DescriptorState{charged(1, 0)}, edit: func(o *pdp.Observation) { o.Dry = true }, want: map[string]float64{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMetrics(settings.Metrics{}, Version{})
			o := pdp.Observation{Adapter: "ratelimit", Verdict: &verdict.Verdict{Descriptors: c.states}}
			if c.edit != nil {
				c.edit(&o)
			}
			m.decision(o)
			if diff := cmp.Diff(c.want, statistics(t, m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRatelimitStatisticsAreBounded: a rule can be named by values of requests, and then clients choose the names. They take
// none from the rules of the bundle.
func TestRatelimitStatisticsAreBounded(t *testing.T) {
	m := newMetrics(settings.Metrics{}, Version{})
	meet := func(name string, byRequest bool) {
		v := &verdict.Verdict{Descriptors: []verdict.DescriptorState{{Rule: name, RuleByRequest: byRequest, Hits: 1, Exceeded: true}}}
		v.Explanation.Limits = []verdict.LimitState{{Name: name, Refused: true}}
		m.decision(pdp.Observation{Verdict: v})
	}
	for i := range maxLimitNames + 500 {
		meet(fmt.Sprint("user_", i), true)
	}
	for i := range maxLimitNames + 300 {
		meet(fmt.Sprint("rule_", i), false)
	}
	got := statistics(t, m)
	if len(got) != 2*(2*maxLimitNames+1) || got["hits other"] != 800 || got["hits rule_0"] != 1 {
		t.Errorf("%d names, %v others", len(got), got["hits other"])
	}
	if refused := families(t, m)["durward_limited_total"].samples; len(refused) != 2*maxLimitNames+1 || refused["limit=rule_0,shadow=false"] != 1 {
		t.Errorf("%d names of limits that refused, %v", len(refused), refused["limit=rule_0,shadow=false"])
	}
}

// TestUnknownDomains: that nothing is limited for a domain nobody has is not to go unnoticed.
func TestUnknownDomains(t *testing.T) {
	m := newMetrics(settings.Metrics{}, Version{})
	states := &verdict.Verdict{Descriptors: make([]verdict.DescriptorState, 2)}
	for _, o := range []pdp.Observation{
		{Route: pdp.UnknownDomain, Verdict: states}, {Route: "descriptors", Verdict: states},
		{Route: pdp.UnknownDomain, Verdict: &verdict.Verdict{}}, {Route: pdp.UnknownDomain, Verdict: states, Dry: true},
	} {
		m.decision(o)
	}
	if got := families(t, m)["durward_ratelimit_unknown_domain_total"].samples[""]; got != 1 {
		t.Errorf("%v requests", got)
	}
}
