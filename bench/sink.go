package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strconv"
	"sync"
	"time"
)

// sinkRole configures the receiver at the back door. It waits first for
// Backlog documents with the sequence numbers from 0 on, then, again and again,
// for as many live ones as Live says, with the numbers after those, and prints a
// result for each stretch.
type sinkRole struct {
	Backlog int64   `json:"backlog"`
	Live    []int64 `json:"live"`
	Size    int     `json:"size"` // of a document, in bytes
	// Millis is how long each request is kept before it is answered.
	Millis int `json:"millis,omitempty"`
}

// mostStretches bounds how often a sink waits for live documents.
const mostStretches = 32

// A sink verifies and counts what is posted to it. Its result for the backlog
// has the throughput and the CPU time between the first document and the last
// new one; its results for live documents have how long each took from being
// produced to arriving, and how many a second arrived since the first was produced.
type sink struct {
	config sinkRole
	ends   []int64       // of the backlog and of each live stretch, as sequence numbers
	server chan struct{} // closed when pid is known
	ended  chan struct{} // closed when failed is set

	mu     sync.Mutex // guards what follows
	pid    int
	failed error
	seen   []uint64 // a bit for each sequence number

	backlog Figures
	first   time.Time
	cpu     time.Duration // of the server at first
	live    []stretchLive
	out     io.Writer
}

// stretchLive is what is known of one live stretch.
type stretchLive struct {
	Figures
	produced time.Time // the first of its documents
	times    latencies
}

// newSink makes a sink; ErrRole for a configuration that Run would not make.
func newSink(c sinkRole, out io.Writer) (*sink, error) {
	s := &sink{config: c, out: out, server: make(chan struct{}), ended: make(chan struct{}), ends: []int64{c.Backlog}, live: make([]stretchLive, len(c.Live))}
	wrong := c.Backlog < 0 || c.Backlog > 1<<32 || len(c.Live) > mostStretches || c.Size < minDocument || c.Size > maxDocument || c.Millis < 0 || c.Millis > 60_000
	end := c.Backlog
	for _, n := range c.Live {
		wrong = wrong || n < 0 || n > 1<<32 || end+n > 1<<32
		end += n
		s.ends = append(s.ends, end)
	}
	if wrong {
		return nil, fmt.Errorf("%w: sink", ErrRole)
	}
	s.seen = make([]uint64, (end+63)/64)
	return s, nil
}

func runSink(ctx context.Context, c sinkRole, out io.Writer) error {
	s, err := newSink(c, out)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /records", s.serveRecords)
	mux.HandleFunc("PUT /server/{pid}", s.serveServer)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = serveHTTP(ctx, mux, out)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	return err
}

// serveServer is told which process is measured.
func (s *sink) serveServer(w http.ResponseWriter, r *http.Request) {
	pid, err := strconv.Atoi(r.PathValue("pid"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.pid != 0 {
		http.Error(w, "pid", http.StatusBadRequest)
		return
	}
	s.pid = pid
	close(s.server)
	w.WriteHeader(http.StatusNoContent)
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// serveRecords takes one document, or a JSON array of documents.
func (s *sink) serveRecords(w http.ResponseWriter, r *http.Request) {
	<-s.server
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, 64<<20)); err != nil {
		// The server went away in the middle: nothing arrived.
		http.Error(w, "body", http.StatusBadRequest)
		return
	}
	if err := s.take(body.Bytes(), time.Now()); err != nil {
		s.fail(err)
		http.Error(w, "not what was produced", http.StatusBadRequest)
		return
	}
	if s.config.Millis > 0 {
		pause(r.Context(), time.Duration(s.config.Millis)*time.Millisecond)
	}
	w.WriteHeader(http.StatusNoContent)
}

// fail ends the sink with an error.
func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
		close(s.ended)
	}
}

type arrival struct {
	seq int64
	at  time.Time
}

// take verifies the documents of a request and counts them.
func (s *sink) take(body []byte, now time.Time) error {
	arrived := make([]arrival, 0, 128)
	_, err := readDocuments(body, s.config.Size, func(seq int64, at time.Time) { arrived = append(arrived, arrival{seq, at}) })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Requests overtake each other on the way to the lock: the first and the last are
	// those that are counted first and last.
	counted := time.Now()
	if s.first.IsZero() {
		s.first = counted
		if s.cpu, err = cpuTime(s.pid); err != nil {
			return err
		}
	}
	if of := s.stretchOf(arrived[0].seq); of == 0 {
		s.backlog.Requests++
	} else if of <= len(s.live) {
		s.live[of-1].Requests++
	}
	for _, a := range arrived {
		if err := s.count(a, now, counted); err != nil {
			return err
		}
	}
	return nil
}

// stretchOf returns which stretch a document belongs to: 0 is the backlog, then come the
// live ones, and after those nothing.
func (s *sink) stretchOf(seq int64) int {
	return sort.Search(len(s.ends), func(i int) bool { return seq < s.ends[i] })
}

// count counts one document that came at now; the last one of a stretch prints the result.
func (s *sink) count(a arrival, now, counted time.Time) error {
	of := s.stretchOf(a.seq)
	if of == len(s.ends) {
		return fmt.Errorf("%w: sequence number %d", errDocument, a.seq)
	}
	f, want := &s.backlog, s.config.Backlog
	if of > 0 {
		f, want = &s.live[of-1].Figures, s.config.Live[of-1]
	}
	word, bit := a.seq/64, uint64(1)<<(a.seq%64)
	if s.seen[word]&bit != 0 {
		f.Repeated++
		return nil
	}
	s.seen[word] |= bit
	f.Records++
	f.Bytes += int64(s.config.Size)
	if of > 0 {
		live := &s.live[of-1]
		live.times.add(now.Sub(a.at))
		if live.produced.IsZero() || a.at.Before(live.produced) {
			live.produced = a.at
		}
	}
	switch {
	case f.Records < want:
		return nil
	case of > 0:
		return s.endLive(&s.live[of-1], counted)
	}
	return s.endBacklog(counted)
}

func (s *sink) endBacklog(now time.Time) error {
	cpu, err := cpuTime(s.pid)
	if err != nil {
		return err
	}
	s.backlog.Seconds = now.Sub(s.first).Seconds()
	s.backlog.settle(cpu - s.cpu)
	return printResult(s.out, s.backlog)
}

func (s *sink) endLive(live *stretchLive, now time.Time) error {
	live.P50Micros = float64(live.times.quantile(0.50)) / float64(time.Microsecond)
	live.P99Micros = float64(live.times.quantile(0.99)) / float64(time.Microsecond)
	live.Seconds = now.Sub(live.produced).Seconds()
	live.settle(0)
	return printResult(s.out, live.Figures)
}
