package front

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the front door's Prometheus series.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	waf      *prometheus.CounterVec
	edge     *servedMetrics
}

// NewMetrics makes the front door's series and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klamm_front_requests_total", Help: "HTTP requests answered, by dialect, route and status.",
		}, []string{"dialect", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "klamm_front_request_seconds", Help: "Time from the request's header to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"dialect", "route"}),
	}
	m.waf = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_front_waf_total", Help: "Requests that a rule of the waf section was about, by rule and its action.",
	}, []string{"rule", "action"})
	m.edge = newServedMetrics(r)
	r.MustRegister(m.requests, m.seconds, m.waf)
	return m
}

// Trends returns the series that the history of requests is made of.
func (m *Metrics) Trends() []prometheus.Collector {
	return []prometheus.Collector{m.edge.requests, m.edge.seconds}
}

// route returns what observes the requests of one route. Looking a series up by
// its labels costs more than counting, so that is done once for each status; and
// not before the first request, since most processes are asked for few of the
// routes that there are.
func (m *Metrics) route(dialect, route string) func(status int, took time.Duration) {
	seconds := sync.OnceValue(func() prometheus.Observer { return m.seconds.WithLabelValues(dialect, route) })
	var counters sync.Map
	return func(status int, took time.Duration) {
		seconds().Observe(took.Seconds())
		c, ok := counters.Load(status)
		if !ok {
			c, _ = counters.LoadOrStore(status, m.requests.WithLabelValues(dialect, route, strconv.Itoa(status)))
		}
		c.(prometheus.Counter).Inc()
	}
}
