package light

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// produce serves POST /p/{topic}: the body, of whatever type, is one record.
// The answer is 204 with partition and offset in headers, or 202 at once with
// ?ack=0.
func (a *api) produce(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
	body, release, err := front.LendBody(r)
	if err != nil {
		return err
	}
	settled := true
	defer func() {
		if release != nil {
			release(settled)
		}
	}()
	record, err := front.PlainRecord(r, body)
	if err != nil {
		return &gate.Error{Kind: gate.Invalid, Message: err.Error()}
	}
	record.Topic = r.PathValue("topic")
	if r.URL.RawQuery != "" && r.URL.Query().Get("ack") == "0" {
		done := release
		if err := a.gate.Send(r.Context(), who, record, func(error) { done(true) }); err != nil {
			return err
		}
		release = nil
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	results, err := a.gate.Produce(r.Context(), who, record.Topic, []*kgo.Record{record})
	if err != nil {
		return err
	}
	if err := results[0].Err; err != nil {
		// A record that was not acknowledged in time may still be on its way
		// out of this very buffer.
		settled = !errors.Is(err, kafka.ErrNotAcknowledged)
		return err
	}
	h := w.Header()
	h["X-Kafka-Partition"] = []string{strconv.Itoa(int(record.Partition))}
	h["X-Kafka-Offset"] = []string{strconv.FormatInt(record.Offset, 10)}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
