package gate

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/kafka"
)

// otherCluster is a cluster beside the one of the tests.
func otherCluster(t *testing.T) *kafka.Cluster {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	c, err := kafka.Open(kafka.Config{Brokers: b.Addrs()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestStagesOfTwoClusters shows that calls of a stage with a cluster of its own go
// there, and nowhere else.
func TestStagesOfTwoClusters(t *testing.T) {
	own, other := testCluster(t), otherCluster(t)
	g := New(own)
	g.Reach(map[string]*kafka.Cluster{"eu": other})
	t.Cleanup(func() { g.CloseConsumers(t.Context()) })
	dev, eu := Principal{Name: "User:alice"}, Principal{Name: "User:alice", Stage: "eu", Cluster: "eu"}
	topic := "stages-" + time.Now().Format("150405.000000")
	results, err := g.Produce(t.Context(), eu, topic, []*kgo.Record{{Value: []byte("one")}})
	if err != nil || results.FirstErr() != nil {
		t.Fatal(err, results.FirstErr())
	}
	names := func(who Principal) (list []string) {
		all, err := g.Topics(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if one.Name == topic {
				list = append(list, one.Name)
			}
		}
		return list
	}
	if diff := cmp.Diff([]string{topic}, names(eu)); diff != "" {
		t.Error(diff)
	}
	if got := names(dev); got != nil {
		t.Errorf("klamm's own cluster has %v", got)
	}
	ids := [2]string{}
	for i, who := range []Principal{dev, eu} {
		if ids[i], err = g.ClusterID(t.Context(), who); err != nil {
			t.Fatal(err)
		}
	}
	if want := [2]string{must(own.Info(t.Context())).ID, must(other.Info(t.Context())).ID}; ids != want {
		t.Errorf("got %v, want %v", ids, want)
	}

	// A consumer instance reads from the cluster of the stage it was made in.
	name, err := g.CreateConsumer(t.Context(), eu, "readers", "", ConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.UseConsumer(t.Context(), dev, "readers", name); !errors.Is(err, ErrNoConsumer) {
		t.Errorf("an instance of another stage's cluster: %v", err)
	}
	used, err := g.UseConsumer(t.Context(), eu, "readers", name)
	if err != nil {
		t.Fatal(err)
	}
	if used.cluster() != other {
		t.Error("the instance does not read from its stage's cluster")
	}
	used.Release()
	if _, err := g.Topics(t.Context(), Principal{Cluster: "us"}); Classify(err) != Unavailable {
		t.Errorf("a cluster that is not known: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
