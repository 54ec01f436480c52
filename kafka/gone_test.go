package kafka_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/klamm-gateway/klamm/kafka"
)

// What retention removes under a consumer that was kept from reading on is counted, as what
// it removes behind a committed offset is.
func TestRetentionUnderAConsumerIsCounted(t *testing.T) {
	c, topic := cluster(t), unique(t)
	if err := c.EnsureTopic(t.Context(), topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	fill := func(n int) {
		for range n {
			produce(t, c, topic, 0, "v")
		}
	}
	fill(5)
	var gone int64
	consumer, err := c.Join(t.Context(), kafka.Membership{Group: topic, Topics: []string{topic}, Start: kafka.Start{Earliest: true}, Markers: true,
		Assigned: func(map[string][]int32) {}, Revoked: func(context.Context, map[string][]int32) {}, Lost: func(map[string][]int32) {},
		Gone: func(_ string, _ int32, n int64) { gone += n },
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Leave(context.Background())
	read := func(until int64) (offsets []int64) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for at := int64(0); at < until; {
			records, err := consumer.Poll(ctx, 100)
			consumer.Release()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				at = r.Offset + 1
				offsets = append(offsets, r.Offset)
			}
		}
		return offsets
	}
	read(5)
	consumer.Pause(topic, 0)
	fill(10)
	before := kadm.Offsets{}
	before.Add(kadm.Offset{Topic: topic, Partition: 0, At: 12})
	if _, err := c.Admin().DeleteRecords(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	consumer.Resume(topic, 0)
	left := int64(0) // what a fetch that was under way has brought before it was removed
	for _, offset := range read(15) {
		if offset < 12 {
			left++
		}
	}
	if gone == 0 || left+gone != 7 {
		t.Errorf("%d are gone, and %d of those that were removed were read; want 7", gone, left)
	}
}
