package pipe

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the back door's Prometheus series, each with the label pipe.
type Metrics struct {
	records        *prometheus.CounterVec
	attempts       *prometheus.CounterVec
	seconds        *prometheus.HistogramVec
	waiting        *prometheus.GaugeVec
	partitions     *prometheus.GaugeVec
	consumers      *prometheus.GaugeVec
	wanted         *prometheus.GaugeVec
	open           *prometheus.GaugeVec
	limit          *prometheus.GaugeVec
	gone           *prometheus.CounterVec
	halted         *prometheus.GaugeVec
	disabled       *prometheus.GaugeVec
	unlogged       prometheus.Counter
	commitFailures *prometheus.CounterVec
	letterFailures *prometheus.CounterVec
	buses          *busMetrics
	mappings       *mappingMetrics
	executions     *executionMetrics
}

// NewMetrics makes the series and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"pipe"}, labels...))
		r.MustRegister(v)
		return v
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"pipe"})
		r.MustRegister(v)
		return v
	}
	m := &Metrics{
		records:        counter("klamm_pipe_records_total", "Records that a pipe is done with: delivered, filtered or dead_lettered.", "outcome"),
		attempts:       counter("klamm_pipe_attempts_total", "Attempts at delivering a batch: ok or failed.", "outcome"),
		waiting:        gauge("klamm_pipe_waiting_batches", "Batches that wait for their next attempt."),
		partitions:     gauge("klamm_pipe_assigned_partitions", "Partitions that this process reads for a pipe."),
		open:           gauge("klamm_pipe_target_down", "1 while only probes are sent to a pipe's target, because it is down."),
		limit:          gauge("klamm_pipe_attempts_allowed", "How many attempts a pipe may make at once; lowered while its target is overloaded."),
		gone:           counter("klamm_pipe_gone_records_total", "Records that retention removed before the pipe had read them."),
		commitFailures: counter("klamm_pipe_commit_failures_total", "Commits of offsets that failed."),
		letterFailures: counter("klamm_pipe_dead_letter_failures_total", "Attempts at writing dead letters that failed."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "klamm_pipe_attempt_seconds", Help: "How long attempts took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"pipe"}),
	}
	m.executions = newExecutionMetrics(r)
	m.consumers = gauge("klamm_pipe_consumers", "1 while this process reads partitions for a pipe; the sum over all processes is how many consumers it has.")
	m.wanted = gauge("klamm_pipe_consumers_wanted", "How many consumers a pipe should have in the whole cluster, the same in every process; 0 while it does not run.")
	m.halted = gauge("klamm_pipe_halted", "1 while a pipe has halted itself and waits for an operator.")
	m.disabled = gauge("klamm_pipe_disabled", "1 while a pipe has stopped itself because every attempt has failed for delivery.disable_after.")
	m.unlogged = prometheus.NewCounter(prometheus.CounterOpts{Name: "klamm_delivery_log_dropped_total", Help: "Entries of the delivery log that could not be written."})
	r.MustRegister(m.seconds, m.unlogged)
	m.mappings = newMappingMetrics(r)
	m.buses = newBusMetrics(r)
	return m
}

// Trends returns the series that the history of pipes is made of.
func (m *Metrics) Trends() []prometheus.Collector {
	return []prometheus.Collector{m.records, m.attempts, m.seconds}
}

// series are the series of one pipe. Looking them up costs more than counting.
type series struct {
	delivered, filtered, dead, gone, commitFailures, letterFailures, ok, failed prometheus.Counter
	waiting, partitions, open, limit, halted, disabled, consumers, wanted       prometheus.Gauge
	// seconds makes the histogram, whose many series a pipe that waits for its first
	// record does without.
	seconds func() prometheus.Observer
}

func (m *Metrics) of(pipe string) *series {
	return &series{
		delivered:      m.records.WithLabelValues(pipe, "delivered"),
		filtered:       m.records.WithLabelValues(pipe, "filtered"),
		dead:           m.records.WithLabelValues(pipe, "dead_lettered"),
		ok:             m.attempts.WithLabelValues(pipe, "ok"),
		failed:         m.attempts.WithLabelValues(pipe, "failed"),
		waiting:        m.waiting.WithLabelValues(pipe),
		partitions:     m.partitions.WithLabelValues(pipe),
		consumers:      m.consumers.WithLabelValues(pipe),
		wanted:         m.wanted.WithLabelValues(pipe),
		open:           m.open.WithLabelValues(pipe),
		limit:          m.limit.WithLabelValues(pipe),
		disabled:       m.disabled.WithLabelValues(pipe),
		halted:         m.halted.WithLabelValues(pipe),
		gone:           m.gone.WithLabelValues(pipe),
		commitFailures: m.commitFailures.WithLabelValues(pipe),
		letterFailures: m.letterFailures.WithLabelValues(pipe),
		seconds:        sync.OnceValue(func() prometheus.Observer { return m.seconds.WithLabelValues(pipe) }),
	}
}

// attempt counts one attempt.
func (s *series) attempt(err error, took time.Duration) {
	s.seconds().Observe(took.Seconds())
	if err != nil {
		s.failed.Inc()
		return
	}
	s.ok.Inc()
}
