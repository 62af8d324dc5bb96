package assembly

import "github.com/prometheus/client_golang/prometheus"

// stateCollector shows the tables as they are when somebody looks.
type stateCollector struct{ shared *shared }

func stateAge() *prometheus.Desc {
	return prometheus.NewDesc("durward_state_age_seconds", "How old this replica's copy of a shared table is at most.", []string{"table"}, nil)
}

func stateRecords() *prometheus.Desc {
	return prometheus.NewDesc("durward_state_records", "Records of a shared table that this replica holds.", []string{"table"}, nil)
}

// Describe implements [prometheus.Collector].
func (c stateCollector) Describe(out chan<- *prometheus.Desc) {
	out <- stateAge()
	out <- stateRecords()
}

// Collect implements [prometheus.Collector].
func (c stateCollector) Collect(out chan<- prometheus.Metric) {
	now := c.shared.clock()
	for name, t := range c.shared.all() {
		out <- prometheus.MustNewConstMetric(stateAge(), prometheus.GaugeValue, t.age(now).Seconds(), name)
		out <- prometheus.MustNewConstMetric(stateRecords(), prometheus.GaugeValue, float64(t.Len()), name)
	}
}
