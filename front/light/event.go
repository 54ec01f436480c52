package light

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/cloudevent"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/kafka"
)

// The forms that entries are shared in.
const (
	jsonForm = iota
	textForm
	base64Form
	messageForm // of a WebSocket
	ownForm     // not shared
)

// A format says what the data of a stream's events is.
type format struct {
	form   int
	append func(b []byte, r *kgo.Record) []byte
}

// formats are the values of the parameter format.
var formats = map[string]format{
	"":     {jsonForm, front.AppendRead},
	"json": {jsonForm, front.AppendRead},
	"text": {textForm, func(b []byte, r *kgo.Record) []byte {
		return append(b, bytes.ToValidUTF8(r.Value, []byte("\uFFFD"))...)
	}},
	"cloudevents": {ownForm, func(b []byte, r *kgo.Record) []byte {
		e := cloudevent.Of(r)
		return e.AppendJSON(b)
	}},
	"base64": {base64Form, func(b []byte, r *kgo.Record) []byte { return base64.StdEncoding.AppendEncode(b, r.Value) }},
}

// eventBatch is the format for clients that accept batches of CloudEvents: each
// event of the stream is one of a single record.
var eventBatch = format{ownForm, func(b []byte, r *kgo.Record) []byte {
	return cloudevent.AppendBatch(b, []cloudevent.Event{cloudevent.Of(r)})
}}

// formatOf finds the format that a request asks for: with the parameter, or, as
// browsers cannot, by accepting CloudEvents by their name.
func formatOf(name, accept string) (format, bool) {
	f, ok := formats[name]
	if name == "" {
		switch accept = strings.ToLower(accept); {
		case strings.Contains(accept, cloudevent.MediaJSON):
			return formats["cloudevents"], true
		case strings.Contains(accept, cloudevent.MediaBatch):
			return eventBatch, true
		}
	}
	return f, ok
}

// encoded returns what follows the id of a record's event.
func (f format) encoded(e *kafka.Entry, topic string) []byte {
	if f.form == ownForm {
		return f.encode(shownAs(e.Record, topic))
	}
	return formOf(e, topic, f.form, f.encode)
}

func (f format) encode(r *kgo.Record) []byte {
	data := f.append(make([]byte, 0, 200+len(r.Topic)+len(r.Key)+len(r.Value)*5/4), r)
	return slices.Clip(appendEvent(make([]byte, 0, len(data)+len("event: record\ndata: \n\n")), "record", data))
}

// appendEvent appends an event without an id. Data of several lines becomes
// several fields: the client puts a line feed between them, whatever ended them
// before.
func appendEvent(b []byte, name string, data []byte) []byte {
	b = append(b, "event: "...)
	b = append(b, name...)
	b = append(b, '\n')
	for {
		b = append(b, "data: "...)
		end := bytes.IndexAny(data, "\r\n")
		if end < 0 {
			b = append(b, data...)
			return append(b, "\n\n"...)
		}
		b = append(b, data[:end]...)
		b = append(b, '\n')
		if data[end] == '\r' && end+1 < len(data) && data[end+1] == '\n' {
			end++
		}
		data = data[end+1:]
	}
}

// appendDocument is appendEvent for a value that becomes JSON.
func appendDocument(b []byte, name string, value any) []byte {
	data, _ := json.Marshal(value) // of structs of texts and numbers
	return appendEvent(b, name, data)
}

// formOf is kafka.Entry.Form for a caller who may know the topic by another name, in
// a stage that has a prefix for its topics: that is made for the caller alone.
func formOf(e *kafka.Entry, topic string, form int, write func(*kgo.Record) []byte) []byte {
	if e.Record.Topic == topic {
		return e.Form(form, write)
	}
	return write(shownAs(e.Record, topic))
}

func shownAs(r *kgo.Record, topic string) *kgo.Record {
	if r.Topic == topic {
		return r
	}
	shown := *r
	shown.Topic = topic
	return &shown
}
