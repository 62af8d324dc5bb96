package assembly

import (
	"github.com/durward-pdp/durward/pdp/pipeline"
	"github.com/durward-pdp/durward/pdp/stage/identity/introspection"
	"github.com/prometheus/client_golang/prometheus"
)

// introspectionMetrics are about opaque tokens. Labels are names of bundles and their authenticators.
type introspectionMetrics struct {
	questions *prometheus.CounterVec
	calls     *prometheus.HistogramVec
	circuit   *prometheus.GaugeVec
}

func newIntrospectionMetrics() introspectionMetrics {
	return introspectionMetrics{
		questions: counters("durward_introspections_total", "Questions about opaque tokens, by outcome and by where the answer came from: call, cached, joined (a call that another decision had begun), none (refused at once, or not awaited).",
			"bundle", "authenticator", "source", "outcome"),
		calls: histograms("durward_introspection_duration_seconds", "Time of one call to an issuer about an opaque token.", "bundle", "authenticator"),
		circuit: gauges("durward_introspection_circuit_open", "1 while an issuer is left alone because it failed, or asked for it: requests with new opaque tokens are denied.",
			"bundle", "authenticator"),
	}
}

func (m *introspectionMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.questions, m.calls, m.circuit}
}

// event counts one question or call.
func (m *introspectionMetrics) event(e introspection.Event) {
	m.questions.WithLabelValues(e.Bundle, e.Authenticator, string(e.Source), string(e.Outcome)).Inc()
	if e.Source == introspection.Call {
		m.calls.WithLabelValues(e.Bundle, e.Authenticator).Observe(e.Took.Seconds())
		m.circuit.WithLabelValues(e.Bundle, e.Authenticator).Set(map[bool]float64{true: 1}[e.Circuit])
	}
}

// published shows the circuits of the endpoints in force and forgets the ones before.
func (m *introspectionMetrics) published(s *pipeline.Snapshot) {
	m.circuit.Reset()
	for _, e := range endpoints(s) {
		c := e.Config()
		m.circuit.WithLabelValues(c.Bundle, c.Authenticator).Set(map[bool]float64{true: 1}[e.CircuitOpen()])
	}
}
