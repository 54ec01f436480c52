package gate

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// The actions of the operations in this file.
const (
	CreateTopic Action = "kafka-cluster:CreateTopic"
	DeleteTopic Action = "kafka-cluster:DeleteTopic"
)

// CreateTopic creates a topic; see kafka.Cluster.CreateTopic.
func (g *Gate) CreateTopic(ctx context.Context, who Principal, t kafka.NewTopic) error {
	t.Name = who.real(t.Name)
	if err := g.allow(ctx, who, CreateTopic, "topic", t.Name); err != nil {
		return err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	return who.shownError(cluster.CreateTopic(ctx, t), t.Name)
}

// CheckTopic asks whether a topic could be created; see
// kafka.Cluster.CheckTopic.
func (g *Gate) CheckTopic(ctx context.Context, who Principal, t kafka.NewTopic) (partitions int32, replication int16, err error) {
	t.Name = who.real(t.Name)
	if err := g.allow(ctx, who, CreateTopic, "topic", t.Name); err != nil {
		return 0, 0, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return 0, 0, err
	}
	partitions, replication, err = cluster.CheckTopic(ctx, t)
	return partitions, replication, who.shownError(err, t.Name)
}

// DeleteTopic deletes a topic; see kafka.Cluster.DeleteTopic.
func (g *Gate) DeleteTopic(ctx context.Context, who Principal, name string) error {
	name = who.real(name)
	if err := g.allow(ctx, who, DeleteTopic, "topic", name); err != nil {
		return err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	return cluster.DeleteTopic(ctx, name)
}

// LocatedTopic returns a topic and the live brokers by id, for callers that may
// describe the topic: where a partition lies is part of its description.
func (g *Gate) LocatedTopic(ctx context.Context, who Principal, name string) (kafka.Topic, map[int32]kafka.Broker, error) {
	t, err := g.Topic(ctx, who, name)
	if err != nil {
		return kafka.Topic{}, nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return kafka.Topic{}, nil, err
	}
	info, err := cluster.Info(ctx)
	if err != nil {
		return kafka.Topic{}, nil, err
	}
	byID := make(map[int32]kafka.Broker, len(info.Brokers))
	for _, b := range info.Brokers {
		byID[b.ID] = b
	}
	return t, byID, nil
}

// Read reads records of one partition from an offset on, without a group; see
// kafka.Cluster.Read.
func (g *Gate) Read(ctx context.Context, who Principal, topic kafka.Topic, partition int32, offset int64, lim kafka.Limits) ([]*kgo.Record, int64, error) {
	topic.Name = who.real(topic.Name)
	if err := g.mayRead(ctx, &who, topic.Name, partition); err != nil {
		return nil, offset, err
	}
	if err := who.visit.consume(ctx, topic.Name, "", partition, lim.Wait); err != nil {
		return nil, offset, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, 0, err
	}
	records, next, err := cluster.Read(ctx, topic, partition, offset, lim)
	who.visit.consumed(topic.Name, "", partition, records...)
	return who.shownRecords(records), next, err
}
