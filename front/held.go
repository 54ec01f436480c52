package front

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
)

// Stopping returns a channel that is closed when the server which answers with w
// begins to stop: answers without an end have to end then. It is nil if w is not
// what a Handler was given.
func Stopping(w http.ResponseWriter) <-chan struct{} {
	if a := answerOf(w); a != nil {
		return a.server.closing.Done()
	}
	return nil
}

// Rest has the server which answers with w run the rest of an answer when its Handler has
// returned without an error: what waits for a client in rest does not hold the stack of
// what came before. The request's context and w are good until rest returns. It is
// false, and nothing is run, if w is not what a Handler was given.
func Rest(w http.ResponseWriter, rest func()) bool {
	a := answerOf(w)
	if a != nil {
		a.rest = rest
	}
	return a != nil
}

// AllowsOrigin says whether pages of an origin may call the server that answers
// with w (gateway-policies.md 5.1).
func AllowsOrigin(w http.ResponseWriter, origin string) bool {
	a := answerOf(w)
	return a != nil && a.server.cors != nil && a.server.cors.allows(origin)
}

// answerOf finds what a Handler was given; nil if w is none of that.
func answerOf(w http.ResponseWriter) *answer {
	for {
		switch a := w.(type) {
		case *answer:
			return a
		case interface{ Unwrap() http.ResponseWriter }:
			w = a.Unwrap()
		default:
			return nil
		}
	}
}

// Hijack gives the connection to the handler, as for a WebSocket. Shutdown waits
// until it is closed, as for any other answer.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.status = http.StatusSwitchingProtocols
	return a.server.hijacked.add(conn), rw, nil
}

// hijacked are the connections that handlers have taken over.
type hijacked struct {
	mu    sync.Mutex // guards what follows
	open  map[*hijackedConn]struct{}
	empty chan struct{} // closed when the last is; nil: nobody waits
}

type hijackedConn struct {
	net.Conn
	of *hijacked
}

func (h *hijacked) add(conn net.Conn) net.Conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		h.open = map[*hijackedConn]struct{}{}
	}
	c := &hijackedConn{conn, h}
	h.open[c] = struct{}{}
	return c
}

// Close closes the connection and ends Shutdown's wait for it.
func (c *hijackedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	if len(c.of.open) == 0 && c.of.empty != nil {
		close(c.of.empty)
		c.of.empty = nil
	}
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// wait returns when all are closed, or closes them when ctx ends.
func (h *hijacked) wait(ctx context.Context) error {
	h.mu.Lock()
	if len(h.open) == 0 {
		h.mu.Unlock()
		return nil
	}
	if h.empty == nil {
		h.empty = make(chan struct{})
	}
	empty := h.empty
	h.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	var left []*hijackedConn
	for c := range h.open {
		left = append(left, c)
	}
	h.mu.Unlock()
	for _, c := range left {
		_ = c.Close()
	}
	return ctx.Err()
}

// keepAlive is the answer to clients that ask whether their connection is kept:
// small ones want to know for how long (gateway-policies.md 6.1).
var keepAlive = []string{"timeout=75"}

// tellKeepAlive answers "Connection: keep-alive" of HTTP/1.
func tellKeepAlive(w http.ResponseWriter, r *http.Request) {
	values := r.Header["Connection"]
	if len(values) == 0 || r.ProtoMajor != 1 {
		return
	}
	for _, v := range values {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "keep-alive") {
				w.Header()["Keep-Alive"] = keepAlive
				return
			}
		}
	}
}
