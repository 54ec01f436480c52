package light

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
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
	waits, err := acknowledged(r)
	if err != nil {
		return err
	}
	if !waits {
		if !kafka.ValidTopic(record.Topic) {
			return kerr.InvalidTopicException // of which nobody would hear otherwise
		}
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

// acknowledged says whether the answer waits until the record is written: ?ack=0 does
// not, and ?ack=1, or all, is as without.
func acknowledged(r *http.Request) (bool, error) {
	if r.URL.RawQuery == "" {
		return true, nil
	}
	values := r.URL.Query()["ack"]
	switch {
	case len(values) == 0:
		return true, nil
	case len(values) > 1:
	case values[0] == "0":
		return false, nil
	case values[0] == "1" || values[0] == "all" || values[0] == "-1":
		return true, nil
	}
	return false, invalid("ack must be 0, which is answered at once, or 1, which waits until the record is written")
}
