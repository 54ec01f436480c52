package kafka

import (
	"errors"
	"log/slog"
	"sync"
	"testing"

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
