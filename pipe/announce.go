package pipe

import (
	"context"
	"encoding/json"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// EventTopic is the topic of what happens to pipes and is worth somebody's
// attention: one JSON document a record, with the pipe's name as its key, kept for
// eventRetention. A pipe can read it like any other.
const EventTopic = "klamm.events"

const eventRetention = "2592000000" // thirty days, in milliseconds

// A Change is one record of EventTopic: a pipe has another state.
type Change struct {
	Type   string    `json:"type"` // "pipe.state"
	Pipe   string    `json:"pipe"`
	State  string    `json:"state"` // Running, Paused, Halted or Disabled
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// announce writes that a pipe has another state. It is called by the one process
// that has brought the change about, after it is stored; what cannot be written is
// in the log.
func (r *Runner) announce(ctx context.Context, pipe, state, reason string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	value, err := json.Marshal(Change{"pipe.state", pipe, state, reason, time.Now().UTC().Truncate(time.Millisecond)})
	if err == nil {
		retention := eventRetention
		err = r.cfg.Cluster.EnsureTopic(ctx, EventTopic, 1, map[string]*string{"retention.ms": &retention})
	}
	if err == nil {
		err = r.cfg.Cluster.Produce(ctx, &kgo.Record{Topic: EventTopic, Partition: 0, Key: []byte(pipe), Value: value}).FirstErr()
	}
	if err != nil {
		r.cfg.Log.Error("an event cannot be written", "topic", EventTopic, "pipe", pipe, "state", state, "reason", reason, "err", err)
	}
}
