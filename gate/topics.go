package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// Topics returns the topics that the caller may describe, sorted by name,
// without Kafka's internal ones.
func (g *Gate) Topics(ctx context.Context, who Principal) ([]kafka.Topic, error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, err
	}
	all, err := g.cluster.Topics(ctx)
	if err != nil {
		return nil, err
	}
	seen, sees := all[:0], g.sees(ctx, who, DescribeTopic, "topic")
	for _, t := range all {
		if !t.Internal && sees(t.Name) {
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

// TopicSettings returns all settings of a topic, defaults included; none if the
// caller may see the topic but not them.
func (g *Gate) TopicSettings(ctx context.Context, who Principal, name string) ([]kafka.Setting, error) {
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return nil, err
	}
	if !g.sees(ctx, who, DescribeConfigs, "topic")(name) {
		return nil, nil
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
