package front

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const headerPrefix = "X-Kafka-H-"

// maxKey bounds the key of a plain record, in bytes.
const maxKey = 32 << 10

// PlainRecord makes a record of a request (interface.md 3): the body is its
// value, X-Kafka-Key or ?key= its key, and X-Kafka-H-NAME its headers, sorted by
// name and with the names in lower case, since HTTP does not keep their case.
// The record shares the body's memory. Its partition is -1.
func PlainRecord(r *http.Request, body []byte) (*kgo.Record, error) {
	if body == nil {
		body = []byte{} // an empty body is an empty value, not a tombstone
	}
	record := &kgo.Record{Value: body, Partition: -1}
	if values := r.Header["X-Kafka-Key"]; len(values) > 0 {
		record.Key = []byte(values[0])
	} else if r.URL.RawQuery != "" {
		if query := r.URL.Query(); query.Has("key") {
			record.Key = []byte(query.Get("key"))
		}
	}
	if len(record.Key) > maxKey {
		return nil, fmt.Errorf("the key has %d bytes; at most %d are allowed", len(record.Key), maxKey)
	}
	for name, values := range r.Header {
		rest, ok := strings.CutPrefix(name, headerPrefix)
		if !ok {
			continue
		}
		if rest == "" {
			return nil, errors.New("a record header needs a name: " + headerPrefix + "NAME")
		}
		for _, v := range values {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: strings.ToLower(rest), Value: []byte(textproto.TrimString(v))})
		}
	}
	slices.SortStableFunc(record.Headers, func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	return record, nil
}
