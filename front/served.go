package front

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/klamm-gateway/klamm/gate"
)

// servedMetrics are the series that API Gateway has for its APIs, by stage
// (gateway-policies.md 5.9).
type servedMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	calls    prometheus.Histogram
	rejects  *prometheus.CounterVec
	streams  *prometheus.GaugeVec
	shakes   *prometheus.CounterVec
	cache    *prometheus.CounterVec

	known sync.Map // of servedSeries by servedKey: looking up by labels costs more
}

type servedKey struct {
	dialect *Dialect
	route   *Route
	stage   string
	method  string
	status  int
}

type servedSeries struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

func newServedMetrics(r prometheus.Registerer) *servedMetrics {
	m := &servedMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klamm_http_requests_total", Help: "HTTP requests, refused ones included, by API (dialect), stage, route, method and status; 0: the connection was cut.",
		}, []string{"api", "stage", "route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "klamm_http_request_seconds", Help: "Time from a request's header to the end of its answer (latency), by API and stage. Streams are left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"api", "stage"}),
		calls: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "klamm_kafka_call_seconds", Help: "Time that the records of one request have taken to be acknowledged (integration latency), where the access log or tracing is on.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		rejects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "klamm_stage_rejects_total", Help: "Requests turned away, by the number of the step (2 size of the header, 5 waf, 6 routing, 7 limits of addresses, 8 credentials, 9 policies of routes, 10 quotas, 11 limits of requests, 12 parameters, 13 size and type of the body, 14 models, 15 policies of topics and groups, 16 limits of records and bytes, 17 schemas of topics, 18 idempotency, 19 overload) and the reason.",
		}, []string{"stage_no", "reason"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "klamm_streams_open", Help: "Answers without an end that are open, by route.",
		}, []string{"kind"}),
	}
	m.shakes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_tls_handshake_errors_total", Help: "TLS handshakes that have failed, by the reason: left, timeout, no_certificate, bad_certificate, unknown_name, version, not_tls or other.",
	}, []string{"reason"})
	m.cache = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_front_cache_total", Help: "Requests whose answers may be kept, by stage and whether the answer was (hit) or had to be made (miss).",
	}, []string{"stage", "result"})
	r.MustRegister(m.requests, m.seconds, m.calls, m.rejects, m.streams, m.shakes, m.cache)
	return m
}

// observe counts an exchange that is over.
func (m *servedMetrics) observe(x *exchange, took time.Duration) {
	key := servedKey{x.dialect, x.route, x.stage, methodLabel(x.request.Method), x.status}
	series, ok := m.known.Load(key)
	if !ok {
		series = m.series(key)
		m.known.Store(key, series)
	}
	s, _ := series.(servedSeries)
	s.count.Inc()
	if x.route == nil || !x.route.Streams {
		s.seconds.Observe(took.Seconds())
	}
	if d := x.trail.Deed(); d.Calls > 0 {
		m.calls.Observe(d.Took.Seconds())
	}
}

func (m *servedMetrics) series(key servedKey) servedSeries {
	api, route, stage := "none", "none", key.stage
	if key.dialect != nil {
		api = key.dialect.Name
	}
	if key.route != nil {
		route = key.route.Pattern
	}
	if stage == "" {
		stage = gate.DefaultStage
	}
	return servedSeries{m.requests.WithLabelValues(api, stage, route, key.method, strconv.Itoa(key.status)), m.seconds.WithLabelValues(api, stage)}
}

// cached counts a request whose answer may be kept.
func (m *servedMetrics) cached(stage, result string) {
	if stage == "" {
		stage = gate.DefaultStage
	}
	m.cache.WithLabelValues(stage, result).Inc()
}

// forget drops what was looked up: the routes are others after a reload.
func (m *servedMetrics) forget() { m.known.Clear() }

// rejected counts a request that is turned away before it has reached a route.
func (m *servedMetrics) rejected(step int, status int) {
	reason := "other"
	switch status {
	case http.StatusBadRequest:
		reason = "method_override"
	case http.StatusRequestURITooLong:
		reason = "url"
	case http.StatusRequestHeaderFieldsTooLarge:
		reason = "headers"
	case http.StatusForbidden:
		reason = "blocked"
	case http.StatusRequestEntityTooLarge:
		reason = "size"
	case http.StatusNotFound:
		reason = "no_route"
	case http.StatusMethodNotAllowed:
		reason = "method"
	}
	m.rejects.WithLabelValues(strconv.Itoa(step), reason).Inc()
}
