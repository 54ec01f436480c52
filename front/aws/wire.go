package aws

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
)

// largestBody bounds a request of these APIs, in bytes.
const largestBody = 1 << 20

// A fault is an error as these APIs know it.
type fault struct {
	name    string // "ValidationException"
	status  int
	message string
	members map[string]any // beside the message
}

func (e *fault) Error() string { return e.message }

// Reported says that the answer tells all that there is to know.
func (e *fault) Reported() {}

// stamp is a time as these APIs write it: seconds since 1970.
type stamp time.Time

func (t stamp) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(t).UnixMilli())/1000, 'f', -1, 64), nil
}

// decode reads the request's body, one JSON object; unknown members are ignored. No
// body is an empty object.
func decode(r *http.Request, into any) error {
	data, release, err := front.ReadBodyWithin(r, largestBody)
	if err != nil {
		return err
	}
	defer release()
	return parse(data, into)
}

// parse is decode for a body that is there.
func parse(data []byte, into any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	wrong := func(text string) error {
		return &fault{name: "SerializationException", status: http.StatusBadRequest, message: text}
	}
	data, _ = exactNames(data, reflect.TypeOf(into))
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(into); err != nil {
		return wrong(mistake(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return wrong("the body has something behind its JSON object")
	}
	if bytes.TrimSpace(data)[0] != '{' {
		return wrong("the body is not a JSON object")
	}
	return nil
}

// mistake says what is wrong with a body that cannot be read, without klamm's own words
// for its parts.
func mistake(err error) string {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) && mismatch.Field != "" {
		field := mismatch.Field
		if first, rest, ok := strings.Cut(field, "."); ok && first == strings.ToLower(first[:1])+first[1:] {
			field = rest // the name of a type that is a part of another one
		}
		if i := strings.LastIndex(field, ".a "); i > 0 { // a type of this package says what it wants
			return field[:i] + " must be " + field[i+1:]
		}
		return fmt.Sprintf("%s cannot be a JSON %s", field, mismatch.Value)
	}
	var base64Fault base64.CorruptInputError
	if errors.As(err, &base64Fault) {
		return "a member that holds bytes is not base64"
	}
	return "the body is not a JSON object"
}

// write answers with a document.
func write(w http.ResponseWriter, media string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", media)
	_, err = w.Write(b)
	return err
}

// named gives any error its name and status in one of the services; missing and taken
// are what that calls a definition that is not there, and one that is.
type namesOf struct {
	media                    string
	missing, taken, full     fault
	conflict, internal, slow fault
	denied                   int // the status of what is not allowed
	// service is what errors of bounds and conflicts call the service, and resource what
	// they call its definitions, which a path names so; empty: they tell neither.
	service, resource string
}

// faultOf returns an error in the words of a service.
func (n *namesOf) faultOf(err error) *fault {
	say := func(f fault, message string) *fault {
		f.message = message
		return &f
	}
	var own *fault
	if errors.As(err, &own) {
		return own
	}
	switch {
	case errors.Is(err, front.ErrNoRoute), errors.Is(err, front.ErrMethod):
		return &fault{name: "UnknownOperationException", status: http.StatusNotFound, message: "There is no such operation."}
	case errors.Is(err, front.ErrBodyTooLarge):
		return &fault{name: "RequestEntityTooLargeException", status: http.StatusRequestEntityTooLarge, message: err.Error()}
	case errors.Is(err, front.ErrBodyTimeout), errors.Is(err, io.ErrUnexpectedEOF):
		return &fault{name: "SerializationException", status: http.StatusBadRequest, message: "The request body breaks off."}
	case errors.Is(err, catalog.ErrNotFound):
		return say(n.missing, err.Error())
	case errors.Is(err, catalog.ErrExists):
		return say(n.taken, err.Error())
	case errors.Is(err, catalog.ErrFull):
		return say(n.full, "The requested resource exceeds the maximum number allowed.")
	case errors.Is(err, catalog.ErrConflict), errors.Is(err, catalog.ErrReadOnly), errors.Is(err, catalog.ErrNewer):
		return say(n.conflict, err.Error())
	case errors.Is(err, catalog.ErrInvalid):
		return &fault{name: "ValidationException", status: http.StatusBadRequest, message: err.Error()}
	case errors.Is(err, catalog.ErrUnavailable):
		return &fault{name: n.internal.name, status: http.StatusServiceUnavailable, message: "The catalog is not available now; try again."}
	}
	if status, text, ok := front.Status(err); ok {
		return &fault{name: statusName(status), status: status, message: text}
	}
	switch gate.Classify(err) {
	case gate.Denied:
		return &fault{name: "AccessDeniedException", status: n.denied, message: err.Error()}
	case gate.Unauthenticated:
		return &fault{name: "MissingAuthenticationTokenException", status: http.StatusForbidden, message: "Missing Authentication Token"}
	case gate.Throttled:
		return say(n.slow, "Rate exceeded")
	case gate.Invalid:
		return &fault{name: "ValidationException", status: http.StatusBadRequest, message: err.Error()}
	case gate.Unavailable:
		return &fault{name: n.internal.name, status: http.StatusServiceUnavailable, message: "The brokers cannot be reached now; try again."}
	}
	return say(n.internal, "An internal error has occurred; the log has the details.")
}

// writeError answers with an error: the name in a header and in the body.
func (n *namesOf) writeError(w http.ResponseWriter, r *http.Request, err error) {
	f := n.faultOf(err)
	body := map[string]any{"__type": f.name, "message": f.message}
	if n.resource != "" {
		if f.name == n.conflict.name || f.name == n.full.name {
			body["resourceId"], body["resourceType"] = r.PathValue(n.resource), n.resource
		}
		if f.name == n.slow.name || f.name == n.full.name {
			body["serviceCode"], body["quotaCode"] = n.service, n.service
		}
	}
	for name, value := range f.members {
		body[name] = value
	}
	h := w.Header()
	h.Set("X-Amzn-Errortype", f.name)
	if f.status == http.StatusTooManyRequests || f.status >= 500 {
		h.Set("Retry-After", "1")
	}
	b, _ := json.Marshal(body)
	h.Set("Content-Type", n.media)
	w.WriteHeader(f.status)
	_, _ = w.Write(b)
}

// identified gives every answer of a dialect an id; an invocation has one already.
func identified(d front.Dialect) front.Dialect {
	for i, route := range d.Routes {
		d.Routes[i].Serve = func(w http.ResponseWriter, r *http.Request, who gate.Principal) error {
			identify(w)
			return route.Serve(w, r, who)
		}
	}
	refuse := d.WriteError
	d.WriteError = func(w http.ResponseWriter, r *http.Request, err error) {
		identify(w)
		refuse(w, r, err)
	}
	return d
}

func identify(w http.ResponseWriter) {
	if w.Header().Get(requestIDHeader) == "" {
		w.Header().Set(requestIDHeader, newID())
	}
}

const requestIDHeader = "X-Amzn-Requestid"

// statusName is the name of an error that only its status tells of.
func statusName(status int) string {
	switch {
	case status == http.StatusForbidden:
		return "AccessDeniedException"
	case status == http.StatusTooManyRequests:
		return "ThrottlingException"
	case status == http.StatusRequestEntityTooLarge:
		return "RequestEntityTooLargeException"
	case status >= 500:
		return "ServiceUnavailableException"
	}
	return "ValidationException"
}
