package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// smallBody is read into a pooled buffer without asking the budget.
	smallBody = 16 << 10
	// firstRoom is how much memory a large body gets before any of it has come.
	firstRoom = 1 << 20
	// keptBuffer is the largest buffer that goes back to the pool.
	keptBuffer = 1 << 20
	// bodyPatience is how long a client may be silent in the middle of a body.
	bodyPatience = 30 * time.Second
	// slowStart is for how long the rate of a body does not matter.
	slowStart = 5 * time.Second
)

// budget bounds the memory of all request bodies that are being read or worked
// on.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// body stands in for the request's body: it bounds its size and keeps count of
// what is held in memory.
type body struct {
	io.ReadCloser
	limit   int64
	rate    int64 // at least so many bytes a second; 0: no matter how slowly
	budget  *budget
	control *http.ResponseController
	length  int64           // as announced; -1: unknown
	closing context.Context // ends when the server begins to stop
	told    func([]byte)    // if not nil: gets the body when it is there as a whole
	held    *heldBody       // if not nil: what HoldBody has read
	size    *atomic.Int64   // if not nil: gets how long it is when it is there as a whole
}

// heldBody is a body that is there as a whole before its handler has asked for
// it.
type heldBody struct {
	data    []byte
	release func(reusable bool)
	read    int
}

// HoldBody reads the whole request body for who must see it before its handler
// does, as an authenticator does whose signature covers it. ReadBody, LendBody and
// streams find it there as if nobody had looked. The bytes must not be changed, and
// not be kept. The errors are those of ReadBody.
func HoldBody(r *http.Request) ([]byte, error) {
	b, ok := r.Body.(*body)
	if !ok {
		return nil, nil
	}
	if b.held == nil {
		data, release, err := b.lend()
		if err != nil {
			return nil, err
		}
		b.held = &heldBody{data: data, release: release}
	}
	return b.held.data, nil
}

// Read reads from the connection, or what is held.
func (b *body) Read(p []byte) (int, error) {
	h := b.held
	if h == nil {
		n, err := b.ReadCloser.Read(p)
		if b.length < 0 && malformed(err) {
			err = fmt.Errorf("%w: %w", ErrBodyMalformed, err)
		}
		return n, err
	}
	n := copy(p, h.data[h.read:])
	if h.read += n; h.read == len(h.data) {
		return n, io.EOF
	}
	return n, nil
}

// malformed says whether reading a body of chunks has failed since they are none. The
// errors of net/http for that have no names; whatever else can happen has one.
func malformed(err error) bool {
	var connection net.Error
	return err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, http.ErrBodyReadAfterClose) && !errors.As(err, &connection) &&
		!errors.Is(err, context.Canceled) && !known(err)
}

// drop gives back what is held and nobody has asked for.
func (b *body) drop() {
	if h := b.held; h != nil {
		b.held = nil
		h.release(true)
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, smallBody); return &b }}

// ReadBody reads the whole request body. The bytes belong to the caller until
// it calls release, and not a moment longer; what outlives that must be copied.
// The errors are ErrBodyTooLarge, ErrBodyTimeout, ErrBodyMalformed and ErrBusy, each
// wrapped with its details, and those of the connection.
func ReadBody(r *http.Request) (data []byte, release func(), err error) {
	data, leave, err := LendBody(r)
	if err != nil {
		return nil, nil, err
	}
	return data, func() { leave(true) }, nil
}

// ReadBodyWithin is ReadBody for what takes fewer bytes than sizes.body may allow: a body
// of more than largest bytes is ErrBodyTooLarge, and not read where its length is known.
func ReadBodyWithin(r *http.Request, largest int64) (data []byte, release func(), err error) {
	if r.ContentLength <= largest {
		data, release, err = ReadBody(r)
		if err != nil || int64(len(data)) <= largest {
			return data, release, err
		}
		release()
	}
	return nil, nil, fmt.Errorf("%w: at most %d bytes", ErrBodyTooLarge, largest)
}

// LendBody is ReadBody for a caller that lends the bytes to somebody who may
// still use them when the request is over, as a producer does with a record that
// was not acknowledged in time: release(false) ends the request's claim on
// memory and leaves the bytes to whoever has them. It must be called once.
func LendBody(r *http.Request) (data []byte, release func(reusable bool), err error) {
	b, ok := r.Body.(*body)
	if !ok { // a request without a body
		return nil, func(bool) {}, nil
	}
	h := b.held
	if h == nil {
		if data, release, err = b.lend(); err == nil {
			b.tell(data)
		}
		return data, release, err
	}
	b.held = nil
	b.tell(h.data)
	return h.data, h.release, nil
}

// lend reads the body from its connection.
func (b *body) lend() (data []byte, release func(reusable bool), err error) {
	if b.length > b.limit {
		return nil, nil, tooLarge(b.limit)
	}
	begun := time.Now()
	_ = b.control.SetReadDeadline(b.deadline(begun, begun, 0))
	pooled := buffers.Get().(*[]byte)
	buf := (*pooled)[:0]
	held := int64(0)
	done := func(reusable bool) {
		b.budget.give(held)
		if !reusable {
			return
		}
		if cap(buf) <= keptBuffer {
			*pooled = buf[:cap(buf)]
		}
		buffers.Put(pooled)
	}
	want := int64(cap(buf))
	if b.length > want {
		want = b.room(want)
	}
	if want > smallBody {
		if !b.budget.take(want) {
			done(true)
			return nil, nil, ErrBusy
		}
		held = want
	}
	if want > int64(cap(buf)) {
		buf = make([]byte, 0, want)
	}
	for {
		if len(buf) == cap(buf) {
			if b.length >= 0 && int64(len(buf)) == b.length {
				var one [1]byte
				if n, err := b.Read(one[:]); n == 0 && errors.Is(err, io.EOF) {
					b.whole()
					b.measure(buf)
					return buf, done, nil
				}
			}
			next := b.room(int64(cap(buf)))
			more := next - int64(cap(buf))
			if !b.budget.take(more) {
				done(true)
				return nil, nil, ErrBusy
			}
			held += more
			buf = append(make([]byte, 0, next), buf...)
		}
		n, err := b.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > b.limit {
			done(true)
			return nil, nil, tooLarge(b.limit)
		}
		if errors.Is(err, io.EOF) {
			b.whole()
			b.measure(buf)
			return buf, done, nil
		}
		if err != nil {
			done(true)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, nil, ErrBodyTimeout
			}
			return nil, nil, fmt.Errorf("read the request body: %w", err)
		}
		if n > 0 && int64(len(buf)) != b.length { // else all of it is there
			_ = b.control.SetReadDeadline(b.deadline(begun, time.Now(), int64(len(buf))))
		}
	}
}

// room is how much memory a body gets that has filled what it had. It is not given what
// it has announced at once: some clients that announce much and send nothing would have
// all that there is for bodies.
func (b *body) room(had int64) int64 {
	if b.length <= had { // not known, or wrong
		return 2 * had
	}
	return min(b.length, max(16*had, firstRoom))
}

// deadline is when more of a body has to be there, of which so many bytes have come
// since it was begun. Whoever sends a little at a time does not hold memory and a
// connection for ever (gateway-policies.md 3.4).
func (b *body) deadline(begun, now time.Time, n int64) time.Time {
	silent := now.Add(bodyPatience)
	if b.rate == 0 {
		return silent
	}
	slow := begun.Add(slowStart + time.Duration(float64(n)/float64(b.rate)*float64(time.Second)))
	if slow.Before(silent) {
		return slow
	}
	return silent
}

// whole takes the deadline of the body back when it is there as a whole: net/http
// listens on the connection from then on, and a deadline that passes would look
// to it as if the client had left.
func (b *body) whole() { _ = b.control.SetReadDeadline(time.Time{}) }

// measure tells how long the body is that is there as a whole.
func (b *body) measure(data []byte) {
	if b.size != nil {
		b.size.Store(int64(len(data)))
	}
}

func (b *body) tell(data []byte) {
	if b.told != nil {
		b.told(data)
	}
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: at most %d bytes (sizes.body)", ErrBodyTooLarge, limit)
}
