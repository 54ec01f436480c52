package webhook

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
)

// mostLent bounds the memory of a body that is kept for the next one.
const mostLent = 4 << 20

// A lent is memory for the body of a batch. The transport may go on reading a
// body after it has returned the answer, and may read it once more on another
// connection; so it is given back when everybody who holds it has let go.
type lent struct {
	pool  *sync.Pool
	bytes []byte
	holds atomic.Int32
}

func (l *lent) hold() { l.holds.Add(1) }

func (l *lent) release() {
	if l.holds.Add(-1) == 0 && cap(l.bytes) <= mostLent {
		l.pool.Put(l)
	}
}

// reader reads a body that lies in the memory. Without memory of its own, a nil
// lent, it reads one that belongs to somebody else.
func (l *lent) reader(body []byte) io.ReadCloser {
	if l == nil {
		return io.NopCloser(bytes.NewReader(body))
	}
	l.hold()
	r := &lentReader{lent: l}
	r.Reset(body)
	return r
}

type lentReader struct {
	bytes.Reader
	lent   *lent
	closed atomic.Bool
}

// Close lets go of the memory; the transport may call it more than once.
func (r *lentReader) Close() error {
	if !r.closed.Swap(true) {
		r.lent.release()
	}
	return nil
}
