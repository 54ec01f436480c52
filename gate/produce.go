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
	if g.Guarded() {
		err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: topic}, Records: records})
		if err != nil {
			return nil, err
		}
	}
	if err := who.claim.begin(ctx); err != nil {
		return nil, err
	}
	for _, r := range records {
		r.Topic = topic
	}
	results := g.cluster.Produce(ctx, records...)
	who.claim.note(results)
	return results, nil
}

// Send hands one record over and does not wait for its acknowledgement; done is
// called with the outcome, from another goroutine, exactly once unless Send
// returns an error. The record names its topic. Policies refuse it with a Denial, also
// where the caller may not know of the topic: it is one record among many, and they
// are refused in the same words whether their topics exist or not.
func (g *Gate) Send(ctx context.Context, who Principal, record *kgo.Record, done func(error)) error {
	if g.Guarded() {
		err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: record.Topic}, Records: []*kgo.Record{record}})
		if d := DenialOf(err); d != nil {
			return d
		}
		if err != nil {
			return err
		}
	}
	if err := who.claim.begin(ctx); err != nil {
		return err
	}
	g.cluster.Send(ctx, record, who.claim.noting(done))
	return nil
}

// SendAll hands records to a topic over, in the order given, as Send does. done
// is called once, when all of them are written or have failed, unless SendAll
// returns the error of a policy; then nothing is written.
func (g *Gate) SendAll(ctx context.Context, who Principal, topic string, records []*kgo.Record, done func()) error {
	if g.Guarded() {
		err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: topic}, Records: records})
		if err != nil {
			return err
		}
	}
	if err := who.claim.begin(ctx); err != nil {
		return err
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
