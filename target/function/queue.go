package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/target"
)

// enqueue keeps each event in the queue of the function. An event that is delivered
// once more has the same request id as before.
func (l *lambda) enqueue(ctx context.Context, events []*event.Event) error {
	failed := map[int]error{}
	for i, e := range events {
		name := e.ID
		if name == "" {
			name = event.DeliveryID(l.pipe, e.Record)
		}
		in := function.Invocation{ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)).String(), Payload: e.AppendJSON(nil), Trace: traceOf(e)}
		if err := l.put(ctx, in); err != nil {
			failed[i] = err
		}
	}
	return target.Outcome(failed, len(events))
}

func (l *lambda) put(ctx context.Context, in function.Invocation) error {
	if len(in.Payload) > function.MaxAsync {
		return &target.Failure{Status: http.StatusRequestEntityTooLarge, Final: true, Err: fmt.Errorf("function %s: %w: it has %d bytes, and may have %d", l.config.Name, function.ErrTooLarge, len(in.Payload), function.MaxAsync)}
	}
	err := l.queue(ctx, l.config.Name, in)
	switch {
	case errors.Is(err, function.ErrNotFound):
		return &target.Failure{Final: true, Code: target.CodeNoResource, Err: fmt.Errorf("function %s: %w", l.config.Name, err)}
	case err != nil:
		return fmt.Errorf("put an invocation of function %s into its queue: %w", l.config.Name, err)
	}
	return nil
}

// traceOf is the trace header of an event that came over a bus.
func traceOf(e *event.Event) string {
	for _, h := range e.Record.Headers {
		if h.Key == event.HeaderTrace {
			return string(h.Value)
		}
	}
	return ""
}
