package assembly

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/durward-pdp/durward/pdp"
	"github.com/durward-pdp/durward/pdp/verdict"
)

// limitLabels give limits their names as labels, up to a bound. Names that requests have a part in are bounded apart, so that
// clients cannot use up those of the bundle.
type limitLabels struct {
	ofBundle, ofRequests routeLabels
}

func newLimitLabels() limitLabels {
	return limitLabels{
		ofBundle:   routeLabels{most: maxLimitNames, known: map[string]bool{}},
		ofRequests: routeLabels{most: maxLimitNames, known: map[string]bool{}},
	}
}

func (l *limitLabels) label(name string, byRequest bool) string {
	if byRequest {
		return l.ofRequests.bounded(name)
	}
	return l.ofBundle.bounded(name)
}

// Beyond four fifths of a limit hits are near it: envoyproxy/ratelimit's default NEAR_LIMIT_RATIO.
const nearNumerator, nearDenominator = 4, 5

// ratelimitMetrics count the hits of rate limit requests by rule, as envoyproxy/ratelimit's statistics of the same names do.
type ratelimitMetrics struct {
	total, within, near, over, shadow *prometheus.CounterVec
	unknown                           prometheus.Counter
}

func newRatelimitMetrics() ratelimitMetrics {
	return ratelimitMetrics{
		total: counters("durward_ratelimit_hits_total", "Hits of rate limit requests, by the rule that they met.", "limit"),
		within: counters("durward_ratelimit_within_limit_hits_total",
			"Hits that were charged to a rule's limit.", "limit"),
		near: counters("durward_ratelimit_near_limit_hits_total",
			"Hits that were charged beyond four fifths of a rule's limit.", "limit"),
		over: counters("durward_ratelimit_over_limit_hits_total",
			"Hits for which a rule's limit had no room, refused or not.", "limit"),
		shadow: counters("durward_ratelimit_shadow_hits_total",
			"Hits for which a rule's limit had no room and that it let pass, in shadow mode.", "limit"),
		unknown: prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_ratelimit_unknown_domain_total",
			Help: "Rate limit requests for a domain that no bundle has: nothing was limited."}),
	}
}

// all are the metrics, to be registered.
func (m *ratelimitMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.total, m.within, m.near, m.over, m.shadow, m.unknown}
}

// count counts what the descriptors of one request met. The names of rules are bounded by label.
func (m *ratelimitMetrics) count(o *pdp.Observation, label func(rule string, byRequest bool) string) {
	v := o.Verdict
	if len(v.Descriptors) > 0 && o.Route == pdp.UnknownDomain {
		m.unknown.Inc()
	}
	for i := range v.Descriptors {
		s := &v.Descriptors[i]
		if s.Rule == "" || s.Unlimited {
			continue
		}
		rule, hits := label(s.Rule, s.RuleByRequest), float64(s.Hits)
		m.total.WithLabelValues(rule).Add(hits)
		switch {
		case s.Exceeded:
			m.over.WithLabelValues(rule).Add(hits)
			if s.Shadow {
				m.shadow.WithLabelValues(rule).Add(hits)
			}
		case s.Charged:
			m.within.WithLabelValues(rule).Add(hits)
			if near := nearHits(s); near > 0 && !v.Degraded { // a share says nothing of the whole
				m.near.WithLabelValues(rule).Add(float64(near))
			}
		}
	}
}

// nearHits returns how many of a descriptor's hits, which are charged, lie beyond the bound.
func nearHits(s *verdict.DescriptorState) int64 {
	used := s.Limit.RequestsPerUnit - s.Remaining
	bound := s.Limit.RequestsPerUnit * nearNumerator / nearDenominator
	return min(used-bound, int64(s.Hits)) //nolint:gosec // what is charged is at most a limit
}
