package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// firstRetry is the wait before a batch is sent again, doubled each time;
	// mostTries is how often it is sent at all.
	firstRetry = time.Second
	mostTries  = 5
	// closeWithin bounds the sending of the last spans.
	closeWithin = 3 * time.Second
)

// Metrics are the series of tracing.
type Metrics struct{ spans *prometheus.CounterVec }

// NewMetrics makes the series of tracing and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{spans: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "klamm_trace_spans_total", Help: "Spans by what became of them: sent, dropped (the queue was full) or failed (the collector did not take them).",
	}, []string{"result"})}
	r.MustRegister(m.spans)
	return m
}

// A Tracer makes spans and sends them. It is safe for concurrent use; a nil Tracer
// makes none.
type Tracer struct {
	settings Settings
	metrics  *Metrics
	log      *slog.Logger
	client   *http.Client
	done     chan struct{} // closed when the last spans are sent
	ctx      context.Context
	cancel   context.CancelFunc
	closing  chan struct{} // closed by Close
	full     chan struct{} // has one token: there is a whole batch

	mu     sync.Mutex // guards what follows
	queue  []*Span
	closed bool
}

// Open returns a tracer; nil if s names no endpoint. It has to be closed.
func Open(s Settings, metrics *Metrics, log *slog.Logger) *Tracer {
	if s.Endpoint == "" {
		return nil
	}
	t := &Tracer{
		settings: s, metrics: metrics, log: log, done: make(chan struct{}), closing: make(chan struct{}), full: make(chan struct{}, 1),
		client: &http.Client{Timeout: s.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	go t.run()
	return t
}

// Close sends what is left and returns when it is sent, or after three seconds.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	if first {
		close(t.closing)
	}
	select {
	case <-t.done:
	case <-time.After(closeWithin):
	}
	t.cancel()
	<-t.done
}

// put queues a span; a full queue drops it.
func (t *Tracer) put(s *Span) {
	t.mu.Lock()
	if t.closed || len(t.queue) >= t.settings.Queue {
		t.mu.Unlock()
		t.metrics.spans.WithLabelValues("dropped").Inc()
		return
	}
	t.queue = append(t.queue, s)
	whole := len(t.queue) >= t.settings.Batch
	t.mu.Unlock()
	if whole {
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
}

// take returns the next batch, and whether a whole one is left.
func (t *Tracer) take() (batch []*Span, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.queue), t.settings.Batch)
	batch = t.queue[:n:n]
	t.queue = t.queue[n:]
	return batch, len(t.queue) >= t.settings.Batch
}

// run sends batches until Close.
func (t *Tracer) run() {
	defer close(t.done)
	tick := time.NewTicker(t.settings.Delay)
	defer tick.Stop()
	failing := false
	for open := true; open; {
		select {
		case <-tick.C:
		case <-t.full:
		case <-t.closing:
			open = false
		}
		for {
			batch, more := t.take()
			if len(batch) == 0 {
				break
			}
			err := t.send(batch)
			switch {
			case err != nil && !failing:
				t.log.Warn("traces cannot be sent; spans are lost", "err", err)
			case err == nil && failing:
				t.log.Info("traces are sent again")
			}
			failing = err != nil
			if !more && open {
				break
			}
		}
	}
}

// send sends one batch, again where the collector asks for that.
func (t *Tracer) send(batch []*Span) error {
	body := appendRequest(nil, t.settings.Resource, batch)
	if t.settings.Gzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body)
		_ = z.Close()
		body = b.Bytes()
	}
	wait := firstRetry
	for try := 1; ; try++ {
		after, again, err := t.post(body)
		if err == nil {
			t.metrics.spans.WithLabelValues("sent").Add(float64(len(batch)))
			return nil
		}
		closing := t.closing
		select {
		case <-closing:
			again = false // there is no time
		default:
		}
		if !again || try == mostTries {
			t.metrics.spans.WithLabelValues("failed").Add(float64(len(batch)))
			return err
		}
		select {
		case <-time.After(max(wait, after)):
		case <-closing:
		}
		wait *= 2
	}
}

// post makes one request. Again says that it may succeed later, not before the time
// in after has passed.
func (t *Tracer) post(body []byte) (after time.Duration, again bool, err error) {
	r, err := http.NewRequestWithContext(t.ctx, http.MethodPost, t.settings.Endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", "klamm")
	if t.settings.Gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	for name, value := range t.settings.Header {
		r.Header.Set(name, value)
	}
	answer, err := t.client.Do(r)
	if err != nil {
		return 0, true, fmt.Errorf("send traces: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10)
	if answer.StatusCode/100 == 2 {
		return 0, false, nil
	}
	switch answer.StatusCode { // those that OTLP/HTTP calls retryable
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	if seconds, e := strconv.Atoi(answer.Header.Get("Retry-After")); e == nil && seconds > 0 {
		after = min(time.Duration(seconds)*time.Second, time.Minute)
	}
	return after, again, fmt.Errorf("send traces: the collector answers %s", answer.Status)
}
