package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// ErrAgain says that a call did not reach the process that it was meant for, or
// that this process no longer holds what the call is about. Nothing was answered to
// the client.
var ErrAgain = errors.New("the call did not reach the process that it was for")

// warnEvery is how often the log is told that a process cannot be reached.
const warnEvery = 30 * time.Second

// A Call is a request on its way from one process to another.
type Call struct {
	To     string // the process that is to answer
	Method string
	URI    string // path and query, as in the request line
	Host   string // that the client has called
	Header http.Header
	Body   []byte
	Caller []byte // who calls, in the words of those who forward

	signature string
}

// withheld are the header fields of a request that are not passed on: credentials,
// and what concerns the client's connection or was dealt with.
var withheld = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Amz-Security-Token", "Idempotency-Key",
	"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Content-Length", "Proxy-Connection",
}

// Header returns the header fields of a request that may be passed on. Policies of the
// other process may ask for any of them.
func Header(r *http.Request) http.Header {
	header := r.Header.Clone()
	for _, name := range withheld {
		delete(header, name)
	}
	return header
}

// Forward makes a call and passes the answer on as it arrives, in constant memory.
// It returns ErrAgain while nothing was passed on and somebody has to find out where
// to go; any other error cuts an answer that has begun.
func (p *Peers) Forward(ctx context.Context, w http.ResponseWriter, c Call) error {
	p.mu.Lock()
	n := p.nodes[c.To]
	if n == nil || n.lost.Err() != nil {
		p.mu.Unlock()
		return ErrAgain
	}
	address, lost, sign := n.address, n.lost, p.signer
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A machine that is switched off does not hang up.
	defer context.AfterFunc(lost, cancel)()
	if len(c.Caller) > callerBytes {
		return fmt.Errorf("call process %s: %d bytes about the caller are too many", c.To, len(c.Caller))
	}
	header, proof := sign.sign(c.To, c.Method, c.URI, c.Body, c.Caller)
	c.signature = header
	begun := false
	err := p.lines.call(ctx, address, &c, func(one *line, resp *http.Response) (err error) {
		if resp.Header.Get(answerHeader) != proof || resp.StatusCode == http.StatusMisdirectedRequest {
			return ErrAgain
		}
		if through, ok := w.(io.ReaderFrom); ok && !address.tls && resp.ContentLength >= largeAnswer {
			begun = true
			return one.passThrough(w, through, resp)
		}
		begun, err = pass(w, resp)
		return err
	})
	switch {
	case err == nil:
		return nil
	case begun:
		return fmt.Errorf("pass an answer on: %w", err)
	case errors.Is(err, ErrAgain):
		return ErrAgain
	}
	if ctx.Err() == nil {
		p.unreached(c.To, err)
	}
	return fmt.Errorf("%w: %w", ErrAgain, err)
}

// unreached notes that a process could not be called.
func (p *Peers) unreached(id string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		n.refused = time.Now()
	}
	if time.Since(n.warned) > warnEvery {
		n.warned = time.Now()
		p.cfg.Log.Warn("another klamm process cannot be reached; if it runs, its key advertise says where", "address", n.address.hostPort, "err", err)
	}
}

// pieceBytes is how much of an answer is gathered before it is passed on. Most
// answers are one piece, each further one costs a switch between three processes.
const pieceBytes = 256 << 10

var pieces = sync.Pool{New: func() any { b := make([]byte, pieceBytes); return &b }}

// pass passes an answer on, and says whether something of it was.
func pass(w http.ResponseWriter, resp *http.Response) (begun bool, err error) {
	pooled := pieces.Get().(*[]byte)
	defer pieces.Put(pooled)
	piece := *pooled
	n, err := fill(resp.Body, piece)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	passHeader(w, resp)
	if errors.Is(err, io.EOF) && n > 0 {
		w.Header()["Content-Length"] = []string{strconv.Itoa(n)}
	}
	w.WriteHeader(resp.StatusCode)
	for {
		if n > 0 {
			if _, err := w.Write(piece[:n]); err != nil {
				return true, err
			}
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return true, err
		}
		n, err = fill(resp.Body, piece)
	}
}

// largeAnswer is the length from which on an answer does not come through the memory
// of this process: the kernel moves it from one connection to the other, where it can.
const largeAnswer = 32 << 10

// passThrough passes on an answer whose length is known.
func (one *line) passThrough(w http.ResponseWriter, through io.ReaderFrom, resp *http.Response) error {
	passHeader(w, resp)
	w.WriteHeader(resp.StatusCode)
	// What came together with the header is in memory already.
	begin := min(int64(one.reader.Buffered()), resp.ContentLength)
	piece, err := one.reader.Peek(int(begin))
	if err == nil {
		_, err = w.Write(piece)
	}
	if err != nil {
		return err
	}
	_, _ = one.reader.Discard(len(piece)) // they are there
	rest := &io.LimitedReader{R: one.conn, N: resp.ContentLength - begin}
	if _, err = through.ReadFrom(rest); err == nil && rest.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// passHeader passes on what an answer says about itself and not about its connection.
func passHeader(w http.ResponseWriter, resp *http.Response) {
	h := w.Header()
	for name, values := range resp.Header {
		switch name {
		case answerHeader, "Date", "Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade":
		default:
			h[name] = values
		}
	}
}

// fill reads until a piece is full or there is no more; the error is that of r.
func fill(r io.Reader, piece []byte) (n int, err error) {
	for n < len(piece) && err == nil {
		var more int
		more, err = r.Read(piece[n:])
		n += more
	}
	return n, err
}

// Forwarded says whether a request claims to come from another process. That it
// does, Check has to say.
func Forwarded(r *http.Request) bool { return len(r.Header[forwardHeader]) > 0 }

// Check returns what a request from another process says about its caller. Its body
// must then be read to the end before it is believed: a body that was not signed
// ends with ErrForged, which is also the error of a request that was not made by a
// process of this cluster for this one, within the last minute or so.
func (p *Peers) Check(r *http.Request) (caller []byte, err error) {
	p.mu.Lock()
	sign := p.signer
	p.mu.Unlock()
	if sign == nil {
		return nil, ErrForged
	}
	caller, proof, err := sign.check(r)
	if err != nil {
		return nil, err
	}
	// The proof replaces what it answers, for Answer.
	r.Header[forwardHeader] = []string{proof}
	return caller, nil
}

// Answer marks the answer to a request that Check has passed as this process's own.
func Answer(w http.ResponseWriter, r *http.Request) {
	w.Header()[answerHeader] = r.Header[forwardHeader]
}

// Misdirect answers a request that Check has passed, and that is about something
// which this process does not hold: the one who has sent it looks again.
func Misdirect(w http.ResponseWriter) { w.WriteHeader(http.StatusMisdirectedRequest) }
