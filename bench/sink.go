package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// sinkRole configures the receiver at the back door. It waits first for
// Backlog documents with the sequence numbers from 0 on, then for Live ones
// with the numbers after those, and prints a result for each of the two.
type sinkRole struct {
	Backlog int64 `json:"backlog"`
	Live    int64 `json:"live"`
	Size    int   `json:"size"` // of a document, in bytes
	// Millis is how long each request is kept before it is answered.
	Millis int `json:"millis,omitempty"`
}

// A sink verifies and counts what is posted to it. Its result for the backlog
// has the throughput and the CPU time between the first document and the last
// new one; its result for the live documents has how long each took from being
// produced to arriving.
type sink struct {
	config sinkRole
	server chan struct{} // closed when pid is known
	ended  chan struct{} // closed when failed is set

	mu     sync.Mutex // guards what follows
	pid    int
	failed error
	seen   []uint64 // a bit for each sequence number

	backlog Figures
	first   time.Time
	cpu     time.Duration // of the server at first
	live    Figures
	times   latencies
	out     io.Writer
}

func runSink(ctx context.Context, c sinkRole, out io.Writer) error {
	if c.Backlog < 0 || c.Live < 0 || c.Backlog+c.Live > 1<<32 || c.Size < minDocument || c.Size > maxDocument || c.Millis < 0 || c.Millis > 60_000 {
		return fmt.Errorf("%w: sink", ErrRole)
	}
	s := &sink{config: c, out: out, server: make(chan struct{}), ended: make(chan struct{}), seen: make([]uint64, (c.Backlog+c.Live+63)/64)}
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
	err := serveHTTP(ctx, mux, out)
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
	if s.first.IsZero() {
		s.first = now
		if s.cpu, err = cpuTime(s.pid); err != nil {
			return err
		}
	}
	if arrived[0].seq < s.config.Backlog {
		s.backlog.Requests++
	} else {
		s.live.Requests++
	}
	for _, a := range arrived {
		if err := s.count(a, now); err != nil {
			return err
		}
	}
	return nil
}

// count counts one document; the last one of a kind prints the result.
func (s *sink) count(a arrival, now time.Time) error {
	if a.seq >= s.config.Backlog+s.config.Live {
		return fmt.Errorf("%w: sequence number %d", errDocument, a.seq)
	}
	f := &s.backlog
	if a.seq >= s.config.Backlog {
		f = &s.live
	}
	word, bit := a.seq/64, uint64(1)<<(a.seq%64)
	if s.seen[word]&bit != 0 {
		f.Repeated++
		return nil
	}
	s.seen[word] |= bit
	f.Records++
	f.Bytes += int64(s.config.Size)
	if f == &s.live {
		s.times.add(now.Sub(a.at))
		if f.Records == s.config.Live {
			return s.endLive()
		}
	} else if f.Records == s.config.Backlog {
		return s.endBacklog(now)
	}
	return nil
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

func (s *sink) endLive() error {
	s.live.P50Micros = float64(s.times.quantile(0.50)) / float64(time.Microsecond)
	s.live.P99Micros = float64(s.times.quantile(0.99)) / float64(time.Microsecond)
	return printResult(s.out, s.live)
}
