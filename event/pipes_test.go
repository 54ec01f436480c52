package event

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWhatFiltersSeeOfARecord(t *testing.T) {
	r := &kgo.Record{Topic: "orders", Partition: 3, Offset: 41, Timestamp: time.UnixMilli(1700000000000), Key: []byte("k"), Value: []byte(`{"id": 7}`), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{1, 255}}}}
	from := Source{EventSource: "SelfManagedKafka", Bootstrap: "b:9092"}
	const (
		source = `"eventSource":"SelfManagedKafka","bootstrapServers":"b:9092","eventSourceKey":"orders-3",`
		fields = `"topic":"orders","partition":"3","offset":41,"timestamp":1700000000000,"timestampType":"CREATE_TIME",`
	)
	for how, want := range map[Decoding]string{
		Encoded: `{` + source + fields + `"key":"aw==","value":"eyJpZCI6IDd9","headers":[{"h":[1,255]}]}`,
		Decoded: `{` + source + fields + `"key":"aw==","value":{"id": 7},"headers":[{"h":[1,255]}]}`,
		Plain:   `{` + fields + `"key":"k","value":{"id": 7},"headers":[{"h":[1,255]}]}`,
	} {
		got, key, value := AppendPipesRecord(nil, r, from, how)
		if string(got) != want || key != Text || value != JSON {
			t.Errorf("%d: %s, %v and %v\nwant %s", how, got, key, value, want)
		}
	}
}
