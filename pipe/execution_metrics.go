package pipe

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// executionMetrics are the series of executions, under the names that CloudWatch has
// for them (pipes.md 15); durations are in milliseconds, as they are there.
type executionMetrics struct {
	counters    map[string]*prometheus.CounterVec
	durations   map[string]*prometheus.HistogramVec
	concurrency *prometheus.GaugeVec
}

var (
	executionCounters = map[string]string{
		"invocations":                   "Executions that have begun, again with each retry.",
		"event_count":                   "Records in executions, again with each retry.",
		"event_size":                    "Bytes of keys and values of the records in executions.",
		"execution_throttled":           "Executions that the rate of an API destination left no room for.",
		"execution_timeout":             "Executions that took longer than they may.",
		"execution_failed":              "Executions that have failed; their batches are tried again.",
		"execution_partially_failed":    "Executions that have failed for a part of their batches.",
		"enrichment_stage_failed":       "Enrichments that have failed.",
		"target_stage_failed":           "Deliveries to the target that have failed.",
		"target_stage_partially_failed": "Deliveries to the target that have failed for a part of the events.",
		"target_stage_skipped":          "Executions whose enrichment has left nothing to deliver.",
	}
	executionDurations = map[string]string{
		"duration":                  "How long executions took, in milliseconds.",
		"enrichment_stage_duration": "How long enrichments took, in milliseconds.",
		"target_stage_duration":     "How long deliveries to the target took, in milliseconds.",
	}
)

func newExecutionMetrics(r prometheus.Registerer) *executionMetrics {
	m := &executionMetrics{counters: map[string]*prometheus.CounterVec{}, durations: map[string]*prometheus.HistogramVec{}}
	labels := []string{"pipe"}
	for name, help := range executionCounters {
		m.counters[name] = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "klamm_pipe_" + name, Help: help}, labels)
		r.MustRegister(m.counters[name])
	}
	for name, help := range executionDurations {
		m.durations[name] = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "klamm_pipe_" + name, Help: help, Buckets: []float64{1, 5, 10, 50, 100, 500, 1000, 5000, 30_000, 300_000},
		}, labels)
		r.MustRegister(m.durations[name])
	}
	m.concurrency = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "klamm_pipe_concurrency", Help: "Executions that are under way in this process."}, labels)
	r.MustRegister(m.concurrency)
	return m
}

// forget drops the series of a pipe that there is no more.
func (m *executionMetrics) forget(pipe string) {
	label := prometheus.Labels{"pipe": pipe}
	for _, v := range m.counters {
		v.DeletePartialMatch(label)
	}
	for _, v := range m.durations {
		v.DeletePartialMatch(label)
	}
	m.concurrency.DeletePartialMatch(label)
}

// An executionSeries are those of one pipe. They are there, with zeros, once it runs.
type executionSeries struct {
	of   *executionMetrics
	pipe string
	made atomic.Pointer[madeSeries]
}

type madeSeries struct {
	counters    map[string]prometheus.Counter
	durations   map[string]prometheus.Observer
	concurrency prometheus.Gauge
}

// show makes the series, unless they are there.
func (s *executionSeries) show() *madeSeries {
	if made := s.made.Load(); made != nil {
		return made
	}
	made := &madeSeries{counters: map[string]prometheus.Counter{}, durations: map[string]prometheus.Observer{}, concurrency: s.of.concurrency.WithLabelValues(s.pipe)}
	for name, v := range s.of.counters {
		made.counters[name] = v.WithLabelValues(s.pipe)
	}
	for name, v := range s.of.durations {
		made.durations[name] = v.WithLabelValues(s.pipe)
	}
	s.made.Store(made)
	return made
}

// count counts one more.
func (s *executionSeries) count(name string) { s.show().counters[name].Inc() }

// begin notes an execution; what it returns notes its end.
func (s *executionSeries) begin(records, bytes int) (end func()) {
	began, made := time.Now(), s.show()
	made.counters["invocations"].Inc()
	made.counters["event_count"].Add(float64(records))
	made.counters["event_size"].Add(float64(bytes))
	made.concurrency.Inc()
	return func() {
		made.concurrency.Dec()
		made.durations["duration"].Observe(float64(time.Since(began)) / float64(time.Millisecond))
	}
}

// took notes how long a stage has taken.
func (s *executionSeries) took(stage string, began time.Time) {
	s.show().durations[stage].Observe(float64(time.Since(began)) / float64(time.Millisecond))
}
