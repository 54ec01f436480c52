// Package function runs functions: programs written for the Lambda Runtime API,
// started and supervised as local processes, unmodified; WebAssembly modules; and
// functions that run elsewhere, called by HTTP or through a Lambda API (remote*.go).
//
// A Host holds functions by name. Host.Invoke finds or starts an instance of the
// function, hands it the event and returns what became of it, in three ways that
// callers tell apart (function-targets.md 0): it answered, it ran and failed
// (Outcome.Error), or it was never reached (an error).
//
// A process is an HTTP client that asks for work, and the port it asks at says which
// process it is: each has a loopback listener of its own (runtimeserver.go), at which
// it finds the Runtime API (runtimeapi.go), and a state machine (instance.go). A pool
// (pool.go) keeps the instances of one function, starts more while callers wait and
// retires them when the definition changes. What stands in the way of processes that
// outlive klamm is in process*.go and guard.go.
package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Limits of the Invoke API (function-targets.md 1.3), in bytes.
const (
	// MaxPayload is the largest event of a synchronous invocation.
	MaxPayload = 6 << 20
	// maxResponse is the largest answer of a function.
	maxResponse = 6<<20 + 100
	// MaxAsync is the largest event of an invocation that nobody waits for.
	MaxAsync = 1 << 20
	// maxLogTail is how much of an invocation's log its Outcome carries.
	maxLogTail = 4 << 10
	// remoteConcurrency is how many invocations of a function that runs elsewhere are
	// made at once, if its definition does not say.
	remoteConcurrency = 256
)

// A Definition says what a function is. The zero values of the numbers mean the
// defaults of the Lambda API.
type Definition struct {
	// Name is unique in a Host, at most 64 letters, digits, "-" and "_".
	Name string
	// ARN is handed to the program as its own name.
	ARN string
	// Runtime chooses the command: provided.al2023, provided.al2, provided,
	// nodejs*, python3*.
	Runtime string
	// Handler is what the runtime client loads: "index.handler".
	Handler string
	// Directory holds the code; it is the program's working directory. Empty: the
	// code is in Package.
	Directory string
	// Package is the code where it has no directory on this machine.
	Package *Package
	// Wasm is a WebAssembly module instead of Runtime, Handler and Directory.
	Wasm string
	// Remote is where the function runs that klamm does not start; nil: klamm does.
	Remote *Remote
	// Environment is added to the program's variables; names that the Lambda
	// environment reserves do not take effect.
	Environment map[string]string
	// Timeout of one invocation; zero: 3 s, for a Remote of the Lambda service 15 min
	// and of an emulator 5 min.
	Timeout time.Duration
	// Memory is the limit of one instance, in MiB; zero: 128.
	Memory int
	// Concurrency is how many instances may run in this process, or how many
	// invocations of a Remote; zero: 10 for each processor, and 256.
	Concurrency int
	// Revision changes whenever instances must be replaced: with the code as well
	// as with the configuration.
	Revision string
}

// A Package is a zip of code that lies elsewhere until it is needed.
type Package struct {
	// Digest is the zip's, as Digest gives it.
	Digest string
	// Fetch returns the zip. It is called when the first instance starts.
	Fetch func(ctx context.Context) ([]byte, error)
}

// An Invocation is one event for a function.
type Invocation struct {
	// ID is the request id; empty: a new one.
	ID string
	// Payload is the event, JSON, or empty.
	Payload []byte
	// ClientContext is JSON for the program, or empty.
	ClientContext string
	// Trace is an X-Ray header value, or empty.
	Trace string
	// Tenant is who the invocation is for, where a function has several; or empty.
	Tenant string
	// Tail waits a moment for log lines that are still on their way when the
	// function answers.
	Tail bool
	// Caller is who invokes: the id of a mapping, or the name of a pipe; empty: a
	// client of the API.
	Caller string
	// Cluster is the one of kafka.clusters that Records come from; empty: klamm's own,
	// or one without a name.
	Cluster string
	// Records are the records that Payload was made of, for functions that get them
	// in another format; nil: it was made of none.
	Records []*kgo.Record
	// Batch is the same on every attempt with the same records; empty: ID.
	Batch string
	// Attempt counts the attempts, from 1; 0 is 1.
	Attempt int
	// Wait is how long the invocation may wait for a free instance; zero: not at
	// all, it is ErrThrottled then. A negative one waits until the context ends.
	Wait time.Duration
}

// An Outcome is what an invocation came to.
type Outcome struct {
	// ID is the request id that the program saw.
	ID string
	// Error is empty if the function answered, else "Unhandled": it ran and failed,
	// and Payload is a JSON object with errorMessage and errorType.
	Error string
	// Payload is the answer as the function gave it.
	Payload []byte
	// Log is the end of what the program wrote during the invocation, at most 4 KiB.
	Log []byte
	// Duration is the time from hand-over to answer.
	Duration time.Duration
	// Init is how long the instance took to start, if it was started for this one.
	Init time.Duration
	// Memory is the largest resident memory that was seen, in MiB; 0: not measured.
	Memory int
	// Version is that of the function, where it is behind a Lambda API; empty: there
	// is one only.
	Version string
	// AnyForm says that Payload is what a plain HTTP function has answered, which need
	// not be JSON.
	AnyForm bool
}

// The headers of a record that is an invocation which waits for its turn: its key is
// the function's name, its value the event.
const (
	QueuedID            = "klamm.request-id"
	QueuedTrace         = "klamm.trace"
	QueuedClientContext = "klamm.client-context"
)

// Unhandled is the Outcome.Error of a function that ran and failed.
const Unhandled = "Unhandled"

// ErrThrottled says that all instances are busy.
var ErrThrottled = errors.New("all instances of the function are busy")

// ErrNotFound says that there is no function of that name.
var ErrNotFound = errors.New("no such function")

// ErrClosed says that the host or the function is being stopped.
var ErrClosed = errors.New("the function is being stopped")

// A StartError says why a program cannot be started at all: the code or the
// configuration is wrong, and the function was not reached.
type StartError struct {
	// Type is the Lambda name of the fault, such as InvalidEntrypoint.
	Type string
	// Reason says what is missing and where it was looked for.
	Reason string
}

// InvalidEntrypoint is the StartError.Type of a function without a program that can be
// started.
const InvalidEntrypoint = "Runtime.InvalidEntrypoint"

func (e *StartError) Error() string { return e.Type + ": " + e.Reason }

// A Line is one line of a function's log.
type Line struct {
	Function string
	ID       string // of the invocation; empty outside of one
	Time     time.Time
	Text     []byte // without its line end; valid until the call returns
}

// withDefaults fills the zero values.
func (d Definition) withDefaults(processors int) Definition {
	if d.Timeout == 0 {
		d.Timeout = timeoutOf(d)
	}
	if d.Memory == 0 {
		d.Memory = 128
	}
	if d.Concurrency == 0 {
		d.Concurrency = 10 * processors
		if d.Remote != nil {
			d.Concurrency = remoteConcurrency
		}
	}
	if d.Remote != nil && d.Remote.RIE != "" {
		d.Concurrency = 1 // a second invocation would be refused
	}
	return d
}

// An engine runs one function.
type engine interface {
	invoke(ctx context.Context, in Invocation) (Outcome, error)
	// retire lets running invocations end, takes no new ones, and returns when
	// nothing of the function is left, or ctx ends: then what is left is killed.
	retire(ctx context.Context)
}

// failure makes the Outcome of a function that ran and failed for a reason that
// it did not say itself.
func failure(id, kind, format string, args ...any) Outcome {
	return Outcome{ID: id, Error: Unhandled, Payload: errorBody(kind, fmt.Sprintf(format, args...))}
}
