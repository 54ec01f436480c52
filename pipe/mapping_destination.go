package pipe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// A destination is where an event source mapping puts records that it gives up
// (event-source-mapping.md 14). Exactly one of topic, bucket and target is set.
type destination struct {
	topic   string // in the cluster that the records come from: a message a record
	bucket  string // of the object store: an object a batch
	target  target.Target
	payload bool // the event goes along to the target
}

// openDestination returns the destination of a mapping; nil: it has none.
func (r *Runner) openDestination(f *flow, env target.Env) (*destination, error) {
	e := f.def.Envelope
	switch {
	case e.FailureTopic != "":
		return &destination{topic: e.FailureTopic}, nil
	case e.FailureBucket != "":
		if r.cfg.PutObject == nil {
			return nil, errors.New("there is no object store")
		}
		return &destination{bucket: e.FailureBucket}, nil
	case e.FailureTarget != nil:
		env.Batch = ""
		t, err := r.open(*e.FailureTarget, env)
		return &destination{target: t, payload: e.FailureTarget.Kind == "webhook"}, err
	}
	return nil, nil
}

// A failureRecord is what a destination gets.
type failureRecord struct {
	RequestContext  failureRequest   `json:"requestContext"`
	ResponseContext *failureResponse `json:"responseContext"`
	Version         string           `json:"version"`
	Timestamp       string           `json:"timestamp"`
	Info            failureInfo      `json:"KafkaBatchInfo"`
	Payload         json.RawMessage  `json:"payload,omitempty"`
}

type failureRequest struct {
	RequestID   string `json:"requestId"`
	FunctionARN string `json:"functionArn"`
	Condition   string `json:"condition"`
	Invocations int    `json:"approximateInvokeCount"`
}

type failureResponse struct {
	StatusCode      int    `json:"statusCode"`
	ExecutedVersion string `json:"executedVersion"`
	FunctionError   string `json:"functionError,omitempty"`
}

type failureInfo struct {
	BatchSize   int                     `json:"batchSize"`
	SourceARN   string                  `json:"eventSourceArn,omitempty"`
	Bootstrap   string                  `json:"bootstrapServers"`
	PayloadSize int                     `json:"payloadSize"`
	Records     map[string]failureRange `json:"recordsInfo,omitempty"`
	Record      *failureOffset          `json:"recordInfo,omitempty"`
}

type failureRange struct {
	FirstOffset    string `json:"firstRecordOffset"`
	LastOffset     string `json:"lastRecordOffset"`
	FirstTimestamp string `json:"firstRecordTimestamp"`
	LastTimestamp  string `json:"lastRecordTimestamp"`
}

type failureOffset struct {
	Offset    string `json:"offset"`
	Timestamp string `json:"timestamp"`
}

// isoMillis is how times are written.
const isoMillis = "2006-01-02T15:04:05.000Z"

func isoTime(t time.Time) string { return t.UTC().Format(isoMillis) }

// condition is the word for why a record is given up; a topic has another one for
// the last than other destinations.
func condition(err error, ofTopic bool) string {
	switch {
	case errors.Is(err, errSchemaNotFound):
		return "SCHEMA_NOT_FOUND"
	case errors.Is(err, errDeserialization):
		return "DESERIALIZATION_ERROR"
	case errors.Is(err, errPayloadSize):
		return "MaximumPayloadSizeExceeded"
	case errors.Is(err, errRecordAge):
		return "RecordAgeExceeded"
	case ofTopic:
		return "RetriesExhausted"
	}
	return "RetryAttemptsExhausted"
}

// failure makes the record of a batch, without what is different for each
// destination.
func (m *mapping) failure(v *verdict, ofTopic bool) failureRecord {
	rec := failureRecord{
		RequestContext: failureRequest{FunctionARN: m.def.FunctionARN, Condition: condition(v.err, ofTopic), Invocations: v.attempts},
		Version:        "1.0", Timestamp: isoTime(time.Now()), Info: failureInfo{SourceARN: m.def.SourceARN, Bootstrap: m.def.Bootstrap},
	}
	var call *callError
	if errors.As(v.err, &call) {
		rec.RequestContext.RequestID, rec.ResponseContext = call.id, call.ran
	} else {
		rec.RequestContext.RequestID = uuid.NewString()
	}
	return rec
}

// store puts the records of a batch into the destination.
func (d *destination) store(ctx context.Context, m *mapping, b *batch) error {
	events := make([]*event.Event, len(b.items))
	for i, it := range b.items {
		events[i] = &it.Event
	}
	if d.topic != "" {
		return d.write(ctx, m, b.verdict, events)
	}
	rec := m.failure(b.verdict, false)
	payload := m.event(events)
	rec.Info.BatchSize, rec.Info.PayloadSize = len(events), len(payload)
	first, last := events[0].Record, events[len(events)-1].Record
	place := first.Topic + "-" + strconv.Itoa(int(first.Partition))
	rec.Info.Records = map[string]failureRange{place: {
		strconv.FormatInt(first.Offset, 10), strconv.FormatInt(last.Offset, 10), isoTime(first.Timestamp), isoTime(last.Timestamp),
	}}
	var err error
	if d.bucket != "" || d.payload {
		if rec.Payload, err = json.Marshal(string(payload)); err != nil {
			return err
		}
	}
	body, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if d.bucket != "" {
		if b.verdict.object == "" { // the next attempt writes the same object
			now := time.Now().UTC()
			b.verdict.object = "aws/lambda/" + m.def.Mapping + "/" + place + "/" + now.Format("2006/01/02/2006-01-02T15.04.05-") + uuid.NewString()
		}
		return m.flow.runner.cfg.PutObject(ctx, d.bucket, b.verdict.object, "application/json", body)
	}
	// The record of a batch is no record of a topic: it has neither key nor headers.
	about := &kgo.Record{Topic: first.Topic, Partition: first.Partition, Offset: first.Offset, Timestamp: first.Timestamp}
	return d.target.Deliver(ctx, []*event.Event{{Record: about, Body: body, ID: event.DeliveryID(m.flow.def.Name, about), Attempt: b.verdict.tries + 1}})
}

// write puts records into the topic, a message each with the key that the record had.
// Those that the topic cannot take with their events are written without.
func (d *destination) write(ctx context.Context, m *mapping, v *verdict, events []*event.Event) error {
	messages := make([]*kgo.Record, len(events))
	bare := make([]*kgo.Record, len(events))
	for i, e := range events {
		rec := m.failure(v, true)
		payload := m.event(events[i : i+1])
		rec.Info.BatchSize, rec.Info.PayloadSize = 1, len(payload)
		rec.Info.Record = &failureOffset{strconv.FormatInt(e.Record.Offset, 10), isoTime(e.Record.Timestamp)}
		lean, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		rec.Payload = payload
		full, err := json.Marshal(rec)
		if err != nil {
			return err
		}
		messages[i] = &kgo.Record{Topic: d.topic, Partition: -1, Key: e.Record.Key, Value: full}
		bare[i] = &kgo.Record{Topic: d.topic, Partition: -1, Key: e.Record.Key, Value: lean}
	}
	source, err := m.flow.runner.source(m.flow.def)
	if err != nil {
		return err
	}
	results := source.Produce(ctx, messages...)
	for i, result := range results {
		err := result.Err
		if errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) {
			err = source.Produce(ctx, bare[i]).FirstErr()
		}
		if err != nil {
			return fmt.Errorf("topic %s: %w", d.topic, err)
		}
	}
	return nil
}
