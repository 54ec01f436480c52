package target

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What dead letters of rules say of a failure (event-bus.md 8).
const (
	CodeConnection  = "CONNECTION_FAILURE"
	CodeInvalidJSON = "INVALID_JSON"
	CodeParameter   = "INVALID_PARAMETER"
	CodeInternal    = "INTERNAL_ERROR"
	CodeNoResource  = "NO_RESOURCE"
	CodePermissions = "NO_PERMISSIONS"
	CodeLimit       = "RESOURCE_LIMIT_EXCEEDED"
	CodeTarget      = "ERROR_FROM_TARGET"
	CodeThrottling  = "THROTTLING"
	CodeTimeout     = "TIMEOUT"
	CodeUnknown     = "UNKNOWN"
)

// ErrorCode returns the ERROR_CODE of an attempt that has failed (event-bus.md 8): the
// one that the target gave, or what its answer or error amounts to.
func ErrorCode(err error) string {
	f := FailureOf(err)
	switch {
	case f.Code != "":
		return f.Code
	case f.Status == http.StatusTooManyRequests:
		return CodeThrottling
	case f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden:
		return CodePermissions
	case f.Status == http.StatusNotFound || f.Status == http.StatusGone:
		return CodeNoResource
	case f.Status != 0 || f.Response != nil:
		return CodeTarget
	}
	var network net.Error
	var broker *kerr.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kgo.ErrRecordTimeout) || errors.As(err, &network) && network.Timeout():
		return CodeTimeout
	case f.Unreachable || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return CodeConnection
	case errors.As(err, &broker):
		return brokerCode(broker)
	}
	return CodeUnknown
}

// brokerCode is the code of what a broker has answered.
func brokerCode(err *kerr.Error) string {
	switch err {
	case kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed:
		return CodePermissions
	case kerr.UnknownTopicOrPartition, kerr.InvalidTopicException:
		return CodeNoResource
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return CodeLimit
	}
	return CodeTarget
}
