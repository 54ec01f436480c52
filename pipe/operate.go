package pipe

import "errors"

// What an operator can ask of the pipes of a cluster. Any process answers for any
// pipe: what is asked about lies in Kafka, and what is done is done by the process
// that was asked. The operations are methods of Runner, in control.go, letters.go,
// deliveries.go and replay.go; they may be called from any goroutine. Those that
// report progress call report now and then, and a last time before they return;
// when ctx ends they finish what is under way and return the error of ctx.

var (
	// ErrNoPipe says that there is no pipe of that name.
	ErrNoPipe = errors.New("no such pipe")
	// ErrNoDelivery says that the delivery log does not know a delivery.
	ErrNoDelivery = errors.New("no such delivery")
	// ErrBadRequest is wrapped by errors about what was asked for.
	ErrBadRequest = errors.New("bad request")
	// ErrNotPaused says that an operation needs a pipe that is paused.
	ErrNotPaused = errors.New("the pipe is running")
)
