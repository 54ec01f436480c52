// Package light serves clients that are too small for an envelope: a sensor
// with a few kilobytes of memory, a shell script (gateway-policies.md 6).
package light

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// Dialect returns the API of light clients.
func Dialect(g *gate.Gate) front.Dialect {
	a := &api{g}
	return front.Dialect{
		Name:       "light",
		Prefixes:   []string{"/p"},
		Routes:     []front.Route{{Name: "produce", Pattern: "POST /p/{topic}", Serve: a.produce}},
		WriteError: writeError,
	}
}

type api struct{ gate *gate.Gate }

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

// writeError answers in v2's error shape.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	status, code, message := http.StatusInternalServerError, 0, "Internal Server Error"
	var broker *kerr.Error
	switch kind := gate.Classify(err); {
	case errors.Is(err, front.ErrNoRoute):
		status, message = http.StatusNotFound, "HTTP 404 Not Found"
	case errors.Is(err, front.ErrMethod):
		status, message = http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed"
	case errors.Is(err, front.ErrBodyTooLarge):
		status, message = http.StatusRequestEntityTooLarge, err.Error()
	case errors.Is(err, front.ErrBodyTimeout):
		status, message = http.StatusRequestTimeout, err.Error()
	case errors.Is(err, front.ErrBusy):
		status, message = http.StatusServiceUnavailable, err.Error()
	case kind == gate.NotFound:
		status, code, message = http.StatusNotFound, 40403, "This server does not host this topic-partition."
	case kind != gate.Internal:
		status, code, message = statuses[kind], codes[kind], err.Error()
		if errors.As(err, &broker) {
			message = broker.Description
		}
	}
	if code == 0 {
		code = status
	}
	body, _ := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{code, message})
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// statuses is the table from the kind of an error to its status.
var statuses = map[gate.Kind]int{
	gate.Invalid: http.StatusBadRequest, gate.Unauthenticated: http.StatusUnauthorized, gate.Denied: http.StatusForbidden,
	gate.Exists: http.StatusConflict, gate.Conflict: http.StatusConflict, gate.TooLarge: http.StatusRequestEntityTooLarge, gate.Throttled: http.StatusTooManyRequests,
	gate.Unsupported: http.StatusNotImplemented, gate.Unavailable: http.StatusServiceUnavailable,
}

// codes are v2's, where it has one that says more than the status.
var codes = map[gate.Kind]int{gate.Unauthenticated: 40101, gate.Denied: 40301, gate.Unavailable: 50003}
