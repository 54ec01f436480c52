package kafka

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file has members that share a process send their heartbeats together.
//
// A thousand members send 67 heartbeats a second, each at a time of its own. What that
// costs is hardly the requests: each time a processor wakes up, looks for more to do,
// finds nothing and goes to sleep. So a heartbeat that is nobody's business but the
// group's waits for the next beat, which all members of the process have in common.
// A client sends its next heartbeat so long after the last one was answered, and is
// therefore in step from the first one on.

const (
	// beatEvery is the time from one beat to the next, and the longest that a heartbeat
	// is late.
	beatEvery = time.Second
	// beatShare of its interval is the longest that a heartbeat may be late.
	beatShare = 5
	// aloneFor is how long a connection has to have carried nothing but heartbeats. A
	// heartbeat that others may follow soon does not hold them up.
	aloneFor = 3 * time.Second
)

// A beat is what the connections of a process wait for. The zero value is ready. It is
// safe for concurrent use.
type beat struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next beat; nil: nobody waits
}

// wait returns a channel that is closed at the next beat. While nobody waits, nothing
// happens.
func (b *beat) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		next, now := make(chan struct{}), time.Now()
		b.next = next
		time.AfterFunc(now.Truncate(beatEvery).Add(beatEvery).Sub(now), func() {
			b.mu.Lock()
			b.next = nil
			b.mu.Unlock()
			close(next)
		})
	}
	return b.next
}

// memberBeat is that of all members of this process.
var memberBeat beat

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dial connects as by does, to a broker to which heartbeats go at a beat.
func (b *beat) dial(by dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := by(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &beatConn{Conn: conn, beat: b, last: time.Now(), hurry: make(chan struct{}, 1)}, nil
	}
}

// A beatConn is a connection whose heartbeats wait for a beat. It relies on what kgo
// does: each request is one Write, of which there is one at a time.
type beatConn struct {
	net.Conn
	beat  *beat
	last  time.Time     // when it was opened, or something else than a heartbeat was written
	hurry chan struct{} // holds a token: do not wait
}

// Write writes a request.
func (c *beatConn) Write(request []byte) (int, error) {
	switch {
	case !isHeartbeat(request):
		c.last = time.Now()
	case time.Since(c.last) >= aloneFor:
		select {
		case <-c.beat.wait():
		case <-c.hurry:
		}
	}
	return c.Conn.Write(request)
}

// isHeartbeat says whether a request is one: behind its length comes which one it is.
func isHeartbeat(request []byte) bool {
	return len(request) >= 6 && binary.BigEndian.Uint16(request[4:]) == uint16(kmsg.Heartbeat)
}

// SetWriteDeadline ends the wait for a beat where the deadline has passed: so kgo gives a
// request up.
func (c *beatConn) SetWriteDeadline(t time.Time) error {
	err := c.Conn.SetWriteDeadline(t)
	if !t.IsZero() && !t.After(time.Now()) {
		c.rush()
	}
	return err
}

// Close ends the wait, too.
func (c *beatConn) Close() error {
	err := c.Conn.Close()
	c.rush()
	return err
}

func (c *beatConn) rush() {
	select {
	case c.hurry <- struct{}{}:
	default:
	}
}
