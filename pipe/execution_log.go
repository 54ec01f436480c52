package pipe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

const (
	// largestStep bounds a record of the log of executions, in bytes: that is what
	// CloudWatch Logs take.
	largestStep = 256<<10 - 26
	// stepsWaiting and stepBytesWaiting bound what waits to be written for a pipe;
	// what is beyond is dropped and counted: the log must not hold up deliveries.
	stepsWaiting     = 10_000
	stepBytesWaiting = 16 << 20
	// stepsAtOnce is how many are written together.
	stepsAtOnce = 500
	// logWithin bounds one attempt at writing, and what is left at the end.
	logWithin = 5 * time.Second
	// executionLogRetention is that of a topic which is made for a log: seven days, in
	// milliseconds.
	executionLogRetention = "604800000"
)

// The levels of the log of executions. A level has the steps of those before it, too.
const (
	errorLevel = 1 + iota
	infoLevel
	traceLevel
)

var levelNames = []string{errorLevel: "ERROR", infoLevel: "INFO", traceLevel: "TRACE"}

// A step is one that an execution takes (pipes.md 14), with the lowest level at which
// it is written.
type step struct {
	name  string
	level int
}

var (
	executionStarted   = step{"EXECUTION_STARTED", infoLevel}
	executionSucceeded = step{"EXECUTION_SUCCEEDED", infoLevel}
	executionFailed    = step{"EXECUTION_FAILED", errorLevel}
	executionPartial   = step{"EXECUTION_PARTIALLY_FAILED", errorLevel}
	executionThrottled = step{"EXECUTION_THROTTLED", errorLevel}
	executionTimeout   = step{"EXECUTION_TIMEOUT", errorLevel}
)

// A stage is one of the two of an execution, by the names of its steps.
type stage struct {
	entered, succeeded, failed, partial, skipped step
	transforming, transformed, notTransformed    step
	invoking, invoked, notInvoked, partlyInvoked step
}

func stageOf(name string) stage {
	return stage{
		entered: step{name + "_STAGE_ENTERED", infoLevel}, succeeded: step{name + "_STAGE_SUCCEEDED", infoLevel},
		failed: step{name + "_STAGE_FAILED", errorLevel}, partial: step{name + "_STAGE_PARTIALLY_FAILED", errorLevel}, skipped: step{name + "_STAGE_SKIPPED", traceLevel},
		transforming: step{name + "_TRANSFORMATION_STARTED", traceLevel}, transformed: step{name + "_TRANSFORMATION_SUCCEEDED", traceLevel},
		notTransformed: step{name + "_TRANSFORMATION_FAILED", errorLevel},
		invoking:       step{name + "_INVOCATION_STARTED", traceLevel}, invoked: step{name + "_INVOCATION_SUCCEEDED", traceLevel},
		notInvoked: step{name + "_INVOCATION_FAILED", errorLevel}, partlyInvoked: step{name + "_INVOCATION_PARTIALLY_FAILED", errorLevel},
	}
}

var enrichmentStage, targetStage = stageOf("ENRICHMENT"), stageOf("TARGET")

// A stepRecord is how a step is written.
type stepRecord struct {
	ResourceArn     string     `json:"resourceArn"`
	Timestamp       int64      `json:"timestamp"` // in milliseconds
	ExecutionID     string     `json:"executionId"`
	MessageType     string     `json:"messageType"`
	LogLevel        string     `json:"logLevel"`
	Payload         string     `json:"payload,omitempty"`
	AWSRequest      string     `json:"awsRequest,omitempty"`
	AWSResponse     string     `json:"awsResponse,omitempty"`
	TruncatedFields []string   `json:"truncatedFields,omitempty"`
	Error           *stepError `json:"error,omitempty"`
}

type stepError struct {
	HTTPStatusCode int    `json:"httpStatusCode,omitempty"`
	Message        string `json:"message"`
	Details        string `json:"details,omitempty"`
	AWSService     string `json:"awsService,omitempty"`
	RequestID      string `json:"requestId,omitempty"`
}

// An executionLog writes down the steps of a pipe's executions, in their order: one
// goroutine takes what waits and hands it to the topic and to the store. Brokers that
// are away cost records, which are counted, and hold up nothing else.
type executionLog struct {
	cfg    catalog.ExecutionLog
	level  int
	arn    string
	runner *Runner

	queue   chan *kgo.Record
	waiting atomic.Int64 // bytes in the queue
	made    bool         // the topic is there; the writing goroutine's
	closing sync.Once
	closed  chan struct{} // closed when nothing more is written
}

// openExecutionLog opens the log that a definition asks for; nil: it asks for none.
func (r *Runner) openExecutionLog(e *catalog.Execution) (*executionLog, error) {
	level := 0
	if e.Log != nil && (e.Log.Topic != "" || e.Log.Bucket != "") {
		level = max(slices.Index(levelNames, e.Log.Level), 0)
	}
	if level == 0 {
		return nil, nil
	}
	if e.Log.Bucket != "" && r.cfg.PutObject == nil {
		return nil, fmt.Errorf("there is no object store for the bucket %s: object_stores says where one is", e.Log.Bucket)
	}
	l := &executionLog{cfg: *e.Log, level: level, arn: e.PipeARN, runner: r, queue: make(chan *kgo.Record, stepsWaiting), closed: make(chan struct{})}
	go l.write() // ends with close
	return l, nil
}

// close writes what waits, for a while, and ends the log. It must not be written to
// any more.
func (l *executionLog) close() {
	if l == nil {
		return
	}
	l.closing.Do(func() { close(l.queue) })
	select {
	case <-l.closed:
	case <-time.After(logWithin):
	}
}

func (l *executionLog) write() {
	defer close(l.closed)
	for first := range l.queue {
		records := append(make([]*kgo.Record, 0, stepsAtOnce), first)
	more:
		for len(records) < stepsAtOnce {
			select {
			case r, ok := <-l.queue:
				if !ok {
					break more
				}
				records = append(records, r)
			default:
				break more
			}
		}
		for _, r := range records {
			l.waiting.Add(-int64(len(r.Value)))
		}
		if l.cfg.Topic != "" {
			l.produce(records)
		}
		if l.cfg.Bucket != "" {
			l.keep(records)
		}
	}
}

// produce writes records to the topic, once: what may have been written is not
// written again.
func (l *executionLog) produce(records []*kgo.Record) {
	ctx, cancel := context.WithTimeout(context.Background(), logWithin)
	defer cancel()
	if !l.made {
		retention := executionLogRetention
		if err := l.runner.cfg.Cluster.EnsureTopic(ctx, l.cfg.Topic, 1, map[string]*string{"retention.ms": &retention}); err != nil {
			l.lose(len(records), err)
			return
		}
		l.made = true
	}
	failed, lost := error(nil), 0
	for _, result := range l.runner.cfg.Cluster.Produce(ctx, records...) {
		if result.Err != nil {
			failed, lost = result.Err, lost+1
		}
	}
	if failed != nil {
		l.made = false // it may have been deleted
		l.lose(lost, failed)
	}
}

// keep writes records to the store, as one object: lines of JSON.
func (l *executionLog) keep(records []*kgo.Record) {
	var text bytes.Buffer
	for _, r := range records {
		text.Write(r.Value)
		text.WriteByte('\n')
	}
	at := records[0].Timestamp.UTC()
	name := l.arn[strings.LastIndexByte(l.arn, '/')+1:] + "/" + at.Format("2006/01/02/150405.000") + "-" + newExecutionID() + ".json"
	if prefix := strings.Trim(l.cfg.Prefix, "/"); prefix != "" {
		name = prefix + "/" + name
	}
	ctx, cancel := context.WithTimeout(context.Background(), logWithin)
	defer cancel()
	if err := l.runner.cfg.PutObject(ctx, l.cfg.Bucket, name, "application/x-ndjson", text.Bytes()); err != nil {
		l.lose(len(records), err)
	}
}

func (l *executionLog) lose(n int, err error) {
	l.runner.metrics.unlogged.Add(float64(n))
	l.runner.cfg.Log.Warn("steps of executions could not be logged", "pipe", l.arn, "records", n, "err", err)
}

// A story is the log of one execution. A nil story is written nowhere.
type story struct {
	log *executionLog
	id  string
}

// begin begins the story of an execution.
func (l *executionLog) begin() *story {
	if l == nil {
		return nil
	}
	return &story{l, newExecutionID()}
}

func newExecutionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// data says whether what is sent and answered is written, too.
func (s *story) data() bool { return s != nil && s.log.cfg.Data }

// A detail adds to the record of a step.
type detail func(s *story, r *stepRecord)

// batchOf adds the events that a step begins or ends with.
func batchOf(events []*event.Event) detail {
	return func(s *story, r *stepRecord) {
		if s.data() {
			r.Payload = arrayOf(events)
		}
	}
}

func requestOf(text func() string) detail {
	return func(s *story, r *stepRecord) {
		if s.data() {
			r.AWSRequest = text()
		}
	}
}

func responseOf(text func() string) detail {
	return func(s *story, r *stepRecord) {
		if s.data() {
			r.AWSResponse = text()
		}
	}
}

// failureOf adds what went wrong.
func failureOf(err error) detail {
	return func(_ *story, r *stepRecord) {
		failure := target.FailureOf(err)
		r.Error = &stepError{HTTPStatusCode: failure.Status, Message: err.Error(), Details: string(bytes.ToValidUTF8(failure.Response, []byte("?")))}
	}
}

// arrayOf is a batch of events as one text.
func arrayOf(events []*event.Event) string {
	text := []byte{'['}
	for i, e := range events {
		if i > 0 {
			text = append(text, ',')
		}
		text = e.AppendJSON(text)
	}
	return string(append(text, ']'))
}

// tell writes down a step, if it is one of the log's level.
func (s *story) tell(what step, details ...detail) {
	if s == nil || what.level > s.log.level {
		return
	}
	now := time.Now()
	r := stepRecord{ResourceArn: s.log.arn, Timestamp: now.UnixMilli(), ExecutionID: s.id, MessageType: what.name, LogLevel: levelNames[what.level]}
	for _, add := range details {
		add(s, &r)
	}
	value := r.encode()
	if s.log.waiting.Add(int64(len(value))) > stepBytesWaiting {
		s.log.waiting.Add(-int64(len(value)))
		s.log.runner.metrics.unlogged.Inc()
		return
	}
	select {
	case s.log.queue <- &kgo.Record{Topic: s.log.cfg.Topic, Partition: 0, Key: []byte(s.id), Value: value, Timestamp: now}:
	default:
		s.log.waiting.Add(-int64(len(value)))
		s.log.runner.metrics.unlogged.Inc()
	}
}

// encode makes the text of a record, no larger than largestStep: what is too long of
// the three fields that can be is cut, and named.
func (r *stepRecord) encode() []byte {
	if e := r.Error; e != nil {
		e.Message, _ = cut(e.Message, 16<<10)
		e.Details, _ = cut(e.Details, 16<<10)
	}
	fields := []struct {
		name string
		text *string
		size int
	}{{"awsRequest", &r.AWSRequest, 0}, {"awsResponse", &r.AWSResponse, 0}, {"payload", &r.Payload, 0}}
	for i := range fields {
		_, fields[i].size = cut(*fields[i].text, len(*fields[i].text)*6)
	}
	slices.SortStableFunc(fields, func(a, b struct {
		name string
		text *string
		size int
	}) int {
		return cmp.Compare(a.size, b.size)
	})
	bare := *r
	bare.Payload, bare.AWSRequest, bare.AWSResponse = "-", "-", "-"
	bare.TruncatedFields = []string{"awsRequest", "awsResponse", "payload"}
	room := largestStep - len(bare.json())
	for i, f := range fields {
		share := room / (len(fields) - i)
		if f.size > share {
			*f.text, f.size = cut(*f.text, share)
			r.TruncatedFields = append(r.TruncatedFields, f.name)
		}
		room -= f.size
	}
	slices.Sort(r.TruncatedFields)
	return r.json()
}

// json encodes a record as it is.
func (r *stepRecord) json() []byte {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	_ = e.Encode(r) // texts and numbers can be encoded
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// cut returns as much of a text as has at most so many bytes as a JSON string, and how
// many it has.
func cut(text string, most int) (string, int) {
	size := 0
	for at, c := range text {
		n := utf8.RuneLen(c)
		switch {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t', c == '\b', c == '\f':
			n = 2
		case c < ' ', c == utf8.RuneError, c == '\u2028', c == '\u2029':
			n = 6
		}
		if size+n > most {
			return text[:at], size
		}
		size += n
	}
	return text, size
}
