package gate

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// decisions counts what policies have said about calls.
type decisions struct{ allowed, denied, failed atomic.Int64 }

// count notes a decision: nil allows, a Denial denies, and with any other error the
// policies could not be asked, which lets nothing pass.
func (d *decisions) count(err error) {
	switch {
	case err == nil:
		d.allowed.Add(1)
	case DenialOf(err) != nil || Classify(err) == Denied:
		d.denied.Add(1)
	default:
		d.failed.Add(1)
	}
}

var decisionsTotal = prometheus.NewDesc("klamm_policy_decisions_total", "Calls that policies have decided about: allow, deny, or error where they could not be asked and nothing passes.", []string{"decision"}, nil)

// Decisions returns the series that count what policies have said, to be registered
// once. It is safe for concurrent use.
func (g *Gate) Decisions() prometheus.Collector { return decisionMetrics{&g.decisions} }

type decisionMetrics struct{ of *decisions }

// Describe is part of prometheus.Collector.
func (m decisionMetrics) Describe(ch chan<- *prometheus.Desc) { ch <- decisionsTotal }

// Collect is part of prometheus.Collector.
func (m decisionMetrics) Collect(ch chan<- prometheus.Metric) {
	for decision, n := range map[string]*atomic.Int64{"allow": &m.of.allowed, "deny": &m.of.denied, "error": &m.of.failed} {
		ch <- prometheus.MustNewConstMetric(decisionsTotal, prometheus.CounterValue, float64(n.Load()), decision)
	}
}
