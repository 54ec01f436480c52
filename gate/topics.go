package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// Topics returns the topics that the caller may describe, sorted by name,
// without Kafka's internal ones.
func (g *Gate) Topics(ctx context.Context, who Principal) ([]kafka.Topic, error) {
	all, err := g.cluster.Topics(ctx)
	if err != nil {
		return nil, err
	}
	seen := all[:0]
	for _, t := range all {
		if !t.Internal && g.allow(ctx, who, DescribeTopic, "topic", t.Name) == nil {
			seen = append(seen, t)
		}
	}
	return seen, nil
}

// Topic returns one topic; one that does not exist is
// kerr.UnknownTopicOrPartition.
func (g *Gate) Topic(ctx context.Context, who Principal, name string) (kafka.Topic, error) {
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return kafka.Topic{}, err
	}
	return g.cluster.Topic(ctx, name)
}

// TopicSettings returns all settings of a topic, defaults included.
func (g *Gate) TopicSettings(ctx context.Context, who Principal, name string) ([]kafka.Setting, error) {
	if err := g.allow(ctx, who, DescribeConfigs, "topic", name); err != nil {
		return nil, err
	}
	return g.cluster.TopicSettings(ctx, name)
}

// Ranges returns where the log of each partition of a topic begins and ends.
func (g *Gate) Ranges(ctx context.Context, who Principal, name string) (map[int32]kafka.Range, error) {
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return nil, err
	}
	return g.cluster.Ranges(ctx, name)
}

// Brokers returns the ids of the live brokers, ascending.
func (g *Gate) Brokers(ctx context.Context, who Principal) ([]int32, error) {
	if err := g.allow(ctx, who, DescribeCluster, "cluster", ""); err != nil {
		return nil, err
	}
	return g.cluster.BrokerIDs(ctx)
}
