package front

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// largestHeaders is how much of a request's header is read at all. What is larger is
// answered 431 by net/http itself; what is smaller gets the answer of a dialect.
const largestHeaders = 64 << 10

// connections are what a server keeps when its configuration changes.
type connections struct {
	http     *http.Server
	budget   budget
	closing  context.Context // ends when Shutdown begins
	close    func()
	hijacked hijacked
	current  atomic.Pointer[Server] // answers the requests that begin now
}

// connect makes the connections of a first server.
func connect(s *Server) *connections {
	c, limits := &connections{budget: budget{limit: s.cfg.Sizes.InFlight}}, s.cfg.Connections
	c.closing, c.close = context.WithCancel(context.Background())
	c.current.Store(s)
	c.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.current.Load().answer(w, r) }),
		ReadHeaderTimeout: limits.HeaderTimeout,
		IdleTimeout:       limits.Idle,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: limits.MaxStreamsPerConnection},
		MaxHeaderBytes:    largestHeaders,
		ConnContext:       framed,
		ErrorLog:          errorLog(s.cfg.Log, s.cfg.Metrics.edge.shakes),
	}
	if s.cfg.H2C {
		c.http.Protocols = new(http.Protocols)
		c.http.Protocols.SetHTTP1(true)
		c.http.Protocols.SetUnencryptedHTTP2(true)
	}
	return c
}

// withDefaults fills in what is not set.
func (s Sizes) withDefaults() Sizes {
	for _, one := range []struct {
		into *int64
		size int64
	}{{&s.Body, 64 << 20}, {&s.InFlight, 256 << 20}, {&s.Headers, 16 << 10}, {&s.URL, 8 << 10}} {
		if *one.into == 0 {
			*one.into = one.size
		}
	}
	return s
}

// Next returns a server for another configuration that shares the connections of s.
// It answers nothing until Become. The memory of all bodies and H2C stay as they
// were. The error says that two dialects claim the same pattern.
func (s *Server) Next(cfg Config) (next *Server, err error) {
	defer func() {
		if p := recover(); p != nil {
			next, err = nil, fmt.Errorf("the routes cannot be served: %v", p)
		}
	}()
	return newServer(cfg, s.connections), nil
}

// Become has requests that begin from now on answered by next; those that are being
// answered end as they have begun.
func (s *Server) Become(next *Server) {
	s.current.Store(next)
	next.cfg.Metrics.edge.forget()
}

// reject turns a request away before it has reached a route.
func (s *Server) reject(x *exchange, r *http.Request, step int, err error) {
	d := s.dialectOf(r.URL.Path)
	a := &answer{ResponseWriter: x, server: s}
	s.fail(a, r, d, err)
	s.cfg.Metrics.edge.rejected(step, a.status)
	s.cfg.Metrics.route(d.Name, "none")(a.status, time.Since(x.start))
}
