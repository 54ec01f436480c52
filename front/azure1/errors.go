package azure1

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A refusal is an answer of this API that is no success.
type refusal struct {
	status  int
	message string
}

func (e *refusal) Error() string { return e.message }

// Reported says that there is nothing about it that the log should know.
func (e *refusal) Reported() {}

// invalid refuses a request that is wrong in itself.
func invalid(form string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(form, args...)}
}

// writeError answers with a status that the original documents, or with one of
// the listener's own limits (413, 408, 503). The original documents no error
// body; this one is klamm's (rest-apis.md 6.1).
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	e := refusalOf(err)
	body, _ := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{e.status, e.message})
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// refusalOf turns any error into an answer.
func refusalOf(err error) *refusal {
	var e *refusal
	if errors.As(err, &e) {
		return e
	}
	if status, text, ok := front.Status(err); ok {
		return &refusal{status, text}
	}
	status := http.StatusInternalServerError
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		status = http.StatusUnauthorized
	case gate.Denied:
		status = http.StatusForbidden
	case gate.NotFound:
		status = http.StatusNotFound
	case gate.Invalid, gate.Exists, gate.Conflict:
		status = http.StatusBadRequest
	case gate.Throttled:
		status = http.StatusTooManyRequests
	case gate.Internal:
		var broker *kerr.Error
		if !errors.As(err, &broker) {
			return &refusal{status, "An unexpected error; the log has the details."}
		}
	}
	return &refusal{status, message(err)}
}

// message is what a client may know about an error.
func message(err error) string {
	var invalid *gate.Invalidity
	switch {
	case errors.As(err, &invalid):
		return invalid.Text(func(v gate.Violation) string { return v.In("#/records/" + strconv.Itoa(v.Record)) })
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return "The topic does not exist."
	case errors.Is(err, kerr.TopicAlreadyExists):
		return "The topic exists already."
	}
	return kafka.Message(err)
}
