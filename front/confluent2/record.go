package confluent2

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// appendRecord appends a record, in the shape that the media type asks for:
// v2's, or klamm's own for stateless reads (interface.md 3).
func appendRecord(b []byte, r *kgo.Record, media string, h *habits) []byte {
	b = append(b, `{"topic":`...)
	b = appendText(b, r.Topic)
	switch media {
	case mediaBinary:
		b = appendPair(b, r, appendBase64)
	case mediaJSON:
		b = appendPair(b, r, appendData)
	case mediaText:
		b = appendPair(b, r, appendString)
	default:
		b = appendOwn(b, r)
	}
	if media != mediaPlain {
		b = appendExtras(b, r, h)
	}
	return append(b, '}')
}

// appendPair appends what follows the topic in v2's shape.
func appendPair(b []byte, r *kgo.Record, data func(b, raw []byte) []byte) []byte {
	b = append(b, `,"key":`...)
	b = data(b, r.Key)
	b = append(b, `,"value":`...)
	b = data(b, r.Value)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	return strconv.AppendInt(b, r.Offset, 10)
}

// appendOwn appends what follows the topic in klamm's own shape.
func appendOwn(b []byte, r *kgo.Record) []byte {
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
	b = append(b, `,"key":`...)
	b = appendData(b, r.Key)
	b = append(b, `,"value":`...)
	b = appendData(b, r.Value)
	b = append(b, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = appendText(b, h.Key)
		b = append(b, `,"value":`...)
		switch {
		case h.Value == nil:
			b = append(b, "null"...)
		case utf8.Valid(h.Value):
			b = appendText(b, string(h.Value))
		default:
			b = appendBytes(b, h.Value)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendData appends a key or value: JSON where its bytes are JSON, else a
// string where they are UTF-8, else {"base64": ...}; null stays null.
func appendData(b, raw []byte) []byte {
	switch {
	case raw == nil:
		return append(b, "null"...)
	case scan.Valid(raw) && utf8.Valid(raw):
		return append(b, raw...)
	case utf8.Valid(raw):
		return appendText(b, string(raw))
	default:
		return appendBytes(b, raw)
	}
}

func appendBytes(b, raw []byte) []byte {
	b = append(b, `{"base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, raw)
	return append(b, `"}`...)
}

// appendBase64 appends a key or value in v2's binary format.
func appendBase64(b, raw []byte) []byte {
	if raw == nil {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, raw)
	return append(b, '"')
}

// appendString appends a key or value in the text format.
func appendString(b, raw []byte) []byte {
	if raw == nil {
		return append(b, "null"...)
	}
	return appendText(b, string(raw))
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte { return scan.AppendString(b, s) }
