package light

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// takeBytes is how much a stream takes at once: what it holds while its client
	// does not read.
	takeBytes = 1 << 20
	// pieceBytes is how much of it is put together and sent in one piece.
	pieceBytes = 32 << 10
	// keptBytes and keptEntries are how much memory goes back to the pools.
	keptBytes   = 128 << 10
	keptEntries = 4096
)

// stream serves GET /stream/{topic}: records as Server-Sent Events, for as long
// as the client wants (gateway-policies.md 6.2). Beyond the table there, an id is
// sent also at the start, and with a heartbeat if the filter has let nothing pass
// since the last one, so that a client which comes back misses nothing and is not
// led past the same records again.
func (a *api) stream(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	var s *stream
	var err error
	var panicked any
	begun := make(chan struct{})
	// To begin takes a deep stack, which an idle stream would keep.
	go func() {
		defer close(begun)
		defer func() { panicked = recover() }()
		s, err = a.begin(w, r, who)
	}()
	<-begun
	if panicked != nil {
		panic(panicked)
	}
	if s == nil {
		return err
	}
	if r.Method == http.MethodHead {
		s.source.close(true)
		return nil
	}
	ctx := r.Context()
	rest := func() {
		// What was flushed has not arrived yet: a group's client says so by coming
		// back.
		defer s.source.close(true)
		s.run(ctx)
		_ = s.control.SetWriteDeadline(time.Time{}) // the connection may serve other requests
	}
	if !front.Rest(w, rest) {
		rest()
	}
	return nil
}

// begin answers with the head of a stream. There is none, and no error, where the
// answer is complete.
func (a *api) begin(w http.ResponseWriter, r *http.Request, who gate.Principal) (*stream, error) {
	if !acceptsEvents(r) {
		return nil, &refusal{http.StatusNotAcceptable, "this resource is text/event-stream"}
	}
	query := r.URL.Query()
	f, ok := formatOf(query.Get("format"), strings.Join(r.Header["Accept"], ","))
	if !ok {
		return nil, invalid("format must be json, text, base64 or cloudevents")
	}
	wanted, err := parseStart(query)
	if err != nil {
		return nil, err
	}
	over, err := wanted.resume(r)
	if err != nil {
		return nil, err
	}
	if over {
		w.WriteHeader(http.StatusNoContent)
		return nil, nil
	}
	src, err := a.open(r.Context(), who, r.PathValue("topic"), wanted)
	if err != nil {
		return nil, err
	}
	if f.form != base64Form { // which is for the bytes themselves
		src.gate = a.gate
	}
	veil, err := a.veilOf(query.Get("mask"), who, r.PathValue("topic"), wanted.filter)
	if err != nil {
		src.close(false)
		return nil, err
	}
	h := w.Header()
	h["Content-Type"] = []string{"text/event-stream"}
	h["Cache-Control"] = []string{"no-store"}
	h["X-Accel-Buffering"] = []string{"no"}
	w.WriteHeader(http.StatusOK)
	s := &stream{
		source: src, format: f, veil: veil, filter: wanted.filter, times: a.times,
		w: w, control: http.NewResponseController(w), stopping: front.Stopping(w), h2: r.ProtoMajor > 1,
	}
	if r.Method != http.MethodHead {
		s.greet()
	}
	return s, nil
}

// acceptsEvents says whether Accept allows the only type there is. Types of CloudEvents
// are those of the data (gateway-policies.md 6.4).
func acceptsEvents(r *http.Request) bool {
	values := r.Header["Accept"]
	if len(values) == 0 {
		return true
	}
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			media, parameters, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "text/event-stream", "text/*", "*/*", "", cloudevent.MediaJSON, cloudevent.MediaBatch:
				refused := strings.ReplaceAll(strings.ToLower(parameters), " ", "")
				if refused != "q=0" && refused != "q=0.0" && refused != "q=0.00" && refused != "q=0.000" {
					return true
				}
			}
		}
	}
	return false
}

// A stream is one client's stream of events.
type stream struct {
	source   *source
	format   format
	veil     *veil // nil: nobody asked
	filter   filter
	times    times
	w        http.ResponseWriter
	control  *http.ResponseController
	stopping <-chan struct{}
	h2       bool

	at     []kafka.Position // what the next id says
	moved  bool             // at is not what the last id said
	failed bool             // nothing can be sent any more
	sent   time.Time        // when something was sent last
}

// buffers and entries are the memory of streams that have something to send.
var (
	buffers = sync.Pool{New: func() any { return new([]byte) }}
	entries = sync.Pool{New: func() any { return new([]*kafka.Entry) }}
)

// greet says how to come back, and where the stream begins.
func (s *stream) greet() {
	b := append([]byte(nil), "retry: 3000\n: ok\n"...)
	if s.at = s.source.positions(s.at); len(s.at) > 0 {
		b = s.appendID(b)
	}
	s.send(append(b, '\n'))
}

// run sends until the client has left, something fails or time is up.
func (s *stream) run(ctx context.Context) {
	now := time.Now()
	end, recheck := now.Add(s.times.stream), now.Add(s.times.recheck)
	timer := time.NewTimer(s.times.heartbeat)
	defer timer.Stop()
	for !s.failed && ctx.Err() == nil {
		more, err := s.forward(ctx)
		if err != nil && !gone(ctx, err) {
			s.fail(err)
			return
		}
		if err != nil {
			break
		}
		now = time.Now()
		if !now.Before(end) {
			s.end("max_duration")
			return
		}
		if !now.Before(recheck) {
			if err := s.source.allowed(ctx); err != nil && !gone(ctx, err) {
				s.fail(err)
				return
			}
			recheck = now.Add(s.times.recheck)
		}
		if !more {
			silent := s.sent.Add(s.times.heartbeat)
			if !now.Before(silent) {
				s.heartbeat()
				silent = now.Add(s.times.heartbeat)
			}
			timer.Reset(min(time.Until(silent), time.Until(end), time.Until(recheck)))
		}
		if !s.await(ctx, timer, more) {
			break
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.end("credentials_expired")
	}
}

// await waits for something to do, unless there is more already. It is false when
// the stream has ended.
func (s *stream) await(ctx context.Context, timer *time.Timer, more bool) bool {
	if more {
		select {
		case <-s.stopping:
			s.end("stopping")
			return false
		default:
			return true
		}
	}
	select {
	case <-s.source.wake():
	case <-timer.C:
	case <-ctx.Done():
		return false
	case <-s.stopping:
		s.end("stopping")
		return false
	}
	return true
}

// forward sends what there is, and says whether there may be more.
func (s *stream) forward(ctx context.Context) (more bool, err error) {
	if s.source.hold(ctx) {
		if time.Since(s.sent) >= s.times.heartbeat {
			s.heartbeat()
		}
		return true, nil
	}
	list := entries.Get().(*[]*kafka.Entry)
	defer func() {
		clear(*list)
		if cap(*list) <= keptEntries {
			*list = (*list)[:0]
			entries.Put(list)
		}
	}()
	got, gap, err := s.source.take(ctx, (*list)[:0], takeBytes)
	*list = got
	if gap != nil {
		s.place(gap.Partition, gap.Earliest)
		s.send(appendDocument(s.appendID(nil), "gap", struct {
			Partition int32 `json:"partition"`
			Requested int64 `json:"requested"`
			Earliest  int64 `json:"earliest"`
		}{gap.Partition, gap.Requested, gap.Earliest}))
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if len(got) == 0 {
		if s.source.member == nil {
			s.refresh()
		}
		return false, nil
	}
	s.records(got)
	return true, nil
}

// refresh notes where the subscription is that has nothing left: behind what has
// no records to be seen, and in partitions that were added.
func (s *stream) refresh() {
	had := len(s.at)
	s.at = s.source.subscription.Positions(s.at)
	old, fresh := s.at[:had], s.at[had:]
	s.moved = s.moved || !slices.Equal(old, fresh)
	s.at = append(s.at[:0], fresh...)
}

// records sends those of some records that the client wants.
func (s *stream) records(got []*kafka.Entry) {
	buffer := buffers.Get().(*[]byte)
	b := (*buffer)[:0]
	if s.source.member != nil {
		s.at = s.source.positions(s.at)
	}
	all := s.veil != nil && s.veil.all()
	for _, e := range got {
		s.place(e.Record.Partition, e.Record.Offset+1)
		format := s.format
		if all || s.veil != nil && s.veil.one(e.Record) {
			if s.veil.looks {
				continue
			}
			format = hidden
		}
		if !s.filter.passes(e.Record) {
			continue
		}
		s.source.count(e.Record)
		b = append(s.appendID(b), format.encoded(e, s.source.topic)...)
		if len(b) >= pieceBytes {
			s.send(b)
			b = b[:0]
			if s.failed {
				break
			}
		}
	}
	if len(b) > 0 {
		s.send(b)
	}
	if s.source.member != nil && !s.failed {
		s.source.member.deliver(got)
	}
	if cap(b) <= keptBytes {
		*buffer = b[:0]
		buffers.Put(buffer)
	}
}

// place notes where the stream goes on in a partition.
func (s *stream) place(partition int32, next int64) {
	s.moved = true
	for i := range s.at {
		if s.at[i].Partition == partition {
			s.at[i].Next = next
			return
		}
	}
	s.at = append(s.at, kafka.Position{Partition: partition, Next: next})
	slices.SortFunc(s.at, func(a, b kafka.Position) int { return int(a.Partition) - int(b.Partition) })
}

// appendID appends the field that says where the stream goes on.
func (s *stream) appendID(b []byte) []byte {
	s.moved = false
	return append(appendID(append(b, "id: "...), s.at), '\n')
}

// heartbeat says that the stream lives.
func (s *stream) heartbeat() {
	b := []byte(": hb\n")
	if s.moved && len(s.at) > 0 {
		b = s.appendID(b)
	}
	s.send(append(b, '\n'))
}

// end says that the client should come again.
func (s *stream) end(reason string) {
	s.send(appendDocument(nil, "end", struct {
		Reason string `json:"reason"`
	}{reason}))
}

// fail says why the stream ends. Of a topic that was deleted there is no sense in
// coming back to what it was.
func (s *stream) fail(err error) {
	var b []byte
	if errors.Is(err, kafka.ErrTopicGone) {
		b = append(b, "id: "+lastID+"\n"...)
		err = &refusal{http.StatusNotFound, kafka.ErrTopicGone.Error()}
	}
	s.send(appendDocument(b, "error", problemOf(err)))
}

// send sends bytes, in pieces each of which the client has a while to take.
func (s *stream) send(b []byte) {
	for len(b) > 0 && !s.failed {
		n := min(len(b), 2*pieceBytes)
		_ = s.control.SetWriteDeadline(time.Now().Add(s.times.blocked))
		_, err := s.w.Write(b[:n])
		if err == nil {
			err = s.control.Flush()
		}
		if s.h2 {
			// HTTP/2 ends a stream whose deadline passes, whether it writes or not.
			_ = s.control.SetWriteDeadline(time.Time{})
		}
		s.failed = err != nil
		b = b[n:]
	}
	s.sent = time.Now()
}
