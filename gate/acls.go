package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// ACLs returns the cluster's access control entries that fit a filter.
func (g *Gate) ACLs(ctx context.Context, who Principal, filter kafka.ACL) ([]kafka.ACL, error) {
	if err := g.allow(ctx, who, DescribeCluster, "cluster", ""); err != nil {
		return nil, err
	}
	return g.cluster.ACLs(ctx, filter)
}

// CreateACLs creates access control entries; see kafka.Cluster.CreateACLs.
func (g *Gate) CreateACLs(ctx context.Context, who Principal, acls ...kafka.ACL) error {
	if err := g.allow(ctx, who, AlterCluster, "cluster", ""); err != nil {
		return err
	}
	return g.cluster.CreateACLs(ctx, acls...)
}

// DeleteACLs deletes the access control entries that fit a filter and returns
// them.
func (g *Gate) DeleteACLs(ctx context.Context, who Principal, filter kafka.ACL) ([]kafka.ACL, error) {
	if err := g.allow(ctx, who, AlterCluster, "cluster", ""); err != nil {
		return nil, err
	}
	return g.cluster.DeleteACLs(ctx, filter)
}
