package front

import (
	"errors"
	"io"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
)

// Status returns the HTTP status for an error that this package makes or that a
// body which breaks off leaves behind, and what a caller may read about it. For
// every other error ok is false; those are the dialect's to name.
func Status(err error) (status int, text string, ok bool) {
	var repeat *RepeatError
	var overload *gate.Overloaded
	if status, text, ok = edgeStatus(err); ok {
		return status, text, true
	}
	switch {
	case errors.As(err, &overload):
		return http.StatusServiceUnavailable, err.Error(), true
	case errors.As(err, &repeat):
		return repeat.Status, repeat.Message, true
	case errors.Is(err, ErrNoRoute):
		return http.StatusNotFound, "There is nothing at this path.", true
	case errors.Is(err, ErrMethod):
		return http.StatusMethodNotAllowed, "This path does not have that method.", true
	case errors.Is(err, ErrBodyTooLarge), errors.Is(err, gate.ErrTooManyRecords):
		return http.StatusRequestEntityTooLarge, err.Error(), true
	case errors.Is(err, ErrBodyTimeout):
		return http.StatusRequestTimeout, err.Error(), true
	case errors.Is(err, ErrBodyMalformed):
		return http.StatusBadRequest, err.Error(), true
	case errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable, err.Error(), true
	case errors.Is(err, io.ErrUnexpectedEOF):
		return http.StatusBadRequest, "Unexpected end-of-input: the request body breaks off.", true
	}
	return 0, "", false
}
