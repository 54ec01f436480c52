// Package bus is the target that puts events on an event bus.
//
// A rule's target forwards: what came over one bus comes over another one, as the same
// event (forward.go; event-bus.md 4). A pipe puts: each of its events becomes the
// detail of a new one (put.go; pipes.md 8). Either way the records are those that
// PutEvents writes: the envelope, and as the key what the bus keeps in order, or the
// event's id.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

// Config is the configuration of a bus as a target. Exactly one of Forward and Put is
// set; it is made from definitions and cannot stand in a configuration file.
type Config struct {
	// Name is the name of the bus.
	Name string `yaml:"-" json:"name"`
	// OrderKey is a JSON path into events: those that have the same value there stay in
	// order. Empty: events are in no order.
	OrderKey string `yaml:"-" json:"order_key,omitempty"`
	// Forward says that the records are events of another bus.
	Forward bool `yaml:"-" json:"forward,omitempty"`
	// Put says how events are made of what a pipe delivers.
	Put *Put `yaml:"-" json:"put,omitempty"`
}

// Kind returns the bus kind.
func Kind() target.Kind {
	return target.Kind{Name: "bus", Config: func() target.Config { return &Config{} }, Open: open}
}

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	if c.Name == "" {
		report("name", "rules and pipes that are made through the EventBridge API have targets of this kind; a configuration file cannot")
	}
	if c.Forward == (c.Put != nil) {
		report("", "want exactly one of forward and put")
	}
	if _, err := keys(c.OrderKey); err != nil {
		report("order_key", err.Error())
	}
	if c.Put != nil {
		if _, err := c.Put.compile(); err != nil {
			report("put", err.Error())
		}
	}
}

type bus struct {
	name, topic string
	keys        *transform.Paths // the id of an event, and what it is kept in order by
	put         *maker           // nil: events are forwarded
	pipe        string
	produce     target.Produce
}

func open(config json.RawMessage, env target.Env) (target.Target, error) {
	var c Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("bus: %w", err)
	}
	b := &bus{name: c.Name, topic: event.BusTopic(c.Name), pipe: env.Pipe, produce: env.Produce}
	var err error
	if b.keys, err = keys(c.OrderKey); err != nil {
		return nil, fmt.Errorf("bus %s: %w", c.Name, err)
	}
	if c.Put != nil {
		if b.put, err = c.Put.compile(); err != nil {
			return nil, fmt.Errorf("bus %s: %w", c.Name, err)
		}
	}
	return b, nil
}

// Close frees nothing: the producer is klamm's.
func (b *bus) Close() error { return nil }

// Deliver writes one record for each event, and reports which were not acknowledged.
func (b *bus) Deliver(ctx context.Context, events []*event.Event) error {
	records := make([]*kgo.Record, 0, len(events))
	at := make([]int, 0, len(events))
	failed := map[int]error{}
	nth := 0
	for i, e := range events {
		if nth++; i == 0 || events[i-1].Record != e.Record {
			nth = 0
		}
		r, err := b.record(e, nth)
		if err != nil {
			failed[i] = err
			continue
		}
		records, at = append(records, r), append(at, i)
	}
	if len(records) > 0 {
		for i, r := range b.produce(ctx, records...) {
			if r.Err != nil {
				failed[at[i]] = b.explain(r.Err)
			}
		}
	}
	return target.Outcome(failed, len(events))
}

// record makes the record of an event, the nth that was made of what the pipe has read.
func (b *bus) record(e *event.Event, nth int) (*kgo.Record, error) {
	value := e.Record.Value
	if b.put != nil {
		var err error
		if value, err = b.put.envelope(b.pipe, e, nth); err != nil {
			return nil, err
		}
	}
	hops := event.Hops(e.Record.Headers, event.HeaderHops) + 1
	if hops > event.MaxHops {
		return nil, target.Permanent(fmt.Errorf("the event has come through %d pipes: they form a loop", event.MaxHops))
	}
	headers := event.WithHops(e.Record.Headers, passed, event.HeaderHops, hops)
	headers = event.WithHops(headers, nil, event.HeaderBusHops, event.Hops(e.Record.Headers, event.HeaderBusHops)+1)
	r := &kgo.Record{Topic: b.topic, Partition: -1, Value: value, Headers: headers}
	err := b.keys.Find(value, func(values [][]byte) error {
		r.Key = transform.AppendText(nil, values[0])
		if len(values) > 1 && len(values[1]) > 0 && string(values[1]) != "null" {
			r.Key = transform.AppendText(nil, values[1])
		}
		return nil
	})
	if err != nil {
		return nil, &target.Failure{Final: true, Code: target.CodeInternal, Err: fmt.Errorf("the event cannot be read: %w", err)}
	}
	return r, nil
}

// passed are the headers that an event keeps on its way to another bus: it is still a
// replayed one and part of a trace, and no longer meant for certain rules.
var passed = []string{event.HeaderReplay, event.HeaderTrace, event.HeaderBusHops}

// keys are the paths that the key of a record is found by.
func keys(order string) (*transform.Paths, error) {
	p := &transform.Paths{}
	for _, path := range []string{"$.id", order} {
		if path == "" {
			continue
		}
		if _, err := p.Add(path); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// explain says what a refusal of a broker means.
func (b *bus) explain(err error) error {
	wrapped := fmt.Errorf("put an event on bus %s: %w", b.name, err)
	if errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) {
		return target.Permanent(wrapped)
	}
	return wrapped
}
