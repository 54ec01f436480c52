package kafka_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// makeAnew deletes a topic, if there is one, and makes another one of its name. On a real
// cluster both take their time.
func makeAnew(t *testing.T, c *kafka.Cluster, topic string, partitions int32) {
	t.Helper()
	within := func(what string, do func() error) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			err := do()
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	within("delete", func() error {
		if err := c.DeleteTopic(t.Context(), topic); !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("still there, %w", err)
		}
		return nil
	})
	most := "3000000"
	within("create", func() error {
		if err := c.EnsureTopic(t.Context(), topic, partitions, map[string]*string{"max.message.bytes": &most}); err != nil {
			return err
		}
		_, err := c.Topic(t.Context(), topic)
		return err
	})
}

// A topic that was deleted and made again takes records as any other, in whatever way
// they are written, and by all who write at once.
func TestProducingGoesOnWithATopicThatWasMadeAnew(t *testing.T) {
	c := cluster(t)
	const writers = 4
	topic := unique(t)
	ways := map[string]func(r *kgo.Record) error{
		"produced": func(r *kgo.Record) error { return c.Produce(t.Context(), r)[0].Err },
		"large": func(r *kgo.Record) error {
			r.Value = append(r.Value, noise(1<<20)...)
			return c.Produce(t.Context(), r)[0].Err
		},
		"sent": func(r *kgo.Record) error {
			done := make(chan error, 1)
			c.Send(t.Context(), r, func(err error) { done <- err })
			return <-done
		},
	}
	for turn, partitions := range []int32{4, 6, 1} {
		makeAnew(t, c, topic, partitions)
		text := fmt.Appendf(nil, "topic %d ", turn)
		var writing sync.WaitGroup
		for way, write := range ways {
			for i := range writers {
				writing.Go(func() {
					if err := write(&kgo.Record{Topic: topic, Partition: -1, Key: fmt.Append(nil, way, i), Value: bytes.Clone(text)}); err != nil {
						t.Errorf("topic %d, %s: %v", turn, way, err)
					}
				})
			}
		}
		writing.Wait()
		ranges, err := c.Ranges(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for p, span := range ranges {
			for at := span.Start; at < span.End; {
				records, err := c.Fetch(t.Context(), topic, p, at, kafka.Limits{Records: 1000, Bytes: 16 << 20})
				if err != nil || len(records) == 0 {
					t.Fatalf("%d records, %v", len(records), err)
				}
				for _, r := range records {
					if !bytes.HasPrefix(r.Value, text) {
						t.Errorf("topic %d has %.10q", turn, r.Value)
					}
				}
				count += len(records)
				at = records[len(records)-1].Offset + 1
			}
		}
		if want := writers * len(ways); count != want {
			t.Errorf("topic %d has %d records, want %d", turn, count, want)
		}
	}
}
