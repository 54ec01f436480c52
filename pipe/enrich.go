package pipe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// An enrichment asks somebody about the events of a batch before it is
// delivered; the answer takes their place (pipes.md 7). It is part of each
// attempt: when the target fails, it is asked again.
type enrichment struct {
	invoker   target.Invoker
	timeout   time.Duration
	batch     int                  // the most events that the target takes at once
	transform *transform.Transform // of the answer, for the target; nil: as it is
}

// openEnrichment opens what a pipe asks, and fails if that does not answer.
func (r *Runner) openEnrichment(kind string, config json.RawMessage, env target.Env) (target.Invoker, error) {
	for _, k := range r.cfg.Kinds {
		if k.Name != kind {
			continue
		}
		t, err := k.Open(config, env)
		if err != nil {
			return nil, err
		}
		if i, ok := t.(target.Invoker); ok {
			return i, nil
		}
		_ = t.Close()
		return nil, fmt.Errorf("a %s does not answer, so it cannot enrich", kind)
	}
	return nil, fmt.Errorf("there is no target kind %q", kind)
}

// apply returns the events to deliver instead of those given; none means that
// the batch is done.
func (e *enrichment) apply(ctx context.Context, events []*event.Event) ([]*event.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	answer, err := e.invoker.Invoke(ctx, events)
	if err != nil {
		return nil, fmt.Errorf("enrichment: %w", err)
	}
	bodies, err := answered(answer)
	if err != nil {
		return nil, fmt.Errorf("enrichment: %w", err)
	}
	if len(bodies) > e.batch {
		return nil, target.Permanent(fmt.Errorf("enrichment: the answer has %d events, and the target takes %d at once", len(bodies), e.batch))
	}
	out := make([]*event.Event, len(bodies))
	for i, body := range bodies {
		from := events[0]
		if len(bodies) == len(events) {
			from = events[i]
		}
		if e.transform != nil {
			doc := body
			if !scan.Valid(doc) {
				doc = scan.AppendString(nil, string(doc))
			}
			if body, err = e.transform.Apply(nil, doc, time.Now()); err != nil {
				return nil, target.Permanent(&transformError{err})
			}
		}
		out[i] = &event.Event{Record: from.Record, Decoded: from.Decoded, Body: body, Attempt: from.Attempt}
	}
	if len(out) > 0 {
		out[0].ID = events[0].ID
	}
	return out, nil
}

// A transformError says that what an enrichment has answered cannot be transformed.
type transformError struct{ err error }

func (e *transformError) Error() string { return "transform: " + e.err.Error() }
func (e *transformError) Unwrap() error { return e.err }

// answered takes an answer apart: an array is several events, "", {}, [] and
// null are none, anything else, JSON or not, is one. What is not JSON keeps its white
// space.
func answered(text []byte) ([]json.RawMessage, error) {
	answer := bytes.TrimSpace(text)
	switch string(answer) {
	case "", `""`, "null":
		return nil, nil
	}
	if !scan.Valid(answer) {
		return []json.RawMessage{text}, nil
	}
	switch answer[0] {
	case '{':
		if len(bytes.TrimSpace(answer[1:len(answer)-1])) == 0 {
			return nil, nil
		}
	case '[':
		var several []json.RawMessage
		if err := json.Unmarshal(answer, &several); err != nil {
			return nil, err
		}
		return several, nil
	}
	return []json.RawMessage{answer}, nil
}
