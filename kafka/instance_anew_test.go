package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
)

// An instance whose topic is deleted and made again reads the new one from its beginning,
// also where it would begin with what is new, and commits nothing of the old one for it.
func TestInstancesReadATopicThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	for _, member := range []bool{true, false} {
		t.Run(map[bool]string{true: "a member", false: "with partitions of its own"}[member], func(t *testing.T) {
			t.Parallel()
			c := openWith(t, kafka.Config{Brokers: brokertest.Brokers(t)})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			topic := fmt.Sprintf("anew-%d", time.Now().UnixNano())
			fill := func(values ...string) {
				t.Helper()
				for _, v := range values {
					for {
						err := c.Produce(ctx, &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr()
						if err == nil {
							break
						}
						if ctx.Err() != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if err := c.EnsureTopic(ctx, topic, 1, nil); err != nil {
				t.Fatal(err)
			}
			fill("a", "b", "c")
			cfg := kafka.InstanceConfig{Group: topic, ClientID: "anew", Reset: kafka.ResetEarliest, AutoCommit: true}
			i, err := c.Subscribe(cfg, []string{topic})
			if !member {
				cfg.Reset = kafka.ResetLatest
				p := kafka.TopicPartition{Topic: topic}
				i, err = c.Assign(cfg, []kafka.TopicPartition{p}, map[kafka.TopicPartition]int64{p: 0}, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			read := func(want string) {
				t.Helper()
				for got := ""; got != want; {
					if _, err := i.Poll(ctx); err != nil || ctx.Err() != nil {
						t.Fatalf("read %q, want %q: %v", got, want, errors.Join(err, ctx.Err()))
					}
					var taken []*kgo.Record
					i.Take(func(r *kgo.Record) bool { taken = append(taken, r); return true })
					for _, r := range taken {
						got += string(r.Value)
					}
					i.Deliver(taken)
				}
			}
			read("abc")
			for !errors.Is(c.DeleteTopic(ctx, topic), kerr.UnknownTopicOrPartition) {
				if ctx.Err() != nil {
					t.Fatal("the topic is not deleted")
				}
			}
			for c.EnsureTopic(ctx, topic, 1, nil) != nil {
				if ctx.Err() != nil {
					t.Fatal("the topic is not made")
				}
			}
			fill("d", "e")
			read("de")
		})
	}
}
