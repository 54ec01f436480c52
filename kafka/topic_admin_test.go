package kafka_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

func TestValidTopic(t *testing.T) {
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"orders", true}, {"a.b_c-D9", true}, {"...", true}, {strings.Repeat("x", 249), true},
		{"", false}, {".", false}, {"..", false}, {"a b", false}, {"a/b", false}, {"é", false}, {"a\x00", false}, {strings.Repeat("x", 250), false},
	} {
		if got := kafka.ValidTopic(c.in); got != c.want {
			t.Errorf("%q: got %v", c.in, got)
		}
	}
}

func TestATopicThatCannotExistIsNotProducedTo(t *testing.T) {
	c, topic := cluster(t), unique(t)
	results := c.Produce(t.Context(), &kgo.Record{Topic: topic, Value: []byte("1")}, &kgo.Record{Topic: topic + " ", Value: []byte("2")})
	if results[0].Err != nil || !errors.Is(results[1].Err, kerr.InvalidTopicException) {
		t.Errorf("got %v and %v", results[0].Err, results[1].Err)
	}
	sent := make(chan error, 1)
	c.Send(t.Context(), &kgo.Record{Topic: "..", Value: []byte("3")}, func(err error) { sent <- err })
	if err := <-sent; !errors.Is(err, kerr.InvalidTopicException) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Topic(t.Context(), ".."); !errors.Is(err, kerr.InvalidTopicException) {
		t.Errorf("got %v", err)
	}
}

func TestCheckTopic(t *testing.T) {
	c, topic := cluster(t), unique(t)
	soon, both := "soon", "compact,delete"
	for _, test := range []struct {
		name string
		in   kafka.NewTopic
		want *kerr.Error
	}{
		{"fine", kafka.NewTopic{Name: topic, Partitions: 3, Settings: []kafka.Setting{{Name: "cleanup.policy", Value: &both}, {Name: "retention.ms"}}}, nil},
		{"a name", kafka.NewTopic{Name: "no good"}, kerr.InvalidTopicException},
		{"a number", kafka.NewTopic{Name: topic, Settings: []kafka.Setting{{Name: "retention.ms", Value: &soon}}}, kerr.InvalidConfig},
		{"a word", kafka.NewTopic{Name: topic, Settings: []kafka.Setting{{Name: "cleanup.policy", Value: &soon}}}, kerr.InvalidConfig},
		{"a broker that there is not", kafka.NewTopic{Name: topic, Replicas: map[int32][]int32{0: {12345}}}, kerr.InvalidReplicaAssignment},
		{"no broker", kafka.NewTopic{Name: topic, Replicas: map[int32][]int32{0: {}}}, kerr.InvalidReplicaAssignment},
	} {
		t.Run(test.name, func(t *testing.T) {
			partitions, replication, err := c.CheckTopic(t.Context(), test.in)
			if test.want != nil {
				if !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				return
			}
			if err != nil || partitions != 3 || replication < 1 {
				t.Errorf("got %d partitions, %d replicas, %v", partitions, replication, err)
			}
		})
	}
	if _, err := c.Topic(t.Context(), topic); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("the topic was made: %v", err)
	}
}

func TestMessageIsTheBrokersOwn(t *testing.T) {
	c, topic := cluster(t), unique(t)
	if err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	err := c.CreateTopic(t.Context(), kafka.NewTopic{Name: topic, Partitions: 1})
	if got, want := kafka.Message(fmt.Errorf("inside: %w", err)), "Topic '"+topic+"' already exists."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := kafka.Message(fmt.Errorf("inside: %w", kerr.InvalidConfig)); got != kerr.InvalidConfig.Description {
		t.Errorf("got %q", got)
	}
	if got := kafka.Message(errors.New("one\ntwo")); got != "one" {
		t.Errorf("got %q", got)
	}
}
