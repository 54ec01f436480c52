package confluent2

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// produce serves POST /topics/{topic} and POST
// /topics/{topic}/partitions/{partition} (rest-apis.md 4.3): an envelope in one
// of the embedded formats, or one plain record (interface.md 3).
//
// Beyond the original: headers and timestamp in Strimzi's form, ?async=true, and
// an immediate answer for a partition that does not exist.
func (a *api) produce(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	partition := int32(-1)
	if text := r.PathValue("partition"); text != "" {
		n, err := partitionNumber(text)
		if err != nil {
			return err
		}
		partition = n
	}
	contentType := ""
	if values := r.Header["Content-Type"]; len(values) > 0 {
		contentType = values[0]
	}
	f, err := a.contentFormat(contentType)
	if err != nil {
		return err
	}
	media, err := a.accept(r, v2Only)
	if err != nil {
		return err
	}
	body, release, err := front.LendBody(r)
	if err != nil {
		return err
	}
	settled := true
	defer func() {
		if release != nil {
			// A record that was not acknowledged in time may still be on its
			// way out of this very buffer.
			release(settled)
		}
	}()
	if f == formatNone {
		if !isEnvelope(body) {
			settled, err = a.producePlain(w, r, who, media, contentType, partition, body)
			return err
		}
		f = formatBinary
	}
	e, err := parseEnvelope(body, f, partition, a.cfg.StrictMediaTypes)
	if err != nil {
		return err
	}
	if err := schemaless(f, e); err != nil {
		return err
	}
	records := make([]*kgo.Record, len(e.records))
	for i := range e.records {
		records[i] = &e.records[i]
	}
	topic := r.PathValue("topic")
	if r.URL.RawQuery != "" && a.cfg.Profile != profileConfluent {
		async, err := asynchronous(r)
		if err != nil {
			return err
		}
		if async {
			done := release
			if err := a.gate.SendAll(r.Context(), who, topic, records, func() { done(true) }); err != nil {
				return err
			}
			release = nil
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	results, err := a.gate.Produce(r.Context(), who, topic, records)
	if err != nil {
		return err
	}
	settled = allSettled(results)
	for i := range results {
		if err := results[i].Err; err != nil && isForeign(err) {
			return fmt.Errorf("%w: %w", errForeign, err)
		}
	}
	return a.writeResults(w, media, results)
}

// errForeign is a failure to write that is none of Kafka's (rest-apis.md 4.3).
var errForeign = errors.New("Unexpected non-Kafka exception returned by Kafka") //nolint:staticcheck // the text is the original's

// isForeign says whether an error comes neither from a broker nor from the way
// there.
func isForeign(err error) bool {
	var broker *kerr.Error
	return gate.Classify(err) == gate.Internal && !errors.As(err, &broker)
}

// asynchronous reads ?async, which must be a boolean.
func asynchronous(r *http.Request) (bool, error) {
	query := r.URL.Query()
	if !query.Has("async") {
		return false, nil
	}
	async, err := strconv.ParseBool(query.Get("async"))
	if err != nil {
		return false, refuse(badRequest, 400, "async must be true or false")
	}
	return async, nil
}

// schemaless refuses what needs a schema registry (rest-apis.md 4.3).
func schemaless(f format, e envelope) error {
	if f != formatSchema {
		return nil
	}
	if e.schemas != 0 {
		return refuse(unprocessable, 42206, "Payload error. Schema Registry must be configured when using schemas.")
	}
	for i := range e.records {
		if e.records[i].Key != nil {
			return refuse(unprocessable, 42201, "Request includes keys but does not include key schema")
		}
	}
	for i := range e.records {
		if e.records[i].Value != nil {
			return refuse(unprocessable, 42202, "Request includes values but does not include value schema")
		}
	}
	return nil
}

// partitionNumber reads a partition in a path; what is no number matches no
// route of the original.
func partitionNumber(text string) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > math.MaxInt32 {
		return 0, errNotFound
	}
	if n < 0 {
		return 0, refuse(unprocessable, 422, "partition must be greater than or equal to 0 (was %d)", n)
	}
	return int32(n), nil
}

// allSettled says whether no record is under way any more.
func allSettled(results kgo.ProduceResults) bool {
	for i := range results {
		if results[i].Err != nil && errors.Is(results[i].Err, kafka.ErrNotAcknowledged) {
			return false
		}
	}
	return true
}

var answers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// writeResults answers with the outcome of each record. The status is 200 even
// if all have failed, except that the first record refused for want of
// authentication or authorization makes it 401 or 403.
func (a *api) writeResults(w http.ResponseWriter, media string, results kgo.ProduceResults) error {
	pooled := answers.Get().(*[]byte)
	b := append((*pooled)[:0], `{"offsets":[`...)
	status := http.StatusOK
	for i := range results {
		if i > 0 {
			b = append(b, ',')
		}
		if err := results[i].Err; err != nil {
			code := a.recordCode(err)
			if status == http.StatusOK && (code == 40101 || code == 40301) {
				status = code / 100
			}
			b = append(b, `{"partition":null,"offset":null,"error_code":`...)
			b = strconv.AppendInt(b, int64(code), 10)
			b = append(b, `,"error":`...)
			b = appendText(b, recordMessage(err))
			b = append(b, '}')
			continue
		}
		b = append(b, `{"partition":`...)
		b = strconv.AppendInt(b, int64(results[i].Record.Partition), 10)
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, results[i].Record.Offset, 10)
		b = append(b, `,"error_code":null,"error":null}`...)
	}
	b = append(b, `],"key_schema_id":null,"value_schema_id":null}`...)
	err := writeStatus(w, status, media, b)
	if cap(b) <= 64<<10 {
		*pooled = b
		answers.Put(pooled)
	}
	return err
}

// recordCode is the code of one record's failure (rest-apis.md 4.3).
func (a *api) recordCode(err error) int {
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return 40101
	case gate.Denied:
		return 40301
	case gate.Unavailable:
		return 50003
	}
	var broker *kerr.Error
	if errors.Is(err, kafka.ErrNoPartition) || errors.As(err, &broker) && broker.Retriable {
		return 50003
	}
	return 50002
}

// recordMessage is what a client may know about the failure of one record.
func recordMessage(err error) string {
	var broker *kerr.Error
	if errors.As(err, &broker) {
		return broker.Description
	}
	return err.Error()
}
