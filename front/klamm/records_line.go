package klamm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/scan"
)

// A recordLine is a line of a search: {"record": {...}}, see line.
type recordLine struct {
	Record json.RawMessage `json:"record"`
}

// A shownPart is a key or value, decoded if it was framed.
type shownPart struct {
	data    []byte
	framing gate.Framing
}

// deepest is how deeply a value may be nested to be shown as JSON: a line has to be
// read by what reads JSON.
const deepest = 1000

// partForms are what the forms are called.
var partForms = map[event.Form]string{event.Null: "null", event.JSON: "json", event.Text: "text", event.Binary: "binary"}

// line writes a record: topic, partition, offset, timestamp in milliseconds, key and
// value with key_form and value_form, which are null, json, text or binary, the
// schemas that they were written with if they were framed, headers as a list of name
// and value, and size, the bytes of key, value and headers as they are in Kafka. Of a
// value that is cut there is a text of its beginning. A masked one is null, and its
// form masked.
func (s *search) line(r *kgo.Record, key, value shownPart, masked bool) recordLine {
	b := make([]byte, 0, 300+len(key.data)+len(value.data)*5/4)
	b = append(b, `{"topic":`...)
	b = scan.AppendString(b, s.topic.Name)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
	b = s.part(b, "key", key)
	if masked && value.data != nil {
		b = append(b, `,"value":null,"value_form":"masked"`...)
	} else {
		b = s.part(b, "value", value)
	}
	size := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value)
	}
	b = append(b, `,"headers":`...)
	b = front.AppendHeaders(b, r.Headers)
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, int64(size), 10)
	return recordLine{append(b, '}')}
}

// part appends a key or value, and what it is.
func (s *search) part(b []byte, name string, p shownPart) []byte {
	form := event.FormOf(p.data)
	data, cut := p.data, len(p.data) > s.cut
	if cut {
		data = data[:s.cut]
		for n := 0; form != event.Binary && n < utf8.UTFMax && len(data) > 0 && !utf8.Valid(data); n++ {
			data = data[:len(data)-1] // the rest of a character
		}
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	switch {
	case form == event.Null:
		b = append(b, "null"...)
	case form == event.Binary && s.asText:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, data)
		b = append(b, '"')
	case form == event.Binary:
		b = front.AppendBytes(b, data)
	case form == event.JSON && !cut && !s.asText && bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) <= deepest:
		b = append(b, data...)
	default:
		b = scan.AppendString(b, string(data))
	}
	b = append(append(append(b, `,"`...), name...), `_form":"`...)
	b = append(append(b, partForms[form]...), '"')
	if cut {
		b = append(append(append(b, `,"`...), name...), `_cut":true`...)
	}
	if p.framing.Format != "" {
		b = append(append(append(b, `,"`...), name...), `_schema":{"id":`...)
		if p.framing.Version != "" {
			b = scan.AppendString(b, p.framing.Version)
		} else {
			b = strconv.AppendInt(b, int64(p.framing.ID), 10)
		}
		b = append(append(append(b, `,"type":"`...), p.framing.Format...), `"}`...)
	}
	return b
}
