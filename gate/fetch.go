package gate

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// Fetch reads records of one partition from an offset on, without a group; see
// kafka.Cluster.Fetch.
func (g *Gate) Fetch(ctx context.Context, who Principal, topic kafka.Topic, partition int32, offset int64, lim kafka.Limits) ([]*kgo.Record, error) {
	topic.Name = who.real(topic.Name)
	if err := g.mayRead(ctx, &who, topic.Name, partition); err != nil {
		return nil, err
	}
	if err := who.visit.consume(ctx, topic.Name, "", partition, lim.Wait); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	admitted, err := g.protection.read(ctx, cluster, &who, topic, partition, lim.Wait)
	if err != nil {
		return nil, err
	}
	records, err := cluster.FetchFrom(ctx, topic, partition, offset, lim)
	admitted.ended(err)
	who.visit.consumed(topic.Name, "", partition, records...)
	return who.shownRecords(records), err
}

// OffsetsAfter returns for each partition of a topic the offset of the first
// record that is not older than that time, or for those in only, as Ranges does.
func (g *Gate) OffsetsAfter(ctx context.Context, who Principal, topic string, since time.Time, only ...int32) (map[int32]int64, error) {
	topic = who.real(topic)
	if err := g.allow(ctx, who, ReadData, "topic", topic); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	return cluster.OffsetsAfter(ctx, topic, since.UnixMilli(), only...)
}
