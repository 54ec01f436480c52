package event

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/scan"
)

// AppendMappingRecord appends a record in the form in which event source mappings
// hand it to functions (event-source-mapping.md 10): key and value in base64, left out
// where they are null, headers as objects of one member whose value is an array of
// signed bytes.
func AppendMappingRecord(dst []byte, r *kgo.Record) []byte {
	dst = appendMappingPlace(dst, r)
	dst = appendBase64(dst, "key", r.Key)
	dst = appendBase64(dst, "value", r.Value)
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
			dst = strconv.AppendInt(dst, int64(int8(b)), 10) //nolint:gosec // the sign is what is wanted
		}
		dst = append(dst, ']', '}')
	}
	return append(dst, ']', '}')
}

// MappingRecordLength is how many bytes AppendMappingRecord appends for a record.
func MappingRecordLength(r *kgo.Record) int {
	n := len(`{"topic":"","partition":,"offset":,"timestamp":,"timestampType":"","headers":[]}`) + len(r.Topic) + len(timestampType(r)) +
		decimalLength(int64(r.Partition)) + decimalLength(r.Offset) + decimalLength(r.Timestamp.UnixMilli())
	if r.Key != nil {
		n += len(`,"key":""`) + base64.StdEncoding.EncodedLen(len(r.Key))
	}
	if r.Value != nil {
		n += len(`,"value":""`) + base64.StdEncoding.EncodedLen(len(r.Value))
	}
	for _, h := range r.Headers {
		var room [512]byte // for most names: no memory is taken for this
		n += len(scan.AppendString(room[:0], h.Key)) + len(`{:[]},`) + max(len(h.Value)-1, 0)
		for _, b := range h.Value {
			n += decimalLength(int64(int8(b))) //nolint:gosec // the sign is what is wanted
		}
	}
	if len(r.Headers) > 0 {
		n-- // the last one has no comma
	}
	return n
}

// decimalLength is how many characters a number has.
func decimalLength(n int64) int {
	length := 1
	if n < 0 {
		length++
	}
	for n <= -10 || n >= 10 {
		n /= 10
		length++
	}
	return length
}

// AppendMappingDocument appends what the filters of an event source mapping see of a
// record (event-source-mapping.md 11.2), and returns the forms of its key and value:
// JSON objects and arrays stand as they are, other UTF-8 as a string, other bytes as
// their base64 (event-patterns.md 11). What a schema has decoded is JSON in any case.
// Headers are {NAME: [values as strings]}.
func AppendMappingDocument(dst []byte, r *kgo.Record, decoded BySchema) (doc []byte, key, value Form) {
	dst = appendMappingPlace(dst, r)
	member := func(name string, b []byte, decoded bool) (form Form) {
		if b == nil {
			return Null
		}
		dst = append(dst, ',', '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
		if !decoded && pipesForm(b) == Text {
			dst = scan.AppendString(dst, string(b))
			return Text
		}
		dst, form = appendData(dst, b)
		if form == JSON && !utf8.Valid(b) {
			form = Binary
		}
		return form
	}
	key = member("key", r.Key, decoded.Key)
	value = member("value", r.Value, decoded.Value)
	dst = append(dst, `,"headers":`...)
	dst = appendHeaders(dst, r.Headers)
	return append(dst, '}'), key, value
}

// BySchema says which of a record's key and value a schema has decoded to JSON.
type BySchema struct{ Key, Value bool }

// appendMappingPlace begins the object of a record.
func appendMappingPlace(dst []byte, r *kgo.Record) []byte {
	dst = append(dst, `{"topic":"`...)
	dst = append(dst, r.Topic...) // whose name needs no escapes
	dst = append(dst, `","partition":`...)
	dst = strconv.AppendInt(dst, int64(r.Partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.Offset, 10)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
	dst = append(dst, `,"timestampType":"`...)
	dst = append(dst, timestampType(r)...)
	return append(dst, '"')
}

func appendBase64(dst []byte, name string, b []byte) []byte {
	if b == nil {
		return dst
	}
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':', '"')
	dst = appendEncoded(dst, b)
	return append(dst, '"')
}
