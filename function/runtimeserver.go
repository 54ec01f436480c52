package function

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Bounds of what a program may send.
const (
	// maxHead bounds the head of a request, in bytes.
	maxHead = 1 << 20
	// maxLeftOver bounds what is read of a body that nobody wants, so that its sender
	// comes to read the answer, in bytes.
	maxLeftOver = 64 << 20
	// sendBuffer is what the system takes of an event at once, in bytes: so a program
	// reads most events without klamm being woken up for each part of them.
	sendBuffer = 512 << 10
)

// A runtimeServer is the HTTP/1.1 server of one process. Every invocation takes two
// requests, and what net/http does for each beside reading and writing it, such as
// watching the connection while a handler works, would be most of what klamm adds to
// the time of a function.
type runtimeServer struct {
	listener net.Listener
	serve    func(c *runtimeConn, r *http.Request)
	over     chan struct{} // closed by close

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

// newRuntimeServer serves until close is called. Requests of one connection are served
// one after the other, and each is answered once.
func newRuntimeServer(l net.Listener, serve func(c *runtimeConn, r *http.Request)) *runtimeServer {
	s := &runtimeServer{listener: l, serve: serve, over: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	go s.accept()
	return s
}

// close ends the listener and all connections; it does not wait for those who serve
// them.
func (s *runtimeServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return
	}
	close(s.over)
	_ = s.listener.Close()
	for c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *runtimeServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			select {
			case <-s.over:
				return
			case <-time.After(10 * time.Millisecond): // no files are left, perhaps
				continue
			}
		}
		if s.keep(c) {
			go s.talk(c)
		}
	}
}

// keep remembers a connection, unless the server is closed.
func (s *runtimeServer) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// talk serves a connection until it ends.
func (s *runtimeServer) talk(nc net.Conn) {
	defer func() {
		_ = nc.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, nc)
	}()
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
	limited := &io.LimitedReader{R: nc}
	c := &runtimeConn{server: s, conn: nc, read: bufio.NewReader(limited)}
	for !c.ends {
		limited.N = maxHead
		r, err := http.ReadRequest(c.read)
		if err != nil {
			if err != io.EOF && err != io.ErrUnexpectedEOF { //nolint:errorlint // as they come from ReadRequest
				c.ends = true
				c.answer(http.StatusBadRequest, "InvalidRequest", "this is not an HTTP request")
			}
			return
		}
		limited.N = 1<<63 - 1
		c.ends = r.Close || !r.ProtoAtLeast(1, 1)
		if r.Body != http.NoBody && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
			_, _ = io.WriteString(nc, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		s.serve(c, r)
		if n, err := io.CopyN(io.Discard, r.Body, maxLeftOver); n == maxLeftOver || err != io.EOF { //nolint:errorlint // as CopyN returns it
			return
		}
	}
}

// A runtimeConn is a connection of a process. It belongs to one goroutine.
type runtimeConn struct {
	server *runtimeServer
	conn   net.Conn
	read   *bufio.Reader
	ends   bool // after the answer to the current request
	head   []byte
}

// A headerField is a header of an answer.
type headerField struct{ name, value string }

// lineEnds are not for the values of headers.
var lineEnds = strings.NewReplacer("\r", " ", "\n", " ")

// write sends an answer. Headers without a value are left out.
func (c *runtimeConn) write(status int, body []byte, fields ...headerField) error {
	b := append(c.head[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(append(b, ' '), http.StatusText(status)...)
	b = append(b, "\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		b = append(append(append(b, "\r\n"...), f.name...), ": "...)
		if strings.ContainsAny(f.value, "\r\n") {
			f.value = lineEnds.Replace(f.value)
		}
		b = append(b, f.value...)
	}
	if c.ends {
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	c.head = b
	if len(body) <= 4<<10 {
		c.head = append(b, body...)
		_, err := c.conn.Write(c.head)
		return err
	}
	_, err := (&net.Buffers{b, body}).WriteTo(c.conn)
	return err
}

// answer sends a document of the Runtime API; without a kind of error, that all is well.
func (c *runtimeConn) answer(status int, kind, message string) {
	body := []byte(`{"status":"OK"}`)
	if kind != "" {
		body = errorBody(kind, message)
	}
	_ = c.write(status, body, headerField{"Content-Type", "application/json"})
}

// alive says whether the other side still listens, as far as can be seen: it has not
// ended the connection.
func (c *runtimeConn) alive() bool {
	tcp, ok := c.conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	there := true
	err = raw.Control(func(fd uintptr) { there = listens(int(fd)) })
	return err == nil && there
}
