package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// A wire is one keep-alive HTTP/1.1 connection. It knows just enough of HTTP to
// cost little beside what it measures, and is used by one goroutine at a time.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	body []byte
}

// answerBytes bounds the body of an answer.
const answerBytes = 16 << 20

var errAnswer = errors.New("not an HTTP/1.1 answer")

func dial(addr string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return newWire(conn), nil
}

func newWire(conn net.Conn) *wire {
	return &wire{conn: conn, in: bufio.NewReaderSize(conn, 32<<10)}
}

// roundTrip sends a whole request and reads its answer. The body is valid until
// the next call.
func (w *wire) roundTrip(request []byte, timeout time.Duration) (status int, body []byte, err error) {
	if err := w.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, nil, err
	}
	if _, err := w.conn.Write(request); err != nil {
		return 0, nil, err
	}
	return w.readAnswer()
}

func (w *wire) readAnswer() (status int, body []byte, err error) {
	line, err := w.readLine()
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 || string(line[:9]) != "HTTP/1.1 " {
		return 0, nil, fmt.Errorf("%w: status line %q", errAnswer, line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil || status < 200 {
		return 0, nil, fmt.Errorf("%w: status line %q", errAnswer, line)
	}
	length, chunked := -1, false
	for {
		if line, err = w.readLine(); err != nil {
			return 0, nil, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > answerBytes {
				return 0, nil, fmt.Errorf("%w: Content-Length %q", errAnswer, value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
	w.body = w.body[:0]
	switch {
	case status == 204 || status == 304:
	case chunked:
		err = w.readChunks()
	case length >= 0:
		err = w.readBytes(length)
	default:
		err = fmt.Errorf("%w: no length", errAnswer)
	}
	return status, w.body, err
}

// readLine returns a line without its end; it is valid until the next read.
func (w *wire) readLine() ([]byte, error) {
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// readBytes appends the next n bytes to the body.
func (w *wire) readBytes(n int) error {
	have := len(w.body)
	if n > answerBytes-have {
		return fmt.Errorf("%w: more than %d bytes", errAnswer, answerBytes)
	}
	if cap(w.body)-have < n {
		w.body = append(make([]byte, 0, have+n), w.body...)
	}
	w.body = w.body[:have+n]
	_, err := io.ReadFull(w.in, w.body[have:])
	return err
}

func (w *wire) readChunks() error {
	for {
		line, err := w.readLine()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return fmt.Errorf("%w: chunk size %q", errAnswer, size)
		}
		if err := w.readBytes(int(n)); err != nil {
			return err
		}
		if line, err = w.readLine(); err != nil {
			return err
		}
		if n == 0 {
			// Lines before the empty one are trailers.
			for len(line) > 0 {
				if line, err = w.readLine(); err != nil {
					return err
				}
			}
			return nil
		}
		if len(line) > 0 {
			return fmt.Errorf("%w: a chunk is longer than it says", errAnswer)
		}
	}
}
