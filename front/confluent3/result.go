package confluent3

import (
	"strconv"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/scan"
)

// This file writes what is said about a record that was produced, or was not; record.go
// reads what is asked for.

// appendInstant appends a time as an ISO 8601 instant in UTC, with milliseconds
// where there are any.
func appendInstant(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if t.UnixMilli()%1000 == 0 {
		return t.AppendFormat(dst, "2006-01-02T15:04:05Z")
	}
	return t.AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// A stamp remembers how the last instant is written, since records that are
// produced together often have the same. The zero value remembers nothing.
type stamp struct {
	at   time.Time
	text []byte
}

func (s *stamp) append(dst []byte, t time.Time) []byte {
	if s.text == nil || !s.at.Equal(t) {
		s.at, s.text = t, appendInstant(s.text[:0], t)
	}
	return append(dst, s.text...)
}

// appendResult appends what is said about a record that was produced, from its
// cluster on.
func (r *parsed) appendResult(dst, where []byte, s *stamp) []byte {
	dst = append(dst, where...) // "cluster_id":...,"topic_name":...,"partition_id":
	dst = strconv.AppendInt(dst, int64(r.record.Partition), 10)
	dst = append(dst, `,"offset":`...)
	dst = strconv.AppendInt(dst, r.record.Offset, 10)
	dst = append(dst, `,"timestamp":"`...)
	dst = append(s.append(dst, r.record.Timestamp), '"')
	dst = r.appendSide(dst, `,"key":{"type":"`, keySide, r.key, r.record.Key)
	return r.appendSide(dst, `,"value":{"type":"`, valueSide, r.value, r.record.Value)
}

func (r *parsed) appendSide(dst []byte, label string, side int, f format, b []byte) []byte {
	if f == formatNone {
		return dst
	}
	size := -1
	if b != nil {
		size = len(b)
	}
	dst = append(append(dst, label...), formatNames[f]...)
	dst = append(dst, '"')
	if r.schemas != nil {
		dst = r.schemas[side].append(dst)
	}
	dst = append(dst, `,"size":`...)
	return append(strconv.AppendInt(dst, int64(size), 10), '}')
}

// whereOf is the part of a result that all records of a request share.
func whereOf(c *call) []byte {
	dst := append([]byte(nil), `"cluster_id":`...)
	dst = scan.AppendString(dst, c.cluster)
	dst = append(dst, `,"topic_name":`...)
	dst = scan.AppendString(dst, c.r.PathValue("topic"))
	return append(dst, `,"partition_id":`...)
}

// appendFailure appends the code and the message of a record that was not
// produced. The message ends at its first line break.
func appendFailure(dst []byte, e *refusal) []byte {
	dst = append(dst, `"error_code":`...)
	dst = strconv.AppendInt(dst, int64(e.code), 10)
	dst = append(dst, `,"message":`...)
	message, _, _ := strings.Cut(e.message, "\n")
	return scan.AppendString(dst, message)
}
