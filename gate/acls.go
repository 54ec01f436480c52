package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/kafka"
)

// ACLs returns the cluster's access control entries that fit a filter.
func (g *Gate) ACLs(ctx context.Context, who Principal, filter kafka.ACL) ([]kafka.ACL, error) {
	if err := who.wholeCluster(); err != nil {
		return nil, err
	}
	if err := g.allow(ctx, who, DescribeCluster, "cluster", ""); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return cluster.ACLs(ctx, filter)
}

// CreateACLs creates access control entries; see kafka.Cluster.CreateACLs.
func (g *Gate) CreateACLs(ctx context.Context, who Principal, acls ...kafka.ACL) error {
	if err := who.wholeCluster(); err != nil {
		return err
	}
	if err := g.allow(ctx, who, AlterCluster, "cluster", ""); err != nil {
		return err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	return cluster.CreateACLs(ctx, acls...)
}

// DeleteACLs deletes the access control entries that fit a filter and returns
// them.
func (g *Gate) DeleteACLs(ctx context.Context, who Principal, filter kafka.ACL) ([]kafka.ACL, error) {
	if err := who.wholeCluster(); err != nil {
		return nil, err
	}
	if err := g.allow(ctx, who, AlterCluster, "cluster", ""); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return cluster.DeleteACLs(ctx, filter)
}
