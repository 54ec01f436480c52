package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// Groups returns the consumer groups that the caller may describe, sorted by id.
func (g *Gate) Groups(ctx context.Context, who Principal) ([]kafka.Group, error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	all, err := cluster.Groups(ctx)
	if err != nil {
		return nil, err
	}
	seen, sees := all[:0], g.sees(ctx, who, DescribeGroup, "group")
	for _, group := range all {
		if sees.of(group.ID) {
			seen = append(seen, group)
		}
	}
	return seen, sees.err
}

// Group returns one consumer group; see kafka.Cluster.Group. Of what its members have
// assigned, those topics are there that the caller's stage has and that the caller may
// describe.
func (g *Gate) Group(ctx context.Context, who Principal, id string) (kafka.Group, error) {
	if err := g.allow(ctx, who, DescribeGroup, "group", id); err != nil {
		return kafka.Group{}, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return kafka.Group{}, err
	}
	group, err := cluster.Group(ctx, id)
	if err != nil {
		return group, err
	}
	sees := g.sees(ctx, who, DescribeTopic, "topic")
	group.Members = who.shownMembers(group.Members, sees)
	return group, sees.err
}

// shownMembers returns members with those of their partitions whose topics a caller sees,
// by the names that the caller knows them by.
func (p *Principal) shownMembers(all []kafka.Member, sees *sight) []kafka.Member {
	seen := make([]kafka.Member, len(all))
	for i, m := range all {
		assigned := m.Assigned
		m.Assigned = nil
		for _, at := range assigned {
			if name, ok := p.shown(at.Topic); ok && sees.of(at.Topic) {
				m.Assigned = append(m.Assigned, kafka.TopicPartition{Topic: name, Partition: at.Partition})
			}
		}
		seen[i] = m
	}
	return seen
}

// Lags returns how far a consumer group is behind on the topics that the caller
// may describe; see kafka.Cluster.Lags.
func (g *Gate) Lags(ctx context.Context, who Principal, id string) ([]kafka.Lag, error) {
	if err := g.allow(ctx, who, DescribeGroup, "group", id); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	all, err := cluster.Lags(ctx, id)
	if err != nil {
		return nil, err
	}
	seen, sees := all[:0], g.sees(ctx, who, DescribeTopic, "topic")
	for _, l := range all {
		name, ok := who.shown(l.Topic)
		if ok && sees.of(l.Topic) {
			l.Topic = name
			seen = append(seen, l)
		}
	}
	return seen, sees.err
}
