package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// ClusterID returns the id of the cluster, which everybody may know who may
// connect to it.
func (g *Gate) ClusterID(ctx context.Context, who Principal) (string, error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return "", err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return "", err
	}
	info, err := cluster.Info(ctx)
	return info.ID, err
}

// Cluster returns what the cluster says about itself.
func (g *Gate) Cluster(ctx context.Context, who Principal) (kafka.Info, error) {
	if err := g.allow(ctx, who, DescribeCluster, "cluster", ""); err != nil {
		return kafka.Info{}, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return kafka.Info{}, err
	}
	return cluster.Info(ctx)
}

// Reassignments returns the reassignments under way that the caller may know
// of; see kafka.Cluster.Reassignments.
func (g *Gate) Reassignments(ctx context.Context, who Principal, topic string, partitions ...int32) ([]kafka.Reassignment, error) {
	topic = who.real(topic)
	if topic != "" {
		if err := g.allow(ctx, who, DescribeTopic, "topic", topic); err != nil {
			return nil, err
		}
	} else if err := g.allow(ctx, who, DescribeCluster, "cluster", ""); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	all, err := cluster.Reassignments(ctx, topic, partitions...)
	seen, sees := all[:0], g.sees(ctx, who, DescribeTopic, "topic")
	for _, r := range all {
		name, ok := who.shown(r.Topic)
		if ok && (topic != "" || sees.of(r.Topic)) {
			r.Topic = name
			seen = append(seen, r)
		}
	}
	if err == nil {
		err = sees.err
	}
	return seen, err
}

// AllTopics is Topics with Kafka's internal ones.
func (g *Gate) AllTopics(ctx context.Context, who Principal) ([]kafka.Topic, error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	all, err := cluster.Topics(ctx)
	if err != nil {
		return nil, err
	}
	seen, sees := all[:0], g.sees(ctx, who, DescribeTopic, "topic")
	for _, t := range all {
		if sees.of(t.Name) {
			seen = append(seen, t)
		}
	}
	return who.shownTopics(seen), sees.err
}
