package aws

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/gate"
)

// A lambda serves the functions of the Lambda API: the dated paths.
type lambda struct{ functions *gate.Functions }

// Lambda returns the dialect of the Lambda API (function-targets.md 1, interface.md
// 6): functions, invocations, tags.
func Lambda(f *gate.Functions) front.Dialect {
	l := lambda{f}
	const at = "/2015-03-31/functions"
	return front.Dialect{
		Name: "aws/lambda",
		// Of all versions of the API, so that what is not served is refused in its shape.
		Prefixes: []string{"/2014-11-13", "/2015-03-31", "/2016-08-19", "/2017-03-31", "/2017-10-31", "/2018-10-31", "/2019-09-25", "/2019-09-30", "/2020-04-22", "/2020-06-30",
			"/2021-07-20", "/2021-10-31", "/2021-11-15", "/2024-08-31", "/2025-11-30", "/2025-12-01", "/2026-07-09"},
		Routes: []front.Route{
			{Name: "lambda.CreateFunction", Pattern: "POST " + at, Serve: l.create},
			{Name: "lambda.ListFunctions", Pattern: "GET " + at, Serve: l.list},
			{Name: "lambda.GetFunction", Pattern: "GET " + at + "/{name}", Serve: l.get},
			{Name: "lambda.DeleteFunction", Pattern: "DELETE " + at + "/{name}", Serve: l.delete},
			{Name: "lambda.GetFunctionConfiguration", Pattern: "GET " + at + "/{name}/configuration", Serve: l.configuration},
			{Name: "lambda.UpdateFunctionConfiguration", Pattern: "PUT " + at + "/{name}/configuration", Serve: l.configure},
			{Name: "lambda.UpdateFunctionCode", Pattern: "PUT " + at + "/{name}/code", Serve: l.code},
			{Name: "lambda.ListVersionsByFunction", Pattern: "GET " + at + "/{name}/versions", Serve: l.versions},
			{Name: "lambda.Invoke", Pattern: "POST " + at + "/{name}/invocations", Serve: l.invoke},
			{Name: "lambda.InvokeAsync", Pattern: "POST /2014-11-13/functions/{name}/invoke-async", Serve: l.invokeAsync},
			{Name: "lambda.PutFunctionConcurrency", Pattern: "PUT /2017-10-31/functions/{name}/concurrency", Serve: l.putConcurrency},
			{Name: "lambda.DeleteFunctionConcurrency", Pattern: "DELETE /2017-10-31/functions/{name}/concurrency", Serve: l.deleteConcurrency},
			{Name: "lambda.GetFunctionConcurrency", Pattern: "GET /2019-09-30/functions/{name}/concurrency", Serve: l.concurrency},
			{Name: "lambda.ListTags", Pattern: "GET /2017-03-31/tags/{arn}", Serve: l.tags},
			{Name: "lambda.TagResource", Pattern: "POST /2017-03-31/tags/{arn}", Serve: l.tag},
			{Name: "lambda.UntagResource", Pattern: "DELETE /2017-03-31/tags/{arn}", Serve: l.untag},
		},
		WriteError: writeLambdaError,
	}
}

// A lambdaFault is an error as the Lambda API knows it.
type lambdaFault struct {
	name    string // "ResourceNotFoundException"
	status  int
	message string
	reason  string        // of what was throttled
	after   time.Duration // what was throttled may be tried again then; up to a second: after one
}

func (e *lambdaFault) Error() string { return e.message }

// Reported says that the answer tells all that there is to know.
func (e *lambdaFault) Reported() {}

func invalidParameter(message string) error {
	return &lambdaFault{name: "InvalidParameterValueException", status: http.StatusBadRequest, message: message}
}

// lambdaFaultOf returns any error in the words of the Lambda API.
func lambdaFaultOf(err error) *lambdaFault {
	var own *lambdaFault
	if errors.As(err, &own) {
		return own
	}
	var start *function.StartError
	var unreached *function.UnreachedError
	switch message := err.Error(); {
	case errors.Is(err, front.ErrNoRoute), errors.Is(err, front.ErrMethod):
		return &lambdaFault{name: "UnknownOperationException", status: http.StatusNotFound, message: "There is no such operation."}
	case errors.Is(err, front.ErrBodyTooLarge):
		return &lambdaFault{name: "RequestTooLargeException", status: http.StatusRequestEntityTooLarge, message: "Request must be smaller than the limit: " + message}
	case errors.Is(err, catalog.ErrNotFound), errors.Is(err, function.ErrNotFound):
		return &lambdaFault{name: "ResourceNotFoundException", status: http.StatusNotFound, message: message}
	case errors.Is(err, catalog.ErrExists), errors.Is(err, catalog.ErrReadOnly), errors.Is(err, catalog.ErrConflict), errors.Is(err, catalog.ErrNewer):
		return &lambdaFault{name: "ResourceConflictException", status: http.StatusConflict, message: message}
	case errors.Is(err, gate.ErrRevision):
		return &lambdaFault{
			name: "PreconditionFailedException", status: http.StatusPreconditionFailed,
			message: "The RevisionId provided does not match the latest RevisionId of the function. Call the GetFunction or GetFunctionConfiguration operation to retrieve the latest RevisionId.",
		}
	case errors.Is(err, catalog.ErrInvalid):
		return &lambdaFault{name: "InvalidParameterValueException", status: http.StatusBadRequest, message: message}
	case errors.Is(err, catalog.ErrFull):
		return &lambdaFault{name: "CodeStorageExceededException", status: http.StatusBadRequest, message: message}
	case errors.Is(err, catalog.ErrUnavailable):
		return &lambdaFault{name: "ServiceException", status: http.StatusServiceUnavailable, message: "The catalog is not available now; try again."}
	case errors.Is(err, function.ErrThrottled):
		return &lambdaFault{name: "TooManyRequestsException", status: http.StatusTooManyRequests, message: "Rate Exceeded.", reason: "ReservedFunctionConcurrentInvocationLimitExceeded"}
	case errors.Is(err, function.ErrClosed):
		return &lambdaFault{name: "ServiceException", status: http.StatusServiceUnavailable, message: "klamm is stopping; try again."}
	case errors.Is(err, function.ErrTooLarge):
		return &lambdaFault{name: "RequestTooLargeException", status: http.StatusRequestEntityTooLarge, message: message}
	case errors.As(err, &unreached) && unreached.Status == http.StatusTooManyRequests:
		return &lambdaFault{name: "TooManyRequestsException", status: http.StatusTooManyRequests, message: "Rate Exceeded.", reason: "ConcurrentInvocationLimitExceeded", after: unreached.After}
	case errors.As(err, &unreached):
		return &lambdaFault{name: "ResourceNotReadyException", status: http.StatusBadGateway, message: message}
	case errors.As(err, &start):
		return &lambdaFault{name: "InvalidRuntimeException", status: http.StatusBadGateway, message: start.Error()}
	}
	if status, text, ok := front.Status(err); ok {
		return &lambdaFault{name: statusName(status), status: status, message: text}
	}
	switch gate.Classify(err) {
	case gate.Denied:
		return &lambdaFault{name: "AccessDeniedException", status: http.StatusForbidden, message: err.Error()}
	case gate.Unauthenticated:
		return &lambdaFault{name: "MissingAuthenticationTokenException", status: http.StatusForbidden, message: "Missing Authentication Token"}
	case gate.Throttled:
		return &lambdaFault{name: "TooManyRequestsException", status: http.StatusTooManyRequests, message: "Rate Exceeded.", reason: "CallerRateLimitExceeded"}
	case gate.Invalid:
		return &lambdaFault{name: "InvalidParameterValueException", status: http.StatusBadRequest, message: err.Error()}
	case gate.Unavailable:
		return &lambdaFault{name: "ServiceException", status: http.StatusServiceUnavailable, message: "The brokers cannot be reached now; try again."}
	}
	return &lambdaFault{name: "ServiceException", status: http.StatusInternalServerError, message: "An internal error has occurred; the log has the details."}
}

// writeLambdaError answers with an error: the name in a header, whose fault it is and
// the text in the body.
func writeLambdaError(w http.ResponseWriter, _ *http.Request, err error) {
	f := lambdaFaultOf(err)
	body := map[string]string{"Type": "User", "message": f.message}
	switch f.name {
	case "AccessDeniedException", "ResourceNotFoundException", "InvalidRuntimeException", "ServiceException", "ResourceInUseException": // these have it with a capital
		body = map[string]string{"Type": "User", "Message": f.message}
	}
	switch {
	case f.status >= 500:
		body["Type"] = "Service"
	case f.name == "ValidationException": // it is none of the API's own
		delete(body, "Type")
	}
	if f.reason != "" {
		body["Reason"] = f.reason
	}
	h := w.Header()
	h.Set("X-Amzn-Errortype", f.name)
	if f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(f.after.Seconds())))))
	}
	b, _ := json.Marshal(body)
	h.Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write(b)
}

// functionForms are the ways to name a function: name, name:qualifier,
// account:function:name, the ARN (function-targets.md 1.1).
var functionForms = regexp.MustCompile(`^(?:(?:arn:(aws[a-zA-Z-]*):lambda:)?(?:([a-z]{2}(?:-[a-z]+)+-\d):)?(?:(\d{12}):)?function:)?([a-zA-Z0-9-_]+)(?::(\$LATEST|[a-zA-Z0-9-_]+))?$`)

// nameOf returns the name of the function that a request is about.
func (l lambda) nameOf(r *http.Request) (string, error) {
	return l.name(r.PathValue("name"), r.URL.Query().Get("Qualifier"))
}

func (l lambda) name(given, qualifier string) (string, error) {
	m := functionForms.FindStringSubmatch(given)
	if m == nil || len(given) > 256 || len(m[4]) > 64 {
		return "", invalidParameter("1 validation error detected: Value '" + clip(given) + "' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: " +
			`(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?`)
	}
	name, at := m[4], m[5]
	if at == "" {
		at = qualifier
	} else if qualifier != "" && qualifier != at {
		return "", invalidParameter("The derived qualifier from the function name does not match the specified qualifier.")
	}
	arn := l.functions.ARN(name)
	if at != "" && at != "$LATEST" {
		return "", &lambdaFault{name: "ResourceNotFoundException", status: http.StatusNotFound, message: "Function not found: " + arn + ":" + at}
	}
	parts := strings.Split(arn, ":")
	if region := m[2]; region != "" && region != parts[3] {
		return "", &lambdaFault{name: "ResourceNotFoundException", status: http.StatusNotFound, message: "Functions from '" + region + "' are not reachable in this region ('" + parts[3] + "')"}
	}
	if account := m[3]; account != "" && account != parts[4] {
		return "", &lambdaFault{name: "ResourceNotFoundException", status: http.StatusNotFound, message: "Function not found: " + given}
	}
	return name, nil
}

// missing puts the error of a function that is not there into the words of the API.
func (l lambda) missing(name string, err error) error {
	if errors.Is(err, catalog.ErrNotFound) || errors.Is(err, function.ErrNotFound) {
		return &lambdaFault{name: "ResourceNotFoundException", status: http.StatusNotFound, message: "Function not found: " + l.functions.ARN(name)}
	}
	if errors.Is(err, catalog.ErrExists) {
		return &lambdaFault{name: "ResourceConflictException", status: http.StatusConflict, message: "Function already exist: " + name}
	}
	return err
}

// arnOf returns the name of the function whose ARN stands in the path.
func (l lambda) arnOf(r *http.Request) (string, error) {
	arn := r.PathValue("arn")
	if plain, err := url.PathUnescape(arn); err == nil {
		arn = plain
	}
	if !strings.HasPrefix(arn, "arn:") {
		return "", invalidParameter("Value '" + clip(arn) + "' at 'resource' failed to satisfy constraint: want the ARN of a function")
	}
	return l.name(arn, "")
}
