package webhook

import (
	"context"
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/target"
)

// A stopwatch takes the times of a request. Connections are made in the
// background and may outlast the request, so it has a lock of its own.
type stopwatch struct {
	mu                      sync.Mutex // guards everything below
	dns, connect, tls, sent time.Time
	took                    target.Report
}

func (s *stopwatch) trace(ctx context.Context) context.Context {
	set := func(at *time.Time) {
		s.mu.Lock()
		defer s.mu.Unlock()
		*at = time.Now()
	}
	since := func(at *time.Time, took *time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !at.IsZero() {
			*took = time.Since(*at)
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { set(&s.dns) },
		DNSDone:              func(httptrace.DNSDoneInfo) { since(&s.dns, &s.took.DNS) },
		ConnectStart:         func(string, string) { set(&s.connect) },
		ConnectDone:          func(string, string, error) { since(&s.connect, &s.took.Connect) },
		TLSHandshakeStart:    func() { set(&s.tls) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { since(&s.tls, &s.took.TLS) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { set(&s.sent) },
		GotFirstResponseByte: func() { since(&s.sent, &s.took.Wait) },
	})
}

// into copies the times to a report.
func (s *stopwatch) into(r *target.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.DNS, r.Connect, r.TLS, r.Wait = s.took.DNS, s.took.Connect, s.took.TLS, s.took.Wait
}
