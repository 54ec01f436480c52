package kafka

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// crowdable returns a cluster with a topic t.
func crowdable(t *testing.T) *Cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c, err := Open(Config{Brokers: fake.ListenAddrs()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestFewCallersAreNoCrowd sees that few callers never wait for others' records, and that
// one more does.
func TestFewCallersAreNoCrowd(t *testing.T) {
	c := crowdable(t)
	produce := func() {
		if err := c.Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")})[0].Err; err != nil {
			t.Error(err)
		}
	}
	var all sync.WaitGroup
	for range crowdCalls {
		all.Go(produce)
	}
	all.Wait()
	if c.crowd.client.Load() != nil {
		t.Errorf("%d callers are a crowd", crowdCalls)
	}
	if n := c.crowd.calls.Load(); n != 0 {
		t.Errorf("%d calls are still counted", n)
	}
	c.crowd.calls.Add(crowdCalls)
	produce()
	if c.crowd.client.Load() == nil {
		t.Errorf("%d callers are no crowd", crowdCalls+1)
	}
}

// TestACrowdComesBehindWhatWasSent sees that a crowd keeps to the other producer while it
// has records of Send, which belong before those of a later Produce.
func TestACrowdComesBehindWhatWasSent(t *testing.T) {
	c := crowdable(t)
	c.crowd.calls.Add(crowdCalls)
	c.crowd.sends.Add(1)
	if producer, err := c.crowd.enter(c); producer != c.producer || err != nil {
		t.Errorf("a crowd has a producer of its own while records are sent, %v", err)
	}
	c.crowd.sends.Add(-1)
	done := make(chan error, 1)
	c.Send(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if producer, err := c.crowd.enter(c); producer == c.producer || err != nil {
		t.Errorf("a crowd has no producer of its own when all is sent, %v", err)
	}
}

// TestPausesOfACrowdsTopics sees that a broker's pause holds for a topic to which nothing
// but a crowd has written.
func TestPausesOfACrowdsTopics(t *testing.T) {
	c := crowdable(t)
	c.crowd.calls.Add(crowdCalls)
	records := []*kgo.Record{{Topic: "t", Partition: 0, Value: []byte("v")}}
	result := c.Produce(t.Context(), records...)
	if err := result[0].Err; err != nil {
		t.Fatal(err)
	}
	c.pauses.note(c.leader("t", 0), time.Hour)
	if c.PauseBefore("t", records) == 0 {
		t.Error("the leader's pause is not known")
	}
}

// TestACrowdIsRefusedWithoutRoom sees that a crowd takes no more room for waiting records
// than few callers do.
func TestACrowdIsRefusedWithoutRoom(t *testing.T) {
	c, err := Open(Config{Brokers: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler)) // where nobody listens: records wait
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	value := make([]byte, largeBytes)
	for range bufferedBytes / largeBytes {
		c.producer.TryProduce(t.Context(), &kgo.Record{Topic: "t", Value: value}, nil)
	}
	if c.waitingBytes() <= bufferedBytes-batchBytes {
		t.Fatalf("%d bytes are waiting: there is room left", c.waitingBytes())
	}
	c.crowd.calls.Add(crowdCalls)
	if err := c.Produce(t.Context(), &kgo.Record{Topic: "t"})[0].Err; !errors.Is(err, ErrOverloaded) {
		t.Errorf("got %v, want ErrOverloaded", err)
	}
}

// TestAClosedClusterGathersNoCrowd sees that a cluster that is closed makes no producer.
func TestAClosedClusterGathersNoCrowd(t *testing.T) {
	c := crowdable(t)
	c.Close()
	c.crowd.calls.Add(crowdCalls)
	if err := c.Produce(t.Context(), &kgo.Record{Topic: "t"})[0].Err; err == nil {
		t.Error("a closed cluster takes records")
	}
	if c.crowd.client.Load() != nil {
		t.Error("a closed cluster has made a producer")
	}
}
