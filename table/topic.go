package table

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

// topicSettings are those of a topic that a table creates. Segments are small,
// because only closed ones are compacted and everybody reads all of them at start.
var topicSettings = map[string]string{
	"cleanup.policy":            "compact",
	"message.timestamp.type":    "CreateTime",
	"max.message.bytes":         "1048588",
	"segment.bytes":             "16777216",
	"segment.ms":                "21600000",
	"min.cleanable.dirty.ratio": "0.1",
	"min.compaction.lag.ms":     "60000",
	"delete.retention.ms":       "86400000",
}

// ensureTopic returns the metadata of a table's topic, which it creates if there
// is none.
func ensureTopic(ctx context.Context, cluster *kafka.Cluster, name string) (kafka.Topic, error) {
	topic, err := cluster.Topic(ctx, name)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if err := createTopic(ctx, cluster, name); err != nil {
			return kafka.Topic{}, err
		}
		topic, err = cluster.Topic(ctx, name)
	}
	if err != nil {
		return kafka.Topic{}, err
	}
	if n := len(topic.Partitions); n != 1 {
		return kafka.Topic{}, fmt.Errorf("%w: it has %d partitions and not one", errUnfit, n)
	}
	settings, err := cluster.TopicSettings(ctx, name)
	if err != nil {
		return kafka.Topic{}, err
	}
	for _, s := range settings {
		if s.Name == "cleanup.policy" && s.Value != nil && (strings.Contains(*s.Value, "delete") || !strings.Contains(*s.Value, "compact")) {
			return kafka.Topic{}, fmt.Errorf("%w: its cleanup.policy is %q and not compact", errUnfit, *s.Value)
		}
	}
	return topic, nil
}

// errUnfit says that a topic exists that cannot be that of a table.
var errUnfit = errors.New("the topic cannot hold a table")

// createTopic creates a table's topic. Another process may be faster.
func createTopic(ctx context.Context, cluster *kafka.Cluster, name string) error {
	topic := kafka.NewTopic{Name: name, Partitions: 1}
	for setting, value := range topicSettings {
		topic.Settings = append(topic.Settings, kafka.Setting{Name: setting, Value: &value})
	}
	err := cluster.CreateTopic(ctx, topic)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	if err != nil {
		return err
	}
	made, err := cluster.Topic(ctx, name)
	if err != nil || len(made.Partitions) != 1 || len(made.Partitions[0].Replicas) < 3 {
		return err
	}
	// What was acknowledged must survive the loss of one broker. With fewer
	// replicas that cannot be had together with writing while one is away.
	two := "2"
	return cluster.Alter(ctx, kafka.OfTopic, name, []kafka.SettingChange{{Name: "min.insync.replicas", Value: &two}}, false)
}
