package event

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// DeliveryID names the delivery of a record by a pipe, PIPE:TOPIC:PARTITION:
// OFFSET:TIME: the same on every attempt and from every process, and another one
// for the record that takes the same offset after a topic was deleted and made
// anew. The time is that of the record, in milliseconds, to the base of 36.
func DeliveryID(pipe string, r *kgo.Record) string {
	var room [192]byte // most names fit, and only the text is allocated
	b := append(append(room[:0], pipe...), ':')
	b = append(append(b, r.Topic...), ':')
	b = append(strconv.AppendInt(b, int64(r.Partition), 10), ':')
	b = append(strconv.AppendInt(b, r.Offset, 10), ':')
	b = strconv.AppendInt(b, r.Timestamp.UnixMilli(), 36)
	return string(b)
}
