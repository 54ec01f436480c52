package klamm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

const (
	// patience is how long what can fail at once may take to do so: until then an
	// error has a status of its own, and from then on the answer has begun.
	patience = 500 * time.Millisecond
	// unread is how long a client may leave a line unread.
	unread = 30 * time.Second
	// heartbeat is the pause between two comments in an event stream, which keep
	// proxies from closing a connection that is silent.
	heartbeat = 15 * time.Second
)

// A stream answers a request with lines of JSON, while what it tells of goes on,
// or with events if the client asks for them. The last line of one that fails is
// {"error": TEXT}.
//
//	run --lines--> serve --> connection
//	    --done-->
//
// The goroutine of the request writes; run works in one of its own, which serve
// always waits for. When the client goes away or klamm stops, the context of run
// ends, and its further lines go nowhere.
type stream struct {
	api    api
	w      http.ResponseWriter
	events bool
	begun  bool
	broken bool // nobody reads any more
}

// stream runs something that emits lines. An error of the first moments, before
// the answer has begun, is returned.
func (a api) stream(w http.ResponseWriter, r *http.Request, run func(ctx context.Context, emit func(any)) error) error {
	s := &stream{api: a, w: w, events: strings.Contains(r.Header.Get("Accept"), "text/event-stream")}
	ctx, cancel := a.untilStopping(r.Context())
	defer cancel()
	lines, done := make(chan any), make(chan error, 1)
	go func() { done <- run(ctx, func(line any) { lines <- line }) }()
	return s.serve(r, cancel, lines, done)
}

// untilStopping returns a context that also ends when klamm begins to stop.
func (a api) untilStopping(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { // ends with the context
		select {
		case <-a.cfg.Stopping:
			cancel(front.ErrStopping)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (s *stream) serve(r *http.Request, cancel func(), lines <-chan any, done <-chan error) error {
	control := http.NewResponseController(s.w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection may serve others
	first := time.After(patience)
	var beats <-chan time.Time
	if s.events {
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		beats = ticker.C
	}
	for {
		var text []byte
		select {
		case <-first:
			first = nil
		case <-beats:
			text = []byte(":\n\n")
		case line := <-lines:
			text = s.format("message", line)
		case err := <-done:
			return s.end(r, control, err)
		}
		if !s.write(control, text) {
			cancel()
		}
	}
}

// end writes the last line.
func (s *stream) end(r *http.Request, control *http.ResponseController, err error) error {
	switch {
	case err == nil:
		s.write(control, nil)
		return nil
	case r.Context().Err() != nil:
		return r.Context().Err()
	case errors.Is(err, context.Canceled), errors.Is(err, front.ErrStopping):
		err = stopping()
	}
	if err = translate(err); !s.begun {
		return err
	}
	_, detail := explain(err)
	if detail == unexpected {
		s.api.cfg.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	s.write(control, s.format("error", map[string]string{"error": detail}))
	return nil
}

func stopping() error {
	return &gate.Error{Kind: gate.Unavailable, Message: front.ErrStopping.Error()}
}

// format encodes a line.
func (s *stream) format(event string, line any) []byte {
	text, err := json.Marshal(line)
	if err != nil {
		return nil // there is no line that cannot be encoded
	}
	if s.events {
		text = append([]byte("event: "+event+"\ndata: "), text...)
		return append(text, "\n\n"...)
	}
	return append(text, '\n')
}

// write begins the answer if that is not yet done, and sends a text. It is false
// when nobody reads any more.
func (s *stream) write(control *http.ResponseController, text []byte) bool {
	if s.broken {
		return false
	}
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "application/x-ndjson")
		if s.events {
			h.Set("Content-Type", "text/event-stream")
		}
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // proxies that gather answers would hold lines back
		s.w.WriteHeader(http.StatusOK)
	}
	_ = control.SetWriteDeadline(time.Now().Add(unread))
	if _, err := s.w.Write(text); err != nil || control.Flush() != nil {
		s.broken = true
	}
	return !s.broken
}
