// Package function delivers to functions that klamm runs.
package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/function"
	"github.com/klamm-gateway/klamm/target"
)

// excerpt is how much of an answer failures carry, in bytes.
const excerpt = 1024

// throttledWait is when a function whose instances are all busy is asked again.
const throttledWait = 200 * time.Millisecond

// Config is the configuration of a function as a target: events are its input, one
// event as it is and a batch as a JSON array.
type Config struct {
	// Name is the function's.
	Name string `yaml:"name" json:"name"`
	// ReportFailures reads from the answer which records the function has not
	// accepted: {"batchItemFailures": [{"itemIdentifier": "TOPIC-PARTITION-OFFSET"}]}.
	ReportFailures bool `yaml:"report_failures" json:"report_failures,omitempty"`

	// Array makes one event an array, too: functions behind EventBridge Pipes get
	// nothing else.
	Array bool `yaml:"-" json:"array,omitempty"`
	// Asynchronous puts events into the queue of the function, and does not wait for it:
	// the queue makes its own attempts.
	Asynchronous bool `yaml:"-" json:"asynchronous,omitempty"`
	// Queued says that the events are invocations that were put into a queue: the
	// key names the function.
	Queued bool `yaml:"-" json:"queued,omitempty"`
}

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	if c.Name == "" && !c.Queued {
		report("name", "give the name of the function")
	}
}

// Kind is the target kind of functions; as an enrichment, what they answer is
// delivered.
func Kind() target.Kind {
	return target.Kind{Name: "function", Config: func() target.Config { return &Config{} }, Open: open}
}

// A lambda is a function as a target.
type lambda struct {
	config Config
	pipe   string
	from   string // the cluster
	batch  string
	invoke func(ctx context.Context, name string, in function.Invocation) (function.Outcome, error)
	queue  func(ctx context.Context, name string, in function.Invocation) error
}

func open(config json.RawMessage, env target.Env) (target.Target, error) {
	l := &lambda{pipe: env.Pipe, from: env.Cluster, batch: env.Batch, invoke: env.Invoke, queue: env.Enqueue}
	if err := json.Unmarshal(config, &l.config); err != nil {
		return nil, fmt.Errorf("function: %w", err)
	}
	if l.invoke == nil || l.config.Asynchronous && l.queue == nil {
		return nil, errors.New("function: there are no functions here")
	}
	return l, nil
}

// Endpoint is the function: it fails on its own. A queue takes everything.
func (l *lambda) Endpoint() string {
	if l.config.Asynchronous {
		return ""
	}
	return "function:" + l.config.Name
}

// Deliver invokes the function and waits for it, unless it is asynchronous.
func (l *lambda) Deliver(ctx context.Context, events []*event.Event) error {
	if l.config.Asynchronous {
		return l.enqueue(ctx, events)
	}
	answer, err := l.ask(ctx, events, l.config.Array)
	if err != nil || !l.config.ReportFailures && !(l.config.Array && target.ReportsItems(answer)) {
		return err
	}
	err = target.ItemFailures(answer, events)
	var partial *target.PartialError
	if err != nil && !errors.As(err, &partial) {
		return &target.Failure{Response: answer[:min(len(answer), excerpt)], Err: fmt.Errorf("function %s: %w", l.config.Name, err)}
	}
	return err
}

// Invoke invokes the function and returns its answer.
func (l *lambda) Invoke(ctx context.Context, events []*event.Event) ([]byte, error) {
	answer, err := l.ask(ctx, events, false)
	if bytes.Equal(answer, []byte("null")) {
		return nil, err
	}
	return answer, err
}

// Close frees nothing: functions are the host's.
func (l *lambda) Close() error { return nil }

func (l *lambda) ask(ctx context.Context, events []*event.Event, array bool) ([]byte, error) {
	name, in := l.config.Name, function.Invocation{Caller: l.pipe, Cluster: l.from, Batch: events[0].ID, Attempt: events[0].Attempt, Wait: -1}
	if l.config.Queued {
		name, in = queued(events[0])
	} else {
		in.Payload, in.Records = l.payload(events, array), recordsOf(events)
	}
	out, err := l.invoke(ctx, name, in)
	switch {
	case errors.Is(err, function.ErrThrottled):
		return nil, target.RetryAfter(fmt.Errorf("function %s: %w", name, err), throttledWait)
	case errors.Is(err, function.ErrTooLarge):
		return nil, &target.Failure{Status: http.StatusRequestEntityTooLarge, Final: true, Err: err}
	case err != nil:
		return nil, fmt.Errorf("function %s was not reached: %w", name, err)
	case out.Error != "":
		return nil, &target.Failure{Response: out.Payload[:min(len(out.Payload), excerpt)], Err: fmt.Errorf("function %s failed: %.200s", name, out.Payload)}
	}
	return out.Payload, nil
}

// recordsOf are the records of events, for functions that get them in another format.
// What a transform has made of one takes the place of its value.
func recordsOf(events []*event.Event) []*kgo.Record {
	all := make([]*kgo.Record, len(events))
	for i, e := range events {
		all[i] = e.Record
		if e.Body != nil {
			changed := *e.Record
			changed.Value = e.Body
			all[i] = &changed
		}
	}
	return all
}

// payload makes the event of the function.
func (l *lambda) payload(events []*event.Event, array bool) []byte {
	if len(events) == 1 && !array && l.batch == "" {
		return events[0].AppendJSON(nil)
	}
	size := 2
	for _, e := range events {
		size += len(e.Payload()) + 3 // of text, which is quoted, too, where nothing in it needs an escape
	}
	payload := append(make([]byte, 0, size), '[')
	for i, e := range events {
		if i > 0 {
			payload = append(payload, ',')
		}
		payload = e.AppendJSON(payload)
	}
	return append(payload, ']')
}

// queued reads an invocation that waited in a topic.
func queued(e *event.Event) (string, function.Invocation) {
	in := function.Invocation{Payload: e.Record.Value, Wait: -1}
	for _, h := range e.Record.Headers {
		switch h.Key {
		case function.QueuedID:
			in.ID = string(h.Value)
		case function.QueuedTrace:
			in.Trace = string(h.Value)
		case function.QueuedClientContext:
			in.ClientContext = string(h.Value)
		}
	}
	return string(e.Record.Key), in
}
