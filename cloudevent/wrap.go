package cloudevent

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// The type of events that are made of records which are none, and of those that
// stand for records which cannot be returned.
const (
	TypeRecord = "dev.knative.kafka.event"
	typeBad    = "klamm.record.unreadable"
)

// Of returns the event that a record holds, or else one that says what the record is
// (Wrap): there is one for each record. What says that it is a CloudEvent and is not
// counts as a record without one. The event shares the record's memory.
func Of(r *kgo.Record) Event {
	if e, ok, err := FromRecord(r); ok && err == nil {
		return e
	}
	return Wrap(r, sourceOf(r.Topic))
}

// sourceOf returns the source of the events that Of makes of a topic's records.
func sourceOf(topic string) string { return "/topics/" + url.PathEscape(topic) }

// Wrap returns an event that stands for a record (function-targets.md 5): its id,
// together with the source, names the record; its data is the value, and it has none
// where the value is null. A record without a content-type header has the type of
// what its value looks like: JSON, text in UTF-8, or bytes. Keys and header values
// that an attribute cannot have are left out. The event shares the record's memory.
func Wrap(r *kgo.Record, source string) Event {
	partition, offset := strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)
	e := Event{Data: r.Value, Attributes: []Attribute{
		{"specversion", "1.0"},
		{"type", TypeRecord},
		{"source", source},
		{"id", "partition:" + partition + "/offset:" + offset},
		{"subject", "partition:" + partition + "#" + offset},
	}}
	if at := r.Timestamp.UTC(); at.Year() >= 0 && at.Year() <= 9999 { // others cannot be written
		e.Attributes = append(e.Attributes, Attribute{"time", at.Format(time.RFC3339Nano)})
	}
	if key := string(r.Key); key != "" && validAttribute(Attribute{"key", key}) == nil {
		e.Attributes = append(e.Attributes, Attribute{"key", key}, Attribute{"partitionkey", key})
	}
	for _, h := range r.Headers {
		if strings.EqualFold(h.Key, "content-type") && isMedia(string(h.Value)) {
			e.ContentType = string(h.Value)
			continue
		}
		a := Attribute{"kafkaheader" + letters(h.Key), string(h.Value)}
		if _, there := e.Get(a.Name); !there && a.Name != "kafkaheader" && validAttribute(a) == nil {
			e.Attributes = append(e.Attributes, a)
		}
	}
	if e.ContentType == "" && e.Data != nil {
		e.ContentType = contentTypeOf(e.Data)
	}
	return e
}

// Unreadable returns an event for a record that cannot be returned, with the reason
// and its number as data.
func Unreadable(r *kgo.Record, code int, reason string) Event {
	e := Wrap(&kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp}, sourceOf(r.Topic))
	e.Attributes[1].Value, e.ContentType = typeBad, "application/json"
	e.Data, _ = json.Marshal(struct { // numbers and texts always can be
		Code   int    `json:"error_code"`
		Reason string `json:"error"`
	}{code, reason})
	return e
}

// letters are those of a name that the name of an attribute may have.
func letters(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, strings.ToLower(name))
}

func contentTypeOf(data []byte) string {
	switch {
	case !utf8.Valid(data):
		return "application/octet-stream"
	case scan.Valid(data):
		return "application/json"
	}
	return "text/plain; charset=UTF-8"
}
