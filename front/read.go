package front

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// AppendRead appends a record as a JSON object in the shape of stateless reads
// (interface.md 3): topic, partition, offset, timestamp in milliseconds, key,
// value and headers.
func AppendRead(b []byte, r *kgo.Record) []byte {
	b = append(b, `{"topic":`...)
	b = scan.AppendString(b, r.Topic)
	b = append(b, `,"partition":`...)
	b = strconv.AppendInt(b, int64(r.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"timestamp":`...)
	b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 10)
	b = append(b, `,"key":`...)
	b = AppendData(b, r.Key)
	b = append(b, `,"value":`...)
	b = AppendData(b, r.Value)
	b = append(b, `,"headers":`...)
	return append(AppendHeaders(b, r.Headers), '}')
}

// AppendHeaders appends a record's headers as a list of objects with name and value: a
// string where the bytes are UTF-8, else {"base64": ...}; null stays null.
func AppendHeaders(b []byte, headers []kgo.RecordHeader) []byte {
	b = append(b, '[')
	for i, h := range headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = scan.AppendString(b, h.Key)
		b = append(b, `,"value":`...)
		switch {
		case h.Value == nil:
			b = append(b, "null"...)
		case utf8.Valid(h.Value):
			b = scan.AppendString(b, string(h.Value))
		default:
			b = AppendBytes(b, h.Value)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// AppendData appends a key or value: JSON where its bytes are JSON, else a string
// where they are UTF-8, else {"base64": ...}; null stays null.
func AppendData(b, raw []byte) []byte {
	switch {
	case raw == nil:
		return append(b, "null"...)
	case scan.Valid(raw) && utf8.Valid(raw):
		return append(b, raw...)
	case utf8.Valid(raw):
		return scan.AppendString(b, string(raw))
	default:
		return AppendBytes(b, raw)
	}
}

// AppendBytes appends {"base64": ...}.
func AppendBytes(b, raw []byte) []byte {
	b = append(b, `{"base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, raw)
	return append(b, `"}`...)
}
