package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// requestTimeout bounds one request of the load.
const requestTimeout = 30 * time.Second

// The media types of the bodies that the load can send, beside mediaEvents.
const (
	mediaPlain  = "text/plain"
	mediaV2JSON = "application/vnd.kafka.json.v2+json"
	mediaV2Avro = "application/vnd.kafka.avro.v2+json"
	mediaLines  = "application/x-ndjson"
)

// A stretch is a time of warming up and then a time that is measured.
type stretch struct {
	Warm    time.Duration `json:"warm"`
	Measure time.Duration `json:"measure"`
}

// loadRole configures the load on the front door.
type loadRole struct {
	Stretch     stretch `json:"stretch"`
	Addr        string  `json:"addr"`
	Topic       string  `json:"topic"` // of mediaEvents: the bus
	Media       string  `json:"media"`
	Records     int     `json:"records"` // in one request
	Size        int     `json:"size"`    // of a document, in bytes
	Connections int     `json:"connections"`
	PID         int     `json:"pid"` // of the server
	// Schema is the id of the schema of mediaV2Avro.
	Schema int `json:"schema,omitempty"`
	// Auth is how callers show who they are; nil: they do not.
	Auth *authLoad `json:"auth,omitempty"`
}

// loadResult is what the load reports.
type loadResult struct {
	Figures Figures `json:"figures"`
	// Acknowledged counts all records, those of the warm-up too.
	Acknowledged int64 `json:"acknowledged"`
}

// runLoad posts the same request over and over on each connection, or in turn one for
// each of its callers.
func runLoad(ctx context.Context, c loadRole, out io.Writer) error {
	m := newMeter(c.Stretch, c.PID, c.Records, c.Size)
	result, err := m.run(ctx, c.Connections, func(ctx context.Context, worker int) (func() error, error) {
		w, err := dial(c.Addr)
		if err != nil {
			return nil, err
		}
		// A request that waits for its answer ends with the load.
		context.AfterFunc(ctx, func() { _ = w.conn.Close() })
		requests := c.requests(worker)
		check, next := checker{want: c.Records}, 0
		return func() error {
			request := requests[next%len(requests)]
			next++
			status, body, err := w.roundTrip(request, requestTimeout)
			if err != nil {
				return err
			}
			return c.verify(&check, status, body)
		}, nil
	})
	if err != nil {
		return fmt.Errorf("load on %s: %w", c.Addr, err)
	}
	return printResult(out, result)
}

// verify has an answer to one of the requests checked.
func (c loadRole) verify(check *checker, status int, body []byte) error {
	if c.Media == mediaEvents {
		return check.put(status, body)
	}
	return check.answer(status, body)
}

// requests are those of one connection: one, or one for each of its callers, which
// all connections share out among themselves.
func (c loadRole) requests(worker int) [][]byte {
	first := int64(worker) * int64(c.Records)
	if c.Auth == nil {
		return [][]byte{c.request(first, -1)}
	}
	list := [][]byte{c.request(first, worker%c.Auth.Principals)}
	for i := worker + c.Connections; i < c.Auth.Principals; i += c.Connections {
		list = append(list, c.request(first, i))
	}
	return list
}

// request is a whole HTTP request with the documents from a sequence number on, by a
// caller; -1: by nobody.
func (c loadRole) request(first int64, caller int) []byte {
	body := c.body(first)
	path, who := "/topics/"+c.Topic, ""
	if c.Media == mediaEvents {
		path, who, body = "/", "X-Amz-Target: AWSEvents.PutEvents\r\n", putBody(c.Topic, first, c.Records, c.Size)
	}
	if caller >= 0 {
		who = c.Auth.header(caller, c.Addr, path, c.Media, body, time.Now())
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: klamm-bench\r\nContent-Type: %s\r\nAccept: */*\r\n%sContent-Length: %d\r\n\r\n",
		path, c.Addr, c.Media, who, len(body))
	return append([]byte(head), body...)
}

// body is one plain document, or several in a v2 envelope or in lines.
func (c loadRole) body(first int64) []byte {
	now := time.Now()
	var body []byte
	switch c.Media {
	case mediaPlain:
		return appendDocument(nil, first, now, c.Size)
	case mediaLines:
		for i := range c.Records {
			body = append(appendDocument(body, first+int64(i), now, c.Size), '\n')
		}
		return body
	case mediaV2Avro:
		body = fmt.Appendf(nil, `{"value_schema_id":%d,"records":[`, c.Schema)
	default:
		body = []byte(`{"records":[`)
	}
	for i := range c.Records {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"value":`...)
		body = appendDocument(body, first+int64(i), now, c.Size)
		body = append(body, '}')
	}
	return append(body, "]}"...)
}

// A checker verifies the answers to one connection's requests.
type checker struct {
	want int // records in a request
	seen int
}

// answer verifies that every record got an offset and no error. Most answers
// are only counted through; each 64th is also parsed.
func (c *checker) answer(status int, body []byte) error {
	if status != http.StatusOK {
		return fmt.Errorf("status %d, want 200: %.200s", status, body)
	}
	c.seen++
	fast := bytes.Count(body, []byte(`"error_code":null`)) == c.want && bytes.Count(body, []byte(`"offset":`)) == c.want
	if fast && c.seen%64 != 1 {
		return nil
	}
	var a struct {
		Offsets []struct {
			Partition *int32          `json:"partition"`
			Offset    *int64          `json:"offset"`
			ErrorCode json.RawMessage `json:"error_code"`
		} `json:"offsets"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("answer %.200q: %w", body, err)
	}
	if len(a.Offsets) != c.want {
		return fmt.Errorf("%d offsets, want %d", len(a.Offsets), c.want)
	}
	for _, o := range a.Offsets {
		if o.Partition == nil || o.Offset == nil || *o.Offset < 0 || string(o.ErrorCode) != "null" {
			return fmt.Errorf("a record was not produced: %.200s", body)
		}
	}
	return nil
}

// A meter runs workers that do the same thing over and over, and counts what is
// done within the measured stretch.
type meter struct {
	stretch stretch
	pid     int
	records int // in one step
	size    int

	mu           sync.Mutex // guards what follows
	times        latencies
	acknowledged int64
}

func newMeter(s stretch, pid, records, size int) *meter {
	return &meter{stretch: s, pid: pid, records: records, size: size}
}

// run makes workers; each is given a function that does one step, until the
// stretch is over. The first error ends all.
func (m *meter) run(ctx context.Context, workers int, prepare func(ctx context.Context, worker int) (func() error, error)) (loadResult, error) {
	if workers < 1 || m.records < 1 || m.stretch.Measure <= 0 {
		return loadResult{}, fmt.Errorf("%w: nothing to do", ErrRole)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	steps := make([]func() error, workers)
	for i := range steps {
		step, err := prepare(ctx, i)
		if err != nil {
			return loadResult{}, err
		}
		steps[i] = step
	}
	start := time.Now().Add(m.stretch.Warm)
	end := start.Add(m.stretch.Measure)
	var all sync.WaitGroup
	for _, step := range steps {
		all.Go(func() { m.work(ctx, cancel, step, start, end) })
	}
	cpu, err := m.cpuBetween(ctx, start, end)
	if err != nil {
		cancel(err)
	}
	all.Wait()
	if ctx.Err() != nil {
		return loadResult{}, context.Cause(ctx)
	}
	f := Figures{
		Records:   int64(len(m.times) * m.records),
		Requests:  int64(len(m.times)),
		Bytes:     int64(len(m.times)) * int64(m.records*m.size),
		Seconds:   m.stretch.Measure.Seconds(),
		P50Micros: float64(m.times.quantile(0.50)) / float64(time.Microsecond),
		P99Micros: float64(m.times.quantile(0.99)) / float64(time.Microsecond),
	}
	f.settle(cpu)
	return loadResult{Figures: f, Acknowledged: m.acknowledged}, nil
}

// work repeats a step until end; what ends within the stretch counts.
func (m *meter) work(ctx context.Context, cancel context.CancelCauseFunc, step func() error, start, end time.Time) {
	var times latencies
	var done int64
	for begin := time.Now(); begin.Before(end) && ctx.Err() == nil; {
		if err := step(); err != nil {
			cancel(err)
			return
		}
		now := time.Now()
		done += int64(m.records)
		if !now.Before(start) && !now.After(end) {
			times.add(now.Sub(begin))
		}
		begin = now
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times = append(m.times, times...)
	m.acknowledged += done
}

// cpuBetween waits for both times and returns what the server used in between.
func (m *meter) cpuBetween(ctx context.Context, start, end time.Time) (time.Duration, error) {
	if !pause(ctx, time.Until(start)) {
		return 0, context.Cause(ctx)
	}
	before, err := cpuTime(m.pid)
	if err != nil {
		return 0, err
	}
	if !pause(ctx, time.Until(end)) {
		return 0, context.Cause(ctx)
	}
	after, err := cpuTime(m.pid)
	return after - before, err
}

// appendOffsets appends the answer of Confluent's v2 to produced records.
func appendOffsets(b []byte, records []*kgo.Record) []byte {
	b = append(b, `{"offsets":[`...)
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"partition":`...)
		b = strconv.AppendInt(b, int64(r.Partition), 10)
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, r.Offset, 10)
		b = append(b, `,"error_code":null,"error":null}`...)
	}
	return append(b, `],"key_schema_id":null,"value_schema_id":null}`...)
}
