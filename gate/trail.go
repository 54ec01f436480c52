package gate

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/iam"
)

// A Trail is what the calls of one request leave behind for the access log and
// traces. A nil Trail keeps nothing. It is safe for concurrent use.
type Trail struct {
	// Traceparent and Tracestate are put into the headers of the records that are
	// written, unless they have a traceparent; "": nothing is.
	Traceparent, Tracestate string

	mu   sync.Mutex // guards what follows
	deed Deed
}

// A Deed is what a request has done to Kafka.
type Deed struct {
	// Calls counts the times that records were handed to brokers; of the rest,
	// Topic, Partition and Offset are of the first record.
	Calls     int
	Topic     string
	Partition int32
	Offset    int64
	// Placed says that Partition and Offset are known.
	Placed  bool
	Records int
	Bytes   int64
	Begun   time.Time
	Took    time.Duration
	// Error is of the first record that failed.
	Error string
	// Decision is allow or deny, of the last call that policies have decided, and
	// Statement the one that has settled it: its Sid, or its policy's name.
	Decision, Statement string
}

// traceHeader is the record header of a trace (W3C Trace Context).
const traceHeader = "traceparent"

// Deed returns what was done so far.
func (t *Trail) Deed() Deed {
	if t == nil {
		return Deed{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.deed
}

// trail is that of the request which a caller's calls are made for; nil if there is
// none.
func (p *Principal) trail() *Trail {
	if p.request == nil {
		return nil
	}
	return p.request.Trail
}

// mark puts the trace into records that do not have one of their own.
func (t *Trail) mark(records []*kgo.Record) {
	if t == nil || t.Traceparent == "" {
		return
	}
	for _, r := range records {
		marked := false
		for _, h := range r.Headers {
			marked = marked || h.Key == traceHeader
		}
		if marked {
			continue
		}
		r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], kgo.RecordHeader{Key: traceHeader, Value: []byte(t.Traceparent)})
		if t.Tracestate != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "tracestate", Value: []byte(t.Tracestate)})
		}
	}
}

// sent notes records that are handed to brokers, begun at a time.
func (t *Trail) sent(topic string, records []*kgo.Record, begun time.Time) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := &t.deed
	if d.Calls++; d.Calls == 1 {
		d.Topic, d.Begun = topic, begun
	}
	d.Records += len(records)
	for _, r := range records {
		d.Bytes += int64(len(r.Key) + len(r.Value))
	}
}

// acknowledged notes what became of records.
func (t *Trail) acknowledged(results kgo.ProduceResults) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d := &t.deed
	d.Took = time.Since(d.Begun)
	for _, r := range results {
		switch {
		case r.Err != nil && d.Error == "":
			d.Error = r.Err.Error()
		case r.Err == nil && !d.Placed && r.Record != nil:
			d.Placed, d.Partition, d.Offset = true, r.Record.Partition, r.Record.Offset
		}
	}
}

// noting returns done, which then also notes what became of a record.
func (t *Trail) noting(record *kgo.Record, done func(error)) func(error) {
	if t == nil {
		return done
	}
	return func(err error) {
		t.acknowledged(kgo.ProduceResults{{Record: record, Err: err}})
		done(err)
	}
}

// decided notes what policies have said about a call. A call about a route is told
// only where it is refused: what it does comes afterwards.
func (t *Trail) decided(c *Call, err error) {
	if t == nil {
		return
	}
	decision := c.decision
	verdict := "allow"
	if d := DenialOf(err); d != nil {
		verdict, decision = "deny", d.Decision
	} else if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deed.Decision, t.deed.Statement = verdict, statementOf(decision)
	if c.Resource.Kind == "topic" && t.deed.Topic == "" {
		t.deed.Topic = c.Resource.Name
	}
}

func statementOf(d iam.Decision) string {
	if d.Sid != "" {
		return d.Sid
	}
	return d.Policy
}
