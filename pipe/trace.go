package pipe

import (
	"context"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/trace"
)

// traced begins the span of a delivery, in the trace that the first of its records
// has in its headers; the traces of the others are linked. Targets find it in the
// context. End has to be called with what came of it.
func (f *flow) traced(ctx context.Context, events []*event.Event) (_ context.Context, end func(error)) {
	t := f.runner.cfg.Tracer
	if t == nil || len(events) == 0 {
		return ctx, func(error) {}
	}
	first := events[0]
	span, own := t.Start(traceOf(first), "deliver "+f.def.Name, trace.Client)
	r := first.Record
	span.Set(trace.Text("messaging.system", "kafka"), trace.Text("messaging.operation.type", "process"), trace.Text("messaging.destination.name", r.Topic), trace.Text("messaging.consumer.group.name", f.def.Group),
		trace.Int("messaging.destination.partition.id", int64(r.Partition)), trace.Int("messaging.kafka.offset", r.Offset), trace.Int("messaging.batch.message_count", int64(len(events))),
		trace.Text("klamm.pipe", f.def.Name), trace.Int("klamm.attempt", int64(first.Attempt)))
	if span != nil {
		for _, e := range events[1:] {
			if c := traceOf(e); c.Trace != own.Trace {
				span.Link(c)
			}
		}
	}
	return trace.With(ctx, own), func(err error) {
		if err != nil {
			span.Fail(err.Error())
		}
		span.End()
	}
}

// traceOf is the trace that a record has in its headers.
func traceOf(e *event.Event) trace.Context {
	parent, state := "", ""
	for _, h := range e.Record.Headers {
		switch h.Key {
		case "traceparent":
			parent = string(h.Value)
		case "tracestate":
			state = string(h.Value)
		}
	}
	if parent == "" {
		return trace.Context{}
	}
	return trace.Parse(parent, state)
}
