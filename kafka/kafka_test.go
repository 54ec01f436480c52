package kafka_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/kafka"
)

func TestMain(m *testing.M) {
	// Most of the tests wait: for timers of Kafka, for groups, for pauses between attempts.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// cluster opens the brokers that KLAMM_TEST_BROKERS names, or an embedded one.
func cluster(t *testing.T) *kafka.Cluster {
	t.Helper()
	brokers := brokertest.Brokers(t)
	return open(t, brokers...)
}

func open(t *testing.T, brokers ...string) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func unique(t *testing.T) string { return fmt.Sprintf("%s-%d", t.Name(), time.Now().UnixNano()) }

func produce(t *testing.T, c *kafka.Cluster, topic string, partition int32, values ...string) {
	t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)})
	}
	if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestReadingDoesNotCreateATopic(t *testing.T) {
	c, topic := cluster(t), unique(t)
	if _, err := c.Topic(t.Context(), topic); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("topic: got %v, want UNKNOWN_TOPIC_OR_PARTITION", err)
	}
	if _, err := c.Fetch(t.Context(), topic, 0, 0, kafka.Limits{}); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("fetch: got %v, want UNKNOWN_TOPIC_OR_PARTITION", err)
	}
	topics, err := c.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, have := range topics {
		if have.Name == topic {
			t.Error("the topic exists now")
		}
	}
}

func TestProduceAndFetch(t *testing.T) {
	c, topic := cluster(t), unique(t)
	if err := c.EnsureTopic(t.Context(), topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	produce(t, c, topic, 1, "a", "b", "c")
	for _, step := range []struct {
		name   string
		offset int64
		lim    kafka.Limits
		want   string
	}{
		{"all", 0, kafka.Limits{}, "a b c"},
		{"from the second", 1, kafka.Limits{}, "b c"},
		{"two", 0, kafka.Limits{Records: 2}, "a b"},
		{"one byte is one record", 0, kafka.Limits{Bytes: 1}, "a"},
		{"at the end", 3, kafka.Limits{}, ""},
		{"at the end, waiting", 3, kafka.Limits{Wait: 50 * time.Millisecond}, ""},
	} {
		records, err := c.Fetch(t.Context(), topic, 1, step.offset, step.lim)
		if err != nil {
			t.Errorf("%s: %v", step.name, err)
			continue
		}
		var got []string
		for _, r := range records {
			got = append(got, string(r.Value))
		}
		if strings.Join(got, " ") != step.want {
			t.Errorf("%s: got %v, want %s", step.name, got, step.want)
		}
	}
	if _, err := c.Fetch(t.Context(), topic, 1, 4, kafka.Limits{}); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Errorf("beyond the end: got %v, want OFFSET_OUT_OF_RANGE", err)
	}
	if _, err := c.Fetch(t.Context(), topic, 2, 0, kafka.Limits{}); !errors.Is(err, kafka.ErrNoPartition) {
		t.Errorf("partition 2: got %v, want ErrNoPartition", err)
	}
	err := c.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 7}).FirstErr()
	if !errors.Is(err, kafka.ErrNoPartition) || !strings.Contains(err.Error(), "not present in metadata") {
		t.Errorf("produce to partition 7: got %v, want ErrNoPartition", err)
	}
}

func TestFetchWaitsForTheFirstRecord(t *testing.T) {
	c, topic := cluster(t), unique(t)
	if err := c.EnsureTopic(t.Context(), topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(200 * time.Millisecond)
		c.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: 0, Value: []byte("late")})
	}()
	records, err := c.Fetch(t.Context(), topic, 0, 0, kafka.Limits{Wait: time.Minute})
	if err != nil || len(records) != 1 {
		t.Errorf("got %d records, %v; want one", len(records), err)
	}
}

func TestNoBrokerIsSaidInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a producer waits")
	}
	t.Parallel()
	c := open(t, "127.0.0.1:1")
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("ready: got %v, want the broker and what is wrong", err)
	}
	start := time.Now()
	err := c.Produce(t.Context(), &kgo.Record{Topic: "t", Partition: -1}).FirstErr()
	if !errors.Is(err, kafka.ErrNotAcknowledged) && !errors.Is(err, kafka.ErrNoPartition) {
		t.Errorf("produce: got %v", err)
	}
	if took := time.Since(start); took > 40*time.Second {
		t.Errorf("produce took %s", took)
	}
}

// join becomes a member and reads until ctx ends.
func join(t *testing.T, c *kafka.Cluster, m kafka.Membership) <-chan string {
	t.Helper()
	m.Assigned = func(map[string][]int32) {}
	m.Revoked = func(context.Context, map[string][]int32) {}
	m.Lost = func(map[string][]int32) {}
	m.Gone = func(string, int32, int64) {}
	consumer, err := c.Join(t.Context(), m, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	values := make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			records, _ := consumer.Poll(ctx, 100)
			for _, r := range records {
				values <- string(r.Value)
			}
			consumer.Release()
		}
	}()
	t.Cleanup(func() { cancel(); <-done; consumer.Leave(context.Background()) })
	return values
}

func next(t *testing.T, values <-chan string, within time.Duration) string {
	t.Helper()
	select {
	case v := <-values:
		return v
	case <-time.After(within):
		t.Fatalf("no record within %s", within)
		return ""
	}
}

func TestATopicThatAppearsLaterIsReadFromItsBeginning(t *testing.T) {
	c, topic := cluster(t), unique(t)
	values := join(t, c, kafka.Membership{Group: topic, Topics: []string{topic}})
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	produce(t, c, topic, -1, "first")
	if got := next(t, values, time.Minute); got != "first" {
		t.Errorf("got %q, want first", got)
	}
	t.Logf("seen after %s", time.Since(start))
}

// TestMembersOfAProcessWithManyRead joins as a thousand idle members do.
func TestMembersOfAProcessWithManyRead(t *testing.T) {
	c, topic := cluster(t), unique(t)
	if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	values := join(t, c, kafka.Membership{Group: topic, Topics: []string{topic}, Start: kafka.Start{Earliest: true}, Memberships: 1000})
	for _, value := range []string{"a", "b", "c"} {
		produce(t, c, topic, 0, value)
		if got := next(t, values, time.Minute); got != value {
			t.Errorf("got %q, want %q", got, value)
		}
	}
}

func TestStartIsCommittedOnce(t *testing.T) {
	c, topic := cluster(t), unique(t)
	if err := c.EnsureTopic(t.Context(), topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	produce(t, c, topic, 0, "old")
	for _, m := range []kafka.Membership{{Group: topic + "-latest"}, {Group: topic + "-earliest", Start: kafka.Start{Earliest: true}}, {Group: topic + "-time", Start: kafka.Start{At: time.Now().Add(-time.Hour)}}} {
		m.Topics = []string{topic}
		values := join(t, c, m)
		if m.Start != (kafka.Start{}) {
			if got := next(t, values, time.Minute); got != "old" {
				t.Errorf("%s: got %q, want old", m.Group, got)
			}
		}
		committed, err := c.Admin().FetchOffsets(t.Context(), m.Group)
		if err != nil || len(committed[topic]) != 2 {
			t.Errorf("%s: committed %v, %v; want both partitions", m.Group, committed, err)
		}
	}
}
