package front

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
)

// ControlPlane returns the AWS service whose control plane a request is for, by the
// name that its signatures have: events, pipes, lambda or kafka. It is "" for requests
// that are for none.
func ControlPlane(r *http.Request) string {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), "AWSEvents.") && path == "/":
		return "events"
	case path == "/v1/pipes" || strings.HasPrefix(path, "/v1/pipes/") || strings.HasPrefix(path, "/tags/"):
		return "pipes"
	case strings.HasPrefix(path, "/v1/clusters/"):
		return "kafka"
	case len(path) > len("/2015-03-31/") && strings.HasPrefix(path, "/20") && path[5] == '-' && path[8] == '-' && path[11] == '/':
		return "lambda"
	}
	return ""
}

// planed gives a refusal the form that it has on control planes. An incomplete signature
// is 400 there, and with EventBridge everything is (event-bus.md 1) but the refusal of who
// shows nothing at all, which is 403 at every door; there its body tells the error's name,
// too, by which SDKs decide.
func planed(r *http.Request, err error) error {
	var e *Refusal
	plane := ControlPlane(r)
	if plane == "" || !errors.As(err, &e) || e.Body == nil {
		return err
	}
	own := *e
	own.Header = maps.Clone(e.Header)
	kind := e.Header.Get("X-Amzn-Errortype")
	if e.Status == http.StatusForbidden && (kind == "IncompleteSignatureException" || plane == "events" && kind != "MissingAuthenticationTokenException") {
		own.Status = http.StatusBadRequest
	}
	if plane == "events" && kind != "" {
		own.Body, _ = json.Marshal(map[string]string{"__type": kind, "message": e.Message})
		own.Header.Set("Content-Type", "application/x-amz-json-1.1")
	}
	return &own
}
