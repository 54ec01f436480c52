package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
)

// Who seeks at once after assigning reads where it sought, and not where the instance
// would have begun.
func TestSeekBeforeTheFirstOffsetIsKnown(t *testing.T) {
	c := openWith(t, kafka.Config{Brokers: brokertest.Brokers(t)})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	topic := fmt.Sprintf("sought-%d", time.Now().UnixNano())
	if err := c.EnsureTopic(ctx, topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		for { // a new topic is not everywhere at once
			err := c.Produce(ctx, &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}).FirstErr()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	p := kafka.TopicPartition{Topic: topic}
	for range 20 {
		i, err := c.Assign(kafka.InstanceConfig{Group: topic, ClientID: "sought", Reset: kafka.ResetEarliest}, []kafka.TopicPartition{p}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Seek(ctx, map[kafka.TopicPartition]int64{p: 2}); err != nil {
			t.Fatal(err)
		}
		for more := false; !more && err == nil; {
			if more, err = i.Poll(ctx); ctx.Err() != nil {
				t.Fatal("nothing came")
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		i.Take(func(r *kgo.Record) bool {
			if string(r.Value) != "2" {
				t.Errorf("read the record at %d, sought 2", r.Offset)
			}
			return true
		})
		i.Close()
	}
}

// A broker answers one fetch of a connection after the other, so that records which are
// there already come after a seek only when it has answered the fetch that waits for new
// ones: it must not wait longer than a short read does.
func TestFetchesOfAnInstanceDoNotHoldUpASeek(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer brokers.Close()
	waits := make(chan time.Duration, 1)
	brokers.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		brokers.KeepControl()
		select {
		case waits <- time.Duration(r.(*kmsg.FetchRequest).MaxWaitMillis) * time.Millisecond:
		default:
		}
		return nil, nil, false
	})
	i, err := open(t, brokers.ListenAddrs()...).Assign(kafka.InstanceConfig{Group: "g", ClientID: "c", Reset: kafka.ResetEarliest}, []kafka.TopicPartition{{Topic: "t"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	select {
	case wait := <-waits:
		if wait > 500*time.Millisecond {
			t.Errorf("a fetch may wait for %s", wait)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing was fetched")
	}
}
