package confluent2

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A refusal is an answer of this API that is no success (rest-apis.md 3.1). The
// status is not always the code divided by a hundred.
type refusal struct {
	status, code int
	message      string
	cause        cause
	problems     []string // listed in the body where there are some
}

func (e *refusal) Error() string { return e.message }

// Reported says that there is nothing about it that the log should know.
func (e *refusal) Reported() {}

// A negotiated error is told in a type that was negotiated.
type negotiated struct {
	told  *refusal
	media string
	err   error // what has happened
}

func (e *negotiated) Error() string { return e.err.Error() }

func (e *negotiated) Unwrap() error { return e.err }

// Denial is what policies have said; nil: it is not about that.
func (e *negotiated) Denial() *gate.Denial { return gate.DenialOf(e.err) }

// Reported says that there is nothing about it that the log should know.
func (e *negotiated) Reported() {}

func refuse(status, code int, form string, args ...any) error {
	return &refusal{status: status, code: code, message: fmt.Sprintf(form, args...)}
}

// refuseShape is refuse for a value that the API's description does not allow;
// the code is the status.
func refuseShape(status int, form string, args ...any) error {
	return &refusal{status: status, code: status, message: fmt.Sprintf(form, args...), cause: shapeCause}
}

// refuseData is refuse for a key or value that its format does not allow; the
// code is the status.
func refuseData(status int, form string, args ...any) error {
	return &refusal{status: status, code: status, message: fmt.Sprintf(form, args...), cause: dataCause}
}

var (
	errNotAcceptable = &refusal{status: http.StatusNotAcceptable}
	errMediaType     = &refusal{status: http.StatusUnsupportedMediaType, code: 415, message: "HTTP 415 Unsupported Media Type"}
	errNotFound      = &refusal{status: http.StatusNotFound, code: 404, message: "HTTP 404 Not Found"}
	errNoPartition   = &refusal{status: http.StatusNotFound, code: 40402, message: "Partition not found."}
)

// unknownField is the answer to a field that the API does not have.
func unknownField(name string) error {
	if len(name) > 100 {
		name = name[:100] + "..."
	}
	return &refusal{status: unprocessable, code: 422, message: "Unrecognized field: " + name, cause: unknownCause}
}

// topicNotFound is the message that clients know for a topic that does not
// exist.
const topicNotFound = "This server does not host this topic-partition."

// writeError answers with the two fields that every error of this API has.
func (a *api) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var told *negotiated
	if errors.As(err, &told) {
		writeRefusal(w, told.media, a.said(told.told, r))
		return
	}
	refused := a.refusalOf(err)
	if refused == errMediaType && r.Method == http.MethodPost {
		w.Header()["Accept-Post"] = []string{a.taken(r)}
	}
	e := a.said(refused, r)
	if e.status == http.StatusNotAcceptable && e.code == 0 {
		w.WriteHeader(e.status)
		return
	}
	media := a.errorMedia(r)
	if e.code == 415 && a.habits.answerType == "" {
		media = media415(r)
	}
	writeRefusal(w, media, e)
}

// taken lists the media types that bodies of a route may have (gateway-policies.md 4.6).
func (a *api) taken(r *http.Request) string {
	if !strings.HasPrefix(r.Pattern, "POST /topics/") {
		return mediaV2
	}
	types := []string{mediaJSON, mediaBinary}
	if a.habits.text {
		types = append(types, mediaText)
	}
	if !a.habits.exactTypes {
		types = append(types, mediaAvro, mediaJSONSchema, mediaProtobuf)
	}
	return strings.Join(types, ", ")
}

// writeRefusal answers with an error in a type.
func writeRefusal(w http.ResponseWriter, media string, e *refusal) {
	body := append(make([]byte, 0, 256), `{"error_code":`...)
	body = strconv.AppendInt(body, int64(e.code), 10)
	body = append(body, `,"message":`...)
	body = appendText(body, e.message)
	for i, problem := range e.problems {
		if i == 0 {
			body = append(body, `,"validation_errors":[`...)
		} else {
			body = append(body, ',')
		}
		body = appendText(body, problem)
	}
	if len(e.problems) > 0 {
		body = append(body, ']')
	}
	body = append(body, '}')
	w.Header()["Content-Type"] = []string{media}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// said returns an error in the words of the profile.
func (a *api) said(e *refusal, r *http.Request) *refusal {
	if a.habits.splitNotFound && e.message == topicNotFound && r.Pattern != "GET /topics/{topic}" {
		e = &refusal{status: e.status, code: 40401, message: e.message}
	}
	if a.habits.rephrase != nil && e != errNotAcceptable {
		e = a.habits.rephrase(e)
	}
	return e
}

// media415 is the type of a 415's body: the first entry of Accept that is one of
// two types exactly (rest-apis.md 2.1, 5).
func media415(r *http.Request) string {
	for _, m := range front.ParseAccept(r.Header["Accept"]) {
		if m.Media == mediaPlain || m.Media == mediaV2 {
			return m.Media
		}
	}
	return mediaPlain
}

// refusalOf turns any error into an answer.
func (a *api) refusalOf(err error) *refusal {
	var e *refusal
	if errors.As(err, &e) {
		return e
	}
	var overload *gate.Overloaded
	if errors.As(err, &overload) {
		return &refusal{status: http.StatusServiceUnavailable, code: 50003, message: err.Error()}
	}
	if status, text, ok := front.Status(err); ok {
		e := &refusal{status: status, code: status, message: text}
		switch status {
		case http.StatusNotFound, http.StatusMethodNotAllowed:
			e.message = fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
		case http.StatusServiceUnavailable:
			e.cause = fullCause
		}
		return e
	}
	switch {
	case errors.Is(err, errForeign):
		return &refusal{status: http.StatusInternalServerError, code: 500, message: errForeign.Error()}
	case errors.Is(err, kafka.ErrNoPartition):
		return errNoPartition
	}
	if e := invalidRefusal(err, wholeValue); e != nil {
		return e
	}
	var broker *kerr.Error
	if errors.As(err, &broker) {
		status, code := a.brokerCode(broker)
		if code == 40403 || code == 40401 {
			return &refusal{status: status, code: code, message: topicNotFound}
		}
		return &refusal{status: status, code: code, message: kafka.Message(err)}
	}
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return &refusal{status: http.StatusUnauthorized, code: 40101, message: err.Error()}
	case gate.Denied:
		return &refusal{status: http.StatusForbidden, code: 40301, message: err.Error()}
	case gate.Invalid:
		return &refusal{status: http.StatusUnprocessableEntity, code: 422, message: err.Error()}
	case gate.TooLarge:
		return &refusal{status: http.StatusRequestEntityTooLarge, code: 413, message: err.Error()}
	case gate.Throttled:
		return &refusal{status: http.StatusTooManyRequests, code: 429, message: err.Error()}
	case gate.Unsupported:
		return &refusal{status: http.StatusBadGateway, code: 502, message: "Kafka protocol version not supported.: " + err.Error()}
	case gate.Unavailable:
		return &refusal{status: http.StatusInternalServerError, code: 50003, message: err.Error()}
	default:
		return &refusal{status: http.StatusInternalServerError, code: 500, message: "Internal Server Error"}
	}
}

// brokerCode is the mapping of Kafka's errors, in the order of rest-apis.md 3.1.
func (a *api) brokerCode(e *kerr.Error) (status, code int) {
	switch gate.Classify(e) {
	case gate.Unauthenticated:
		return http.StatusUnauthorized, 40101
	case gate.Denied:
		return http.StatusForbidden, 40301
	}
	switch e {
	case kerr.TopicAlreadyExists, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidConfig, kerr.InvalidRequest,
		kerr.PolicyViolation, kerr.SecurityDisabled, kerr.UnsupportedVersion, kerr.UnknownServerError, kerr.InvalidTopicException, kerr.InvalidReplicaAssignment:
		return http.StatusBadRequest, 40002
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
		return http.StatusNotFound, a.cfg.TopicNotFoundCode
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return http.StatusRequestEntityTooLarge, 413
	case kerr.ThrottlingQuotaExceeded:
		return http.StatusTooManyRequests, 42901
	case kerr.BrokerNotAvailable:
		return http.StatusServiceUnavailable, 50302
	}
	if e.Retriable {
		return http.StatusInternalServerError, 50003
	}
	return http.StatusInternalServerError, 50002
}
