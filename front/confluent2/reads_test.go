package confluent2

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestExactRecords has the bytes of records where other shapes would not: "1" and 1, null
// and nothing, and what is no text.
func TestExactRecords(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	for want, r := range map[string]kgo.Record{
		`{"topic":"t","partition":1,"offset":2,"timestamp":1700000000123,"timestamp_type":"create","key":null,"value":"","headers":[]}`: {Value: []byte{}},
		`{"topic":"t","partition":1,"offset":2,"timestamp":1700000000123,"timestamp_type":"create","key":"IjEi","value":"/wA=","headers":[{"name":"a\"","value":null},{"name":"a\"","value":"eA=="}]}`: {
			Key: []byte(`"1"`), Value: []byte{0xff, 0}, Headers: []kgo.RecordHeader{{Key: `a"`}, {Key: `a"`, Value: []byte("x")}},
		},
	} {
		r.Topic, r.Partition, r.Offset, r.Timestamp = "t", 1, 2, at
		if diff := cmp.Diff(want, string(appendRecord(nil, &r, mediaExact, &habits{}))); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPositionsOfReads(t *testing.T) {
	for text, want := range map[string]map[int32]int64{
		"0-1": {0: 1}, "0-1,2-30": {0: 1, 2: 30}, "0-0": {0: 0}, "0-1,0-2": nil, "0-1,00-1": nil, "0-1,": nil, "": nil, "0": nil, "0--1": nil, "-1-0": nil, "0-1 ": nil,
		"4294967296-1": nil, "0-9223372036854775808": nil,
	} {
		if diff := cmp.Diff(want, parseNext(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}
