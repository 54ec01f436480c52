package gate

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

// A Kind sorts errors by what a caller can do about them. Each dialect has one
// table from kind to its own status and code.
type Kind int

// The kinds of errors.
const (
	Internal        Kind = iota // klamm's fault; the details are for the log
	Invalid                     // the call itself is wrong
	Unauthenticated             // nobody knows who is calling
	Denied                      // known, and not allowed
	NotFound                    // what the call names does not exist
	Exists                      // what the call makes exists already
	Conflict                    // it does not fit the present state
	TooLarge                    // more than a limit allows
	Throttled                   // too much at once from this caller; later
	Unsupported                 // klamm or the broker cannot do this
	Unavailable                 // a broker or klamm itself is not reachable or too busy now
)

// An Error is an error with a kind and a text that may be shown to the caller.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return e.Message }

// Classify sorts any error that a method of Gate returns. Errors that are not
// known are Internal.
func Classify(err error) Kind {
	var own *Error
	if errors.As(err, &own) {
		return own.Kind
	}
	var broker *kerr.Error
	if errors.As(err, &broker) {
		return classifyBroker(broker)
	}
	switch {
	case errors.Is(err, kafka.ErrNoPartition):
		return NotFound
	case errors.Is(err, kafka.ErrUnreachable), errors.Is(err, kafka.ErrNotAcknowledged), errors.Is(err, kafka.ErrOverloaded),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Unavailable
	default:
		return Internal
	}
}

// classifyBroker sorts the errors that brokers answer with.
func classifyBroker(err *kerr.Error) Kind {
	switch err {
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.GroupIDNotFound, kerr.ResourceNotFound:
		return NotFound
	case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.DelegationTokenAuthorizationFailed:
		return Denied
	case kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState:
		return Unauthenticated
	case kerr.TopicAlreadyExists:
		return Exists
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return TooLarge
	case kerr.InvalidTopicException, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidConfig, kerr.InvalidRequest,
		kerr.InvalidReplicaAssignment, kerr.PolicyViolation, kerr.OffsetOutOfRange, kerr.InvalidTimestamp, kerr.InvalidRecord:
		return Invalid
	case kerr.NonEmptyGroup, kerr.GroupSubscribedToTopic, kerr.ReassignmentInProgress:
		return Conflict
	case kerr.ThrottlingQuotaExceeded:
		return Throttled
	case kerr.UnsupportedVersion, kerr.SecurityDisabled:
		return Unsupported
	}
	if err.Retriable {
		return Unavailable
	}
	return Internal
}
