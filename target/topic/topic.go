// Package topic is the target that writes events to a Kafka topic.
package topic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/target"
)

// Config is the configuration of a topic target.
type Config struct {
	// Name is the topic; it is created if it does not exist and the broker
	// allows it.
	Name string `yaml:"name" json:"name"`
	// Cluster is the name of one of kafka.clusters; empty is the cluster that the
	// pipe reads from.
	Cluster string `yaml:"cluster" json:"cluster,omitempty"`
	// Transactional writes records and the pipe's offsets in one transaction: who
	// reads committed records sees each once, also when a process is killed. It
	// goes with the cluster that the pipe reads from, and not with an enrichment,
	// delivery.attempts, max_age, bisect and log: all.
	Transactional bool `yaml:"transactional" json:"transactional,omitempty"`
	// Headers are the names of the headers that records keep; nil: all of them.
	Headers []string `yaml:"-" json:"headers,omitzero"`
}

// Kind returns the topic kind.
func Kind() target.Kind {
	return target.Kind{Name: "topic", Config: func() target.Config { return &Config{} }, Open: open}
}

var name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	if !name.MatchString(c.Name) || c.Name == "." || c.Name == ".." {
		report("name", "want the name of a topic: 1 to 249 letters, digits, '.', '_' and '-'")
	}
	if c.Transactional && c.Cluster != "" {
		report("transactional", "a transaction cannot span two clusters: it goes with the cluster that the pipe reads from, without cluster")
	}
}

type topic struct {
	name    string
	headers []string // that are kept; nil: all
	produce target.Produce
}

func open(config json.RawMessage, env target.Env) (target.Target, error) {
	var c Config
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("topic: %w", err)
	}
	produce := env.Produce
	if c.Cluster != "" {
		if produce = env.Clusters[c.Cluster]; produce == nil {
			return nil, fmt.Errorf("topic: there is no cluster %q in kafka.clusters", c.Cluster)
		}
		if c.Transactional {
			return nil, errors.New("topic: a transaction cannot span two clusters")
		}
	}
	return &topic{name: c.Name, headers: c.Headers, produce: produce}, nil
}

func (t *topic) Close() error { return nil }

// Deliver writes one record for each event, with the key and headers of the
// record that it came from. It reports which were not acknowledged.
func (t *topic) Deliver(ctx context.Context, events []*event.Event) error {
	records := make([]*kgo.Record, 0, len(events))
	at := make([]int, 0, len(events))
	failed := map[int]error{}
	for i, e := range events {
		n := event.Hops(e.Record.Headers, event.HeaderHops) + 1
		if n > event.MaxHops {
			failed[i] = target.Permanent(fmt.Errorf("the record has come through %d pipes: they form a loop", event.MaxHops))
			continue
		}
		headers := event.WithHops(e.Record.Headers, t.headers, event.HeaderHops, n)
		records = append(records, &kgo.Record{Topic: t.name, Partition: -1, Key: e.Record.Key, Value: e.Payload(), Headers: headers})
		at = append(at, i)
	}
	for i, r := range t.produce(ctx, records...) {
		if r.Err != nil {
			failed[at[i]] = t.explain(r.Err)
		}
	}
	return target.Outcome(failed, len(events))
}

// explain says which refusals of a broker another attempt would not change.
func (t *topic) explain(err error) error {
	wrapped := fmt.Errorf("write to topic %s: %w", t.name, err)
	for _, final := range []error{kerr.MessageTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp} {
		if errors.Is(err, final) {
			return target.Permanent(wrapped)
		}
	}
	return wrapped
}
