package event

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// HeaderHops counts how many pipes a record has come through, whatever lies between
// them: topics, buses, or both.
const HeaderHops = "klamm.hops"

// MaxHops ends loops that pipes make of several topics and buses.
const MaxHops = 32

// Hops returns what a header that counts says, 0 if there is none: HeaderHops or
// HeaderBusHops.
func Hops(headers []kgo.RecordHeader, name string) int {
	n := 0
	for _, h := range headers {
		if h.Key != name {
			continue
		}
		if was, err := strconv.Atoi(string(h.Value)); err == nil {
			n = max(n, was)
		}
	}
	return n
}

// WithHops returns the headers that are to be kept, nil meaning all of them, without any
// of that name, and then one of that name and number. It copies them.
func WithHops(headers []kgo.RecordHeader, keep []string, name string, n int) []kgo.RecordHeader {
	next := make([]kgo.RecordHeader, 0, len(headers)+1)
	for _, h := range headers {
		if h.Key != name && (keep == nil || slices.Contains(keep, h.Key)) {
			next = append(next, h)
		}
	}
	return append(next, kgo.RecordHeader{Key: name, Value: strconv.AppendInt(nil, int64(n), 10)})
}
