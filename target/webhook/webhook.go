// Package webhook is the target that sends events as HTTP requests
// (interface.md 4).
//
// An event on its own is the request's body, byte for byte; a batch is a JSON
// array or a value a line. Coordinates, key and headers of the record travel as
// request headers. The status of the answer says what became of it.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// Config is the configuration of a webhook.
type Config struct {
	// URL is where the requests go: http or https.
	URL string `yaml:"url" json:"url"`
	// Method is POST (the default), PUT, PATCH, GET or DELETE.
	Method string `yaml:"method" json:"method,omitempty"`
	// Headers are sent with every request, and win over klamm's own.
	Headers map[string]string `yaml:"headers" json:"headers,omitempty"`
}

// Kind returns the webhook kind.
func Kind() target.Kind {
	return target.Kind{Name: "webhook", Config: func() target.Config { return &Config{} }, Open: open}
}

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		report("url", "a webhook needs a url")
	case err != nil:
		report("url", "not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		report("url", "want http://HOST/PATH or https://HOST/PATH")
	case u.User != nil:
		report("url", "credentials do not belong into a URL; use headers")
	}
	switch c.Method {
	case "", "POST", "PUT", "PATCH", "GET", "DELETE":
	default:
		report("method", "want POST, PUT, PATCH, GET or DELETE")
	}
	for name, value := range c.Headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			report("headers."+name, "not a valid HTTP header")
		case reserved[http.CanonicalHeaderKey(name)]:
			report("headers."+name, "this header is klamm's to set")
		}
	}
}

// reserved are the headers that HTTP itself depends on.
var reserved = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Upgrade": true, "Te": true, "Trailer": true}

type webhook struct {
	url       *url.URL
	method    string
	host      string
	headers   http.Header
	format    string
	pipe      []string
	transport http.RoundTripper
}

func open(config json.RawMessage, env target.Env) (target.Target, error) {
	var c Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	if err := env.Egress.CheckHost(u.Hostname()); err != nil {
		return nil, fmt.Errorf("webhook %s: %w", u.Redacted(), err)
	}
	w := &webhook{url: u, method: c.Method, headers: http.Header{}, format: env.Batch, pipe: []string{env.Pipe}, transport: env.Transport}
	if w.method == "" {
		w.method = http.MethodPost
	}
	for name, value := range c.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			w.host = value
			continue
		}
		w.headers.Set(name, value)
	}
	return w, nil
}

// Close has nothing to do: the transport is shared.
func (w *webhook) Close() error { return nil }

// Deliver sends one request for the events.
func (w *webhook) Deliver(ctx context.Context, events []*event.Event) error {
	req := &http.Request{
		Method: w.method, URL: w.url, Host: w.host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.head(events),
	}
	body := w.body(events)
	req.ContentLength = int64(len(body))
	if len(body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	} else {
		req.Body = http.NoBody
	}
	resp, err := w.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer in time")
		}
		return fmt.Errorf("%s %s: %w", w.method, w.url.Redacted(), err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		drain(resp.Body)
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, excerpt))
	drain(resp.Body)
	f := &target.Failure{Status: resp.StatusCode, Response: said, Final: !retried(resp.StatusCode)}
	f.Err = fmt.Errorf("%s %s: HTTP status %d", w.method, w.url.Redacted(), resp.StatusCode)
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		f.After = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return f
}

const (
	excerpt = 1 << 10
	// drained is how much of an answer is read so that its connection can be
	// used again.
	drained = 64 << 10
)

func drain(r io.Reader) { _, _ = io.CopyN(io.Discard, r, drained) }

// retried says whether a status that is no success is worth another attempt
// (interface.md 4).
func retried(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// retryAfter reads a Retry-After header, seconds or a date; anything else, and
// a time that has passed, is 0.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
		return time.Duration(min(max(seconds, 0), 24*3600)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), 24*time.Hour)
	}
	return 0
}

// body joins the payloads of the events.
func (w *webhook) body(events []*event.Event) []byte {
	if w.format == "" {
		return events[0].Payload()
	}
	size := 2
	for _, e := range events {
		size += len(e.Payload()) + 8
	}
	b := make([]byte, 0, size)
	if w.format == "ndjson" {
		for _, e := range events {
			b = append(appendLine(b, e), '\n')
		}
		return b
	}
	b = append(b, '[')
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.AppendJSON(b)
	}
	return append(b, ']')
}

// appendLine appends a payload as one line: JSON that spans several lines is
// compacted.
func appendLine(b []byte, e *event.Event) []byte {
	start := len(b)
	b = e.AppendJSON(b)
	if bytes.IndexByte(b[start:], '\n') < 0 && bytes.IndexByte(b[start:], '\r') < 0 {
		return b
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b[start:]); err != nil {
		return b
	}
	return append(b[:start], line.Bytes()...)
}
