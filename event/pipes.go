package event

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// A Source is where the records of a pipe of EventBridge Pipes come from, as it
// stands in each of them (pipes.md 4).
type Source struct {
	// EventSource is aws:kafka or SelfManagedKafka.
	EventSource string
	// ARN names the cluster of aws:kafka; Bootstrap the brokers of SelfManagedKafka.
	ARN, Bootstrap string
}

// A Decoding says what stands for a record's key and value.
type Decoding int

const (
	// Encoded is their base64, as records are delivered.
	Encoded Decoding = iota
	// Decoded is the JSON of an object or array, and otherwise their base64: what
	// paths see.
	Decoded
	// Plain is the JSON of an object or array, UTF-8 as a string, and otherwise
	// their base64: what filters see. They do not see what is not the record's own: where
	// it comes from (event-patterns.md 11).
	Plain
)

// AppendPipesRecord appends a record in the form that EventBridge Pipes gives it
// (pipes.md 4), and returns the forms of its key and value. There only objects and
// arrays count as JSON. A key or value that is null is left out.
func AppendPipesRecord(dst []byte, r *kgo.Record, from Source, how Decoding) (doc []byte, key, value Form) {
	number := strconv.Itoa(int(r.Partition))
	dst = append(dst, '{')
	if how != Plain {
		dst = append(dst, `"eventSource":`...)
		dst = scan.AppendString(dst, from.EventSource)
		if from.ARN != "" {
			dst = append(dst, `,"eventSourceArn":`...)
			dst = scan.AppendString(dst, from.ARN)
		}
		if from.Bootstrap != "" {
			dst = append(dst, `,"bootstrapServers":`...)
			dst = scan.AppendString(dst, from.Bootstrap)
		}
		dst = append(dst, `,"eventSourceKey":`...)
		dst = scan.AppendString(dst, r.Topic+"-"+number)
		dst = append(dst, ',')
	}
	dst = append(dst, `"topic":`...)
	dst = scan.AppendString(dst, r.Topic)
	dst = append(dst, `,"partition":"`...)
	dst = append(dst, number...)
	dst = append(dst, `","offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
	dst = append(dst, `,"timestampType":"`...)
	dst = append(dst, timestampType(r)...)
	dst = append(dst, '"')
	dst, key = appendPipesData(dst, "key", r.Key, how)
	dst, value = appendPipesData(dst, "value", r.Value, how)
	dst = append(dst, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		dst = scan.AppendString(dst, h.Key)
		dst = append(dst, ':', '[')
		for j, b := range h.Value {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(b), 10)
		}
		dst = append(dst, ']', '}')
	}
	return append(dst, ']', '}'), key, value
}

func timestampType(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "CREATE_TIME"
	case 1:
		return "LOG_APPEND_TIME"
	default:
		return "NO_TIMESTAMP_TYPE"
	}
}

// appendPipesData appends the member of a key or value.
func appendPipesData(dst []byte, name string, b []byte, how Decoding) ([]byte, Form) {
	form := pipesForm(b)
	if form == Null {
		return dst, form
	}
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	switch {
	case form == JSON && how != Encoded:
		return append(dst, b...), form
	case form == Text && how == Plain:
		return scan.AppendString(dst, string(b)), form
	}
	dst = append(dst, '"')
	dst = appendEncoded(dst, b)
	return append(dst, '"'), form
}

// pipesForm is the form of a key or value where only objects and arrays are JSON.
func pipesForm(b []byte) Form {
	if b == nil {
		return Null
	}
	text := bytes.TrimLeft(b, " \t\r\n")
	if len(text) > 0 && (text[0] == '{' || text[0] == '[') && scan.Valid(b) {
		return JSON
	}
	if utf8.Valid(b) {
		return Text
	}
	return Binary
}
