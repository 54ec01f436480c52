package gate

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Produce writes records to a topic, in the order given, and returns when each
// is acknowledged or has failed; see kafka.Cluster.Produce. A record whose
// Partition is -1 goes where its key says. The error is that of a policy, and
// then nothing was written.
func (g *Gate) Produce(ctx context.Context, who Principal, topic string, records []*kgo.Record) (kgo.ProduceResults, error) {
	if len(g.policies) > 0 {
		err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: topic}, Records: records})
		if err != nil {
			return nil, err
		}
	}
	for _, r := range records {
		r.Topic = topic
	}
	return g.cluster.Produce(ctx, records...), nil
}

// Send hands one record over and does not wait for its acknowledgement; done is
// called with the outcome, from another goroutine, exactly once unless Send
// returns an error. The record names its topic.
func (g *Gate) Send(ctx context.Context, who Principal, record *kgo.Record, done func(error)) error {
	if len(g.policies) > 0 {
		err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: record.Topic}, Records: []*kgo.Record{record}})
		if err != nil {
			return err
		}
	}
	g.cluster.Send(ctx, record, done)
	return nil
}
