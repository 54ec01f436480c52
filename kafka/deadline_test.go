package kafka_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestOldTimestamps guards against a delivery timeout that counts from the
// record's timestamp.
func TestOldTimestamps(t *testing.T) {
	c, topic := cluster(t), unique(t)
	then := time.UnixMilli(1707160482500)
	records := []*kgo.Record{{Topic: topic, Partition: 0, Value: []byte("old"), Timestamp: then}, {Topic: topic, Partition: 0, Value: []byte("new")}}
	if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	c.Send(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Value: []byte("old"), Timestamp: then}, func(err error) { sent <- err })
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	got, err := c.Fetch(t.Context(), topic, 0, 0, kafka.Limits{Records: 3, Wait: time.Minute})
	if err != nil || len(got) != 3 {
		t.Fatalf("got %d records and %v", len(got), err)
	}
	for i, old := range []bool{true, false, true} {
		if got[i].Timestamp.Equal(then) != old {
			t.Errorf("record %d has the timestamp %v", i, got[i].Timestamp)
		}
	}
}
