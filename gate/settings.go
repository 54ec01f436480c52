package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// Settings returns all settings of topics or brokers; see
// kafka.Cluster.Settings. Of several topics, those whose settings the caller may
// not see are left out.
func (g *Gate) Settings(ctx context.Context, who Principal, kind kafka.SettingsKind, names ...string) (map[string][]kafka.SettingDetail, error) {
	if kind != kafka.OfTopic {
		if err := g.allow(ctx, who, DescribeClusterConfigs, "cluster", ""); err != nil {
			return nil, err
		}
		cluster, err := g.as(ctx, &who)
		if err != nil {
			return nil, err
		}
		return cluster.Settings(ctx, kind, names...)
	}
	names = who.realAll(names)
	if len(names) == 1 {
		if err := g.allow(ctx, who, DescribeConfigs, "topic", names[0]); err != nil {
			return nil, err
		}
		cluster, err := g.as(ctx, &who)
		if err != nil {
			return nil, err
		}
		settings, err := cluster.Settings(ctx, kind, names...)
		return shownNames(&who, settings), err
	}
	seen, sees := make([]string, 0, len(names)), g.sees(ctx, who, DescribeConfigs, "topic")
	for _, name := range names {
		if sees.of(name) {
			seen = append(seen, name)
		}
	}
	if sees.err != nil {
		return nil, sees.err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	settings, err := cluster.Settings(ctx, kind, seen...)
	return shownNames(&who, settings), err
}

// Alter changes settings of a topic or broker; see kafka.Cluster.Alter.
func (g *Gate) Alter(ctx context.Context, who Principal, kind kafka.SettingsKind, name string, changes []kafka.SettingChange, dry bool) error {
	change, what, resource := AlterConfigs, "topic", who.real(name)
	if kind == kafka.OfTopic {
		name = resource
	}
	if kind != kafka.OfTopic {
		change, what, resource = AlterClusterConfigs, "cluster", ""
	}
	if err := g.allow(ctx, who, change, what, resource); err != nil {
		return err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	return cluster.Alter(ctx, kind, name, changes, dry)
}
