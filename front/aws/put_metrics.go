package aws

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/gate"
)

// putMetrics are the series of PutEvents (event-bus.md 12).
type putMetrics struct {
	calls, throttled, failed, entries, failedEntries prometheus.Counter
	latency, size                                    prometheus.Histogram
}

// newPutMetrics registers the series; without a registerer nobody sees them.
func newPutMetrics(r prometheus.Registerer) *putMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "klamm_bus_put_events_" + name + "_total", Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "klamm_bus_put_events_" + name, Help: help, Buckets: buckets})
	}
	m := &putMetrics{
		calls:         counter("approximate_call_count", "Calls of PutEvents."),
		throttled:     counter("approximate_throttled_count", "Calls of PutEvents that were refused by a limit."),
		failed:        counter("approximate_failed_count", "Calls of PutEvents that have failed, those apart that were refused by a limit."),
		entries:       counter("entries_count", "Entries of the calls of PutEvents that were answered."),
		failedEntries: counter("failed_entries_count", "Entries of PutEvents that were not taken."),
		latency:       histogram("latency_seconds", "How long PutEvents took.", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30}),
		size:          histogram("request_size_bytes", "How large the requests of PutEvents were.", prometheus.ExponentialBuckets(256, 4, 9)),
	}
	if r != nil {
		r.MustRegister(m.calls, m.throttled, m.failed, m.entries, m.failedEntries, m.latency, m.size)
	}
	return m
}

// counting serves PutEvents and counts the calls.
func (m *putMetrics) counting(serve operation) operation {
	return func(r *http.Request, who gate.Principal, body []byte) (any, error) {
		began := time.Now()
		answer, err := serve(r, who, body)
		m.calls.Inc()
		m.latency.Observe(time.Since(began).Seconds())
		m.size.Observe(float64(len(body)))
		switch {
		case err == nil:
		case events.faultOf(err).name == events.slow.name:
			m.throttled.Inc()
		default:
			m.failed.Inc()
		}
		return answer, err
	}
}

// answered counts the entries of a call.
func (m *putMetrics) answered(entries, failed int) {
	m.entries.Add(float64(entries))
	m.failedEntries.Add(float64(failed))
}
