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
		return g.cluster.Settings(ctx, kind, names...)
	}
	if len(names) == 1 {
		if err := g.allow(ctx, who, DescribeConfigs, "topic", names[0]); err != nil {
			return nil, err
		}
		return g.cluster.Settings(ctx, kind, names...)
	}
	seen, sees := make([]string, 0, len(names)), g.sees(ctx, who, DescribeConfigs, "topic")
	for _, name := range names {
		if sees(name) {
			seen = append(seen, name)
		}
	}
	return g.cluster.Settings(ctx, kind, seen...)
}

// Alter changes settings of a topic or broker; see kafka.Cluster.Alter.
func (g *Gate) Alter(ctx context.Context, who Principal, kind kafka.SettingsKind, name string, changes []kafka.SettingChange, dry bool) error {
	change, what, resource := AlterConfigs, "topic", name
	if kind != kafka.OfTopic {
		change, what, resource = AlterClusterConfigs, "cluster", ""
	}
	if err := g.allow(ctx, who, change, what, resource); err != nil {
		return err
	}
	return g.cluster.Alter(ctx, kind, name, changes, dry)
}
