package event

import (
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// A Form says what the bytes of a record's key or value are.
type Form int

// The forms, in the order in which they are tried.
const (
	Null   Form = iota // there are no bytes: a tombstone, or no key
	JSON               // valid JSON text
	Text               // valid UTF-8
	Binary             // anything else
)

// FormOf returns the form of a key or value.
func FormOf(b []byte) Form {
	switch {
	case b == nil:
		return Null
	case scan.Valid(b):
		return JSON
	case utf8.Valid(b):
		return Text
	default:
		return Binary
	}
}

// Fields says which fields of a document are wanted. Building the others would
// be wasted work.
type Fields struct {
	Topic, Partition, Offset, Timestamp, Key, Headers, Value bool
}

// AllFields wants every field.
var AllFields = Fields{true, true, true, true, true, true, true}

// Or returns the fields wanted by either.
func (f Fields) Or(o Fields) Fields {
	return Fields{
		f.Topic || o.Topic, f.Partition || o.Partition, f.Offset || o.Offset, f.Timestamp || o.Timestamp,
		f.Key || o.Key, f.Headers || o.Headers, f.Value || o.Value,
	}
}

// Pick sets the field of that name; other names are ignored, since a document
// does not have them.
func (f *Fields) Pick(name string) {
	switch name {
	case "topic":
		f.Topic = true
	case "partition":
		f.Partition = true
	case "offset":
		f.Offset = true
	case "timestamp":
		f.Timestamp = true
	case "key":
		f.Key = true
	case "headers":
		f.Headers = true
	case "value":
		f.Value = true
	}
}

// AppendDocument appends the JSON document that klamm's own filters and
// transforms see of a record, and returns the forms of its key and value
// (interface.md 4): topic, partition, offset, timestamp in milliseconds, key,
// headers as {NAME: [values]} and value. A key or value that is JSON stands in
// it as it is, text as a JSON string, other bytes as a string of their base64,
// and none at all as null.
func AppendDocument(dst []byte, r *kgo.Record, want Fields) (doc []byte, key, value Form) {
	dst = append(dst, '{')
	start := len(dst)
	field := func(name string) {
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
	}
	if want.Topic {
		field("topic")
		dst = scan.AppendString(dst, r.Topic)
	}
	if want.Partition {
		field("partition")
		dst = strconv.AppendInt(dst, int64(r.Partition), 10)
	}
	if want.Offset {
		field("offset")
		dst = strconv.AppendInt(dst, r.Offset, 10)
	}
	if want.Timestamp {
		field("timestamp")
		dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
	}
	if want.Key {
		field("key")
		dst, key = appendData(dst, r.Key)
	}
	if want.Headers {
		field("headers")
		dst = appendHeaders(dst, r.Headers)
	}
	if want.Value {
		field("value")
		dst, value = appendData(dst, r.Value)
	}
	return append(dst, '}'), key, value
}

// appendData appends a key or value in its form.
func appendData(dst, b []byte) ([]byte, Form) {
	form := FormOf(b)
	switch form {
	case Null:
		dst = append(dst, "null"...)
	case JSON:
		dst = append(dst, b...)
	case Text:
		dst = scan.AppendString(dst, string(b))
	default:
		dst = append(dst, '"')
		dst = appendEncoded(dst, b)
		dst = append(dst, '"')
	}
	return dst, form
}

// appendHeaders appends {NAME: [values as strings]}, names in the order of
// their first appearance. Values that are not UTF-8 stand in base64, a null
// value is null.
func appendHeaders(dst []byte, headers []kgo.RecordHeader) []byte {
	dst = append(dst, '{')
	for i, h := range headers {
		if firstOf(headers, h.Key) < i {
			continue
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = scan.AppendString(dst, h.Key)
		dst = append(dst, ':', '[')
		first := true
		for _, same := range headers[i:] {
			if same.Key != h.Key {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			switch {
			case same.Value == nil:
				dst = append(dst, "null"...)
			case utf8.Valid(same.Value):
				dst = scan.AppendString(dst, string(same.Value))
			default:
				dst = append(dst, '"')
				dst = appendEncoded(dst, same.Value)
				dst = append(dst, '"')
			}
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func firstOf(headers []kgo.RecordHeader, name string) int {
	for i, h := range headers {
		if h.Key == name {
			return i
		}
	}
	return len(headers)
}
