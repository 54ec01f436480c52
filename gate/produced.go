package gate

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// produced counts what callers have handed to the brokers.
type produced struct{ records, bytes atomic.Int64 }

func (p *produced) count(records ...*kgo.Record) {
	n := 0
	for _, r := range records {
		n += len(r.Key) + len(r.Value)
	}
	p.records.Add(int64(len(records)))
	p.bytes.Add(int64(n))
}

var (
	producedRecords = prometheus.NewDesc("klamm_produce_records_total", "Records that callers have written, as handed to the brokers.", nil, nil)
	producedBytes   = prometheus.NewDesc("klamm_produce_bytes_total", "Bytes of the keys and values of these records.", nil, nil)
)

// Produced returns the series that count what callers have written, to be registered
// once. It is safe for concurrent use.
func (g *Gate) Produced() prometheus.Collector { return producedMetrics{&g.produced} }

type producedMetrics struct{ of *produced }

// Describe is part of prometheus.Collector.
func (m producedMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- producedRecords
	ch <- producedBytes
}

// Collect is part of prometheus.Collector.
func (m producedMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(producedRecords, prometheus.CounterValue, float64(m.of.records.Load()))
	ch <- prometheus.MustNewConstMetric(producedBytes, prometheus.CounterValue, float64(m.of.bytes.Load()))
}
