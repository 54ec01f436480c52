package event

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMappingDocument(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1760001122845)
	for _, tc := range []struct {
		name       string
		in         *kgo.Record
		want       string
		key, value Form
		decoded    BySchema
	}{
		{"JSON", &kgo.Record{Topic: "t", Partition: 2, Offset: 7, Timestamp: at, Key: []byte("k"), Value: []byte(`{"a":1}`)},
			`{"topic":"t","partition":2,"offset":7,"timestamp":1760001122845,"timestampType":"CREATE_TIME","key":"k","value":{"a":1},"headers":{}}`, Text, JSON, BySchema{}},
		{"scalars are strings", &kgo.Record{Topic: "t", Timestamp: at, Key: []byte(`"k"`), Value: []byte("5")},
			`{"topic":"t","partition":0,"offset":0,"timestamp":1760001122845,"timestampType":"CREATE_TIME","key":"\"k\"","value":"5","headers":{}}`, Text, Text, BySchema{}},
		{"scalars of a schema", &kgo.Record{Topic: "t", Timestamp: at, Key: []byte(`"k"`), Value: []byte("5")},
			`{"topic":"t","partition":0,"offset":0,"timestamp":1760001122845,"timestampType":"CREATE_TIME","key":"\"k\"","value":5,"headers":{}}`, Text, JSON, BySchema{Value: true}},
		{"an array behind spaces", &kgo.Record{Topic: "t", Timestamp: at, Value: []byte(" [1]")},
			`{"topic":"t","partition":0,"offset":0,"timestamp":1760001122845,"timestampType":"CREATE_TIME","value": [1],"headers":{}}`, Null, JSON, BySchema{}},
		{"no JSON after all", &kgo.Record{Topic: "t", Timestamp: at, Value: []byte("{a")},
			`{"topic":"t","partition":0,"offset":0,"timestamp":1760001122845,"timestampType":"CREATE_TIME","value":"{a","headers":{}}`, Null, Text, BySchema{}},
		{"nothing", &kgo.Record{Topic: "t", Timestamp: at}, `{"topic":"t","partition":0,"offset":0,"timestamp":1760001122845,"timestampType":"CREATE_TIME","headers":{}}`, Null, Null, BySchema{}},
		{"empty", &kgo.Record{Topic: "t", Timestamp: at, Key: []byte{}, Value: []byte{}}, `{"topic":"t","partition":0,"offset":0,"timestamp":1760001122845,"timestampType":"CREATE_TIME","key":"","value":"","headers":{}}`, Text, Text, BySchema{}},
		{"bytes and headers", &kgo.Record{Topic: "t", Timestamp: at, Value: []byte{0xff}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}}},
			`{"topic":"t","partition":0,"offset":0,"timestamp":1760001122845,"timestampType":"CREATE_TIME","value":"/w==","headers":{"h":["1","2"]}}`, Null, Binary, BySchema{}},
	} {
		doc, key, value := AppendMappingDocument(nil, tc.in, tc.decoded)
		if string(doc) != tc.want || key != tc.key || value != tc.value {
			t.Errorf("%s: %s with forms %v and %v; want %s, %v, %v", tc.name, doc, key, value, tc.want, tc.key, tc.value)
		}
	}
}

// TestMappingRecordLength has records whose length is known before they are written.
func TestMappingRecordLength(t *testing.T) {
	t.Parallel()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, r := range map[string]*kgo.Record{
		"nothing":       {Topic: "t", Timestamp: time.UnixMilli(0)},
		"empty":         {Topic: "t", Timestamp: time.UnixMilli(0), Key: []byte{}, Value: []byte{}},
		"every byte":    {Topic: "a-topic", Partition: 17, Offset: 1 << 40, Timestamp: time.UnixMilli(1760001122845), Key: every[:1], Value: every, Headers: []kgo.RecordHeader{{Key: "h", Value: every}, {Key: "\"\n\xff", Value: nil}, {}}},
		"large numbers": {Topic: "t", Partition: math.MaxInt32, Offset: math.MaxInt64, Timestamp: time.UnixMilli(-99999)},
		"round numbers": {Topic: "t", Partition: 10, Offset: 99, Timestamp: time.UnixMilli(100)},
		"a long header": {Topic: "t", Timestamp: time.UnixMilli(-5), Headers: []kgo.RecordHeader{{Key: string(make([]byte, 600)), Value: []byte{128}}}},
	} {
		if text := AppendMappingRecord(nil, r); MappingRecordLength(r) != len(text) {
			t.Errorf("%s: %d bytes, and %d were expected: %s", name, len(text), MappingRecordLength(r), text)
		}
	}
}

func FuzzMappingRecord(f *testing.F) {
	f.Add([]byte("key"), []byte(`{"a":1}`), "header", []byte{0, 128, 255})
	f.Add([]byte{}, []byte{0xff}, "\xff", []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte, name string, header []byte) {
		r := &kgo.Record{Topic: "t", Key: key, Value: value, Headers: []kgo.RecordHeader{{Key: name, Value: header}}, Timestamp: time.UnixMilli(0)}
		var got struct {
			Key, Value *[]byte
			Headers    []map[string][]int8
		}
		text := AppendMappingRecord(nil, r)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if n := MappingRecordLength(r); n != len(text) {
			t.Errorf("%d bytes, and %d were expected: %s", len(text), n, text)
		}
		if (got.Key == nil) != (key == nil) || got.Key != nil && string(*got.Key) != string(key) || (got.Value == nil) != (value == nil) || got.Value != nil && string(*got.Value) != string(value) {
			t.Errorf("%q, %q become %v", key, value, got)
		}
		for _, bytes := range got.Headers[0] {
			for i, b := range bytes {
				if byte(b) != header[i] { //nolint:gosec // the sign is what is meant
					t.Errorf("header %v becomes %v", header, bytes)
				}
			}
		}
		if doc, _, _ := AppendMappingDocument(nil, r, BySchema{Value: true}); !json.Valid(doc) {
			t.Errorf("%s is no JSON", doc)
		}
	})
}
