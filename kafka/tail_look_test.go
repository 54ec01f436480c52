package kafka_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/waittest"
)

// endsBefore answers that partition 1 has one record and the others have none.
func endsBefore(r *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	response := r.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, asked := range r.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = asked.Topic
		for _, p := range asked.Partitions {
			said := kmsg.NewListOffsetsResponseTopicPartition()
			said.Partition, said.Offset = p.Partition, int64(p.Partition)
			topic.Partitions = append(topic.Partitions, said)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

// TestSubscriptionsThatBeginTogether holds the first answer about a topic back until a
// hundred others have come, and counts how many more are asked. Those that come behind a
// record do not begin before it, though the first was asked for before it was written.
func TestSubscriptionsThatBeginTogether(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(0), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer brokers.Close()
	c := open(t, brokers.ListenAddrs()...)
	write := func(value string) int64 {
		t.Helper()
		r := &kgo.Record{Topic: "t", Partition: 1, Value: []byte(value)}
		if err := c.Produce(t.Context(), r)[0].Err; err != nil {
			t.Fatal(err)
		}
		return r.Offset
	}
	write("before")
	var asked atomic.Int32
	held := make(chan struct{})
	brokers.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		if asked.Add(1) != 2 { // the second one lists the ends of the first look
			return nil, nil, false
		}
		response := endsBefore(r.(*kmsg.ListOffsetsRequest))
		brokers.SleepControl(func() { <-held })
		return response, nil, true
	})
	tails := kafka.NewTails(c)
	const others = 100
	subscribe := func(partition int32) *kafka.Subscription {
		s, err := tails.Subscribe(t.Context(), "t", partition, kafka.From{})
		if err != nil {
			t.Error(err)
		}
		return s
	}
	var all sync.WaitGroup
	all.Go(func() { subscribe(-1).Close() })
	waittest.Until(t, "the first look", func() bool { return asked.Load() == 2 })
	offset := write("between")
	var begun sync.WaitGroup
	for i := range others {
		begun.Add(1)
		all.Go(func() {
			partition := int32(i%3) - 1
			begun.Done()
			s := subscribe(partition)
			if s == nil {
				return
			}
			defer s.Close()
			for _, p := range s.Positions(nil) {
				if p.Partition == 1 && p.Next <= offset {
					t.Errorf("a subscription begins at %d, and %d was written before it", p.Next, offset)
				}
			}
		})
	}
	begun.Wait()
	close(held)
	all.Wait()
	// Each look lists starts and ends. A few come too late for the second one.
	if n := asked.Load(); n > others {
		t.Errorf("offsets were listed %d times for %d subscriptions", n, others+1)
	}
	if _, err := tails.Subscribe(t.Context(), "other", -1, kafka.From{}); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("a topic that does not exist: %v", err)
	}
	if _, err := tails.Subscribe(t.Context(), "t", 7, kafka.From{}); !errors.Is(err, kafka.ErrNoPartition) {
		t.Errorf("a partition that does not exist: %v", err)
	}
	given, stop := context.WithCancel(t.Context())
	stop()
	if _, err := tails.Subscribe(given, "t", -1, kafka.From{}); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
	subscribe(0).Close() // what was given up disturbs nobody
}
