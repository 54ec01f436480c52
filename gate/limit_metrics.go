package gate

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/throttle"
)

// limitMetrics shows what limits have done, as Prometheus series. Rules of one name
// are one series.
type limitMetrics struct{ set *throttle.Set }

var (
	rejectedTotal = prometheus.NewDesc("klamm_ratelimit_rejected_total", "Calls that a limit has refused.", []string{"rule"}, nil)
	delayedTotal  = prometheus.NewDesc("klamm_ratelimit_delayed_total", "Calls that a limit has made wait.", []string{"rule"}, nil)
	wouldTotal    = prometheus.NewDesc("klamm_ratelimit_would_reject_total", "Calls that a limit with action log would have refused.", []string{"rule"}, nil)
	evictedTotal  = prometheus.NewDesc("klamm_ratelimit_evictions_total", "Buckets dropped for want of room before they were full again.", nil, nil)
	bucketsNow    = prometheus.NewDesc("klamm_ratelimit_buckets", "Buckets in memory.", nil, nil)
	heldNow       = prometheus.NewDesc("klamm_ratelimit_held", "Calls that limits make wait now.", nil, nil)
)

// Describe is part of prometheus.Collector.
func (m limitMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{rejectedTotal, delayedTotal, wouldTotal, evictedTotal, bucketsNow, heldNow} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (m limitMetrics) Collect(ch chan<- prometheus.Metric) {
	stats := m.set.Stats()
	sums := map[string]*throttle.RuleStats{}
	for _, r := range stats.Rules {
		sum := sums[r.Name]
		if sum == nil {
			sum = &throttle.RuleStats{}
			sums[r.Name] = sum
		}
		sum.Rejected, sum.Delayed, sum.WouldBe = sum.Rejected+r.Rejected, sum.Delayed+r.Delayed, sum.WouldBe+r.WouldBe
	}
	for name, sum := range sums {
		ch <- prometheus.MustNewConstMetric(rejectedTotal, prometheus.CounterValue, float64(sum.Rejected), name)
		ch <- prometheus.MustNewConstMetric(delayedTotal, prometheus.CounterValue, float64(sum.Delayed), name)
		ch <- prometheus.MustNewConstMetric(wouldTotal, prometheus.CounterValue, float64(sum.WouldBe), name)
	}
	ch <- prometheus.MustNewConstMetric(evictedTotal, prometheus.CounterValue, float64(stats.Evicted))
	ch <- prometheus.MustNewConstMetric(bucketsNow, prometheus.GaugeValue, float64(stats.Buckets))
	ch <- prometheus.MustNewConstMetric(heldNow, prometheus.GaugeValue, float64(stats.Held))
}
