package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// Topics returns the topics that the caller may describe, sorted by name,
// without Kafka's internal ones.
func (g *Gate) Topics(ctx context.Context, who Principal) ([]kafka.Topic, error) {
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return g.topicsBy(ctx, cluster, who)
}

// topicsBy is Topics as a cluster shows them.
func (g *Gate) topicsBy(ctx context.Context, cluster *kafka.Cluster, who Principal) ([]kafka.Topic, error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, err
	}
	all, err := cluster.Topics(ctx)
	if err != nil {
		return nil, err
	}
	seen, sees := all[:0], g.sees(ctx, who, DescribeTopic, "topic")
	for _, t := range all {
		if !t.Internal && sees.of(t.Name) {
			seen = append(seen, t)
		}
	}
	return who.shownTopics(seen), sees.err
}

// Topic returns one topic; one that does not exist is
// kerr.UnknownTopicOrPartition.
func (g *Gate) Topic(ctx context.Context, who Principal, name string) (kafka.Topic, error) {
	name = who.real(name)
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return kafka.Topic{}, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return kafka.Topic{}, err
	}
	t, err := cluster.Topic(ctx, name)
	t.Name = who.called(t.Name)
	return t, err
}

// TopicSettings returns all settings of a topic, defaults included; none if the
// caller may see the topic but not them.
func (g *Gate) TopicSettings(ctx context.Context, who Principal, name string) ([]kafka.Setting, error) {
	name = who.real(name)
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return nil, err
	}
	if sees := g.sees(ctx, who, DescribeConfigs, "topic"); !sees.of(name) {
		return nil, sees.err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return cluster.TopicSettings(ctx, name)
}

// Ranges returns where the log of each partition of a topic begins and ends.
func (g *Gate) Ranges(ctx context.Context, who Principal, name string) (map[int32]kafka.Range, error) {
	name = who.real(name)
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return cluster.Ranges(ctx, name)
}

// Brokers returns the ids of the live brokers, ascending.
func (g *Gate) Brokers(ctx context.Context, who Principal) ([]int32, error) {
	if err := g.allow(ctx, who, DescribeCluster, "cluster", ""); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return cluster.BrokerIDs(ctx)
}
