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
	seen := make([]string, 0, len(names))
	for _, name := range names {
		err := g.allow(ctx, who, DescribeConfigs, "topic", name)
		if err != nil && len(names) == 1 {
			return nil, err
		}
		if err == nil {
			seen = append(seen, name)
		}
	}
	return g.cluster.Settings(ctx, kind, seen...)
}

// Alter changes settings of a topic or broker; see kafka.Cluster.Alter.
func (g *Gate) Alter(ctx context.Context, who Principal, kind kafka.SettingsKind, name string, changes []kafka.SettingChange, dry bool) error {
	see, change, what, resource := DescribeConfigs, AlterConfigs, "topic", name
	if kind != kafka.OfTopic {
		see, change, what, resource = DescribeClusterConfigs, AlterClusterConfigs, "cluster", ""
	}
	if err := g.allow(ctx, who, see, what, resource); err != nil {
		return err
	}
	if err := g.allow(ctx, who, change, what, resource); err != nil {
		return err
	}
	return g.cluster.Alter(ctx, kind, name, changes, dry)
}
