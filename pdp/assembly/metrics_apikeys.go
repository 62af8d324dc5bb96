package assembly

import "github.com/prometheus/client_golang/prometheus"

// countAPIKeys registers what is counted of API keys.
func (m *metrics) countAPIKeys() {
	m.keyUsesDropped = prometheus.NewCounter(prometheus.CounterOpts{Name: "durward_api_key_uses_dropped_total",
		Help: "Uses of API keys that were not written down, because too many waited or the table did not answer."})
	m.registry.MustRegister(m.keyUsesDropped)
}
