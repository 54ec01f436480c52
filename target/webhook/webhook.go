// Package webhook is the target that sends events as HTTP requests
// (interface.md 4), and the API destination of EventBridge (event-bus.md 6, 7).
//
// A configuration becomes a plan: what is always the same, and texts with
// placeholders (template.go, url.go, body.go, headers.go). For each delivery the
// plan gives a request; a vault adds what is secret (credentials.go), tokens of
// OAuth come from a source of their own (oauth.go), and the status of the answer
// says what became of it (answer.go).
//
// An event on its own is the request's body, byte for byte; a batch is a JSON
// array or a value a line. Coordinates, key and headers of the record travel as
// request headers.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// Kind returns the webhook kind. Its targets answer: each is a target.Invoker.
func Kind() target.Kind {
	shared := &logins{tokens: map[string]*tokens{}, users: map[*tokens]int{}}
	return target.Kind{Name: "webhook", Config: func() target.Config { return &Config{} }, Open: shared.open}
}

type webhook struct {
	plan      *plan
	url       *url.URL // nil: it is made for each request
	method    string
	host      string
	headers   http.Header // always the same
	format    string
	pipe      []string
	again     []int // statuses below 500 that are retried
	patient   bool  // Retry-After counts with every status that is retried
	partial   bool
	reported  bool
	plain     bool // no headers of klamm's own
	closes    bool // the connection is closed after each request
	hopeless  bool // where a host has no address
	transport http.RoundTripper
	limiter   *rate.Limiter // nil: no limit
	vault     *vault        // nil: there are no secrets
	tokens    *tokens       // nil: no OAuth
	now       func() time.Time
	documents sync.Pool // of *[]byte
	bodies    sync.Pool // of *lent
}

// openTimeout bounds the first look-up of secrets.
const openTimeout = 10 * time.Second

func (l *logins) open(raw json.RawMessage, env target.Env) (target.Target, error) {
	c, p, err := configOf(raw)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	p.seal()
	if err := env.Egress.CheckHost(p.base.Hostname()); err != nil {
		return nil, fmt.Errorf("webhook %s: %w", p.name, err)
	}
	if env.Batch != "" {
		if p.body != nil {
			return nil, fmt.Errorf("webhook %s: body makes a body of one record; use delivery: {batch: {records: 1}}", p.name)
		}
		if !p.steady() {
			return nil, fmt.Errorf("webhook %s: placeholders other than <$.topic> and <$.partition> need delivery: {batch: {records: 1}}", p.name)
		}
	}
	w := &webhook{
		plan: p, method: c.Method, headers: p.fixed, format: env.Batch, pipe: []string{env.Pipe}, again: c.retried(), patient: c.RetryStatuses != nil,
		partial: c.Partial, reported: c.Reported, plain: c.Plain, closes: c.CloseConnection, hopeless: c.FailUnknownHosts, transport: env.Transport, now: time.Now,
	}
	w.documents.New = func() any { return new([]byte) }
	w.bodies.New = func() any { return &lent{pool: &w.bodies} }
	if w.method == "" {
		w.method = http.MethodPost
	}
	if host := w.headers["Host"]; host != nil {
		w.host = host[0]
		delete(w.headers, "Host")
	}
	if c.Rate > 0 {
		// A hundredth of a second's requests at once, so that late timers do not
		// cost throughput.
		w.limiter = rate.NewLimiter(rate.Limit(c.Rate), max(1, c.Rate/100))
	}
	switch {
	case !p.made:
		w.url = p.base
	case !p.moving && !p.short:
		if w.url, err = p.url(nil); err != nil {
			return nil, fmt.Errorf("webhook %s: %w", p.name, err)
		}
	}
	if c.needsSecrets() {
		v := &vault{config: c, lookup: env.Secret, egress: env.Egress, log: env.Log, now: time.Now}
		ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
		defer cancel()
		first, err := v.load(ctx, nil)
		if err != nil {
			return nil, fmt.Errorf("webhook %s: %w", p.name, err)
		}
		v.keep(first)
		w.vault = v
	}
	if c.Auth != nil && c.Auth.OAuth != nil {
		if w.tokens, err = l.of(c.Auth.OAuth, raw, env); err != nil {
			return nil, fmt.Errorf("webhook %s: %w", p.name, err)
		}
	}
	return w, nil
}

// Close ends what is under way with the token endpoint, unless others need it. The transport is shared
// unless there are certificates.
func (w *webhook) Close() error {
	if w.tokens != nil {
		w.tokens.close()
	}
	if w.vault != nil {
		w.vault.close()
	}
	return nil
}

// Endpoint is where all requests go: scheme, host and port.
func (w *webhook) Endpoint() string { return w.plan.base.Scheme + "://" + w.plan.base.Host }

// AppendAddress appends the path that an event's request has; false if all have
// the same.
func (w *webhook) AppendAddress(dst []byte, e *event.Event) ([]byte, bool) {
	if w.plan.path.plain() {
		return dst, false
	}
	buffer := w.documents.Get().(*[]byte)
	*buffer = w.plan.document((*buffer)[:0], e)
	err := w.plan.paths.Find(*buffer, func(values [][]byte) (err error) {
		dst, err = w.plan.appendPath(dst, values)
		return err
	})
	if cap(*buffer) <= 1<<20 {
		w.documents.Put(buffer)
	}
	return dst, err == nil
}

// Deliver sends one request for the events.
func (w *webhook) Deliver(ctx context.Context, events []*event.Event) error {
	answer, err := w.send(ctx, events, w.partial || w.reported)
	if err != nil || !w.partial && !(w.reported && target.ReportsItems(answer)) {
		return err
	}
	return w.failures(answer, events)
}

// Invoke sends one request for the events and returns the body of the answer.
func (w *webhook) Invoke(ctx context.Context, events []*event.Event) ([]byte, error) {
	return w.send(ctx, events, true)
}

// A request is what an attempt sends.
type request struct {
	id      string // of the delivery
	url     *url.URL
	headers http.Header
	body    []byte
	lent    *lent // what body lies in; nil: it belongs to the record
}

// send makes one attempt; keep says whether the answer's body is wanted.
func (w *webhook) send(ctx context.Context, events []*event.Event, keep bool) ([]byte, error) {
	if w.plan.short {
		return nil, refusal("the URL has more * than there are path parameters")
	}
	r := request{id: events[0].ID, url: w.url, headers: w.head(events)}
	passTrace(ctx, r.headers)
	if err := w.fill(&r, events[0]); err != nil {
		return nil, err
	}
	if w.plan.body == nil {
		r.body = events[0].Payload()
		if w.format != "" {
			r.lent = w.bodies.Get().(*lent)
			r.lent.hold()
			defer r.lent.release()
			r.body = w.join(r.lent.bytes[:0], events)
			r.lent.bytes = r.body
		}
	}
	return w.exchange(ctx, &r, keep)
}

// fill makes what has placeholders.
func (w *webhook) fill(r *request, e *event.Event) error {
	if w.plan.paths.Len() == 0 && w.plan.body == nil {
		return nil
	}
	buffer := w.documents.Get().(*[]byte)
	*buffer = w.plan.document((*buffer)[:0], e)
	err := w.plan.paths.Find(*buffer, func(values [][]byte) (err error) {
		if r.url == nil {
			if r.url, err = w.plan.url(values); err != nil {
				return err
			}
		}
		if w.plan.body != nil {
			if r.body, err = w.plan.render(values); err != nil {
				return err
			}
		}
		for _, h := range w.plan.headers {
			value, err := h.header(values)
			switch {
			case err != nil:
				return err
			case value == "" && !w.plain:
				delete(r.headers, h.name)
			default:
				r.headers[h.name] = []string{value}
			}
		}
		return nil
	})
	if cap(*buffer) <= 1<<20 {
		w.documents.Put(buffer)
	}
	if errors.Is(err, transform.ErrDocument) || errors.Is(err, transform.ErrTooLarge) {
		return refusal("%w", err)
	}
	return err
}

// exchange sends a request and reads the answer. When the receiver refuses the
// credentials and there are newer ones, it is sent once more with those.
func (w *webhook) exchange(ctx context.Context, r *request, keep bool) ([]byte, error) {
	report := target.ReportOf(ctx)
	major := 0 // of the answer's version of HTTP
	if report != nil {
		watch := stopwatches.Get().(*stopwatch)
		ctx = watch.watch(ctx)
		defer func() { watch.into(report, major) }()
	}
	var c *credentials
	if w.vault != nil {
		c = w.vault.get(ctx)
	}
	for again := false; ; again = true {
		var t *token
		if w.tokens != nil {
			var err error
			if t, err = w.tokens.get(ctx); err != nil {
				return nil, fmt.Errorf("%s %s: %w", w.method, w.plan.name, err)
			}
		}
		if err := w.turn(ctx); err != nil {
			return nil, err
		}
		resp, err := w.via(c).RoundTrip(w.request(ctx, r, c, t))
		if err != nil {
			return nil, w.failed(ctx, err)
		}
		major = resp.ProtoMajor
		if refused := resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusProxyAuthRequired; refused && !again {
			if fresh, better := w.renew(ctx, c, t); better {
				c = fresh
				finish(resp, 0)
				_ = resp.Body.Close()
				// Those of the first request may still be on their way.
				r.headers = r.headers.Clone()
				continue
			}
		}
		return w.outcome(ctx, resp, keep, report)
	}
}

// renew says whether there are newer credentials than those that were refused.
func (w *webhook) renew(ctx context.Context, c *credentials, t *token) (fresh *credentials, better bool) {
	fresh = c
	if c != nil {
		fresh, better = w.vault.renew(ctx, c)
	}
	if t != nil && w.tokens.refused(t) {
		better = true
	}
	return fresh, better
}

// turn waits until the rate allows another request.
func (w *webhook) turn(ctx context.Context) error {
	if w.limiter == nil {
		return nil
	}
	turn := w.limiter.Reserve()
	wait := turn.Delay()
	if wait == 0 {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		turn.Cancel()
		return &target.Failure{After: wait, Code: target.CodeThrottling, Err: fmt.Errorf("%s %s: its rate leaves no turn in time", w.method, w.plan.name)}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		turn.Cancel()
		return ctx.Err()
	}
}

// via returns the transport for a request.
func (w *webhook) via(c *credentials) http.RoundTripper {
	if c != nil && c.transport != nil {
		return c.transport
	}
	return w.transport
}

// request puts a request together with what is secret, which is added to r's headers.
func (w *webhook) request(ctx context.Context, r *request, c *credentials, t *token) *http.Request {
	body, u, headers := r.body, r.url, r.headers
	if c != nil {
		for name, value := range c.headers {
			headers[name] = value
		}
		body = withMembers(body, c.members)
		if len(c.keys) > 0 {
			sign(headers, c.keys, r.id, w.now(), body)
		}
		u = withQuery(u, c.query)
	}
	if t != nil {
		headers["Authorization"] = []string{t.header}
	}
	req := http.Request{
		Method: w.method, URL: u, Host: w.host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: headers, ContentLength: int64(len(body)), Body: http.NoBody, Close: w.closes,
	}
	if len(body) > 0 {
		req.Body = r.lent.reader(body)
		req.GetBody = func() (io.ReadCloser, error) { return r.lent.reader(body), nil }
	}
	return req.WithContext(ctx)
}

// failed says that there was no answer, or not all of it.
func (w *webhook) failed(ctx context.Context, err error) error {
	f := &target.Failure{Code: target.CodeConnection, Unreachable: target.FailureOf(target.Unreachable(err)).Unreachable}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		f.Code, f.Unreachable, err = target.CodeTimeout, false, errors.New("no answer in time")
	}
	var dns *net.DNSError
	if w.hopeless && errors.As(err, &dns) && dns.IsNotFound {
		f.Final, f.Unreachable = true, false // what has no address is nothing that is down
	}
	f.Err = fmt.Errorf("%s %s: %w", w.method, w.plan.name, err)
	return f
}
