package front

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// A request that has both a Content-Length and a Transfer-Encoding is read by one
// proxy in one way and by another in the other: what is the body to one is the next
// request to the other. net/http takes such requests, and does not tell. So klamm
// looks at what comes over a connection while net/http reads it. A TLS connection
// cannot be looked into from outside; there Transfer-Encoding wins (RFC 9112, 6.1).

// framedListener makes connections that look at the framing of requests.
type framedListener struct{ net.Listener }

func (l framedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS, which net/http must recognize
		return conn, nil
	}
	return &framedConn{Conn: conn}, nil
}

// framedConn looks at the header of each request until its end, and not at bodies.
type framedConn struct {
	net.Conn
	// seen is what the header has so far. Reading and serving take turns on a
	// connection, but not always in one goroutine.
	seen atomic.Int32
	line []byte // the part of a line that has come so far, cut at longestName
}

// What a header has.
const (
	seenLine     = 1 << iota // the request line
	seenLength               // Content-Length
	seenEncoding             // Transfer-Encoding
	seenEnd                  // the end: what follows is not looked at
)

// longestName is how much of a line matters.
const longestName = len("transfer-encoding:")

type framedKey struct{}

// framed puts a connection into the context of its requests.
func framed(ctx context.Context, c net.Conn) context.Context {
	if f, ok := c.(*framedConn); ok {
		return context.WithValue(ctx, framedKey{}, f)
	}
	return ctx
}

// framedOf returns the connection of a request; nil if nobody looks at it.
func framedOf(r *http.Request) *framedConn {
	f, _ := r.Context().Value(framedKey{}).(*framedConn)
	return f
}

// ambiguous says whether the request that is being served has both headers.
func (c *framedConn) ambiguous() bool {
	return c != nil && c.seen.Load()&(seenLength|seenEncoding) == seenLength|seenEncoding
}

// nextHeader makes a connection look at the header of the next request.
func (c *framedConn) nextHeader() {
	if c != nil {
		c.seen.Store(0)
	}
}

func (c *framedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.seen.Load()&seenEnd == 0 {
		c.look(p[:n])
	}
	return n, err
}

// ReadFrom lets the kernel move an answer from another connection.
func (c *framedConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite lets net/http end a connection without cutting off its last answer.
func (c *framedConn) CloseWrite() error { return closeWrite(c.Conn) }

// CloseWrite lets net/http end a connection without cutting off its last answer.
func (c *proxyConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// look takes in what has come.
func (c *framedConn) look(p []byte) {
	seen := c.seen.Load()
	for len(p) > 0 && seen&seenEnd == 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if room := longestName - len(c.line); room > 0 {
			c.line = append(c.line, part[:min(len(part), room)]...)
		}
		if end < 0 {
			break
		}
		p = p[end+1:]
		seen |= c.lineSeen(seen)
		c.line = c.line[:0]
	}
	c.seen.Store(seen)
}

// lineSeen is what a whole line adds.
func (c *framedConn) lineSeen(seen int32) int32 {
	line := bytes.TrimSuffix(c.line, []byte("\r"))
	switch {
	case seen&seenLine == 0:
		if len(line) == 0 { // empty lines may stand before a request
			return 0
		}
		return seenLine
	case len(line) == 0:
		return seenEnd
	case hasName(line, "content-length:"):
		return seenLength
	case hasName(line, "transfer-encoding:"):
		return seenEncoding
	}
	return 0
}

func hasName(line []byte, name string) bool {
	return len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name))
}
