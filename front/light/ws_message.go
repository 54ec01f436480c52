package light

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/scan"
)

// A message is what a client sends, of any operation.
type message struct {
	Op string          `json:"op"`
	ID json.RawMessage `json:"id"` // of produce: what the acknowledgement repeats

	Topic     string          `json:"topic"`     // of produce and ack
	Partition *int32          `json:"partition"` // of produce, ack and subscribe
	Key       json.RawMessage `json:"key"`
	Value     json.RawMessage `json:"value"`
	Headers   json.RawMessage `json:"headers"`
	Offset    *int64          `json:"offset"` // of ack

	Topics  []string        `json:"topics"` // of subscribe and unsubscribe
	From    json.RawMessage `json:"from"`
	Group   *string         `json:"group"`
	Filter  texts           `json:"filter"`
	Pattern json.RawMessage `json:"pattern"`

	N int64 `json:"n"` // of credit
}

// texts are one text or several.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, (*[]string)(t))
	}
	var one *string
	if err := json.Unmarshal(data, &one); err != nil || one == nil {
		return err
	}
	*t = texts{*one}
	return nil
}

// maxMessageID bounds the id of a produce message, in bytes.
const maxMessageID = 256

// perform does what a message asks for.
func (p *client) perform(ctx context.Context, data []byte) {
	var m message
	if err := json.Unmarshal(data, &m); err != nil {
		err = invalid("the message is not what a client may send: " + jsonProblem(err))
		if m.Op == "produce" && validID(m.ID) { // there is an id to be answered
			p.answer(nack(m.ID, err))
			return
		}
		p.complain(err)
		return
	}
	if len(m.ID) > 0 && !validID(m.ID) {
		m.ID = nil
		p.complain(invalid(fmt.Sprintf("id must be a text or a number of at most %d bytes", maxMessageID)))
		return
	}
	var err error
	switch m.Op {
	case "produce":
		p.produce(ctx, &m)
	case "subscribe":
		err = p.subscribe(ctx, &m)
	case "unsubscribe":
		err = p.unsubscribe(m.Topics)
	case "ack":
		err = p.acknowledge(&m)
	case "credit":
		if m.N < 1 || m.N > maxCredit {
			err = invalid(fmt.Sprintf("n must be a number from 1 to %d", maxCredit))
			break
		}
		p.credit.grant(int(m.N))
	case "ping":
		p.answer([]byte(`{"op":"pong"}`))
	case "connection":
		p.answer(fmt.Appendf(nil, `{"op":"connection","id":%q}`, p.id))
	default:
		err = invalid("op must be produce, subscribe, unsubscribe, ack, credit, ping or connection")
	}
	if err != nil {
		p.complain(err)
	}
}

// validID says whether there is an id that an answer can repeat.
func validID(id json.RawMessage) bool {
	return len(id) > 0 && len(id) <= maxMessageID && id[0] != '{' && id[0] != '['
}

// jsonProblem tells of an error of encoding/json in a client's words.
func jsonProblem(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" {
		return fmt.Sprintf("%s cannot be a JSON %s", kind.Field, kind.Value)
	}
	return "it is not one JSON object"
}

// complain sends an error that belongs to no record.
func (p *client) complain(err error) {
	doc, _ := json.Marshal(problemOf(err))
	p.answer(append(append([]byte(`{"op":"error","problem":`), doc...), '}'))
}

// topicOf returns the topic that a message means.
func (p *client) topicOf(name string) (string, error) {
	switch {
	case name == "" && p.topic == "":
		return "", invalid("topic is missing")
	case name == "" || name == p.topic:
		return p.topic, nil
	case p.topic != "":
		return "", invalid(fmt.Sprintf("this connection is for topic %s alone", p.topic))
	case !kafka.ValidTopic(name): // not every broker says so before it makes one
		return "", invalid("topic is not the name of a topic")
	}
	return name, nil
}

// produce writes one record; the answer comes when it is acknowledged.
func (p *client) produce(ctx context.Context, m *message) {
	record, err := p.record(m)
	if err == nil && !p.begin() {
		err = &gate.Error{Kind: gate.Throttled, Message: fmt.Sprintf("%d records wait for their acknowledgement; no more are taken before that", maxInFlight)}
	}
	if err != nil {
		p.answer(nack(m.ID, err))
		return
	}
	id := m.ID
	err = p.api.gate.Send(ctx, p.who, record, func(err error) {
		defer p.finish()
		if err != nil {
			p.answer(nack(id, err))
			return
		}
		b := appendMessageID([]byte(`{"op":"ack"`), id)
		b = append(b, `,"topic":`...)
		b = scan.AppendString(b, record.Topic)
		b = append(b, `,"partition":`...)
		b = strconv.AppendInt(b, int64(record.Partition), 10)
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, record.Offset, 10)
		p.answer(append(b, '}'))
	})
	if err != nil {
		p.answer(nack(id, err))
		p.finish()
	}
}

// begin counts a record as in flight, unless there are too many.
func (p *client) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inFlight >= maxInFlight {
		return false
	}
	p.inFlight++
	return true
}

func (p *client) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
}

func nack(id json.RawMessage, err error) []byte {
	doc, _ := json.Marshal(problemOf(err))
	b := appendMessageID([]byte(`{"op":"nack"`), id)
	return append(append(append(b, `,"error":`...), doc...), '}')
}

func appendMessageID(b []byte, id json.RawMessage) []byte {
	if len(id) == 0 {
		return b
	}
	return append(append(b, `,"id":`...), id...)
}

// record makes a record of a message. A key that is a text is its bytes, and any
// other key and every value its JSON; null is none, and {"base64": TEXT} bytes.
func (p *client) record(m *message) (*kgo.Record, error) {
	topic, err := p.topicOf(m.Topic)
	if err != nil {
		return nil, err
	}
	if m.Value == nil {
		return nil, invalid("value is missing; null makes a tombstone")
	}
	record := &kgo.Record{Topic: topic, Partition: -1}
	if m.Partition != nil {
		if *m.Partition < 0 {
			return nil, invalid("partition must be a number from 0")
		}
		record.Partition = *m.Partition
	}
	if record.Key, err = bytesOf(m.Key, true); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if record.Value, err = bytesOf(m.Value, false); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	record.Headers, err = headersOf(m.Headers)
	return record, err
}

// bytesOf returns the bytes that a JSON value stands for.
func bytesOf(data json.RawMessage, text bool) ([]byte, error) {
	data = bytes.TrimSpace(data)
	switch {
	case len(data) == 0 || string(data) == "null":
		return nil, nil
	case data[0] == '"' && text:
		var s string
		err := json.Unmarshal(data, &s)
		return []byte(s), err
	case data[0] == '{':
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			return nil, invalid(jsonProblem(err))
		}
		encoded, ok := fields["base64"]
		if !ok || len(fields) != 1 || len(encoded) == 0 || encoded[0] != '"' {
			break
		}
		var s string
		if err := json.Unmarshal(encoded, &s); err != nil {
			return nil, invalid(jsonProblem(err))
		}
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return nil, invalid("base64 is not base64")
		}
		return b, nil
	}
	return scan.Compact(bytes.Clone(data)), nil
}

// headersOf returns headers from {NAME: VALUE}, in the order given, or from
// [{"name": NAME, "value": VALUE}] as records show them.
func headersOf(data json.RawMessage) ([]kgo.RecordHeader, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	var list []struct {
		Name  *string         `json:"name"`
		Value json.RawMessage `json:"value"`
	}
	var headers []kgo.RecordHeader
	add := func(name string, value json.RawMessage) error {
		b, err := bytesOf(value, true)
		headers = append(headers, kgo.RecordHeader{Key: name, Value: b})
		return err
	}
	if data[0] == '[' {
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, invalid("headers must be {NAME: VALUE}")
		}
		for _, h := range list {
			if h.Name == nil {
				return nil, invalid("a header has no name")
			}
			if err := add(*h.Name, h.Value); err != nil {
				return nil, err
			}
		}
		return headers, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, invalid("headers must be {NAME: VALUE}")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, invalid("headers must be {NAME: VALUE}")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, invalid("headers must be {NAME: VALUE}")
		}
		if err := add(name.(string), value); err != nil {
			return nil, err
		}
	}
	return headers, nil
}

// produceRaw writes a message as the value of a record, and waits where too many
// are in flight. It is false when the connection has ended.
func (p *client) produceRaw(ctx context.Context, value []byte) bool {
	for !p.begin() {
		if !p.pause(ctx) {
			return false
		}
	}
	record := &kgo.Record{Topic: p.topic, Partition: -1, Value: value}
	failed := func(err error) {
		p.finish()
		if err != nil {
			go p.refuse(err) // closing takes a while; it ends with the connection at the latest
		}
	}
	if err := p.api.gate.Send(ctx, p.who, record, failed); err != nil {
		p.finish()
		p.refuse(err)
		return false
	}
	return true
}

// subscribe begins to send records of topics.
func (p *client) subscribe(ctx context.Context, m *message) error {
	if len(m.Topics) == 0 {
		if p.topic == "" {
			return invalid("topics is missing")
		}
		m.Topics = []string{p.topic}
	}
	query := map[string][]string{"filter": m.Filter}
	if m.Partition != nil {
		query["partition"] = []string{strconv.Itoa(int(*m.Partition))}
	}
	if m.Group != nil {
		query["group"] = []string{*m.Group}
	}
	if len(m.Pattern) > 0 && string(m.Pattern) != "null" {
		query["pattern"] = []string{string(m.Pattern)}
	}
	from, resumed, err := messageFrom(m.From)
	if err != nil {
		return err
	}
	query["from"] = []string{from}
	wanted, err := parseStart(query)
	if err != nil {
		return err
	}
	wanted.from.Next = resumed
	for _, name := range m.Topics {
		topic, err := p.topicOf(name)
		if err == nil {
			err = p.follow(ctx, topic, wanted)
		}
		if err != nil {
			status, _, text := outcome(err)
			return &refusal{status, fmt.Sprintf("subscribe to %.249s: %s", name, text)}
		}
	}
	return nil
}

// messageFrom reads from: a text, a number, or the id of an event.
func messageFrom(data json.RawMessage) (text string, next map[int32]int64, err error) {
	if len(data) == 0 || string(data) == "null" {
		return "", nil, nil
	}
	if data[0] != '"' {
		return string(data), nil, nil
	}
	if err := json.Unmarshal(data, &text); err != nil {
		return "", nil, invalid("from cannot be read")
	}
	if len(text) >= len(idPrefix) && text[:len(idPrefix)] == idPrefix {
		next, err = parseID(text)
		return "", next, err
	}
	return text, nil, nil
}

// acknowledge frees the credit of the records of a partition up to an offset, and
// counts them as read for a group.
func (p *client) acknowledge(m *message) error {
	topic, err := p.topicOf(m.Topic)
	if err != nil {
		return err
	}
	if m.Partition == nil || m.Offset == nil || *m.Partition < 0 || *m.Offset < 0 || *m.Offset == math.MaxInt64 {
		return invalid("ack needs topic, partition and offset")
	}
	s := p.sources[topic]
	if s == nil {
		return &refusal{http.StatusConflict, fmt.Sprintf("there is no subscription to %.249s", topic)}
	}
	return s.acknowledge(*m.Partition, *m.Offset)
}

// send sends a record to the client.
func (p *client) send(ctx context.Context, body []byte, binary bool) error {
	kind := websocket.MessageText
	if binary {
		kind = websocket.MessageBinary
	}
	return p.write(ctx, kind, body)
}
