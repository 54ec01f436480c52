package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// A call to another process has to cost little more than the call that it passes on.
// net/http's client takes two goroutines for each connection, and the four switches
// between them cost as much as everything else together. Calls between processes
// need none of what they are for: one goroutine writes a request and then reads the
// answer.

const (
	dialTimeout = 2 * time.Second
	// keepIdle is how long a line is kept without use, less than servers do.
	keepIdle = 30 * time.Second
	// keptLines bounds the lines that are kept for one address.
	keptLines = 256
	// readBytes is what the other process writes at first of a large answer.
	readBytes = 4 << 10
)

// A line is a connection to another process.
type line struct {
	conn   net.Conn
	reader *bufio.Reader
	used   time.Time // when its last call ended
}

// lines are the connections that no call uses now, by address.
type lines struct {
	identity *tls.Config // of processes that speak TLS; set before the first call

	mu   sync.Mutex        // guards idle
	idle map[place][]*line // the last used one last
}

// take returns an idle line to an address, or a new one.
func (l *lines) take(ctx context.Context, address place) (*line, error) {
	l.mu.Lock()
	if idle := l.idle[address]; len(idle) > 0 {
		last := idle[len(idle)-1]
		l.idle[address] = idle[:len(idle)-1]
		l.mu.Unlock()
		if time.Since(last.used) < keepIdle {
			return last, nil
		}
		_ = last.conn.Close() // the others are even older
		l.drop(address)
	} else {
		l.mu.Unlock()
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address.hostPort)
	if err != nil {
		return nil, err
	}
	if address.tls {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		secured := tls.Client(conn, l.identity)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secured
	}
	return &line{conn: conn, reader: bufio.NewReaderSize(conn, readBytes)}, nil
}

// give keeps a line for the next call.
func (l *lines) give(address place, one *line) {
	one.used = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle == nil || len(l.idle[address]) >= keptLines {
		_ = one.conn.Close()
		return
	}
	l.idle[address] = append(l.idle[address], one)
}

// drop closes the idle lines to an address.
func (l *lines) drop(address place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.idle[address] {
		_ = one.conn.Close()
	}
	delete(l.idle, address)
}

// prune closes the lines that have not been used for some time.
func (l *lines) prune() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for address, idle := range l.idle {
		for len(idle) > 0 && time.Since(idle[0].used) > keepIdle {
			_ = idle[0].conn.Close()
			idle = idle[1:]
		}
		if len(idle) == 0 {
			delete(l.idle, address)
		} else {
			l.idle[address] = idle
		}
	}
}

// close closes all idle lines, and from now on every line when its call is over.
func (l *lines) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, idle := range l.idle {
		for _, one := range idle {
			_ = one.conn.Close()
		}
	}
	l.idle = nil
}

var requests = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// call makes a call and calls use with the answer, whose body use has to read to its
// end. It ends when ctx does.
func (l *lines) call(ctx context.Context, address place, c *Call, use func(*line, *http.Response) error) error {
	one, err := l.take(ctx, address)
	if err != nil {
		return err
	}
	good := false
	defer func() {
		if !good {
			_ = one.conn.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = one.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// After an error the idle lines are of no use either: they are no younger.
	if err := one.send(c); err != nil {
		l.drop(address)
		return err
	}
	resp, err := http.ReadResponse(one.reader, &http.Request{Method: c.Method}) //nolint:bodyclose // the next answer comes on the same connection
	if err != nil {
		l.drop(address)
		return err
	}
	if err := use(one, resp); err != nil {
		return err
	}
	if good = !resp.Close && stop(); good {
		l.give(address, one)
	}
	return nil
}

// send writes a request.
func (one *line) send(c *Call) error {
	text := requests.Get().(*bytes.Buffer)
	defer requests.Put(text)
	text.Reset()
	fmt.Fprintf(text, "%s %s HTTP/1.1\r\nHost: %s\r\n", c.Method, c.URI, c.Host)
	fmt.Fprintf(text, "%s: %s\r\n", forwardHeader, c.signature)
	if err := c.Header.Write(text); err != nil {
		return err
	}
	if len(c.Body) > 0 || c.Method == http.MethodPost {
		fmt.Fprintf(text, "Content-Length: %d\r\n", len(c.Body))
	}
	text.WriteString("\r\n")
	_, err := (&net.Buffers{text.Bytes(), c.Body}).WriteTo(one.conn)
	return err
}
