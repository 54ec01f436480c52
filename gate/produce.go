package gate

import (
	"context"
	"sync/atomic"

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

// SendAll hands records to a topic over, in the order given, as Send does. done
// is called once, when all of them are written or have failed, unless SendAll
// returns the error of a policy; then nothing is written.
func (g *Gate) SendAll(ctx context.Context, who Principal, topic string, records []*kgo.Record, done func()) error {
	if len(g.policies) > 0 {
		err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: topic}, Records: records})
		if err != nil {
			return err
		}
	}
	var left atomic.Int64
	left.Store(int64(len(records)))
	for _, r := range records {
		r.Topic = topic
		g.cluster.Send(ctx, r, func(error) {
			if left.Add(-1) == 0 {
				done()
			}
		})
	}
	return nil
}
