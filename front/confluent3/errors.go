package confluent3

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
}

func (e *refusal) Error() string { return e.message }

// Reported says that there is nothing about it that the log should know.
func (e *refusal) Reported() {}

func refuse(status, code int, form string, args ...any) *refusal {
	message := form
	if len(args) > 0 {
		message = fmt.Sprintf(form, args...)
	}
	return &refusal{status, code, message}
}

var (
	errNotAcceptable = &refusal{status: http.StatusNotAcceptable}
	errMediaType     = &refusal{http.StatusUnsupportedMediaType, 415, "HTTP 415 Unsupported Media Type"}
	errNotFound      = &refusal{http.StatusNotFound, 404, "HTTP 404 Not Found"}
	errNoTopic       = &refusal{http.StatusNotFound, 40403, "This server does not host this topic-partition."}
	errNoPartition   = &refusal{http.StatusNotFound, 40402, "Partition not found."}
	errThrottled     = &refusal{http.StatusTooManyRequests, 429, "Request rate limit exceeded: The rate limit of requests per second has been exceeded."}
)

// badRequest is the answer to a call whose values make no sense.
func badRequest(form string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, 400, "Bad Request: %s", fmt.Sprintf(form, args...))
}

// payload is the answer to a body that lacks what it is for.
func payload(detail string) *refusal {
	return refuse(http.StatusUnprocessableEntity, 42206, "Payload error. %s", detail)
}

// clipped bounds what of a client's own words goes into a message.
func clipped(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// unknownField is the answer to a field that the API does not have.
func unknownField(name string) *refusal {
	return refuse(http.StatusUnprocessableEntity, 422, "Unrecognized field: %s", clipped(name))
}

// writeError answers with the two fields that every error of this API has.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := refusalOf(err)
	if e == errMediaType && r.Method == http.MethodPost {
		w.Header()["Accept-Post"] = jsonType // gateway-policies.md 4.6
	}
	if e.code == 0 {
		w.WriteHeader(e.status)
		return
	}
	body, _ := json.Marshal(struct {
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{e.code, e.message})
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}

// refusalOf turns any error into an answer.
func refusalOf(err error) *refusal {
	var e *refusal
	if errors.As(err, &e) {
		return e
	}
	if e := overloaded(err); e != nil {
		return e
	}
	if status, text, ok := front.Status(err); ok {
		if status == http.StatusNotFound || status == http.StatusMethodNotAllowed {
			text = fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))
		}
		return &refusal{status, status, text}
	}
	if errors.Is(err, kafka.ErrNoPartition) {
		return errNoPartition
	}
	if e := invalidRefusal(err); e != nil {
		return e
	}
	var broker *kerr.Error
	if errors.As(err, &broker) {
		return brokerRefusal(broker, err)
	}
	switch gate.Classify(err) {
	case gate.Unauthenticated:
		return &refusal{http.StatusUnauthorized, 40101, err.Error()}
	case gate.Denied:
		return &refusal{http.StatusForbidden, 40301, err.Error()}
	case gate.NotFound:
		return &refusal{http.StatusNotFound, 404, err.Error()}
	case gate.Exists, gate.Conflict:
		return &refusal{http.StatusConflict, 409, err.Error()}
	case gate.Invalid:
		return &refusal{http.StatusUnprocessableEntity, 422, err.Error()}
	case gate.TooLarge:
		return &refusal{http.StatusRequestEntityTooLarge, 413, err.Error()}
	case gate.Throttled:
		return throttled(err)
	case gate.Unsupported:
		return &refusal{http.StatusBadGateway, 502, "Kafka protocol version not supported.: " + err.Error()}
	case gate.Unavailable:
		return &refusal{http.StatusInternalServerError, 50003, err.Error()}
	default:
		return &refusal{http.StatusInternalServerError, 500, "Internal Server Error"}
	}
}

// brokerRefusal is the mapping of Kafka's errors, in the order of rest-apis.md
// 3.1. The message is the broker's own where it gave one.
func brokerRefusal(e *kerr.Error, err error) *refusal {
	text := kafka.Message(err)
	switch gate.Classify(e) {
	case gate.Unauthenticated:
		return &refusal{http.StatusUnauthorized, 40101, text}
	case gate.Denied:
		return &refusal{http.StatusForbidden, 40301, text}
	}
	switch e {
	case kerr.TopicAlreadyExists, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidReplicaAssignment, kerr.InvalidConfig,
		kerr.InvalidRequest, kerr.PolicyViolation, kerr.SecurityDisabled, kerr.UnsupportedVersion, kerr.UnknownServerError, kerr.InvalidTopicException:
		return &refusal{http.StatusBadRequest, 40002, text}
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
		return errNoTopic
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return &refusal{http.StatusRequestEntityTooLarge, 413, text}
	case kerr.ThrottlingQuotaExceeded:
		return &refusal{http.StatusTooManyRequests, 42901, text}
	case kerr.BrokerNotAvailable:
		return &refusal{http.StatusServiceUnavailable, 50302, text}
	}
	if e.Retriable {
		return &refusal{http.StatusInternalServerError, 50003, text}
	}
	return &refusal{http.StatusInternalServerError, 50002, text}
}
