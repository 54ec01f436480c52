package confluent2

import (
	"encoding/base64"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/scan"
)

// appendRecord appends a record, in the shape that the media type asks for:
// v2's, or klamm's own for stateless reads (interface.md 3).
func appendRecord(b []byte, r *kgo.Record, media string, h *habits) []byte {
	switch {
	case media == mediaPlain:
		return front.AppendRead(b, r)
	case isEvents(media):
		return appendEvent(b, r)
	}
	b = append(b, `{"topic":`...)
	b = appendText(b, r.Topic)
	switch media {
	case mediaBinary:
		b = appendPair(b, r, appendBase64)
	case mediaJSON:
		b = appendPair(b, r, front.AppendData)
	case mediaText:
		b = appendPair(b, r, appendString)
	}
	return append(appendExtras(b, r, h), '}')
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
