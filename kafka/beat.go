package kafka

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file has idle members that share a process do what they do at the same time.
//
// A thousand members send 67 heartbeats a second, and 33 fetches that bring nothing, each
// at a time of its own. What that costs is hardly the requests: each time a processor
// wakes up, looks for more to do, finds nothing and goes to sleep. So a heartbeat that is
// nobody's business but the group's waits for the next beat, which all members of the
// process have in common, and a broker that has no records answers at a beat.
// A client sends its next heartbeat so long after the last one was answered, and its next
// fetch at once, and is therefore in step from the first one on.

const (
	// beatEvery is the time from one beat to the next, and the longest that a heartbeat
	// is late.
	beatEvery = time.Second
	// beatShare of its interval is the longest that a heartbeat may be late, and a fetch
	// be answered early.
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

// dial connects as by does, to a broker with which idle members speak at a beat.
func (b *beat) dial(by dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := by(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &beatConn{Conn: conn, beat: b, last: time.Now(), hurry: make(chan struct{}, 1)}, nil
	}
}

// A beatConn is a connection whose heartbeats wait for a beat, and whose fetches wait no
// longer than for one. It relies on what kgo does: each request is one Write, of which
// there is one at a time.
type beatConn struct {
	net.Conn
	beat  *beat
	last  time.Time     // when it was opened, or something else than a heartbeat was written
	hurry chan struct{} // holds a token: do not wait
}

// Write writes a request.
func (c *beatConn) Write(request []byte) (int, error) {
	switch now := time.Now(); keyOf(request) {
	case kmsg.Heartbeat:
		if now.Sub(c.last) < aloneFor {
			break
		}
		select {
		case <-c.beat.wait():
		case <-c.hurry:
		}
	case kmsg.Fetch:
		return c.Conn.Write(toBeat(request, now))
	default:
		c.last = now
	}
	return c.Conn.Write(request)
}

// keyOf returns which request it is: that comes behind its length. -1 is none.
func keyOf(request []byte) kmsg.Key {
	if len(request) < 6 {
		return -1
	}
	return kmsg.Key(int16(binary.BigEndian.Uint16(request[4:])))
}

// toBeat returns a fetch that waits for records up to the last beat before it would be
// answered: another one, for what is written must not be changed. One that waits for
// little more than a beat is left alone.
func toBeat(fetch []byte, now time.Time) []byte {
	at, ok := maxWaitAt(fetch)
	if !ok {
		return fetch
	}
	wait := time.Duration(binary.BigEndian.Uint32(fetch[at:])) * time.Millisecond
	if wait < beatShare*beatEvery {
		return fetch
	}
	fetch = slices.Clone(fetch)
	until := now.Add(wait).Truncate(beatEvery).Sub(now)
	binary.BigEndian.PutUint32(fetch[at:], uint32(until.Milliseconds()+1)) // at the beat or just behind it
	return fetch
}

// newestFetch is the newest version of fetches whose form is known here.
const newestFetch = 18

// maxWaitAt returns where a fetch says for how long it waits.
func maxWaitAt(fetch []byte) (at int, ok bool) {
	const version, client = 6, 12 // behind length, key, and the number of the request
	if len(fetch) < client+2 {
		return 0, false
	}
	v := binary.BigEndian.Uint16(fetch[version:])
	at = client + 2
	if n := int16(binary.BigEndian.Uint16(fetch[client:])); n > 0 {
		at += int(n)
	}
	if v > newestFetch {
		return 0, false
	}
	if v >= 12 { // tags of the header: none
		if at >= len(fetch) || fetch[at] != 0 {
			return 0, false
		}
		at++
	}
	if v <= 14 { // which replica asks
		at += 4
	}
	return at, at+4 <= len(fetch)
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
