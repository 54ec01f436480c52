package app

import (
	"context"
	"crypto/tls"
	"sync"

	"github.com/klamm-gateway/klamm/certificate"
)

// secured is the TLS side of a door. What it is made of may be replaced: handshakes
// that begin afterwards go by the new one, and connections stay.
type secured struct {
	mu      sync.Mutex // guards what follows
	current *certificate.Server
	changed chan struct{} // closed when current is another
}

func newSecured(s *certificate.Server) *secured {
	return &secured{current: s, changed: make(chan struct{})}
}

func (s *secured) now() (*certificate.Server, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.changed
}

// become replaces what it is made of.
func (s *secured) become(next *certificate.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = next
	close(s.changed)
	s.changed = make(chan struct{})
}

// TLS returns the configuration for a listener.
func (s *secured) TLS() *tls.Config {
	now, _ := s.now()
	c := now.TLS()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		now, _ := s.now()
		return now.TLS().GetConfigForClient(hello)
	}
	return c
}

// Client returns the verified certificate of a connection.
func (s *secured) Client(cs *tls.ConnectionState) (certificate.Client, bool) {
	now, _ := s.now()
	return now.Client(cs)
}

// Run reads files again whenever they change, until ctx ends.
func (s *secured) Run(ctx context.Context) {
	for ctx.Err() == nil {
		now, changed := s.now()
		until, stop := context.WithCancel(ctx)
		go func() {
			select {
			case <-changed:
			case <-until.Done():
			}
			stop()
		}()
		now.Run(until)
		stop()
	}
}
