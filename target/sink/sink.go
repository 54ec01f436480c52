// Package sink is the target that puts Kafka records on an event bus as the
// EventBridge sink of Kafka Connect does (event-bus.md 13): a record becomes the detail
// of an event, with its topic, partition, offset, headers, key and value.
//
// The bus is klamm's own, whose topic the events are written to (own.go), or one that is
// reached by PutEvents (remote.go). Converters make JSON of keys, values and headers
// (convert.go).
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/scan"
	"github.com/klamm-gateway/klamm/target"
)

// Config is the configuration of a sink. It is made from a connector's and cannot stand
// in a configuration file.
type Config struct {
	// Connector is the id of the connector: events have the source kafka-connect.ID.
	Connector string `yaml:"-" json:"connector"`
	// Bus is the name of a bus of klamm's own; empty: Remote says where the events go.
	Bus             string  `yaml:"-" json:"bus,omitempty"`
	Account, Region string  `yaml:"-"`
	Remote          *Remote `yaml:"-" json:"remote,omitempty"`
	// Resources are those of every event.
	Resources []string `yaml:"-" json:"resources,omitempty"`
	// DetailTypes are the items of aws.eventbridge.detail.types, and DetailPath is the
	// path that the JSON path mapper looks at, instead.
	DetailTypes []string `yaml:"-" json:"detail_types,omitempty"`
	DetailPath  string   `yaml:"-" json:"detail_path,omitempty"`
	// Key and Value are converters by the names of this package.
	Key   string `yaml:"-" json:"key"`
	Value string `yaml:"-" json:"value"`
	// Header is the converter of header values.
	Header string `yaml:"-" json:"header"`
	// Offload says that a part of the detail is kept elsewhere; nil: nothing is.
	Offload *Offload `yaml:"-" json:"offload,omitempty"`
}

// Kind returns the sink kind.
func Kind() target.Kind {
	return target.Kind{Name: "sink", Config: func() target.Config { return &Config{} }, Open: func(config json.RawMessage, env target.Env) (target.Target, error) {
		return open(config, env, callTimeout)
	}}
}

// Validate reports each problem with the field it lies in.
func (c *Config) Validate(report func(path, problem string)) {
	if c.Connector == "" {
		report("connector", "connectors that are made through Kafka Connect's API have targets of this kind; a configuration file cannot")
	}
	if (c.Bus == "") == (c.Remote == nil) {
		report("", "want exactly one of bus and remote")
	}
	for name, converter := range map[string]string{"key": c.Key, "value": c.Value, "header": c.Header} {
		if !known(converter) {
			report(name, "no such converter")
		}
	}
	if _, err := newTyper(c.DetailTypes, c.DetailPath); err != nil {
		report("detail_types", err.Error())
	}
	if c.Offload != nil {
		if _, err := c.Offload.names(); err != nil {
			report("offload", err.Error())
		}
	}
}

// CheckDetailTypes says what is wrong with the items of aws.eventbridge.detail.types, or
// with the path of the JSON path mapper where there is one; nil: nothing.
func CheckDetailTypes(items []string, path string) error {
	_, err := newTyper(items, path)
	return err
}

// CheckField says what is wrong with the path of what is to be offloaded; nil: nothing.
func CheckField(path string) error {
	_, err := Offload{Field: path}.names()
	return err
}

// An entry is an event that is to be put.
type entry struct {
	detailType string
	detail     []byte
	headers    []kgo.RecordHeader // of the record that it was made of
}

type sink struct {
	cfg     Config
	typer   *typer
	log     *slog.Logger
	untyped seldom // records without a detail-type of their own
	tally   *tally
	offload *offloader // nil: nothing is kept elsewhere
	// put puts entries and returns what became of each; an error is about all of them.
	put func(ctx context.Context, entries []entry) ([]error, error)
}

// open makes a sink. A call of a bus or a bucket elsewhere may take as long as timeout.
func open(config json.RawMessage, env target.Env, timeout time.Duration) (target.Target, error) {
	s := &sink{log: env.Log, tally: newTally(env.Log)}
	if err := json.Unmarshal(config, &s.cfg); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	var err error
	if s.typer, err = newTyper(s.cfg.DetailTypes, s.cfg.DetailPath); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	if s.cfg.Offload != nil {
		if s.offload, err = newOffloader(*s.cfg.Offload, env, timeout); err != nil {
			return nil, fmt.Errorf("sink: %w", err)
		}
	}
	if s.cfg.Remote != nil {
		r, err := newRemote(s.cfg, env, timeout)
		if err != nil {
			return nil, fmt.Errorf("sink: %w", err)
		}
		s.put = r.put
	} else {
		s.put = own{s.cfg, env.Produce}.put
	}
	return s, nil
}

// Close ends the line about what was sent; connections are klamm's.
func (s *sink) Close() error {
	s.tally.close()
	return nil
}

// Deliver puts one event for each record, and reports which were not taken. A record
// that cannot be converted will never be.
func (s *sink) Deliver(ctx context.Context, events []*event.Event) error {
	failed := map[int]error{}
	entries, at := make([]entry, 0, len(events)), make([]int, 0, len(events))
	for i, e := range events {
		one, err := s.entry(ctx, e)
		if err != nil && !target.FailureOf(err).Final {
			// Those behind it must not overtake it.
			for ; i < len(events); i++ {
				failed[i] = err
			}
			break
		}
		if err != nil {
			failed[i] = err
			continue
		}
		entries, at = append(entries, one), append(at, i)
	}
	if len(entries) > 0 {
		s.tally.add(len(entries))
		results, err := s.put(ctx, entries)
		for n, i := range at {
			switch {
			case err != nil:
				failed[i] = err
			case results[n] != nil:
				failed[i] = results[n]
			}
		}
	}
	return target.Outcome(failed, len(events))
}

// entry makes the event of a record.
func (s *sink) entry(ctx context.Context, e *event.Event) (entry, error) {
	detail, value, err := s.detail(e)
	if err != nil {
		return entry{}, target.Permanent(fmt.Errorf("Cannot convert Kafka record to EventBridge.: %w", err)) //nolint:staticcheck // the text of the original connector
	}
	if event.Hops(e.Record.Headers, event.HeaderHops) >= event.MaxHops {
		return entry{}, target.Permanent(fmt.Errorf("the record has come through %d pipes: they form a loop", event.MaxHops))
	}
	if s.offload != nil {
		if detail, err = s.offload.apply(ctx, detail); err != nil {
			return entry{}, err
		}
	}
	detailType, err := s.typer.of(e.Record.Topic, value)
	if err != nil {
		if times := s.untyped.due(); times > 0 {
			s.log.Warn("the topic is the detail-type of records whose value has none where the JSON path leads", "path", s.cfg.DetailPath, "topic", e.Record.Topic, "partition", e.Record.Partition, "offset", e.Record.Offset, "times", times)
		}
	}
	return entry{detailType, detail, e.Record.Headers}, nil
}

// detail makes the detail of a record, and returns its value too.
func (s *sink) detail(e *event.Event) (detail, value []byte, err error) {
	r := e.Record
	seen := e.Seen()
	key, err := convert(s.cfg.Key, seen.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("the key: %w", err)
	}
	if value, err = convert(s.cfg.Value, seen.Value); err != nil {
		return nil, nil, fmt.Errorf("the value: %w", err)
	}
	b := scan.AppendString([]byte(`{"topic":`), r.Topic)
	b = strconv.AppendInt(append(b, `,"partition":`...), int64(r.Partition), 10)
	b = strconv.AppendInt(append(b, `,"offset":`...), r.Offset, 10)
	b = append(b, `,"timestamp":`...)
	kind := "CreateTime"
	switch r.Attrs.TimestampType() {
	case 1:
		kind = "LogAppendTime"
	case -1:
		kind = "NoTimestampType"
	}
	if r.Timestamp.IsZero() || r.Timestamp.UnixMilli() < 0 {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
	}
	b = append(b, `,"timestampType":"`+kind+`","headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		one, err := convert(s.cfg.Header, h.Value)
		if err != nil {
			return nil, nil, fmt.Errorf("the header %q: %w", h.Key, err)
		}
		b = append(scan.AppendString(append(b, '{'), h.Key), ':')
		b = append(append(b, one...), '}')
	}
	b = append(append(b, `],"key":`...), key...)
	b = append(append(b, `,"value":`...), value...)
	return append(b, '}'), value, nil
}

// errNull says that a detail type was not found where it should be.
var errNull = errors.New("no text there")

// clip shortens what comes from elsewhere, for messages.
func clip(s string) string {
	if s = strings.ToValidUTF8(s, "?"); len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
