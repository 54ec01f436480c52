package front

import (
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

// planed gives a refusal the status that it has on control planes: an incomplete
// signature is 400 there, and with EventBridge everything is (event-bus.md 1) but the
// refusal of who shows nothing at all, which is 403 at every door.
func planed(r *http.Request, err error) error {
	var e *Refusal
	plane := ControlPlane(r)
	if plane == "" || !errors.As(err, &e) || e.Body == nil || e.Status != http.StatusForbidden {
		return err
	}
	switch kind := e.Header.Get("X-Amzn-Errortype"); {
	case kind == "IncompleteSignatureException":
	case plane != "events", kind == "MissingAuthenticationTokenException":
		return err
	}
	own := *e
	own.Status, own.Header = http.StatusBadRequest, maps.Clone(e.Header)
	return &own
}
