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
	case media == mediaExact:
		return appendExact(b, r)
	case isEvents(media):
		return appendEvent(b, r)
	}
	b = append(b, `{"topic":`...)
	b = appendText(b, r.Topic)
	switch media {
	case mediaBinary, mediaV2, mediaOld:
		b = appendPair(b, r, appendBase64)
	case mediaJSON, mediaAvro, mediaJSONSchema, mediaProtobuf:
		b = appendPair(b, r, front.AppendData)
	case mediaText:
		b = appendPair(b, r, appendString)
	}
	return append(appendExtras(b, r, h), '}')
}

// appendExact appends all of a record as it is: the shape of stateless reads with who
// set the timestamp, and with the bytes of keys, values and headers in base64.
func appendExact(b []byte, r *kgo.Record) []byte {
	b = append(b, `{"topic":`...)
	b = appendText(b, r.Topic)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
	b = append(b, `,"timestamp_type":`...)
	switch r.Attrs.TimestampType() {
	case 0:
		b = append(b, `"create"`...)
	case 1:
		b = append(b, `"append"`...)
	default:
		b = append(b, "null"...)
	}
	b = append(b, `,"key":`...)
	b = appendBase64(b, r.Key)
	b = append(b, `,"value":`...)
	b = appendBase64(b, r.Value)
	b = append(b, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = appendText(b, h.Key)
		b = append(b, `,"value":`...)
		b = appendBase64(b, h.Value)
		b = append(b, '}')
	}
	return append(b, "]}"...)
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
