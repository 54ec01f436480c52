package log

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// A sink is what lines are written to. One goroutine uses it.
type sink interface {
	// write appends whole lines, and returns nil when they will outlast a crash
	// as far as the sink can see to that.
	write(text []byte) error
	close() error
}

// A stream is the sink of standard output, which stays open.
type stream struct{ *os.File }

func (s stream) write(text []byte) error {
	_, err := s.File.Write(text)
	return err
}

func (s stream) close() error { return nil }

const (
	// groupBytes is how much is written at once.
	groupBytes = 4 << 20
	// queued is how many deliveries may have handed in their lines before the
	// next one waits.
	queued = 64
	// closing is how long close waits for a sink that hangs.
	closing = 5 * time.Second
)

// errClosed says that the target was closed.
var errClosed = errors.New("the log is closed")

// A writer lets many goroutines write to one sink. Its goroutine is stopped by
// close.
type writer struct {
	requests chan *request // bounded: who finds it full waits, as long as its delivery has time
	stop     chan struct{}
	stopped  chan struct{}
	once     sync.Once
	failed   error // of closing the sink; set before stopped is closed
}

type request struct {
	text []byte
	gone <-chan struct{} // closed: nobody waits for it any more
	done chan error      // has room for one
}

func newWriter(s sink) *writer {
	w := &writer{requests: make(chan *request, queued), stop: make(chan struct{}), stopped: make(chan struct{})}
	go w.run(s)
	return w
}

// write returns when the text is written. When ctx ends before, it may still be
// written later.
func (w *writer) write(ctx context.Context, text []byte) error {
	r := &request{text: text, gone: ctx.Done(), done: make(chan error, 1)}
	select {
	case w.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return errClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stopped:
		select {
		case err := <-r.done:
			return err
		default:
			return errClosed
		}
	}
}

// close ends the writer's goroutine. One that hangs in its sink ends with the
// process.
func (w *writer) close() error {
	w.once.Do(func() { close(w.stop) })
	patience := time.NewTimer(closing)
	defer patience.Stop()
	select {
	case <-w.stopped:
		return w.failed
	case <-patience.C:
		return errors.New("it still hangs in a write")
	}
}

func (w *writer) run(s sink) {
	defer close(w.stopped)
	var group []*request
	var text []byte
	for {
		select {
		case r := <-w.requests:
			group = append(group[:0], r)
		case <-w.stop:
			w.failed = s.close()
			return
		}
		for size := len(group[0].text); size < groupBytes; size += len(group[len(group)-1].text) {
			select {
			case r := <-w.requests:
				group = append(group, r)
				continue
			default:
			}
			break
		}
		text = text[:0]
		for _, r := range group {
			select {
			case <-r.gone: // it will come again
			default:
				text = append(text, r.text...)
			}
		}
		var err error
		if len(text) > 0 {
			err = s.write(text)
		}
		for _, r := range group {
			r.done <- err
		}
		clear(group)
		if cap(text) > groupBytes {
			text = nil
		}
	}
}
