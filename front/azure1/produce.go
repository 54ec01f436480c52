package azure1

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

// produce serves POST /v1/producer/topics/{topic} (rest-apis.md 6.4). A request
// that cannot be understood writes nothing; otherwise one record that fails makes
// the whole answer an error, and the others may have been written. The content
// type is not looked at, since only one exists.
func (a *api) produce(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	body, release, err := front.LendBody(r)
	if err != nil {
		return err
	}
	// A record that was not acknowledged in time may still be on its way out of
	// this very buffer.
	settled := true
	defer func() { release(settled) }()
	parsed, err := parseRecords(body)
	if err != nil {
		return err
	}
	records := make([]*kgo.Record, len(parsed))
	for i := range parsed {
		records[i] = &parsed[i]
	}
	topic := r.PathValue("topic")
	results, err := a.gate.Produce(r.Context(), who, topic, records)
	if err != nil {
		return err
	}
	var failed error
	for _, result := range results {
		settled = settled && !errors.Is(result.Err, kafka.ErrNotAcknowledged)
		if failed == nil {
			failed = result.Err
		}
	}
	if failed != nil {
		return failure(failed)
	}
	b := append(make([]byte, 0, 64), strconv.Itoa(len(records))...)
	b = append(b, " records produced to topic "...)
	b = append(b, topic...)
	b = append(b, '.')
	return write(w, scan.AppendString(make([]byte, 0, len(b)+8), string(b)))
}

// failure is the answer for a record that could not be written: 500 unless the
// topic or partition does not exist, has a name that none can have, or the caller
// may not write there.
func failure(err error) error {
	if errors.Is(err, kerr.InvalidTopicException) {
		return err
	}
	switch gate.Classify(err) {
	case gate.NotFound, gate.Denied, gate.Unauthenticated, gate.Throttled, gate.Invalid:
		return err
	}
	var broker *kerr.Error
	if gate.Classify(err) == gate.Internal && !errors.As(err, &broker) {
		return err
	}
	return &refusal{http.StatusInternalServerError, message(err)}
}
