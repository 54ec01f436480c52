package confluent3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

// A stream is a pipeline of two goroutines with a bounded window between them:
//
//	connection -> read: scan, hand over -> producer
//	                |                        | acknowledged
//	            batches of slots ----------> write: answer, in order -> connection
//
// Records live in the memory that they were read into. A chunk of it is used
// again when all its records have been answered, so an endless stream needs no
// more than the window: so many chunks, so many records in each. What a stream
// reaches is its window divided by how long brokers take, so it gets more chunks
// while there are some to spare, as many for all streams together, if the
// records in them are not small. A client that does not read its answers stops
// its own stream and nobody else's.
type stream struct {
	api   *api
	call  *call
	body  *front.Stream
	text  io.Reader // body, in UTF-8
	topic string
	where []byte

	batches chan batch    // from read to write
	window  chan struct{} // a token for each chunk in use that is not spare
	left    chan struct{} // closed when write has ended
	held    atomic.Int64  // bytes of large chunks, as asked of the budget
	spare   atomic.Int64  // spare chunks in use
	under   atomic.Int64  // records that are under way

	waiting atomic.Pointer[slot] // the slot that write waits for
	wake    chan struct{}        // says that it is done
}

const (
	chunkBytes   = 64 << 10
	chunkRecords = 1024
	windowChunks = 24
	// spareChunks is how many more a stream may have, and allSpareChunks how
	// many all streams together: 64 MiB.
	spareChunks    = 104
	allSpareChunks = 1024
	// windowRecords bounds the records of a stream that has spare chunks.
	windowRecords = windowChunks * chunkRecords
	// streamLongest is how long a stream may last (rest-apis.md 5.8).
	streamLongest = 24 * time.Hour
	// grace is how long a client may go on sending when klamm has ended a stream.
	grace = 500 * time.Millisecond
	// silence is how long a client may leave its answers unread.
	silence = 5 * time.Minute
	// writeBytes is how much is gathered before it is written.
	writeBytes = 32 << 10
	// longestToken is the longest piece of JSON that can be invalid only because
	// its end has not arrived: \uXXXX.
	longestToken = 6
)

// A slot is one record of a stream on its way.
type slot struct {
	parsed
	stream *stream
	err    error
	done   atomic.Bool
	settle func(error) // made once, since slots are used again
}

// A chunk is memory that records are read into.
type chunk struct {
	buf   []byte
	spare bool // beyond the window
	slots []*slot
	used  int          // of slots
	users atomic.Int32 // read, while it fills the chunk, and each batch
	// spoiled says that the producer may still look at the memory although it
	// has given a record up.
	spoiled atomic.Bool
}

// A batch is what one read from the connection brought.
type batch struct {
	chunk *chunk
	slots []*slot // of the chunk, whose own list read goes on changing
}

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, chunkBytes)} }}

// slot returns the next slot of the chunk.
func (k *chunk) slot(s *stream) *slot {
	if k.used == len(k.slots) {
		n := &slot{}
		n.settle = func(err error) {
			n.err = err
			n.finish()
		}
		k.slots = append(k.slots, n)
	}
	n := k.slots[k.used]
	n.stream, n.err = s, nil
	n.done.Store(false)
	k.used++
	return n
}

// finish says that the outcome of a slot is known.
func (n *slot) finish() {
	s := n.stream // the slot may be used again as soon as it is done
	n.done.Store(true)
	if s.waiting.Load() == n {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// produceStream serves POST C/topics/{t}/records (rest-apis.md 5.8): JSON
// objects one after the other, each produced as it arrives and answered with one
// object, in order, while more arrive. The cluster in the path is echoed and not
// looked up, as in the original.
func (a *api) produceStream(c *call) error {
	latin, err := isLatin1(c.r)
	if err != nil {
		return err
	}
	s := &stream{
		api: a, call: c, body: front.OpenStream(c.w, c.r, streamLongest), topic: c.r.PathValue("topic"), where: whereOf(c),
		batches: make(chan batch, windowChunks+spareChunks), window: make(chan struct{}, windowChunks), left: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	s.text = s.body
	if latin {
		s.text = &latin1{body: s.body}
	}
	defer func() {
		s.body.Free(s.held.Load())
		a.spare.Add(-s.spare.Load())
	}()
	answered := false
	go func() { // ends with the batches, or when the client is gone; waited for below
		defer close(s.left)
		defer s.body.Stop() // where write gave up, nobody takes what read reads
		answered = s.write()
	}()
	ended, err := s.read()
	close(s.batches)
	<-s.left
	if ended {
		s.body.Drain(grace)
	}
	if err != nil || answered {
		return err
	}
	return payload("Request body is empty. Data is required.")
}

// read takes records from the connection. It says whether klamm ended the
// stream; the error is that of a connection that broke.
func (s *stream) read() (ended bool, err error) {
	k := s.open(chunkBytes)
	if k == nil {
		return false, nil
	}
	r := reader{stream: s, chunk: k}
	for {
		n, err := s.text.Read(r.chunk.buf[r.filled:min(r.filled+chunkBytes, len(r.chunk.buf))])
		r.filled += n
		from := r.chunk.used
		verdict := r.scan(errors.Is(err, io.EOF))
		if verdict == nil && errors.Is(err, front.ErrBodyTimeout) {
			verdict = refuse(http.StatusRequestTimeout, 408, "Streaming connection open for longer than allowed: Connection will be closed.")
			if r.hurried {
				verdict.message = front.ErrBodyTimeout.Error()
			}
		}
		if verdict == nil && errors.Is(err, front.ErrStopping) {
			verdict = refuse(http.StatusServiceUnavailable, 503, "%s", front.ErrStopping)
		}
		if !s.pass(r.chunk, from) {
			return false, nil
		}
		ok := true
		switch {
		case verdict != nil:
		case errors.Is(err, io.EOF) && r.parsed == r.filled:
			s.release(r.chunk)
			return false, nil
		case err != nil && !errors.Is(err, io.EOF):
			return false, err
		default:
			verdict, ok = r.room()
		}
		if !ok {
			return false, nil
		}
		if verdict != nil {
			s.end(r.chunk, verdict)
			return true, nil
		}
	}
}

// end answers with the reason why the stream ends here.
func (s *stream) end(k *chunk, verdict *refusal) {
	from := k.used
	last := k.slot(s)
	last.parsed = parsed{wrong: verdict}
	last.finish()
	s.pass(k, from)
	s.release(k)
}

// pass hands the slots of a chunk from one on to write; false means that write
// has ended.
func (s *stream) pass(k *chunk, from int) bool {
	select {
	case <-s.left:
		return false
	default:
	}
	if from == k.used {
		return true
	}
	k.users.Add(1)
	s.under.Add(int64(k.used - from))
	select {
	case s.batches <- batch{k, k.slots[from:k.used]}:
		return true
	case <-s.left:
		return false
	}
}

// open returns an empty chunk of at least so many bytes, as soon as the window
// has room for it; nil means that write has ended, or that the budget for large
// chunks is spent.
func (s *stream) open(size int) *chunk {
	spare := false
	select {
	case s.window <- struct{}{}:
	default:
		if spare = size <= chunkBytes && s.takeSpare(); spare {
			break
		}
		select {
		case s.window <- struct{}{}:
		case <-s.left:
			return nil
		}
	}
	var k *chunk
	if size <= chunkBytes {
		k = chunks.Get().(*chunk)
	} else {
		k = &chunk{buf: make([]byte, size)}
	}
	k.used, k.spare = 0, spare
	k.users.Store(1)
	return k
}

// takeSpare says whether the stream may have a chunk beyond its window.
func (s *stream) takeSpare() bool {
	if s.spare.Load() >= spareChunks || s.under.Load() >= windowRecords {
		return false
	}
	if s.api.spare.Add(1) > allSpareChunks {
		s.api.spare.Add(-1)
		return false
	}
	s.spare.Add(1)
	return true
}

// release gives up one use of a chunk, and with the last its memory.
func (s *stream) release(k *chunk) {
	if k.users.Add(-1) > 0 {
		return
	}
	if k.spare {
		s.spare.Add(-1)
		s.api.spare.Add(-1)
	} else {
		<-s.window
	}
	switch {
	case len(k.buf) > chunkBytes:
		s.held.Add(-int64(len(k.buf)))
		s.body.Free(int64(len(k.buf)))
	case !k.spoiled.Load():
		for _, n := range k.slots {
			n.stream = nil
		}
		chunks.Put(k)
	}
}

// A reader is the state of read between two pieces that arrive.
type reader struct {
	stream *stream
	chunk  *chunk
	filled int // of the chunk's memory
	parsed int // up to here, records have been handed over
	limit  edge
	// hurried says that the client must not pause now.
	hurried bool
}

// scan hands over what has arrived as a whole. The verdict is nil unless the
// stream ends here.
func (r *reader) scan(last bool) *refusal {
	b := r.chunk.buf[:r.filled]
	largest := int(r.stream.largest())
	now := time.Now() // reading the clock costs as much as scanning a small record
	for r.chunk.used < chunkRecords {
		r.parsed = scan.Space(b, r.parsed)
		if r.parsed == len(b) {
			return nil
		}
		n := r.chunk.slot(r.stream)
		end, state := r.limit.next(b, r.parsed, last, &n.parsed)
		switch {
		case state == incomplete && len(b)-r.parsed >= largest, state != malformed && end-r.parsed > largest:
			r.chunk.used--
			return badRequest("Error processing message: Produce request size is larger than allowed threshold")
		case state == incomplete:
			r.chunk.used--
			return nil
		case state == malformed:
			r.chunk.used--
			return badRequest("Error processing message: not valid JSON at byte %d of the record", end-r.parsed+1)
		}
		r.parsed, r.limit = end, edge{}
		if n.record.Timestamp.IsZero() {
			n.record.Timestamp = now
		}
		r.stream.send(n)
	}
	return nil
}

// send hands one record to the producer.
func (s *stream) send(n *slot) {
	if n.wrong != nil {
		n.finish()
		return
	}
	n.record.Topic = s.topic
	who, wrong := s.api.encode(s.call, &n.parsed)
	if wrong != nil {
		n.wrong = wrong
		n.finish()
		return
	}
	if err := s.api.gate.Send(s.call.r.Context(), who, &n.record, n.settle); err != nil {
		n.settle(err)
	}
}

// room sees to it that there is memory to read into. A refusal ends the stream;
// false means that write has ended.
func (r *reader) room() (*refusal, bool) {
	for {
		large := len(r.chunk.buf) > chunkBytes
		// A large chunk is for the one record that needs it.
		if r.filled < len(r.chunk.buf) && r.chunk.used < chunkRecords && !(large && r.parsed > 0) {
			if r.hurried || large {
				r.hurried = large
				r.stream.body.Hurry(large)
			}
			return nil, true
		}
		rest, size := r.filled-r.parsed, chunkBytes
		if r.chunk.used < chunkRecords && rest >= chunkBytes/2 { // of one record, whose end has not arrived
			size = max(int(min(int64(2*rest), r.stream.largest())), chunkBytes)
		}
		if size > chunkBytes {
			if !r.stream.body.Hold(int64(size)) {
				return refuse(http.StatusServiceUnavailable, 503, "%s", front.ErrBusy.Error()), true
			}
			r.stream.held.Add(int64(size))
		}
		next := r.stream.open(size)
		if next == nil {
			return nil, false
		}
		copy(next.buf, r.chunk.buf[r.parsed:r.filled])
		r.limit.shift(r.parsed)
		r.stream.release(r.chunk)
		r.chunk, r.parsed, r.filled = next, 0, rest
		// What was copied holds whole records, if it was their number that ended
		// the chunk before.
		verdict := r.scan(false)
		if !r.stream.pass(next, 0) {
			return nil, false
		}
		if verdict != nil {
			return verdict, true
		}
	}
}

// largest is the largest record that is taken.
func (s *stream) largest() int64 {
	if s.api.cfg.RecordBytes > 0 {
		return s.api.cfg.RecordBytes
	}
	return s.body.Limit()
}

// write answers the slots in order until there are no more, or the client is
// gone. It says whether there was anything to answer.
func (s *stream) write() (answered bool) {
	control := http.NewResponseController(s.call.w)
	out := make([]byte, 0, writeBytes+4096)
	var last stamp
	flush := func() bool {
		if len(out) == 0 {
			return true
		}
		if !answered {
			answered = true
			s.call.w.Header()["Content-Type"] = jsonType
			s.call.w.WriteHeader(http.StatusOK)
		}
		_ = control.SetWriteDeadline(time.Now().Add(silence))
		_, err := s.call.w.Write(out)
		out = out[:0]
		return err == nil
	}
	// Flushing before the first answer would settle the status: a stream without
	// records has another.
	push := func() bool { return flush() && (!answered || control.Flush() == nil) }
	gone := s.call.r.Context().Done()
	for {
		var b batch
		var more bool
		select {
		case b, more = <-s.batches:
		default:
			if len(out) > 0 && !push() {
				return true
			}
			select {
			case b, more = <-s.batches:
			case <-gone:
				return answered
			}
		}
		if !more {
			push()
			return answered
		}
		for _, n := range b.slots {
			if !n.done.Load() {
				if len(out) > 0 && !push() {
					return true
				}
				if !s.await(n, gone) {
					return answered
				}
			}
			if n.err != nil {
				b.chunk.spoiled.Store(true)
			}
			out = n.appendLine(out, s.where, &last)
			if len(out) >= writeBytes && !flush() {
				return true
			}
		}
		s.under.Add(-int64(len(b.slots)))
		s.release(b.chunk)
	}
}

// await waits until the outcome of a slot is known; false means that the client
// is gone.
func (s *stream) await(n *slot, gone <-chan struct{}) bool {
	s.waiting.Store(n)
	defer s.waiting.Store(nil)
	for !n.done.Load() {
		select {
		case <-s.wake:
		case <-gone:
			return false
		}
	}
	return true
}

// appendLine appends the answer to one record.
func (n *slot) appendLine(dst, where []byte, last *stamp) []byte {
	if n.wrong == nil && n.err == nil {
		dst = append(dst, `{"error_code":200,`...)
		dst = n.appendResult(dst, where, last)
		return append(dst, "}\r\n"...)
	}
	e := n.wrong
	if e == nil {
		e = sendRefusal(n.err)
	}
	if invalidRefusal(n.err) == nil {
		e = folded(e)
	}
	return append(appendFailure(append(dst, '{'), e), "}\r\n"...)
}

// folded puts the codes about schemas and payloads into the message, and makes
// 400 of what is wrong with the shape of a record, as the original does in
// streams and nowhere else.
func folded(e *refusal) *refusal {
	if e.code == 422 {
		return &refusal{http.StatusBadRequest, 400, e.message}
	}
	if e.code >= 42201 && e.code <= 42299 {
		return refuse(e.status, 422, "Error: %d : %s", e.code, e.message)
	}
	return e
}

// sendRefusal turns the error of a record that was not written into an answer.
func sendRefusal(err error) *refusal {
	switch {
	case errors.Is(err, kafka.ErrNoPartition):
		return &refusal{http.StatusNotFound, 40401, err.Error()}
	case errors.Is(err, context.Canceled):
		return refuse(http.StatusInternalServerError, 50003, "The record was not written: klamm is stopping.")
	}
	return refusalOf(err)
}
