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
	// traced holds what the transport tells, for every request that the stopwatch is
	// used for.
	traced context.Context

	mu                      sync.Mutex // guards everything below
	dns, connect, tls, sent time.Time
	took                    target.Report
	idle, other             int // connections that were there, and those that were not
	writes, answers         int
}

// stopwatches are those that nobody holds any more.
var stopwatches = sync.Pool{New: func() any { return newStopwatch() }}

func newStopwatch() *stopwatch {
	s := &stopwatch{}
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
	s.traced = httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.WasIdle {
				s.idle++
			} else {
				s.other++
			}
		},
		DNSStart:          func(httptrace.DNSStartInfo) { set(&s.dns) },
		DNSDone:           func(httptrace.DNSDoneInfo) { since(&s.dns, &s.took.DNS) },
		ConnectStart:      func(string, string) { set(&s.connect) },
		ConnectDone:       func(string, string, error) { since(&s.connect, &s.took.Connect) },
		TLSHandshakeStart: func() { set(&s.tls) },
		TLSHandshakeDone:  func(tls.ConnectionState, error) { since(&s.tls, &s.took.TLS) },
		WroteHeaders:      func() { set(&s.sent) }, // a quick answer may be there before it is told that all was written
		WroteRequest: func(httptrace.WroteRequestInfo) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.writes++
			if s.answers == 0 {
				s.sent = time.Now()
			}
		},
		GotFirstResponseByte: func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.answers++
			if !s.sent.IsZero() {
				s.took.Wait = time.Since(s.sent)
			}
		},
	})
	return s
}

// watch returns a context in which the transport tells the stopwatch.
func (s *stopwatch) watch(ctx context.Context) context.Context { return watched{ctx, s.traced} }

// watched is a context that has the values of another one, too.
type watched struct {
	context.Context
	traced context.Context
}

func (w watched) Value(key any) any {
	if v := w.traced.Value(key); v != nil {
		return v
	}
	return w.Context.Value(key)
}

// into copies the times to a report and ends the use of the stopwatch. Another request
// gets it unless the transport may still have something to tell of this one: of a
// connection that was asked for, or of a request that was answered before it was sent.
// The major version of the answer's HTTP matters for that: only with 1 does a connection
// that was idle mean that none was asked for.
func (s *stopwatch) into(r *target.Report, major int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.DNS, r.Connect, r.TLS, r.Wait = s.took.DNS, s.took.Connect, s.took.TLS, s.took.Wait
	if major == 1 && s.idle == 1 && s.other == 0 && s.writes == 1 && s.answers == 1 {
		s.dns, s.connect, s.tls, s.sent, s.took = time.Time{}, time.Time{}, time.Time{}, time.Time{}, target.Report{}
		s.idle, s.writes, s.answers = 0, 0, 0
		stopwatches.Put(s)
	}
}
