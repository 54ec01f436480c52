package confluent2

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

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
}

func (e *refusal) Error() string { return e.message }

// Reported says that there is nothing about it that the log should know.
func (e *refusal) Reported() {}

func refuse(status, code int, form string, args ...any) error {
	return &refusal{status, code, fmt.Sprintf(form, args...)}
}

var (
	errNotAcceptable = &refusal{status: http.StatusNotAcceptable}
	errMediaType     = &refusal{http.StatusUnsupportedMediaType, 415, "HTTP 415 Unsupported Media Type"}
	errNotFound      = &refusal{http.StatusNotFound, 404, "HTTP 404 Not Found"}
	errNoPartition   = &refusal{http.StatusNotFound, 40402, "Partition not found."}
)

// unknownField is the answer to a field that the API does not have.
func unknownField(name string) error {
	if len(name) > 100 {
		name = name[:100] + "..."
	}
	return refuse(http.StatusUnprocessableEntity, 422, "Unrecognized field: %s", name)
}

// topicNotFound is the message that clients know for a topic that does not
// exist.
const topicNotFound = "This server does not host this topic-partition."

// writeError answers with the two fields that every error of this API has.
func (a *api) writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := a.refusalOf(err)
	if e.status == http.StatusNotAcceptable && e.code == 0 {
		w.WriteHeader(e.status)
		return
	}
	media := a.errorMedia(r)
	if e == errMediaType {
		media = media415(r)
	}
	body := append(make([]byte, 0, 256), `{"error_code":`...)
	body = strconv.AppendInt(body, int64(e.code), 10)
	body = append(body, `,"message":`...)
	body = append(appendText(body, e.message), '}')
	w.Header()["Content-Type"] = []string{media}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// media415 is the type of a 415's body: the first entry of Accept that is one of
// two types exactly (rest-apis.md 2.1, 5).
func media415(r *http.Request) string {
	for _, h := range r.Header["Accept"] {
		for _, m := range parseAccept(h) {
			if media := m.kind + "/" + m.subtype; media == mediaPlain || media == mediaV2 {
				return media
			}
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
	switch {
	case errors.Is(err, front.ErrNoRoute):
		return errNotFound
	case errors.Is(err, front.ErrMethod):
		return &refusal{http.StatusMethodNotAllowed, 405, "HTTP 405 Method Not Allowed"}
	case errors.Is(err, front.ErrBodyTooLarge):
		return &refusal{http.StatusRequestEntityTooLarge, 413, err.Error()}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &refusal{http.StatusBadRequest, 400, "Unexpected end-of-input: the request body breaks off"}
	case errors.Is(err, front.ErrBodyTimeout):
		return &refusal{http.StatusRequestTimeout, 408, err.Error()}
	case errors.Is(err, front.ErrBusy):
		return &refusal{http.StatusServiceUnavailable, 503, err.Error()}
	case errors.Is(err, errForeign):
		return &refusal{http.StatusInternalServerError, 500, errForeign.Error()}
	case errors.Is(err, kafka.ErrNoPartition):
		return errNoPartition
	}
	var broker *kerr.Error
	if errors.As(err, &broker) {
		status, code := a.brokerCode(broker)
		if code == 40403 || code == 40401 {
			return &refusal{status, code, topicNotFound}
		}
		return &refusal{status, code, broker.Description}
	}
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return &refusal{http.StatusUnauthorized, 40101, err.Error()}
	case gate.Denied:
		return &refusal{http.StatusForbidden, 40301, err.Error()}
	case gate.Invalid:
		return &refusal{http.StatusUnprocessableEntity, 422, err.Error()}
	case gate.TooLarge:
		return &refusal{http.StatusRequestEntityTooLarge, 413, err.Error()}
	case gate.Throttled:
		return &refusal{http.StatusTooManyRequests, 429, err.Error()}
	case gate.Unavailable:
		return &refusal{http.StatusInternalServerError, 50003, err.Error()}
	default:
		return &refusal{http.StatusInternalServerError, 500, "Internal Server Error"}
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
