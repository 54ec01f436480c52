package trace

import (
	"encoding/binary"
	"strings"
	"time"
)

// The numbers of the fields are those of opentelemetry.proto: trace.v1, common.v1
// and resource.v1, which are stable.

// appendRequest appends an ExportTraceServiceRequest with the spans of one process.
func appendRequest(b []byte, resource []Attribute, spans []*Span) []byte {
	return appendMessage(b, 1, func(b []byte) []byte { // resource_spans
		b = appendMessage(b, 1, func(b []byte) []byte { return appendAttributes(b, 1, resource) }) // resource
		return appendMessage(b, 2, func(b []byte) []byte {                                         // scope_spans
			b = appendMessage(b, 1, func(b []byte) []byte { return appendText(b, 1, "klamm") }) // scope
			for _, s := range spans {
				b = appendMessage(b, 2, s.append)
			}
			return b
		})
	})
}

func (s *Span) append(b []byte) []byte {
	b = appendBytes(b, 1, s.context.Trace[:])
	b = appendBytes(b, 2, s.context.Span[:])
	b = appendText(b, 3, s.context.State)
	if s.parent != [8]byte{} {
		b = appendBytes(b, 4, s.parent[:])
	}
	b = appendText(b, 5, s.name)
	b = appendNumber(b, 6, uint64(s.kind)) //nolint:gosec // 1 to 5
	b = appendTime(b, 7, s.start)
	b = appendTime(b, 8, s.end)
	b = appendAttributes(b, 9, s.attributes)
	for _, c := range s.links {
		b = appendMessage(b, 13, func(b []byte) []byte {
			return appendText(appendBytes(appendBytes(b, 1, c.Trace[:]), 2, c.Span[:]), 3, c.State)
		})
	}
	if s.failed {
		b = appendMessage(b, 15, func(b []byte) []byte { // status
			return appendNumber(appendText(b, 2, s.failure), 3, 2)
		})
	}
	return b
}

func appendAttributes(b []byte, field int, all []Attribute) []byte {
	for _, a := range all {
		b = appendMessage(b, field, func(b []byte) []byte {
			b = appendText(b, 1, a.Key)
			return appendMessage(b, 2, func(b []byte) []byte { // AnyValue, of which one field is always there
				if a.Number {
					return binary.AppendUvarint(appendTag(b, 3, 0), uint64(a.Int)) //nolint:gosec // as int64 is written
				}
				return appendBytes(b, 1, []byte(strings.ToValidUTF8(a.Text, "\ufffd")))
			})
		})
	}
	return b
}

func appendTag(b []byte, field, kind int) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|uint64(kind)) //nolint:gosec // constants
}

func appendNumber(b []byte, field int, n uint64) []byte {
	return binary.AppendUvarint(appendTag(b, field, 0), n)
}

func appendTime(b []byte, field int, t time.Time) []byte {
	return binary.LittleEndian.AppendUint64(appendTag(b, field, 1), uint64(t.UnixNano())) //nolint:gosec // until 2262
}

func appendBytes(b []byte, field int, value []byte) []byte {
	b = binary.AppendUvarint(appendTag(b, field, 2), uint64(len(value)))
	return append(b, value...)
}

// appendText appends a text unless it is empty.
func appendText(b []byte, field int, text string) []byte {
	if text == "" {
		return b
	}
	return appendBytes(b, field, []byte(strings.ToValidUTF8(text, "\ufffd")))
}

// appendMessage appends what fill appends, with its length before it.
func appendMessage(b []byte, field int, fill func([]byte) []byte) []byte {
	b = appendTag(b, field, 2)
	// The length is known afterwards; room for the longest is left.
	const room = 4 // up to 256 MiB, with continuation bits in all but the last byte
	at := len(b)
	b = fill(append(b, make([]byte, room)...))
	n := len(b) - at - room
	for i := range room {
		b[at+i] = byte(n>>(7*i)) & 0x7f
		if i < room-1 {
			b[at+i] |= 0x80
		}
	}
	return b
}
