package kafka_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// create makes a topic that ends with the test.
func create(t *testing.T, c *kafka.Cluster, partitions int32) string {
	t.Helper()
	topic := unique(t)
	if err := c.EnsureTopic(t.Context(), topic, partitions, nil); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := c.Ranges(t.Context(), topic)
		if err == nil {
			return topic
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// follow takes records until there are count of them, and checks that each
// partition's offsets follow each other.
func follow(t *testing.T, s *kafka.Subscription, count int) (got []*kgo.Record, gaps []kafka.Gap) {
	t.Helper()
	next := map[int32]int64{}
	for _, p := range s.Positions(nil) {
		next[p.Partition] = p.Next
	}
	deadline := time.After(time.Minute)
	for len(got) < count {
		entries, gap, err := s.Take(t.Context(), nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if gap != nil {
			gaps = append(gaps, *gap)
			next[gap.Partition] = gap.Earliest
			continue
		}
		for _, e := range entries {
			r := e.Record
			if at, ok := next[r.Partition]; ok && r.Offset != at {
				t.Fatalf("partition %d: offset %d after %d", r.Partition, r.Offset, at-1)
			}
			next[r.Partition] = r.Offset + 1
			got = append(got, r)
		}
		if len(entries) > 0 {
			continue
		}
		select {
		case <-s.Wake():
		case <-deadline:
			t.Fatalf("%d of %d records after a minute", len(got), count)
		}
	}
	return got, gaps
}

func subscribe(t *testing.T, tails *kafka.Tails, topic string, partition int32, from kafka.From) *kafka.Subscription {
	t.Helper()
	s, err := tails.Subscribe(t.Context(), topic, partition, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func offset(n int64) *int64 { return &n }

func TestSubscriptionBegins(t *testing.T) {
	c := cluster(t)
	topic := create(t, c, 2)
	produce(t, c, topic, 0, "a", "b", "c")
	mark := time.Now()
	time.Sleep(5 * time.Millisecond) // timestamps are in milliseconds
	produce(t, c, topic, 0, "d")
	produce(t, c, topic, 1, "x")
	for _, test := range []struct {
		name      string
		partition int32
		from      kafka.From
		want      string
	}{
		{"latest", -1, kafka.From{}, "[0-4 1-1]"},
		{"earliest", -1, kafka.From{Earliest: true}, "[0-0 1-0]"},
		{"at a time", -1, kafka.From{At: mark}, "[0-3 1-0]"},
		{"at a time to come", -1, kafka.From{At: mark.Add(time.Hour)}, "[0-4 1-1]"},
		{"at an offset", -1, kafka.From{Offset: offset(1)}, "[0-1 1-1]"},
		{"one partition", 1, kafka.From{Offset: offset(0)}, "[1-0]"},
		{"resumed", -1, kafka.From{Next: map[int32]int64{0: 2, 1: 1, 7: 5}, Earliest: true}, "[0-2 1-1]"},
		{"resumed with a new partition", -1, kafka.From{Next: map[int32]int64{0: 2}}, "[0-2 1-0]"},
		{"resumed elsewhere", 1, kafka.From{Next: map[int32]int64{0: 2}}, "[1-1]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := subscribe(t, kafka.NewTails(c), topic, test.partition, test.from)
			var got []string
			for _, p := range s.Positions(nil) {
				got = append(got, fmt.Sprintf("%d-%d", p.Partition, p.Next))
			}
			if fmt.Sprint(got) != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
		})
	}
	if _, err := kafka.NewTails(c).Subscribe(t.Context(), topic, 2, kafka.From{}); !errors.Is(err, kafka.ErrNoPartition) {
		t.Errorf("partition 2: %v, want ErrNoPartition", err)
	}
}

func TestSubscriptionsJoinTheSharedStretchWithoutGapOrRepeat(t *testing.T) {
	c := cluster(t)
	topic := create(t, c, 3)
	const each, joiners = 2000, 8
	tails := kafka.NewTails(c)
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; n < each; n += 20 {
			var records []*kgo.Record
			for i := range 20 {
				for p := range int32(3) {
					records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: fmt.Appendf(nil, "%d", n+i)})
				}
			}
			if err := c.Produce(t.Context(), records...).FirstErr(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range joiners {
		all.Go(func() {
			time.Sleep(time.Duration(i) * 20 * time.Millisecond)
			s, err := tails.Subscribe(t.Context(), topic, -1, kafka.From{Earliest: true})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			follow(t, s, 3*each)
		})
	}
	all.Wait()
}

func TestSharedRecordsAreTheSame(t *testing.T) {
	c := cluster(t)
	topic := create(t, c, 1)
	tails := kafka.NewTails(c)
	one, other := subscribe(t, tails, topic, -1, kafka.From{}), subscribe(t, tails, topic, 0, kafka.From{})
	produce(t, c, topic, 0, "a")
	// The first record may come before the stretch begins; a later one cannot.
	follow(t, one, 1)
	follow(t, other, 1)
	produce(t, c, topic, 0, "b")
	a, _ := follow(t, one, 1)
	b, _ := follow(t, other, 1)
	if a[0] != b[0] || string(a[0].Value) != "b" {
		t.Errorf("got %p %q and %p %q, want the same record b", a[0], a[0].Value, b[0], b[0].Value)
	}
}

func TestOffsetsOutsideOfTheLogAreGaps(t *testing.T) {
	c := cluster(t)
	topic := create(t, c, 1)
	produce(t, c, topic, 0, "a", "b", "c")
	before := kadm.Offsets{}
	before.Add(kadm.Offset{Topic: topic, Partition: 0, At: 1})
	if _, err := c.Admin().DeleteRecords(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		from kafka.From
		want kafka.Gap
	}{
		{"before it", kafka.From{Next: map[int32]int64{0: 0}}, kafka.Gap{Requested: 0, Earliest: 1}},
		{"behind it", kafka.From{Offset: offset(9)}, kafka.Gap{Requested: 9, Earliest: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := subscribe(t, kafka.NewTails(c), topic, -1, test.from)
			got, gaps := follow(t, s, 2)
			if len(gaps) != 1 || gaps[0] != test.want || got[0].Offset != 1 {
				t.Errorf("got %v and offset %d, want %v and offset 1", gaps, got[0].Offset, test.want)
			}
		})
	}
}

func TestAddedPartitionsAreFollowedFromTheirBeginning(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	topic := create(t, c, 1)
	s := subscribe(t, kafka.NewTails(c), topic, -1, kafka.From{})
	if _, err := c.Admin().UpdatePartitions(t.Context(), 2, topic); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if r, err := c.Ranges(t.Context(), topic); err == nil && len(r) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the partition was not added")
		}
		time.Sleep(50 * time.Millisecond)
	}
	produce(t, c, topic, 1, "first")
	got, _ := follow(t, s, 1)
	if got[0].Partition != 1 || got[0].Offset != 0 {
		t.Errorf("got %d/%d, want 1/0", got[0].Partition, got[0].Offset)
	}
}

func TestDeletedTopicEndsItsSubscriptions(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for several seconds")
	}
	t.Parallel()
	c := cluster(t)
	topic := create(t, c, 1)
	s := subscribe(t, kafka.NewTails(c), topic, -1, kafka.From{})
	produce(t, c, topic, 0, "a")
	follow(t, s, 1)
	if _, err := c.Admin().DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	for {
		_, _, err := s.Take(t.Context(), nil, 1<<20)
		if errors.Is(err, kafka.ErrTopicGone) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.Wake():
		case <-deadline:
			t.Fatal("nobody said that the topic is gone")
		}
	}
}
