package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// ringRecords is how many different records a stream repeats: more than
	// travel in one batch, which would compress if it held the same twice.
	ringRecords = 1024
	// pieceRecords is how many records a stream writes at once; as many are in
	// each of its chunks.
	pieceRecords = 32
	// streamSilence is how long a stream may wait for an answer.
	streamSilence = 30 * time.Second
)

// streamRole configures a produce stream of Confluent's v3 on one connection.
type streamRole struct {
	Stretch stretch `json:"stretch"`
	Addr    string  `json:"addr"`
	Topic   string  `json:"topic"`
	Size    int     `json:"size"`  // of a document, in bytes
	Count   int64   `json:"count"` // of records; 0: as many as the stretch has time for
	PID     int     `json:"pid"`   // of the server
}

func runStream(ctx context.Context, c streamRole, out io.Writer) error {
	if c.Size < minDocument || c.Size > maxDocument || c.Count < 0 || c.Count == 0 && c.Stretch.Measure <= 0 {
		return fmt.Errorf("%w: nothing to stream", ErrRole)
	}
	result, err := c.stream(ctx)
	if err != nil {
		return fmt.Errorf("stream to %s: %w", c.Addr, err)
	}
	return printResult(out, result)
}

// stream writes records on one goroutine and reads their answers on another. The
// server alone decides how many are on the way.
func (c streamRole) stream(ctx context.Context) (loadResult, error) {
	var none loadResult
	w, err := dial(c.Addr)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, func() { _ = w.conn.Close() })
	s := streamer{wire: w, role: c, sent: make(chan time.Time, 1<<16), tally: tally{stretch: c.Stretch, pid: c.PID}}
	if c.Count > 0 {
		s.tally.whole = make(chan struct{})
	}
	s.tally.begin()
	var both sync.WaitGroup
	for _, work := range []func(context.Context) error{s.write, s.read} {
		both.Go(func() {
			if err := work(ctx); err != nil {
				cancel(err)
			}
		})
	}
	f, err := s.tally.measure(ctx)
	if err != nil {
		cancel(err)
	}
	both.Wait()
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	f.Bytes = f.Records * int64(c.Size)
	s.tally.latency(&f)
	return loadResult{Figures: f, Acknowledged: s.tally.count.Load()}, nil
}

// A streamer is one stream. What write sends, read expects answers to.
type streamer struct {
	wire  *wire
	role  streamRole
	tally tally
	// sent has the time at which each piece was written. It holds more than a
	// server lets wait, and write stops where it is full.
	sent chan time.Time
}

// write sends the request's head and then its pieces, each a chunk, until the
// stretch is over or all records are sent.
func (s *streamer) write(ctx context.Context) error {
	defer close(s.sent)
	head := fmt.Sprintf("POST /v3/clusters/bench/topics/%s/records HTTP/1.1\r\nHost: %s\r\nUser-Agent: klamm-bench\r\nContent-Type: application/json\r\n"+
		"Accept: */*\r\nTransfer-Encoding: chunked\r\n\r\n", s.role.Topic, s.role.Addr)
	if _, err := io.WriteString(s.wire.conn, head); err != nil {
		return err
	}
	pieces := s.role.pieces()
	left := s.role.Count
	for n := 0; ; n++ {
		piece := pieces[n%len(pieces)]
		if s.role.Count == 0 && !time.Now().Before(s.tally.end) {
			break
		}
		if s.role.Count > 0 {
			if left <= 0 {
				break
			}
			if left < pieceRecords {
				piece = s.role.piece(int64(n*pieceRecords), int(left))
			}
			left -= pieceRecords
		}
		select {
		case s.sent <- time.Now():
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := s.wire.conn.Write(piece); err != nil {
			return err
		}
	}
	_, err := io.WriteString(s.wire.conn, "0\r\n\r\n")
	return err
}

// pieces are what a stream repeats.
func (c streamRole) pieces() [][]byte {
	var all [][]byte
	for first := int64(0); first < ringRecords; first += pieceRecords {
		all = append(all, c.piece(first, pieceRecords))
	}
	return all
}

// piece is one chunk of a request with some records.
func (c streamRole) piece(first int64, records int) []byte {
	var body []byte
	for i := range records {
		body = append(body, `{"value":{"type":"JSON","data":`...)
		body = appendDocument(body, first+int64(i), time.Now(), c.Size)
		body = append(body, "}}\n"...)
	}
	return slices.Concat(strconv.AppendInt(nil, int64(len(body)), 16), []byte("\r\n"), body, []byte("\r\n"))
}

// read verifies that each record has its answer. Most answers are only looked
// at; each 64th is also parsed.
func (s *streamer) read(ctx context.Context) error {
	if err := s.wire.conn.SetReadDeadline(time.Now().Add(streamSilence)); err != nil {
		return err
	}
	resp, err := http.ReadResponse(s.wire.in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return fmt.Errorf("status %d, want 200: %s", resp.StatusCode, text)
	}
	lines := bufio.NewReaderSize(resp.Body, 64<<10)
	check := lineChecker{topic: s.role.Topic, size: s.role.Size}
	left := s.role.Count
	for written := range s.sent {
		records := int64(pieceRecords)
		if s.role.Count > 0 {
			records = min(records, left)
			left -= records
		}
		if err := s.wire.conn.SetReadDeadline(time.Now().Add(streamSilence)); err != nil {
			return err
		}
		for range records {
			line, err := lines.ReadSlice('\n')
			if err != nil {
				return fmt.Errorf("read the answer to record %d: %w", s.tally.count.Load(), err)
			}
			if err := check.line(line); err != nil {
				return err
			}
			s.tally.count.Add(1)
		}
		s.tally.took(written)
	}
	if s.tally.whole != nil {
		close(s.tally.whole)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if rest, err := io.ReadAll(io.LimitReader(lines, 200)); err != nil || len(rest) > 0 {
		return fmt.Errorf("after the last answer: %q, %w", rest, errors.Join(errAnswer, err))
	}
	return nil
}

// A lineChecker verifies the answers of a stream.
type lineChecker struct {
	topic string
	size  int
	seen  int
}

var produced = []byte(`{"error_code":200,`)

func (c *lineChecker) line(line []byte) error {
	c.seen++
	if bytes.HasPrefix(line, produced) && bytes.HasSuffix(line, []byte("\r\n")) && c.seen%64 != 1 {
		return nil
	}
	var a struct {
		ErrorCode int    `json:"error_code"`
		Topic     string `json:"topic_name"`
		Offset    *int64 `json:"offset"`
		Value     struct {
			Type string `json:"type"`
			Size int    `json:"size"`
		} `json:"value"`
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("answer %.200q: %w", line, err)
	}
	if a.ErrorCode != http.StatusOK || a.Topic != c.topic || a.Offset == nil || *a.Offset < 0 || a.Value.Type != "JSON" || a.Value.Size != c.size {
		return fmt.Errorf("a record was not produced: %.200s", line)
	}
	return nil
}

// A tally counts what is acknowledged, one record after the other, and takes
// what falls into the measured stretch. It is used by one goroutine that counts
// and one that measures.
type tally struct {
	stretch    stretch
	pid        int
	start, end time.Time
	whole      chan struct{} // if not nil, its end is that of the stretch
	count      atomic.Int64
	times      latencies // of the goroutine that counts
}

// begin sets the stretch.
func (t *tally) begin() {
	t.start = time.Now().Add(t.stretch.Warm)
	t.end = t.start.Add(t.stretch.Measure)
}

// took notes how long something took that ends now.
func (t *tally) took(since time.Time) {
	if now := time.Now(); t.whole != nil || !now.Before(t.start) && !now.After(t.end) {
		t.times.add(now.Sub(since))
	}
}

// measure waits until the stretch is over and returns what falls into it.
func (t *tally) measure(ctx context.Context) (Figures, error) {
	if !pause(ctx, time.Until(t.start)) {
		return Figures{}, context.Cause(ctx)
	}
	before, err := cpuTime(t.pid)
	if err != nil {
		return Figures{}, err
	}
	from, first := time.Now(), t.count.Load()
	if t.whole == nil {
		pause(ctx, time.Until(t.end))
	} else {
		select {
		case <-t.whole:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return Figures{}, context.Cause(ctx)
	}
	f := Figures{Records: t.count.Load() - first, Seconds: time.Since(from).Seconds()}
	after, err := cpuTime(t.pid)
	f.settle(after - before)
	return f, err
}

// latency fills in how long things took, when nothing is counted any more.
func (t *tally) latency(f *Figures) {
	f.P50Micros = float64(t.times.quantile(0.50)) / float64(time.Microsecond)
	f.P99Micros = float64(t.times.quantile(0.99)) / float64(time.Microsecond)
}
