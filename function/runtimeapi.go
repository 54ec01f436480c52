package function

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// The paths of the Runtime API (function-targets.md 2.1).
const (
	pathPing       = "/2018-06-01/ping"
	pathInitError  = "/2018-06-01/runtime/init/error"
	pathInvocation = "/2018-06-01/runtime/invocation/"
)

// serve answers a request for the Lambda Runtime API of one process. Nothing has a time
// limit: a program may wait for work for days.
func (i *instance) serve(c *runtimeConn, r *http.Request) {
	var do func()
	method := http.MethodPost
	switch rest, invocation := strings.CutPrefix(r.URL.Path, pathInvocation); {
	case r.URL.Path == pathPing:
		method, do = http.MethodGet, func() { _ = c.write(http.StatusOK, []byte("pong"), headerField{"Content-Type", "text/plain"}) }
	case r.URL.Path == pathInitError:
		do = func() { i.initError(c, r) }
	case invocation && rest == "next":
		method, do = http.MethodGet, func() { i.next(c) }
	case invocation && strings.Count(rest, "/") == 1 && strings.HasSuffix(rest, "/response"):
		do = func() { i.response(c, r, strings.TrimSuffix(rest, "/response")) }
	case invocation && strings.Count(rest, "/") == 1 && strings.HasSuffix(rest, "/error"):
		do = func() { i.error(c, r, strings.TrimSuffix(rest, "/error")) }
	default:
		c.answer(http.StatusNotFound, "NotFound", "the Runtime API has no such path here")
		return
	}
	if r.Method != method {
		c.answer(http.StatusMethodNotAllowed, "MethodNotAllowed", "want "+method)
		return
	}
	do()
}

// next holds a program's request for work until there is some.
func (i *instance) next(c *runtimeConn) {
	i.mu.Lock()
	switch i.state {
	case running:
		if i.call.sent { // the program has its event already
			i.mu.Unlock()
			c.answer(http.StatusForbidden, "InvalidStateTransition", "the invocation before is not answered")
			return
		}
	case dead:
		i.mu.Unlock()
		c.answer(http.StatusInternalServerError, "ServiceError", "the process is being ended")
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
	if was == responded {
		i.call.timer.Stop() // it would keep the call for its time
	}
	i.mu.Unlock()
	switch was {
	case starting:
		close(i.ready)
	case responded:
		i.pool.free(i)
		i.unexpect()
	}
	select {
	case given := <-i.work:
		i.handOver(c, given, replace)
	case <-replace:
		c.tooLate()
	case <-c.server.over:
	}
}

// tooLate answers a request for work whose program has made another one since.
func (c *runtimeConn) tooLate() {
	c.answer(http.StatusForbidden, "InvalidStateTransition", "another request for work has taken over")
}

// handOver gives a program its event, unless it has broken off its request, or has made
// another one since, which closed replaced: then the event waits for that one.
func (i *instance) handOver(c *runtimeConn, given *call, replaced <-chan struct{}) {
	i.mu.Lock()
	current := i.replace == replaced
	alive := c.alive()
	over := given.over // its time was up just now
	given.sent = current && alive && !over
	payload := given.in.Payload
	i.mu.Unlock()
	switch {
	case over:
		c.answer(http.StatusInternalServerError, "ServiceError", "the process is being ended")
		return
	case !alive:
		c.ends = true
		i.work <- given
		return
	case !current:
		i.work <- given
		c.tooLate()
		return
	}
	err := c.write(http.StatusOK, payload,
		headerField{"Content-Type", "application/json"},
		headerField{"Lambda-Runtime-Aws-Request-Id", given.in.ID},
		headerField{"Lambda-Runtime-Deadline-Ms", strconv.FormatInt(given.end.UnixMilli(), 10)},
		headerField{"Lambda-Runtime-Invoked-Function-Arn", i.pool.def.ARN},
		headerField{"Lambda-Runtime-Trace-Id", given.in.Trace},
		headerField{"Lambda-Runtime-Client-Context", given.in.ClientContext},
		headerField{"Lambda-Runtime-Aws-Tenant-Id", given.in.Tenant})
	if err != nil { // nobody is there any more
		c.ends = true
		i.mu.Lock()
		if !given.over {
			given.over = true
			given.timer.Stop()
			i.state = dead
			close(given.lost)
		}
		i.mu.Unlock()
		i.kill("broke off its request for work")
	}
}

// current returns the call that a program answers, or has told it what is wrong.
func (i *instance) current(c *runtimeConn, id string) *call {
	i.mu.Lock()
	given, s := i.call, i.state
	i.mu.Unlock()
	switch {
	case given == nil || given.in.ID != id || s == idle: // who asks for the next has no invocation any more
		c.answer(http.StatusBadRequest, "InvalidRequestID", "this process has no invocation of that id")
	case s != running:
		c.answer(http.StatusForbidden, "InvalidStateTransition", "the invocation has been answered already")
	default:
		return given
	}
	return nil
}

// reply ends a call by what the program has said of it. The program gets its answer first,
// and asks for more while the caller wakes up.
func (i *instance) reply(c *runtimeConn, given *call, out Outcome, status int, kind, message string) {
	first := i.conclude(given, &out, responded)
	c.answer(status, kind, message)
	if first {
		given.done <- out
	}
}

// response takes a function's answer.
func (i *instance) response(c *runtimeConn, r *http.Request, id string) {
	given := i.current(c, id)
	if given == nil {
		return
	}
	mode := r.Header.Get("Lambda-Runtime-Function-Response-Mode")
	if mode != "" && mode != "streaming" {
		i.reply(c, given, failure("", "Runtime.InvalidResponseMode", "RequestId: %s Error: the response mode %q is not known", given.in.ID, mode), http.StatusBadRequest, "InvalidFunctionResponseMode", "want streaming or no mode")
		return
	}
	var body bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= maxResponse {
		body.Grow(int(n) + bytes.MinRead)
	}
	n, err := io.Copy(&body, io.LimitReader(r.Body, maxResponse+1))
	if n > maxResponse {
		i.reply(c, given, failure("", "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse), http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size ("+strconv.Itoa(maxResponse)+" bytes).")
		return
	}
	out := Outcome{Payload: body.Bytes()}
	if err != nil {
		out = failure("", "Runtime.TruncatedResponse", "RequestId: %s Error: the response was cut short", given.in.ID)
	} else if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		out = Outcome{Error: Unhandled, Payload: trailingError(kind, r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))}
	}
	i.reply(c, given, out, http.StatusAccepted, "", "")
}

// error takes a function's failure.
func (i *instance) error(c *runtimeConn, r *http.Request, id string) {
	given := i.current(c, id)
	if given == nil {
		return
	}
	body, err := errorOf(r)
	switch {
	case errors.Is(err, errLongFailure):
		i.reply(c, given, failure("", "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse), http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error())
	case err != nil:
		i.reply(c, given, failure("", "Runtime.TruncatedResponse", "RequestId: %s Error: the description of the failure was cut short", given.in.ID), http.StatusBadRequest, "InvalidRequest", "the body breaks off")
	default:
		i.reply(c, given, Outcome{Error: Unhandled, Payload: body}, http.StatusAccepted, "", "")
	}
}

// initError takes why a program cannot start.
func (i *instance) initError(c *runtimeConn, r *http.Request) {
	body, err := errorOf(r)
	if err != nil {
		c.answer(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error())
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
		c.answer(http.StatusForbidden, "InvalidStateTransition", "the program has started")
		return
	}
	c.answer(http.StatusAccepted, "", "")
}

// errLongFailure says that the description of a failure is longer than an answer may be.
var errLongFailure = fmt.Errorf("a failure may be described by at most %d bytes", maxResponse)

// errorOf returns the document of a failure as callers get it: unchanged where the
// program gave one.
func errorOf(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxResponse+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxResponse {
		return nil, errLongFailure
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

// knownErrorType is the form of the names of failures that are kept as they are.
var knownErrorType = regexp.MustCompile(`(Runtime|Function)\.[A-Z][a-zA-Z]+`)

// errorType keeps the names that the Lambda service keeps (function-targets.md 2.3).
func errorType(kind string) string {
	switch {
	case len(kind) <= 128 && knownErrorType.MatchString(kind):
		return kind
	case strings.HasPrefix(kind, "Function."):
		return "Function.Unknown"
	}
	return "Runtime.Unknown"
}
