// Package queue is the target that hands events to a message queue: Amazon SQS
// and what speaks its protocol (sqs.go), NATS JetStream (nats.go), and brokers of
// AMQP 0-9-1 such as RabbitMQ (amqp.go).
//
// An event becomes a message with the payload as its body, and coordinates and
// headers of its record beside it (message.go). An event counts as delivered
// when the queue has confirmed it. Messages with the same key are sent one after
// the other, each when the one before is confirmed, so that a refusal does not
// let a later one overtake; all others are sent together.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/secret"
	"github.com/klamm-gateway/klamm/target"
)

// Config is the configuration of a queue. Exactly one of its fields is set.
type Config struct {
	// SQS is a queue of Amazon SQS, or of a service with its JSON protocol.
	SQS *SQS `yaml:"sqs" json:"sqs,omitempty"`
	// NATS is a stream of NATS JetStream.
	NATS *NATS `yaml:"nats" json:"nats,omitempty"`
	// AMQP is an exchange of a broker that speaks AMQP 0-9-1.
	AMQP *AMQP `yaml:"amqp" json:"amqp,omitempty"`
}

// Kind returns the queue kind.
func Kind() target.Kind {
	return target.Kind{Name: "queue", Config: func() target.Config { return &Config{} }, Open: open}
}

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	below := func(name string) func(path, problem string) {
		return func(path, problem string) { report(name+"."+path, problem) }
	}
	n := 0
	if c.SQS != nil {
		n++
		c.SQS.validate(below("sqs"))
	}
	if c.NATS != nil {
		n++
		c.NATS.validate(below("nats"))
	}
	if c.AMQP != nil {
		n++
		c.AMQP.validate(below("amqp"))
	}
	if n != 1 {
		report("", "want exactly one of sqs, nats and amqp")
	}
}

func required(report func(path, problem string), path string, ref secret.Ref) {
	if ref.IsZero() {
		report(path, "want a secret: {env: NAME}, {file: PATH} or {value: TEXT}")
	}
}

// A sender sends messages that may overtake each other. It is safe for
// concurrent use.
type sender interface {
	// send returns what became of each message, by position: nil says that the
	// queue has confirmed it. It returns soon after ctx has ended.
	send(ctx context.Context, messages []*message) []error
	close() error
}

type queue struct {
	name   string
	pipe   string
	single bool // one event at a time
	// ordered says that the queue keeps the order of messages, so that it is worth
	// keeping.
	ordered bool
	sender  sender
}

func open(raw json.RawMessage, env target.Env) (target.Target, error) {
	c := &Config{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	var problem error
	c.Validate(func(path, text string) {
		if problem == nil {
			problem = fmt.Errorf("queue: %s: %s", path, text)
		}
	})
	if problem != nil {
		return nil, problem
	}
	q := &queue{pipe: env.Pipe, single: env.Batch == "", ordered: true}
	var err error
	switch {
	case c.SQS != nil:
		q.name, q.ordered = c.SQS.URL, c.SQS.fifo()
		q.sender, err = newSQS(c.SQS, env)
	case c.NATS != nil:
		q.name = "nats " + c.NATS.Subject
		q.sender, err = newNATS(c.NATS, env)
	default:
		q.name = "amqp " + c.AMQP.Exchange
		q.sender, err = newAMQP(c.AMQP, env)
	}
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", q.name, err)
	}
	return q, nil
}

// Close closes the connections.
func (q *queue) Close() error { return q.sender.close() }

// errBehind says why a message was not sent.
var errBehind = errors.New("the message before it, of the same key, was not accepted")

// Deliver sends a message for each event and reports which were not confirmed.
func (q *queue) Deliver(ctx context.Context, events []*event.Event) error {
	failed := map[int]error{}
	lanes := q.lanes(events)
	wave := make([]*message, 0, len(lanes))
	for len(lanes) > 0 {
		wave = wave[:0]
		for _, lane := range lanes {
			wave = append(wave, lane[0])
		}
		next := lanes[:0]
		for i, err := range q.sender.send(ctx, wave) {
			lane := lanes[i]
			if err != nil {
				failed[lane[0].at] = q.explain(err)
			}
			if err != nil && !target.FailureOf(err).Final {
				for _, m := range lane[1:] {
					failed[m.at] = q.explain(errBehind)
				}
			} else if len(lane) > 1 {
				next = append(next, lane[1:])
			}
		}
		lanes = next
	}
	return outcome(failed, len(events))
}

// lanes makes messages and sorts them by key: those of a lane are sent one after
// the other. One without a key has a lane of its own.
func (q *queue) lanes(events []*event.Event) [][]*message {
	lanes := make([][]*message, 0, len(events))
	of := map[string]int{}
	for i, e := range events {
		m := q.message(i, e)
		if q.ordered && e.Record.Key != nil {
			if n, ok := of[string(e.Record.Key)]; ok {
				lanes[n] = append(lanes[n], m)
				continue
			}
			of[string(e.Record.Key)] = len(lanes)
		}
		lanes = append(lanes, []*message{m})
	}
	return lanes
}

func (q *queue) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("it was not confirmed in time")
	}
	return fmt.Errorf("send to %s: %w", q.name, err)
}

// outcome is the error of a delivery. When everything failed and is worth another
// attempt, one error says it all.
func outcome(failed map[int]error, events int) error {
	final := false
	for _, err := range failed {
		final = final || target.FailureOf(err).Final
	}
	if len(failed) == events && !final {
		return failed[0]
	}
	return target.Outcome(failed, events)
}
