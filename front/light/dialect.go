// Package light serves clients that are too small for an envelope or a consumer
// group: a sensor with a few kilobytes of memory, a shell script, a browser
// (gateway-policies.md 6).
//
// Beside plain produce it pushes: records go out as Server-Sent Events and over
// WebSockets as soon as they are there. Both take them from a source, which is
// either a subscription that shares what it reads with all others, or a member of
// a consumer group; a filter says which of them a client wants. Others may write to an
// open WebSocket, by its id (connections.go).
package light

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// Dialect returns the API of light clients, whose WebSockets are among the connections.
func Dialect(g *gate.Gate, c *Connections) front.Dialect { return dialect(g, c, usual) }

func dialect(g *gate.Gate, c *Connections, t times) front.Dialect {
	a := &api{gate: g, streams: gate.NewStreams(g), connections: c, times: t}
	return front.Dialect{
		Name:     "light",
		Prefixes: []string{"/p", "/stream", "/ws", "/@connections"},
		Routes: []front.Route{
			{Name: "produce", Pattern: "POST /p/{topic}", Serve: a.produce, Repeat: front.RepeatOnce},
			{Name: "stream", Pattern: "GET /stream/{topic}", Serve: a.stream, Streams: true},
			{Name: "ws", Pattern: "GET /ws", Serve: a.ws, Streams: true},
			{Name: "ws.topic", Pattern: "GET /ws/{topic}", Serve: a.ws, Streams: true},
			{Name: "connections.post", Pattern: "POST /@connections/{connection}", Serve: a.postConnection, Action: gate.ManageConnections},
			{Name: "connections.get", Pattern: "GET /@connections/{connection}", Serve: a.getConnection, Action: gate.ManageConnections},
			{Name: "connections.delete", Pattern: "DELETE /@connections/{connection}", Serve: a.deleteConnection, Action: gate.ManageConnections},
		},
		WriteError: writeError,
	}
}

type api struct {
	gate    *gate.Gate
	streams *gate.Streams
	times   times

	connections *Connections
}

// times are what streams and WebSockets go by.
type times struct {
	heartbeat  time.Duration // of silence before a stream says that it lives
	stream     time.Duration // after which a stream ends
	recheck    time.Duration // between two looks at whether the caller still may
	blocked    time.Duration // for which a client may take nothing
	commit     time.Duration // between two commits of a group's member
	silent     time.Duration // without a frame before a WebSocket is pinged
	pong       time.Duration // that its answer may take
	closing    time.Duration // that the end of a WebSocket may take
	idle, life time.Duration // after which a WebSocket without messages, and any, ends
}

var usual = times{
	heartbeat: 15 * time.Second, stream: time.Hour, recheck: 30 * time.Second, blocked: 30 * time.Second, commit: 5 * time.Second,
	silent: time.Minute, pong: 20 * time.Second, closing: 10 * time.Second, idle: time.Hour, life: 24 * time.Hour,
}

// invalid is an error for what a request has wrong.
func invalid(message string) error { return &gate.Error{Kind: gate.Invalid, Message: message} }

// A refusal is an error with a status that no kind of error has.
type refusal struct {
	status  int
	message string
}

func (e *refusal) Error() string { return e.message }

// Reported makes it no news for the log.
func (e *refusal) Reported() {}

// outcome returns what is said of an error: a status, v2's code for it and a
// text.
func outcome(err error) (status, code int, message string) {
	status, message = http.StatusInternalServerError, "Internal Server Error"
	var broker *kerr.Error
	var refused *refusal
	ownStatus, ownText, known := front.Status(err)
	switch kind := gate.Classify(err); {
	case errors.As(err, &refused):
		status, message = refused.status, refused.message
	case errors.Is(err, front.ErrNoRoute):
		status, message = http.StatusNotFound, "HTTP 404 Not Found"
	case errors.Is(err, front.ErrMethod):
		status, message = http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed"
	case known:
		status, message = ownStatus, ownText
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
	return status, code, message
}

// writeError answers in v2's error shape.
func writeError(w http.ResponseWriter, _ *http.Request, err error) {
	if p := front.InvalidProblem(err); p != nil {
		p.Write(w)
		return
	}
	status, code, message := outcome(err)
	body, _ := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{code, message})
	w.Header()["Content-Type"] = []string{"application/json"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// A problem is how streams and WebSockets tell of an error (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	Errors    []front.ProblemEntry `json:"errors,omitempty"`
	Truncated bool                 `json:"truncated,omitempty"`
	Violated  []string             `json:"violated-policies,omitempty"`
}

func problemOf(err error) problem {
	if p := front.InvalidProblem(err); p != nil {
		return problem{p.Type, p.Title, p.Status, p.Detail, p.Errors, p.Truncated, nil}
	}
	status, _, message := outcome(err)
	if kind, title, violated := front.LimitType(err); kind != "" {
		return problem{Type: kind, Title: title, Status: status, Detail: message, Violated: violated}
	}
	return problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: message}
}

// statuses is the table from the kind of an error to its status.
var statuses = map[gate.Kind]int{
	gate.Invalid: http.StatusBadRequest, gate.Unauthenticated: http.StatusUnauthorized, gate.Denied: http.StatusForbidden,
	gate.Exists: http.StatusConflict, gate.Conflict: http.StatusConflict, gate.TooLarge: http.StatusRequestEntityTooLarge, gate.Throttled: http.StatusTooManyRequests,
	gate.Unsupported: http.StatusNotImplemented, gate.Unavailable: http.StatusServiceUnavailable,
}

// codes are v2's, where it has one that says more than the status.
var codes = map[gate.Kind]int{gate.Unauthenticated: 40101, gate.Denied: 40301, gate.Unavailable: 50003}
