package confluent2

import (
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

var answers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// writeResults answers with the outcome of each record. The status is 200 even
// if all have failed, except that the first record refused for want of
// authentication or authorization makes it 401 or 403; the shapes of others have
// their own rule.
func (a *api) writeResults(w http.ResponseWriter, media string, results kgo.ProduceResults, shape resultShape) error {
	return a.writeResultsOf(w, media, results, shape, schemaIDs{})
}

// writeResultsOf is writeResults for records that were written with schemas.
func (a *api) writeResultsOf(w http.ResponseWriter, media string, results kgo.ProduceResults, shape resultShape, ids schemaIDs) error {
	pooled := answers.Get().(*[]byte)
	b := (*pooled)[:0]
	if shape == karapaceResults {
		b = append(ids.append(append(b, '{')), `,"offsets":[`...)
	} else {
		b = append(b, `{"offsets":[`...)
	}
	status := http.StatusOK
	for i := range results {
		if i > 0 {
			b = append(b, ',')
		}
		var failed int
		switch shape {
		case strimziResults:
			b = appendStrimzi(b, results[i])
		case karapaceResults:
			b, failed = appendKarapace(b, results[i])
		case redpandaResults:
			b = appendRedpanda(b, results[i])
		default:
			b, failed = a.appendResult(b, results[i])
		}
		if status == http.StatusOK && failed != 0 {
			status = failed
		}
	}
	if shape == confluentResults {
		b = append(ids.append(append(b, `],`...)), '}')
	} else {
		b = append(b, `]}`...)
	}
	err := writeStatus(w, status, media, b)
	if cap(b) <= 64<<10 {
		*pooled = b
		answers.Put(pooled)
	}
	return err
}

// appendResult appends an outcome as the original writes it; failed is the status
// that a failure gives the answer, or 0.
func (a *api) appendResult(b []byte, r kgo.ProduceResult) (_ []byte, failed int) {
	if r.Err == nil {
		b = append(b, `{"partition":`...)
		b = strconv.AppendInt(b, int64(r.Record.Partition), 10)
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, r.Record.Offset, 10)
		return append(b, `,"error_code":null,"error":null}`...), 0
	}
	code := a.recordCode(r.Err)
	if code == 40101 || code == 40301 {
		failed = code / 100
	}
	b = append(b, `{"partition":null,"offset":null,"error_code":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"error":`...)
	return append(appendText(b, kafka.Message(r.Err)), '}'), failed
}

// appendStrimzi appends an outcome with one of HTTP's codes.
func appendStrimzi(b []byte, r kgo.ProduceResult) []byte {
	if r.Err == nil {
		return appendPlace(b, r.Record)
	}
	code := int64(http.StatusInternalServerError)
	if errors.Is(r.Err, kafka.ErrNoPartition) {
		code = http.StatusNotFound
	}
	b = append(b, `{"error_code":`...)
	b = strconv.AppendInt(b, code, 10)
	b = append(b, `,"message":`...)
	return append(appendText(b, kafka.Message(r.Err)), '}')
}

// appendPlace appends where a record is.
func appendPlace(b []byte, r *kgo.Record) []byte {
	b = append(b, `{"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	return append(b, '}')
}

// appendKarapace appends an outcome whose code says whether trying again could
// help.
func appendKarapace(b []byte, r kgo.ProduceResult) (_ []byte, failed int) {
	if r.Err == nil {
		b = append(b, `{"offset":`...)
		b = strconv.AppendInt(b, r.Record.Offset, 10)
		b = append(b, `,"partition":`...)
		b = strconv.AppendInt(b, int64(r.Record.Partition), 10)
		return append(b, '}'), 0
	}
	code := byte('1')
	if gate.Classify(r.Err) == gate.Unavailable {
		code = '2'
	}
	b = append(b, `{"error_code":`...)
	b = append(b, code)
	b = append(b, `,"error":`...)
	return append(appendText(b, kafka.Message(r.Err)), '}'), unprocessable
}

// appendRedpanda appends an outcome with Kafka's own code.
func appendRedpanda(b []byte, r kgo.ProduceResult) []byte {
	if r.Err == nil {
		return appendPlace(b, r.Record)
	}
	code := kerr.UnknownServerError.Code
	var broker *kerr.Error
	switch {
	case errors.As(r.Err, &broker):
		code = broker.Code
	case errors.Is(r.Err, kafka.ErrNoPartition):
		code = kerr.UnknownTopicOrPartition.Code
	case gate.Classify(r.Err) == gate.Unavailable:
		code = kerr.RequestTimedOut.Code
	}
	b = append(b, `{"partition":`...)
	b = strconv.AppendInt(b, int64(r.Record.Partition), 10)
	b = append(b, `,"error_code":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	return append(b, `,"offset":-1}`...)
}

// recordCode is the code of one record's failure (rest-apis.md 4.3).
func (a *api) recordCode(err error) int {
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return 40101
	case gate.Denied:
		return 40301
	case gate.Invalid:
		if invalidRefusal(err, wholeValue) != nil {
			return 42206
		}
	case gate.Unavailable:
		return 50003
	}
	var broker *kerr.Error
	if errors.Is(err, kafka.ErrNoPartition) || errors.As(err, &broker) && broker.Retriable {
		return 50003
	}
	return 50002
}
