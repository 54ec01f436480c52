package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/schema"
)

// A refusal is an answer of this API that is no success.
type refusal struct {
	status, code int
	message      string
}

func (e *refusal) Error() string { return e.message }

// Reported says that there is nothing about it that the log should know.
func (e *refusal) Reported() {}

// invalid refuses a request that cannot be read.
func invalid(code int, form string, args ...any) error {
	status := code
	if status >= 1000 {
		status /= 100
	}
	return &refusal{status, code, fmt.Sprintf(form, args...)}
}

// writeError answers with the registry's own code, or with the status where there is
// none.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := refusalOf(err)
	body, _ := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{e.code, e.message})
	kind, ok := accepted(r.Header.Values("Accept"))
	if !ok {
		kind = offered[0]
	}
	w.Header()["Content-Type"] = []string{kind}
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// refusalOf turns any error into an answer.
func refusalOf(err error) *refusal {
	var own *refusal
	var refused *schema.RegistryError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refused):
		return &refusal{refused.Status, refused.Code, refused.Message}
	case errors.Is(err, front.ErrNoRoute):
		return &refusal{http.StatusNotFound, http.StatusNotFound, "HTTP 404 Not Found"}
	case errors.Is(err, front.ErrMethod):
		return &refusal{http.StatusMethodNotAllowed, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed"}
	}
	if status, text, ok := front.Status(err); ok {
		return &refusal{status, status, text}
	}
	status, text := http.StatusInternalServerError, "An unexpected error; the log has the details."
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		status, text = http.StatusUnauthorized, "Unauthorized"
	case gate.Denied:
		status, text = http.StatusForbidden, err.Error()
	case gate.Throttled:
		status, text = http.StatusTooManyRequests, err.Error()
	case gate.Unavailable:
		status, text = http.StatusServiceUnavailable, "The registry cannot be reached now."
	}
	return &refusal{status, codeOf(status), text}
}

// codeOf is the error code of a status that has no finer one: the original's for what is
// refused to a caller.
func codeOf(status int) int {
	switch status {
	case http.StatusUnauthorized:
		return 40101
	case http.StatusForbidden:
		return 40301
	}
	return status
}
