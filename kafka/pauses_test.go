package kafka_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestPausesAreThoseOfALeader has one of two brokers ask for a pause: only what goes to
// its partitions should wait.
func TestPausesAreThoseOfALeader(t *testing.T) {
	brokers, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.Ports(0, 0), kfake.SeedTopics(2, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer brokers.Close()
	// Partition 0 is on one broker, partition 1 on the other.
	for p := range int32(2) {
		if err := brokers.MoveTopicPartition("t", p, p); err != nil {
			t.Fatal(err)
		}
	}
	brokers.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		request := r.(*kmsg.ProduceRequest)
		if len(request.Topics) != 1 || request.Topics[0].Partitions[0].Partition != 1 {
			brokers.KeepControl()
			return nil, nil, false
		}
		response := request.ResponseKind().(*kmsg.ProduceResponse)
		response.ThrottleMillis = 30_000
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = request.Topics[0].Topic, request.Topics[0].TopicID
		partition := kmsg.NewProduceResponseTopicPartition()
		partition.Partition = 1
		topic.Partitions = append(topic.Partitions, partition)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	c := open(t, brokers.ListenAddrs()...)
	if d := c.PauseBefore("t", []*kgo.Record{{Partition: 1}}); d != 0 {
		t.Errorf("a pause before anything was written: %s", d)
	}
	seen := make(chan time.Duration, 10)
	c.WatchPauses(func(d time.Duration) { seen <- d })
	for p := range int32(2) {
		if err := c.Produce(t.Context(), &kgo.Record{Topic: "t", Partition: p, Value: []byte("v")})[0].Err; err != nil {
			t.Fatal(p, err)
		}
	}
	if d := <-seen; d != 30*time.Second {
		t.Errorf("told of %s", d)
	}
	pauses := func(records ...*kgo.Record) bool { return c.PauseBefore("t", records) > 0 }
	if pauses(&kgo.Record{Partition: 0}) {
		t.Error("records for the other broker should wait")
	}
	if !pauses(&kgo.Record{Partition: 1}) || !pauses(&kgo.Record{Partition: 0}, &kgo.Record{Partition: 1}) {
		t.Error("records for the broker should not wait")
	}
	if pauses(&kgo.Record{Partition: -1}) {
		t.Error("records for any partition should wait for one of them")
	}
	keyed := map[bool]int{}
	for k := range byte(20) {
		keyed[pauses(&kgo.Record{Partition: -1, Key: []byte{k}})]++
	}
	if keyed[true] == 0 || keyed[false] == 0 {
		t.Errorf("of 20 keys %d should wait", keyed[true])
	}
	if c.PauseOf(1) <= 0 || c.PauseOf(0) != 0 {
		t.Errorf("pauses %s and %s", c.PauseOf(0), c.PauseOf(1))
	}
}
