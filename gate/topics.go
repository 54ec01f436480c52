package gate

import (
	"context"
	"sort"
	"strings"

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

// TopicPage returns the topics that the caller may describe and whose names begin with
// prefix, sorted by name, from the first one after a name on: at most limit of them, and
// whether there are more. Policies are asked about no more topics than that takes. Of very
// many topics it is what was so a moment ago (kafka.Cluster.TopicList).
func (g *Gate) TopicPage(ctx context.Context, who Principal, prefix, after string, limit int) (page []kafka.Topic, more bool, err error) {
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, false, err
	}
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, false, err
	}
	all, err := cluster.TopicList(ctx)
	if err != nil {
		return nil, false, err
	}
	sees := g.sees(ctx, who, DescribeTopic, "topic")
	page, more = who.topicPage(all, sees, prefix, after, limit)
	return page, more, sees.err
}

// topicPage is TopicPage of all topics, which are sorted.
func (p *Principal) topicPage(all []kafka.Topic, sees *sight, prefix, after string, limit int) (page []kafka.Topic, more bool) {
	prefix, after = p.TopicPrefix+prefix, p.real(after)
	first := sort.Search(len(all), func(i int) bool { return all[i].Name >= prefix && all[i].Name > after })
	for _, t := range all[first:] {
		if !strings.HasPrefix(t.Name, prefix) {
			break
		}
		name, ok := p.shown(t.Name)
		if !ok || t.Internal || !sees.of(t.Name) {
			continue
		}
		if len(page) == limit {
			return page, true
		}
		t.Name = name
		page = append(page, t)
	}
	return page, false
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

// Ranges returns where the log of each partition of a topic begins and ends, or of
// those in only, and fails with any of them, such as one without a leader.
func (g *Gate) Ranges(ctx context.Context, who Principal, name string, only ...int32) (map[int32]kafka.Range, error) {
	name = who.real(name)
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return cluster.Ranges(ctx, name, only...)
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
