package gate

import "context"

// GrowTopic raises the number of partitions of a topic; see
// kafka.Cluster.GrowTopic.
func (g *Gate) GrowTopic(ctx context.Context, who Principal, name string, total int32) error {
	name = who.real(name)
	if err := g.allow(ctx, who, AlterTopic, "topic", name); err != nil {
		return err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	return cluster.GrowTopic(ctx, name, total)
}

// TopicOperations returns what klamm itself may do to topics; those that the
// caller may not describe are left out.
func (g *Gate) TopicOperations(ctx context.Context, who Principal, topics ...string) (map[string][]string, error) {
	seen := make([]string, 0, len(topics))
	sees := g.sees(ctx, who, DescribeTopic, "topic")
	for _, t := range who.realAll(topics) {
		if sees.of(t) {
			seen = append(seen, t)
		}
	}
	if sees.err != nil {
		return nil, sees.err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	operations, err := cluster.TopicOperations(ctx, seen...)
	return shownNames(&who, operations), err
}
