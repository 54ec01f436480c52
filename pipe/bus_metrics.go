package pipe

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// busRules is how many rules have series of their own in this process; what others do is
// counted under the name otherRules.
const (
	busRules   = 1_000
	otherRules = "(others)"
)

// busMetrics are the series of event buses (event-bus.md 12), as far as delivery goes.
type busMetrics struct {
	matched, triggered, created, invocations, attempts, succeeded, retries, failed, dead, sent, unsent, throttled *prometheus.CounterVec
	unmatched                                                                                                     *prometheus.CounterVec
	start, success, complete                                                                                      *prometheus.HistogramVec
}

func newBusMetrics(r prometheus.Registerer) *busMetrics {
	counter := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "klamm_bus_" + name + "_total", Help: help}, []string{"bus", "rule"})
		r.MustRegister(v)
		return v
	}
	latency := func(name, help string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "klamm_bus_ingestion_to_invocation_" + name + "_latency_seconds", Help: help,
			Buckets: []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 600, 3600, 86400}}, []string{"bus"})
		r.MustRegister(v)
		return v
	}
	m := &busMetrics{
		matched:     counter("matched_events", "Events that matched a rule."),
		triggered:   counter("triggered_rules", "Times that a rule has run."),
		created:     counter("invocations_created", "Calls of targets that are to be made, not counting retries."),
		invocations: counter("invocations", "Calls of targets that are finished, also in vain, not counting retries."),
		attempts:    counter("invocation_attempts", "Attempts at calling targets."),
		succeeded:   counter("successful_invocation_attempts", "Attempts at calling targets that have succeeded."),
		retries:     counter("retry_invocation_attempts", "Attempts at calling targets that were not the first."),
		failed:      counter("failed_invocations", "Calls of targets that have failed for good."),
		dead:        counter("dead_letter_invocations", "Calls of targets that were not made, since the event goes round in a circle."),
		sent:        counter("invocations_sent_to_dlq", "Events that are in a dead-letter topic."),
		unsent:      counter("invocations_failed_to_be_sent_to_dlq", "Attempts at writing dead letters of targets that have failed."),
		throttled:   counter("throttled_rules", "Attempts that a target refused because there were too many."),
		start:       latency("start", "From the intake of an event to the first attempt at a target."),
		success:     latency("success", "From the intake of an event until a target has taken it."),
		complete:    latency("complete", "From the intake of an event until a target has taken it, or it was given up."),
		unmatched:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "klamm_bus_unmatched_events_total", Help: "Events that no rule matched."}, []string{"bus"}),
	}
	r.MustRegister(m.unmatched)
	return m
}

func (m *busMetrics) counters() []*prometheus.CounterVec {
	return []*prometheus.CounterVec{m.matched, m.triggered, m.created, m.invocations, m.attempts, m.succeeded, m.retries, m.failed, m.dead, m.sent, m.unsent, m.throttled}
}

// ofBus returns the series that all targets of a bus share; what one target alone can be
// said to be is not among them.
func (m *Metrics) ofBus(pipe string) *series {
	s := m.of(pipe)
	for _, v := range []*prometheus.GaugeVec{m.open, m.limit, m.halted, m.disabled, m.wanted} {
		v.DeleteLabelValues(pipe)
	}
	nowhere := prometheus.NewGauge(prometheus.GaugeOpts{Name: "nowhere"})
	s.open, s.limit, s.halted, s.disabled, s.wanted = nowhere, nowhere, nowhere, nowhere, nowhere
	return s
}

// busSeries are those of one bus.
type busSeries struct {
	all                      *busMetrics
	bus                      string
	unmatched                prometheus.Counter
	start, success, complete prometheus.Observer

	mu    sync.Mutex
	rules map[string]*ruleSeries
	named int // rules with series of their own
}

func (m *busMetrics) of(bus string) *busSeries {
	return &busSeries{all: m, bus: bus, unmatched: m.unmatched.WithLabelValues(bus), start: m.start.WithLabelValues(bus), success: m.success.WithLabelValues(bus),
		complete: m.complete.WithLabelValues(bus), rules: map[string]*ruleSeries{}}
}

// rule returns the series of a rule, or those of an archive for the empty name.
func (s *busSeries) rule(name string) *ruleSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rules[name]
	if r == nil {
		r = &ruleSeries{bus: s, name: name}
		s.rules[name] = r
	}
	return r
}

// forget drops the series of a rule that has no targets any more.
func (s *busSeries) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rules[name]
	if r == nil {
		return
	}
	delete(s.rules, name)
	if r.made != nil && r.made.label == name {
		s.named--
		for _, v := range s.all.counters() {
			v.DeleteLabelValues(s.bus, name)
		}
	}
}

// ruleSeries are those of one rule. There are none before something is counted.
type ruleSeries struct {
	bus  *busSeries
	name string
	once sync.Once
	made *ruleCounters
}

type ruleCounters struct {
	label                                                                                                         string
	matched, triggered, created, invocations, attempts, succeeded, retries, failed, dead, sent, unsent, throttled prometheus.Counter
}

// get returns the counters.
func (r *ruleSeries) get() *ruleCounters {
	r.once.Do(func() {
		s, label := r.bus, r.name
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.named == busRules {
			label = otherRules
		} else {
			s.named++
		}
		of := func(v *prometheus.CounterVec) prometheus.Counter { return v.WithLabelValues(s.bus, label) }
		m := s.all
		r.made = &ruleCounters{label, of(m.matched), of(m.triggered), of(m.created), of(m.invocations), of(m.attempts), of(m.succeeded), of(m.retries), of(m.failed), of(m.dead), of(m.sent), of(m.unsent), of(m.throttled)}
	})
	return r.made
}

func (r *ruleSeries) matched() {
	c := r.get()
	c.matched.Inc()
	c.triggered.Inc()
}

func (r *ruleSeries) created() { r.get().created.Inc() }

// attempt counts one that begins, so long after intake.
func (r *ruleSeries) attempt(again bool, since time.Duration, first bool) {
	c := r.get()
	c.attempts.Inc()
	if again {
		c.retries.Inc()
	}
	if first {
		r.bus.start.Observe(max(since, 0).Seconds())
	}
}

// delivered counts events that a target has taken, so long after intake.
func (r *ruleSeries) delivered(n int, since time.Duration) {
	c := r.get()
	c.succeeded.Inc()
	c.invocations.Add(float64(n))
	r.bus.success.Observe(max(since, 0).Seconds())
	r.bus.complete.Observe(max(since, 0).Seconds())
}

func (r *ruleSeries) throttled() { r.get().throttled.Inc() }
func (r *ruleSeries) unsent()    { r.get().unsent.Inc() }

// givenUp counts events that are given up; loop says that no call was made.
func (r *ruleSeries) givenUp(n int, loop, sent bool, since time.Duration) {
	c := r.get()
	if loop {
		c.dead.Add(float64(n))
	} else {
		c.invocations.Add(float64(n))
		c.failed.Add(float64(n))
		r.bus.complete.Observe(max(since, 0).Seconds())
	}
	if sent {
		c.sent.Add(float64(n))
	}
}
