package connect

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
)

// A refusal is an answer of this API that is no success.
type refusal struct {
	status  int
	message string
}

func (e *refusal) Error() string { return e.message }

// Reported says that there is nothing about it that the log should know.
func (e *refusal) Reported() {}

func refuse(status int, form string, args ...any) error {
	return &refusal{status, fmt.Sprintf(form, args...)}
}

// writeError answers as Kafka Connect does: the code is the status.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	e := refusalOf(err)
	body, _ := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{e.status, e.message})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// refusalOf turns any error into an answer.
func refusalOf(err error) *refusal {
	var own *refusal
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, front.ErrNoRoute):
		return &refusal{http.StatusNotFound, "HTTP 404 Not Found"}
	case errors.Is(err, front.ErrMethod):
		return &refusal{http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed"}
	case errors.Is(err, catalog.ErrNotFound), errors.Is(err, pipe.ErrNoPipe):
		return &refusal{http.StatusNotFound, "There is no such connector, or it does not run yet"}
	case errors.Is(err, catalog.ErrExists), errors.Is(err, catalog.ErrConflict):
		return &refusal{http.StatusConflict, "The connector was changed meanwhile; try again"}
	case errors.Is(err, catalog.ErrInvalid), errors.Is(err, pipe.ErrBadRequest), errors.Is(err, pipe.ErrNotPaused):
		return &refusal{http.StatusBadRequest, err.Error()}
	case errors.Is(err, catalog.ErrUnavailable):
		return &refusal{http.StatusServiceUnavailable, "The definitions of connectors cannot be reached now"}
	}
	if status, text, ok := front.Status(err); ok {
		return &refusal{status, text}
	}
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return &refusal{http.StatusUnauthorized, "Unauthorized"}
	case gate.Denied:
		return &refusal{http.StatusForbidden, err.Error()}
	case gate.NotFound:
		return &refusal{http.StatusNotFound, kafka.Message(err)}
	case gate.Throttled:
		return &refusal{http.StatusTooManyRequests, err.Error()}
	case gate.Unavailable:
		return &refusal{http.StatusServiceUnavailable, kafka.Message(err)}
	}
	return &refusal{http.StatusInternalServerError, "An unexpected error; the log has the details."}
}
