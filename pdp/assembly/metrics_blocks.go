package assembly

import (
	"github.com/durward-pdp/durward/pdp/blocks"
	"github.com/prometheus/client_golang/prometheus"
)

// logout counts a logout token.
func (m *metrics) logout(outcome string) { m.logouts.WithLabelValues(outcome).Inc() }

// watchBlocks shows what is blocked.
func (m *metrics) watchBlocks(list *blocks.List) { m.registry.MustRegister(blocksCollector{list}) }

// blocksCollector shows the list as it is when somebody looks.
type blocksCollector struct{ list *blocks.List }

func blocksHeld() *prometheus.Desc {
	return prometheus.NewDesc("durward_blocks", "What is blocked, by kind; of all kinds together there may be 100,000.", []string{"kind"}, nil)
}

func blocksUnreadable() *prometheus.Desc {
	return prometheus.NewDesc("durward_blocks_unreadable_total", "Blocks in the shared table that this version could not read: they block nobody.", nil, nil)
}

// Describe implements [prometheus.Collector].
func (c blocksCollector) Describe(out chan<- *prometheus.Desc) {
	out <- blocksHeld()
	out <- blocksUnreadable()
}

// Collect implements [prometheus.Collector].
func (c blocksCollector) Collect(out chan<- prometheus.Metric) {
	for kind, n := range c.list.Counts() {
		out <- prometheus.MustNewConstMetric(blocksHeld(), prometheus.GaugeValue, float64(n), kind)
	}
	out <- prometheus.MustNewConstMetric(blocksUnreadable(), prometheus.CounterValue, float64(c.list.Unreadable()))
}
