package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// A Stream is a request body that is read while the answer is written, and whose
// length nothing bounds but the connection. What a handler keeps of it for longer
// it asks the budget for. One goroutine reads a stream at a time.
type Stream struct {
	body  *body // nil: the request has none
	until time.Time

	mu      sync.Mutex
	stopped bool // or ended: its connection's deadline is not the stream's any more
}

// OpenStream takes over the request's body; nothing else may read it. The stream
// ends with ErrBodyTimeout after the given time, however lively it is, and with
// ErrStopping when the server stops.
func OpenStream(w http.ResponseWriter, r *http.Request, longest time.Duration) *Stream {
	b, _ := r.Body.(*body)
	s := &Stream{body: b, until: time.Now().Add(longest)}
	if b != nil {
		// Without it, HTTP/1 takes in the whole body before the first byte of the
		// answer goes out.
		_ = http.NewResponseController(w).EnableFullDuplex()
		s.Hurry(false)
		forget := context.AfterFunc(b.closing, s.Stop)
		context.AfterFunc(r.Context(), func() { forget() })
	}
	return s
}

// Hurry says whether the client must not pause for long: it is in the middle of
// something for which memory is held.
func (s *Stream) Hurry(hurry bool) {
	if s.body == nil {
		return
	}
	deadline := s.until
	if soon := time.Now().Add(bodyPatience); hurry && soon.Before(deadline) {
		deadline = soon
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		_ = s.body.control.SetReadDeadline(deadline)
	}
}

// Stop ends the stream: a Read that waits, and each that follows, is
// ErrBodyTimeout. It may be called from any goroutine.
func (s *Stream) Stop() {
	if s.body == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		_ = s.body.control.SetReadDeadline(time.Now())
	}
}

// ended leaves the connection to net/http, which from the end of the body on
// listens on it for the client's leaving: a deadline that passes would count as
// that, and end the next request on it before it has begun.
func (s *Stream) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		s.body.whole()
	}
}

// Drain takes in what the client goes on sending, for so long at most. A
// connection that is closed while something arrives is reset, and the end of the
// answer may be lost with it.
func (s *Stream) Drain(longest time.Duration) {
	if s.body != nil {
		_ = s.body.control.SetReadDeadline(time.Now().Add(longest))
		_, _ = io.CopyN(io.Discard, s.body, drainBytes)
	}
}

// Read reads what has arrived, and waits only if that is nothing. Beside io.EOF
// its errors are ErrBodyTimeout, ErrStopping and those of the connection.
func (s *Stream) Read(p []byte) (int, error) {
	if s.body == nil {
		return 0, io.EOF
	}
	n, err := s.body.Read(p)
	if errors.Is(err, io.EOF) {
		s.ended()
		return n, io.EOF
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if s.body.closing.Err() != nil {
				return n, ErrStopping
			}
			return n, ErrBodyTimeout
		}
		return n, fmt.Errorf("read the request body: %w", err)
	}
	return n, err
}

// Limit is the size of a request body that is not a stream (sizes.body).
func (s *Stream) Limit() int64 {
	if s.body == nil {
		return 0
	}
	return s.body.limit
}

// Hold asks the budget for the bodies in flight for n bytes; false means that
// there are not so many left. Every true Hold wants a Free.
func (s *Stream) Hold(n int64) bool { return s.body == nil || s.body.budget.take(n) }

// Free gives n bytes back to the budget. It may be called from any goroutine.
func (s *Stream) Free(n int64) {
	if s.body != nil {
		s.body.budget.give(n)
	}
}
