package confluent2

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

// byteOrderMark may stand before JSON (gateway-policies.md 4.6). It stays in a record.
var byteOrderMark = []byte("\ufeff")

// producePlain writes a body as one record, byte for byte (interface.md 3). It
// says whether the record is settled, so that its bytes may be used again.
func (a *api) producePlain(w http.ResponseWriter, r *http.Request, who gate.Principal, media, contentType string, partition int32, body []byte) (settled bool, err error) {
	if isJSONType(contentType) && !(scan.Valid(bytes.TrimPrefix(body, byteOrderMark)) && utf8.Valid(body)) {
		return true, refuse(badRequest, 400, "The body is not valid JSON, as its content type says it is")
	}
	record, err := front.PlainRecord(r, body)
	if err != nil {
		return true, refuse(badRequest, 400, "%s", err.Error())
	}
	record.Partition = partition
	results, err := a.gate.Produce(r.Context(), who, r.PathValue("topic"), []*kgo.Record{record})
	if err != nil {
		return true, err
	}
	settled = allSettled(results)
	if err := results[0].Err; err != nil {
		return settled, a.plainFailure(r, who, partition, err)
	}
	return settled, a.writeResults(w, media, results, confluentResults)
}

// plainFailure is the answer for a plain record that could not be written: the
// fitting status with v2's error body.
func (a *api) plainFailure(r *http.Request, who gate.Principal, partition int32, err error) error {
	var broker *kerr.Error
	switch {
	case errors.Is(err, kafka.ErrNoPartition):
		if partition >= 0 {
			if _, err := a.topic(r.Context(), r, who); err == nil {
				return errNoPartition
			}
		}
		return &refusal{status: http.StatusNotFound, code: a.cfg.TopicNotFoundCode, message: topicNotFound}
	case errors.As(err, &broker):
		status, code := a.brokerCode(broker)
		if gate.Classify(broker) == gate.Unavailable {
			status = http.StatusServiceUnavailable
		}
		return &refusal{status: status, code: code, message: kafka.Message(err)}
	case gate.Classify(err) == gate.Unavailable:
		return &refusal{status: http.StatusServiceUnavailable, code: 50003, message: err.Error()}
	}
	return err
}

// isJSONType says whether a content type is application/json.
func isJSONType(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), mediaPlain)
}
