package function

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// maxErrorBody bounds what a program may say about a failure, in bytes.
const maxErrorBody = 1 << 20

// serve answers the Lambda Runtime API for one process (function-targets.md 2.1).
// Nothing has a time limit: a program may wait for work for days.
func (i *instance) serve(l net.Listener) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "pong") })
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", i.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", i.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", i.error)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", i.initError)
	s := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go func() { _ = s.Serve(l) }()
	return s
}

// answer writes the documents of the Runtime API.
func answer(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if kind == "" {
		_, _ = io.WriteString(w, `{"status":"OK"}`)
		return
	}
	_, _ = w.Write(errorBody(kind, message))
}

// next holds a program's request for work until there is some.
func (i *instance) next(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	switch i.state {
	case running:
		if len(i.work) == 0 { // the event is with the program already
			i.mu.Unlock()
			answer(w, http.StatusForbidden, "InvalidStateTransition", "the invocation before is not answered")
			return
		}
	case dead:
		i.mu.Unlock()
		answer(w, http.StatusInternalServerError, "ServiceError", "the process is being ended")
		return
	}
	if i.replace != nil { // a request whose connection broke, perhaps
		close(i.replace)
	}
	replace := make(chan struct{})
	i.replace = replace
	was := i.state
	if was == starting || was == responded {
		i.state = idle
	}
	i.mu.Unlock()
	switch was {
	case starting:
		close(i.ready)
	case responded:
		i.pool.free(i)
	}
	select {
	case c := <-i.work:
		i.handOver(w, c)
	case <-replace:
		answer(w, http.StatusForbidden, "InvalidStateTransition", "another request for work has taken over")
	case <-r.Context().Done():
	}
}

// handOver gives a program its event.
func (i *instance) handOver(w http.ResponseWriter, c *call) {
	h := w.Header()
	h.Set("Lambda-Runtime-Aws-Request-Id", c.in.ID)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(c.end.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", i.pool.def.ARN)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(c.in.Payload)))
	if c.in.Trace != "" {
		h.Set("Lambda-Runtime-Trace-Id", c.in.Trace)
	}
	if c.in.ClientContext != "" {
		h.Set("Lambda-Runtime-Client-Context", c.in.ClientContext)
	}
	if c.in.Tenant != "" {
		h.Set("Lambda-Runtime-Aws-Tenant-Id", c.in.Tenant)
	}
	_, err := w.Write(c.in.Payload)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil { // nobody is there any more
		i.mu.Lock()
		if !c.over {
			c.over = true
			c.timer.Stop()
			i.state = dead
			close(c.lost)
		}
		i.mu.Unlock()
		i.kill("broke off its request for work")
	}
}

// current returns the call that a program answers, or has told it what is wrong.
func (i *instance) current(w http.ResponseWriter, r *http.Request) *call {
	i.mu.Lock()
	c, s := i.call, i.state
	i.mu.Unlock()
	switch {
	case c == nil || c.in.ID != r.PathValue("id"):
		answer(w, http.StatusBadRequest, "InvalidRequestID", "this process has no invocation of that id")
	case s != running:
		answer(w, http.StatusForbidden, "InvalidStateTransition", "the invocation has been answered already")
	default:
		return c
	}
	return nil
}

// response takes a function's answer.
func (i *instance) response(w http.ResponseWriter, r *http.Request) {
	c := i.current(w, r)
	if c == nil {
		return
	}
	mode := r.Header.Get("Lambda-Runtime-Function-Response-Mode")
	if mode != "" && mode != "streaming" {
		i.finish(c, failure("", "Runtime.InvalidResponseMode", "RequestId: %s Error: the response mode %q is not known", c.in.ID, mode), responded)
		answer(w, http.StatusBadRequest, "InvalidFunctionResponseMode", "want streaming or no mode")
		return
	}
	var body bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= MaxResponse {
		body.Grow(int(n) + bytes.MinRead)
	}
	n, err := io.Copy(&body, io.LimitReader(r.Body, MaxResponse+1))
	if n > MaxResponse {
		i.finish(c, failure("", "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", MaxResponse), responded)
		answer(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size ("+strconv.Itoa(MaxResponse)+" bytes).")
		return
	}
	out := Outcome{Payload: body.Bytes()}
	if err != nil {
		out = failure("", "Runtime.TruncatedResponse", "RequestId: %s Error: the response was cut short", c.in.ID)
	} else if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		out = Outcome{Error: Unhandled, Payload: trailingError(kind, r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))}
	}
	i.finish(c, out, responded)
	answer(w, http.StatusAccepted, "", "")
}

// error takes a function's failure.
func (i *instance) error(w http.ResponseWriter, r *http.Request) {
	c := i.current(w, r)
	if c == nil {
		return
	}
	body, err := errorOf(r)
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error())
		return
	}
	i.finish(c, Outcome{Error: Unhandled, Payload: body}, responded)
	answer(w, http.StatusAccepted, "", "")
}

// initError takes why a program cannot start.
func (i *instance) initError(w http.ResponseWriter, r *http.Request) {
	body, err := errorOf(r)
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error())
		return
	}
	i.mu.Lock()
	early := i.state == starting && i.refused == nil
	if early {
		i.refused = body
		close(i.failed)
	}
	i.mu.Unlock()
	if !early {
		answer(w, http.StatusForbidden, "InvalidStateTransition", "the program has started")
		return
	}
	answer(w, http.StatusAccepted, "", "")
}

// errorOf returns the document of a failure as callers get it: unchanged where the
// program gave one.
func errorOf(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxErrorBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxErrorBody {
		return nil, errors.New("a failure may be described by at most 1 MiB")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/vnd.aws.lambda.error.cause+json") {
		var doc map[string]json.RawMessage
		if json.Unmarshal(body, &doc) == nil {
			delete(doc, "errorCause")
			if plain, err := json.Marshal(doc); err == nil {
				body = plain
			}
		}
	}
	if !json.Valid(body) {
		body = errorBody(errorType(r.Header.Get("Lambda-Runtime-Function-Error-Type")), string(body))
	}
	return body, nil
}

// errorType keeps the names that the Lambda service knows (function-targets.md 2.3).
func errorType(kind string) string {
	switch {
	case strings.Contains(kind, "Runtime.") && len(kind) <= 128:
		return kind
	case strings.Contains(kind, "Function."):
		return "Function.Unknown"
	}
	return "Runtime.Unknown"
}
