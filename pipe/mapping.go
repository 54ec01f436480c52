package pipe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/target"
)

// A mapping is the target of a pipe that is an event source mapping: it makes one
// event of a batch, which has the records of one partition, and calls the function
// (event-source-mapping.md 10, 13). What the engine asks it beside is in
// mapping_filter.go (which records), mapping_failure.go (what follows a failure),
// mapping_destination.go (where records go that are given up), mapping_result.go (what
// the API says of it all) and mapping_metrics.go.
type mapping struct {
	flow        *flow
	def         catalog.Envelope
	invoke      func(ctx context.Context, name string, in function.Invocation) (function.Outcome, error)
	head        []byte // of every event, up to the name of the partition
	filters     []mappingFilter
	destination *destination    // nil: what is given up is dropped
	schemas     *mappingSchemas // nil: nothing is decoded
	metrics     *mappingSeries

	cluster atomic.Pointer[trouble] // what is wrong with the source; nil: nothing
	news    chan struct{}           // has a token when the result may be another

	mu     sync.Mutex            // guards what follows
	fares  map[*partition]string // of those worked for, the reason of the last failure; empty: it is well
	worked bool                  // something was processed
	said   MappingResult         // what this process has noted last
}

// mappingBytes is the largest event of a mapping, in bytes.
const mappingBytes = 6<<20 - 1

// openMapping makes the target of an event source mapping; nil: the pipe is none.
func (r *Runner) openMapping(f *flow, env target.Env) (_ *mapping, err error) {
	if f.def.Envelope == nil {
		return nil, nil
	}
	e := *f.def.Envelope
	m := &mapping{flow: f, def: e, invoke: env.Invoke, metrics: r.metrics.mappings.of(e.Mapping, e.Function, f.def.Topics[0]), news: make(chan struct{}, 1), fares: map[*partition]string{}}
	if m.invoke == nil {
		return nil, errors.New("there are no functions here")
	}
	f.log = mappingLog(f.log, e)
	if m.filters, err = mappingFilters(e); err != nil {
		return nil, err
	}
	if m.schemas, err = r.openSchemas(e.Schemas); err != nil {
		return nil, err
	}
	m.head = append(m.head, `{"eventSource":`...)
	m.head = scan.AppendString(m.head, e.EventSource)
	if e.SourceARN != "" {
		m.head = append(m.head, `,"eventSourceArn":`...)
		m.head = scan.AppendString(m.head, e.SourceARN)
	}
	m.head = append(m.head, `,"bootstrapServers":`...)
	m.head = scan.AppendString(m.head, e.Bootstrap)
	m.head = append(m.head, `,"records":{"`...)
	if m.destination, err = r.openDestination(f, env); err != nil {
		return nil, fmt.Errorf("on-failure destination: %w", err)
	}
	return m, nil
}

// room is how many bytes the records of one event may have, with the commas between
// them.
func (m *mapping) room() int64 {
	return int64(mappingBytes - len(m.head) - len(m.flow.def.Topics[0]) - len(`-2147483647":[]}}`))
}

// event makes the event of records.
func (m *mapping) event(events []*event.Event) []byte {
	size := len(m.head) + 300
	for _, e := range events {
		if size++; e.Body != nil {
			size += len(e.Body)
		} else {
			size += event.MappingRecordLength(e.Record)
		}
	}
	first := events[0].Record
	b := append(make([]byte, 0, size), m.head...)
	b = append(b, first.Topic...) // a topic's name needs no escapes
	b = append(b, '-')
	b = strconv.AppendInt(b, int64(first.Partition), 10)
	b = append(b, `":[`...)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMapped(b, e)
	}
	return append(b, `]}}`...)
}

// appendMapped appends the record of an event as the function gets it.
func appendMapped(dst []byte, e *event.Event) []byte {
	if e.Body != nil {
		return append(dst, e.Body...)
	}
	return event.AppendMappingRecord(dst, e.Record)
}

// A callError says how the call of a function has failed.
type callError struct {
	target.Failure
	id     string           // of the request
	missed bool             // the function was not reached: that is no attempt
	ran    *failureResponse // how it answered; nil: it was not reached
}

func (e *callError) Error() string { return e.Failure.Error() }

// Unwrap makes it a *target.Failure.
func (e *callError) Unwrap() error { return &e.Failure }

// throttledFirst is how long a function that has no room is left alone at first.
const throttledFirst = 500 * time.Millisecond

// Deliver calls the function with a batch.
func (m *mapping) Deliver(ctx context.Context, events []*event.Event) error {
	id := uuid.NewString()
	n := float64(len(events))
	m.metrics.invoked.Add(n)
	records := make([]*kgo.Record, len(events))
	for i, e := range events {
		records[i] = e.Record
	}
	out, err := m.invoke(ctx, m.def.Function, function.Invocation{
		ID: id, Payload: m.event(events), Caller: m.def.Mapping, Cluster: m.flow.def.SourceCluster, Records: records, Batch: events[0].ID, Attempt: events[0].Attempt, Wait: -1,
	})
	failed := func(e *callError) error {
		m.metrics.failedInvoke.Add(n)
		m.metrics.invokeErrors.Inc()
		e.id = id
		return e
	}
	ran := &failureResponse{StatusCode: http.StatusOK, ExecutedVersion: cmp.Or(out.Version, "$LATEST"), FunctionError: out.Error}
	switch {
	case errors.Is(err, function.ErrThrottled):
		return failed(&callError{Failure: target.Failure{Status: http.StatusTooManyRequests, After: throttledFirst, Err: err}, missed: true})
	case errors.Is(err, function.ErrTooLarge):
		return failed(&callError{Failure: target.Failure{Status: http.StatusRequestEntityTooLarge, Err: fmt.Errorf("%w: %w", errPayloadSize, err)}, missed: true})
	case err != nil:
		return failed(&callError{Failure: target.Failure{After: target.FailureOf(err).After, Err: fmt.Errorf("function %s was not reached: %w", m.def.Function, err)}, missed: true})
	case out.Error != "":
		return failed(&callError{ran: ran, Failure: target.Failure{Status: http.StatusOK, Response: out.Payload[:min(len(out.Payload), responseExcerpt)], Err: fmt.Errorf("function %s failed: %.200s", m.def.Function, out.Payload)}})
	case !m.def.ReportFailures, out.AnyForm && !json.Valid(out.Payload):
		return nil
	}
	places, err := reported(out.Payload, events)
	if err != nil {
		ran.FunctionError = function.Unhandled
		return failed(&callError{ran: ran, Failure: target.Failure{Status: http.StatusOK, Response: out.Payload[:min(len(out.Payload), responseExcerpt)], Err: fmt.Errorf("function %s: %w", m.def.Function, err)}})
	}
	if len(places) == 0 {
		return nil
	}
	one := failed(&callError{ran: ran, Failure: target.Failure{Status: http.StatusOK, Err: fmt.Errorf("function %s has not done the record", m.def.Function)}})
	partial := &target.PartialError{Failed: map[int]error{}}
	for _, i := range places {
		partial.Failed[i] = one
	}
	return partial
}

// reported reads from an answer which records of a batch were not done
// (event-source-mapping.md 13.3). The error says that the answer is not understood, so
// that none were. Nothing, null, a string and a number are no report.
func reported(answer []byte, events []*event.Event) (failed []int, err error) {
	if len(bytes.TrimSpace(answer)) == 0 {
		return nil, nil
	}
	var all any
	if json.Unmarshal(answer, &all) != nil {
		return nil, errors.New("the answer is not JSON")
	}
	switch all.(type) {
	case nil, string, float64:
		return nil, nil
	case map[string]any:
	default:
		return nil, errors.New("the answer is not an object with batchItemFailures")
	}
	var doc struct {
		Failures []struct {
			Identifier *struct {
				Partition *string `json:"partition"`
				Offset    *int64  `json:"offset"`
			} `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(answer, &doc); err != nil {
		return nil, errors.New("batchItemFailures is not a list of {itemIdentifier: {partition, offset}}")
	}
	if len(doc.Failures) == 0 {
		return nil, nil
	}
	first := events[0].Record
	name := first.Topic + "-" + strconv.Itoa(int(first.Partition))
	places := make(map[int64]int, len(events))
	for i, e := range events {
		places[e.Record.Offset] = i
	}
	for _, f := range doc.Failures {
		if f.Identifier == nil || f.Identifier.Partition == nil || f.Identifier.Offset == nil {
			return nil, errors.New("an itemIdentifier of batchItemFailures is not {partition, offset}")
		}
		i, ok := places[*f.Identifier.Offset]
		if !ok || *f.Identifier.Partition != name {
			return nil, errors.New("an itemIdentifier of batchItemFailures is not of this batch")
		}
		failed = append(failed, i)
	}
	return failed, nil
}

// Endpoint is the function: it fails on its own.
func (m *mapping) Endpoint() string { return "function:" + m.def.Function }

// Close closes the destination; the function is the host's.
func (m *mapping) Close() error {
	if m.schemas != nil {
		m.schemas.close()
	}
	if m.destination != nil && m.destination.target != nil {
		return m.destination.target.Close()
	}
	return nil
}

// shape makes an item of a record, or nil if the filters drop it.
func (m *mapping) shape(r *kgo.Record) (it *item, passed bool) {
	m.metrics.polled.Inc()
	m.metrics.bytes.Add(float64(len(r.Key) + len(r.Value)))
	it = &item{Event: event.Event{Record: r}, size: len(r.Key) + len(r.Value) + 256}
	ctx := context.Background()
	if m.schemas != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, m.flow.decoding.until)
		defer cancel()
	}
	if it.undecided = m.decideOn(ctx, it); it.dropped {
		m.metrics.filtered.Inc()
		return nil, false
	}
	return it, true
}
