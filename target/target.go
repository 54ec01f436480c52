// Package target says what a target is, the way of a record out of klamm, and
// how it reports failure. Each kind of target lives in a folder of its own below
// this one; target/all lists them.
//
// A target knows nothing of pipes, retries, offsets or the catalog: it is given
// events and says what became of them.
package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/secret"
)

// A Target takes events out of klamm. It is used from many goroutines at once.
type Target interface {
	// Deliver sends the events, oldest first, and returns nil when the receiver
	// has accepted all of them. A *PartialError says which were not accepted.
	// It must be safe to call again with the same events. Errors that are not
	// marked by Permanent are worth another attempt.
	Deliver(ctx context.Context, events []*event.Event) error
	// Close frees what the target holds. Nothing is delivered after it.
	Close() error
}

// An Invoker is a target that answers. Every Invoker can be the enrichment of a
// pipe.
type Invoker interface {
	Target
	// Invoke sends the events, oldest first, and returns the receiver's answer
	// as it came, at most MaxAnswer bytes; one that is larger is an error.
	// Errors mean what they mean for Deliver.
	Invoke(ctx context.Context, events []*event.Event) ([]byte, error)
}

// MaxAnswer is the largest answer of an Invoker, in bytes.
const MaxAnswer = 6 << 20

// A Kind makes targets from their configuration.
type Kind struct {
	// Name is what the configuration calls the kind: "webhook".
	Name string
	// Config returns a pointer to a zero configuration of this kind, to decode
	// into; it is marshalled to JSON for Open.
	Config func() Config
	// Open makes a target. Its errors are mistakes in the configuration.
	Open func(config json.RawMessage, env Env) (Target, error)
}

// A Config is the configuration of a target kind.
type Config interface {
	// Validate reports each problem with the field it lies in.
	Validate(report func(path, problem string))
}

// Env is what a target may use of klamm.
type Env struct {
	// Pipe is the name of the pipe that delivers.
	Pipe string
	// Cluster is the one of kafka.clusters that the pipe reads; empty: klamm's own, or
	// one without a name.
	Cluster string
	// Batch says that the pipe delivers batches, in the given format ("json",
	// "ndjson"); empty means one event at a time, without an envelope.
	Batch string
	// Transport sends HTTP requests; it refuses addresses that klamm must not
	// reach and never follows redirects.
	Transport http.RoundTripper
	// Produce writes records to klamm's own cluster.
	Produce Produce
	// Clusters write to the clusters of kafka.clusters, by their names.
	Clusters map[string]Produce
	// Invoke runs a function; the errors are those of function.Host. It is nil where
	// there are none.
	Invoke func(ctx context.Context, name string, in function.Invocation) (function.Outcome, error)
	// Enqueue keeps an invocation that nobody waits for until the function has taken it;
	// the error is function.ErrNotFound if there is none of that name. It is nil where
	// there are no functions.
	Enqueue func(ctx context.Context, name string, in function.Invocation) error
	// Egress says which addresses may be reached.
	Egress *Egress
	// Secret looks up what the configuration names by a secret.Ref.
	Secret secret.Lookup
	// LoggedIn is told of each exchange with an authorization server for a connection of
	// the control plane: the error is nil, or why there is no token. It may block for as
	// long as ctx; nil: nobody wants to know.
	LoggedIn func(ctx context.Context, connection string, err error)
	// Log receives what an operator must know.
	Log *slog.Logger
}

// Produce writes records to a cluster, in the order given, and returns when each is
// acknowledged or has failed; a Partition of -1 lets the key decide.
type Produce func(ctx context.Context, records ...*kgo.Record) kgo.ProduceResults

// A PartialError says which events of a batch were not accepted, by their
// position. All others were.
type PartialError struct{ Failed map[int]error }

func (e *PartialError) Error() string {
	return fmt.Sprintf("%d events of the batch were not accepted", len(e.Failed))
}

// Outcome is the error of a delivery of that many events, of which these have failed, by
// their position: nil without any, the event's own error where it was alone, and a
// *PartialError else.
func Outcome(failed map[int]error, events int) error {
	switch {
	case len(failed) == 0:
		return nil
	case events == 1:
		return failed[0]
	}
	return &PartialError{Failed: failed}
}

// Failure is what an attempt failed with, beyond the error's text: for dead
// letters and the delivery log.
type Failure struct {
	Status   int           // of an HTTP answer; 0: there was none
	Response []byte        // the beginning of its body, at most 1 KiB
	After    time.Duration // not before; 0: as the backoff says
	Final    bool          // not to be tried again
	// Unreachable says that no connection to the target's endpoint could be made.
	Unreachable bool
	// Halts says that a sink connector must not go on: its task fails at once, and
	// nothing is given up. Other pipes try again.
	Halts bool
	// Code is what dead letters of rules say; empty: what ErrorCode makes of the rest.
	Code string
	Err  error
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Permanent marks an error as one that another attempt would not mend.
func Permanent(err error) error { return &Failure{Final: true, Err: err} }

// RetryAfter marks an error of a receiver that said when to come back.
func RetryAfter(err error, wait time.Duration) error { return &Failure{After: wait, Err: err} }

// FailureOf returns what is known of a failed attempt; for an error without
// marks that is the error alone.
func FailureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Err: err}
}
