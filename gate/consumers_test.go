package gate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker/brokertest"
	"github.com/klamm-gateway/klamm/gate"
	"github.com/klamm-gateway/klamm/kafka"
)

// A refuser is a policy that refuses what it names: "kafka-cluster:ReadData
// topic NAME".
type refuser struct {
	refused []string
	asked   []string
}

func (r *refuser) Check(_ context.Context, c *gate.Call) error {
	call := fmt.Sprintf("%s %s %s", strings.TrimPrefix(string(c.Action), "kafka-cluster:"), c.Resource.Kind, c.Resource.Name)
	r.asked = append(r.asked, call)
	if slices.Contains(r.refused, call) {
		return &gate.Error{Kind: gate.Denied, Message: "not allowed: " + call}
	}
	return nil
}

func cluster(t *testing.T) *kafka.Cluster {
	t.Helper()
	brokers := brokertest.Brokers(t)
	c, err := kafka.Open(kafka.Config{Brokers: brokers}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newTopic(t *testing.T, c *kafka.Cluster, name string) string {
	t.Helper()
	name = fmt.Sprintf("%s-%s-%d", t.Name(), name, time.Now().UnixNano())
	if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: name, Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, err := c.Ranges(t.Context(), name)
		if err == nil {
			return name
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

var consuming = gate.ConsumerConfig{Format: "binary", Reset: kafka.ResetEarliest, MinBytes: -1, Timeout: 30 * time.Second, Idle: time.Minute}

func anything(*kgo.Record) error { return nil }

func TestConsumersAskThePolicies(t *testing.T) {
	c := cluster(t)
	open, closed := newTopic(t, c, "open"), newTopic(t, c, "closed")
	policy := &refuser{refused: []string{"AlterGroup group shut", "ReadData topic " + closed}}
	g := gate.New(c, policy)
	t.Cleanup(func() { _ = g.CloseConsumers(context.Background()) })
	if _, err := g.CreateConsumer(t.Context(), gate.Anonymous, "shut", "", consuming); gate.Classify(err) != gate.Denied {
		t.Errorf("a group that is not allowed: %v", err)
	}
	if _, err := g.CreateConsumer(t.Context(), gate.Anonymous, "g", "one", consuming); err != nil {
		t.Fatal(err)
	}
	u, err := g.UseConsumer(t.Context(), gate.Anonymous, "g", "one")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Release()
	here := []kafka.TopicPartition{{Topic: closed, Partition: 0}}
	for name, err := range map[string]error{
		"subscribe": u.Subscribe(t.Context(), []string{open, closed}, ""),
		"assign":    u.Assign(t.Context(), here),
		"seek":      u.Seek(t.Context(), []gate.Point{{TopicPartition: here[0]}}),
		"seek ends": u.SeekEnds(t.Context(), here, true),
		"commit":    u.Commit(t.Context(), []kafka.Commit{{TopicPartition: here[0], Offset: 1}}),
	} {
		if gate.Classify(err) != gate.Denied {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	if _, err := u.Committed(t.Context(), here); gate.Classify(err) != gate.Denied {
		t.Errorf("committed: %v", err)
	}
	prefix := strings.TrimSuffix(open, open[strings.LastIndex(open, "-open-"):])
	if err := u.Subscribe(t.Context(), nil, prefix+"-(open|closed)-.*"); err != nil {
		t.Fatal(err)
	}
	topics, err := u.Subscription(t.Context())
	if diff := cmp.Diff([]string{open}, topics); diff != "" || err != nil {
		t.Errorf("a pattern matches what may be read: %s %v", diff, err)
	}
	for _, want := range []string{"AlterGroup group g", "DescribeTopic topic " + open, "ReadData topic " + open} {
		if !slices.Contains(policy.asked, want) {
			t.Errorf("nobody asked for %s", want)
		}
	}
	policy.refused = append(policy.refused, "ReadData topic "+open)
	if err := u.Subscribe(t.Context(), nil, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Read(t.Context(), gate.Reading{Check: anything}); !errors.Is(err, gate.ErrConsumerIdle) {
		t.Errorf("nothing subscribed: %v", err)
	}
}

// readerOfThree writes three records to partition 0 of a topic, whose values are 0, 1 and 2,
// and returns the instance "one" of the group of the same name, which is assigned it. The
// caller releases it.
func readerOfThree(t *testing.T, c *kafka.Cluster, g *gate.Gate, topic string, cfg gate.ConsumerConfig) *gate.Consumer {
	t.Helper()
	for n := range 3 {
		if err := c.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Value: []byte(fmt.Sprint(n))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.CreateConsumer(t.Context(), gate.Anonymous, topic, "one", cfg); err != nil {
		t.Fatal(err)
	}
	u, err := g.UseConsumer(t.Context(), gate.Anonymous, topic, "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Assign(t.Context(), []kafka.TopicPartition{{Topic: topic, Partition: 0}}); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAReadThatIsGivenUpLosesNothing(t *testing.T) {
	c := cluster(t)
	topic := newTopic(t, c, "t")
	g := gate.New(c)
	t.Cleanup(func() { _ = g.CloseConsumers(context.Background()) })
	u := readerOfThree(t, c, g, topic, consuming)
	defer u.Release()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		// A patient read has its records long before it would return.
		if got, err := u.Read(ctx, gate.Reading{Patient: true, Check: anything}); err == nil {
			t.Fatalf("got %d records, want the end of the context", len(got))
		}
		cancel()
	}
	got, err := u.Read(t.Context(), gate.Reading{Check: anything})
	if err != nil || len(got) != 3 || string(got[0].Record.Value) != "0" || string(got[2].Record.Value) != "2" {
		t.Errorf("got %d records, %v; want all three in order", len(got), err)
	}
}

// TestAReadWhileTheProcessStops begins a stop when a read has its records. The caller
// gets them: the position is behind them, and is committed.
func TestAReadWhileTheProcessStops(t *testing.T) {
	c := cluster(t)
	topic := newTopic(t, c, "t")
	g := gate.New(c)
	cfg := consuming
	cfg.AutoCommit = true
	u := readerOfThree(t, c, g, topic, cfg)
	stopped := make(chan error, 1)
	var once sync.Once
	check := func(*kgo.Record) error {
		once.Do(func() {
			go func() { stopped <- g.CloseConsumers(context.WithoutCancel(t.Context())) }()
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
				other, err := g.UseConsumer(t.Context(), gate.Anonymous, topic, "one")
				if errors.Is(err, gate.ErrStopping) {
					return
				}
				if err == nil {
					other.Release()
				}
			}
			t.Error("nothing stops")
		})
		return nil
	}
	got, err := u.Read(t.Context(), gate.Reading{Check: check, MaxBytes: 3})
	u.Release()
	if err != nil || len(got) != 2 {
		t.Errorf("got %d records, %v; want two", len(got), err)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	at, err := c.CommittedOffsets(t.Context(), topic, []kafka.TopicPartition{{Topic: topic, Partition: 0}})
	if err != nil || len(at) != 1 || at[0].Offset != int64(len(got)) {
		t.Errorf("committed is %v, %v; want what was given", at, err)
	}
}
