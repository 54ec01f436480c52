package klamm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/pipe"
)

// translated lets a handler return the errors of package pipe.
func translated(serve front.Handler) front.Handler {
	return func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
		return translate(serve(w, r, who))
	}
}

// translate gives the errors of package pipe their kinds.
func translate(err error) error {
	for _, known := range []struct {
		is   error
		kind gate.Kind
	}{
		{pipe.ErrNoPipe, gate.NotFound},
		{pipe.ErrNoDelivery, gate.NotFound},
		{pipe.ErrBadRequest, gate.Invalid},
		{pipe.ErrNotPaused, gate.Conflict},
		{pipe.ErrBusy, gate.Conflict},
		{catalog.ErrNotFound, gate.NotFound},
		{catalog.ErrExists, gate.Exists},
		{catalog.ErrConflict, gate.Conflict},
		{catalog.ErrReadOnly, gate.Conflict},
		{catalog.ErrNewer, gate.Conflict},
		{catalog.ErrInvalid, gate.Invalid},
		{catalog.ErrFull, gate.TooLarge},
		{catalog.ErrUnavailable, gate.Unavailable},
	} {
		if errors.Is(err, known.is) {
			return &gate.Error{Kind: known.kind, Message: strings.TrimPrefix(err.Error(), pipe.ErrBadRequest.Error()+": ")}
		}
	}
	return err
}

// invalid is the error for a request that is wrong in itself.
func invalid(message string) error { return &gate.Error{Kind: gate.Invalid, Message: message} }

// statuses of the kinds of errors that say what is wrong.
var statuses = map[gate.Kind]int{
	gate.Invalid:         http.StatusBadRequest,
	gate.Unauthenticated: http.StatusUnauthorized,
	gate.Denied:          http.StatusForbidden,
	gate.NotFound:        http.StatusNotFound,
	gate.Exists:          http.StatusConflict,
	gate.Conflict:        http.StatusConflict,
	gate.TooLarge:        http.StatusRequestEntityTooLarge,
	gate.Throttled:       http.StatusTooManyRequests,
	gate.Unsupported:     http.StatusNotImplemented,
	gate.Unavailable:     http.StatusServiceUnavailable,
}

// unexpected is what a caller is told of an error that is klamm's own fault.
const unexpected = "an unexpected error; the log has the details"

// explain returns the status of an error and what may be said about it.
func explain(err error) (status int, detail string) {
	switch {
	case errors.Is(err, front.ErrNoRoute):
		return http.StatusNotFound, "there is nothing at this path; /klamm/v1/openapi.json describes what there is"
	case errors.Is(err, front.ErrMethod):
		return http.StatusMethodNotAllowed, "this path does not have that method"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return http.StatusBadRequest, "the request body breaks off"
	}
	if status, text, ok := front.Status(err); ok {
		return status, strings.ReplaceAll(text, "\n", "; ")
	}
	kind := gate.Classify(err)
	status, ok := statuses[kind]
	var own *gate.Error
	switch {
	case !ok:
		return http.StatusInternalServerError, unexpected
	case kind == gate.Unavailable && errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &own):
		return status, "the brokers have not answered in time; /ready says whether they can be reached"
	}
	return status, oneLine(err)
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// writeError answers in the form of RFC 9457.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	status, detail := explain(err)
	problem := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail}
	if kind, _, violated := front.LimitType(err); kind != "" {
		problem["type"] = kind
		if len(violated) > 0 {
			problem["violated-policies"] = violated
		}
	}
	_ = writeJSON(w, status, "application/problem+json", problem)
}
