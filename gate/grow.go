package gate

import "context"

// GrowTopic raises the number of partitions of a topic; see
// kafka.Cluster.GrowTopic.
func (g *Gate) GrowTopic(ctx context.Context, who Principal, name string, total int32) error {
	if err := g.allow(ctx, who, DescribeTopic, "topic", name); err != nil {
		return err
	}
	if err := g.allow(ctx, who, AlterTopic, "topic", name); err != nil {
		return err
	}
	return g.cluster.GrowTopic(ctx, name, total)
}

// TopicOperations returns what klamm itself may do to topics; those that the
// caller may not describe are left out.
func (g *Gate) TopicOperations(ctx context.Context, who Principal, topics ...string) (map[string][]string, error) {
	seen := make([]string, 0, len(topics))
	for _, t := range topics {
		if g.allow(ctx, who, DescribeTopic, "topic", t) == nil {
			seen = append(seen, t)
		}
	}
	return g.cluster.TopicOperations(ctx, seen...)
}
