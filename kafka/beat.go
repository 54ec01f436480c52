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
	// aloneFor is for how long a client has to have carried nothing but heartbeats: one
	// that others may follow soon does not hold them up.
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

// dial returns how one client connects, as by does, to brokers with which it speaks at a
// beat while it is idle.
func (b *beat) dial(by dialFunc) dialFunc {
	p := &pace{beat: b}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := by(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := &beatConn{Conn: conn, pace: p}
		c.stir(false)
		return c, nil
	}
}

// A pace is what the connections of a client share. kgo writes one request to a broker at
// a time, whichever connection it takes, so that others wait behind a heartbeat that does.
// Something that arrives for the client is likely to have some follow, and therefore ends
// the wait: behind a long silence only what the client does of its own accord, as to commit
// at last, may be late, and only by the rest of the second.
type pace struct {
	beat *beat

	mu   sync.Mutex    // guards what follows, and some of each connection
	last time.Time     // when one was opened, or something else than a heartbeat was written or read
	held chan struct{} // closed when a heartbeat need not wait any more; nil: none does
}

// release ends the wait. The caller holds the lock.
func (p *pace) release() {
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// A beatConn is a connection whose heartbeats wait for a beat, and whose fetches wait no
// longer than for one. It relies on what kgo does: each request is one Write, of which
// there is one at a time.
type beatConn struct {
	net.Conn
	pace *pace

	// The lock of the pace guards these.
	beating bool // a heartbeat was written last: what is read answers it
	waits   bool // a heartbeat does
	over    bool // it was closed, or a deadline has passed: heartbeats do not wait
}

// Write writes a request.
func (c *beatConn) Write(request []byte) (int, error) {
	switch keyOf(request) {
	case kmsg.Heartbeat:
		c.wait()
	case kmsg.Fetch:
		c.stir(false)
		request = toBeat(request, time.Now())
	default:
		c.stir(false)
	}
	return c.Conn.Write(request)
}

// wait waits until a heartbeat may be written.
func (c *beatConn) wait() {
	released := c.hold()
	if released == nil {
		return
	}
	select {
	case <-c.pace.beat.wait():
	case <-released:
	}
	c.pace.mu.Lock()
	c.waits = false
	c.pace.mu.Unlock()
}

// Read reads of an answer.
func (c *beatConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.stir(true)
	}
	return n, err
}

// stir says that something else than a heartbeat is written, or, if that is no answer to
// one, read.
func (c *beatConn) stir(read bool) {
	p := c.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.beating = c.beating && read; !c.beating {
		p.last = time.Now()
		p.release()
	}
}

// hold says that a heartbeat is written. Where it has to wait, it returns what is closed
// when it need not wait any more.
func (c *beatConn) hold() <-chan struct{} {
	p := c.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	c.beating = true
	if c.over || time.Since(p.last) < aloneFor {
		return nil
	}
	c.waits = true
	if p.held == nil {
		p.held = make(chan struct{})
	}
	return p.held
}

// SetWriteDeadline sends a heartbeat that waits where the deadline has passed: so kgo gives
// a request up. Where it could not be written, kgo would close the connection, and a member
// that leaves need another one to say so.
func (c *beatConn) SetWriteDeadline(t time.Time) error {
	if c.hurry(t) {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline ends the wait, too: so kgo closes a client.
func (c *beatConn) SetDeadline(t time.Time) error {
	err := c.Conn.SetDeadline(t)
	c.hurry(t)
	return err
}

// Close ends the wait, too.
func (c *beatConn) Close() error {
	err := c.Conn.Close()
	c.hurry(time.Now())
	return err
}

// hurry ends the wait where a deadline has passed, and says whether a heartbeat has waited.
func (c *beatConn) hurry(deadline time.Time) bool {
	p := c.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	c.over = !deadline.IsZero() && !deadline.After(time.Now())
	if !c.over || !c.waits {
		return false
	}
	p.release()
	return true
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
