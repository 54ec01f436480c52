package gate

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Produce writes records to a topic, in the order given, and returns when each
// is acknowledged or has failed; see kafka.Cluster.Produce. A record whose
// Partition is -1 goes where its key says. The error is that of a policy, and
// then nothing was written.
func (g *Gate) Produce(ctx context.Context, who Principal, topic string, records []*kgo.Record) (kgo.ProduceResults, error) {
	topic = who.real(topic)
	if g.Guarded() {
		if err := g.checks(ctx, &who, WriteData, Resource{Kind: "topic", Name: topic}, records); err != nil {
			return nil, err
		}
	}
	if err := g.bounded(records); err != nil {
		return nil, err
	}
	if err := who.visit.produce(ctx, topic, false, records...); err != nil {
		return nil, err
	}
	valid, refused, err := g.validate(topic, records)
	if err != nil || len(valid) == 0 && len(records) > 0 {
		return refused.among(nil), err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	admitted, err := g.protection.write(ctx, cluster, &who, topic, valid)
	if err != nil {
		return nil, err
	}
	if err := who.claim.begin(ctx); err != nil {
		admitted.ended(context.Canceled)
		return nil, err
	}
	for _, r := range records {
		r.Topic = topic
	}
	g.produced.count(valid...)
	g.stamp(&who, valid)
	trail := who.trail()
	trail.mark(valid)
	trail.sent(topic, valid, time.Now())
	results := cluster.Produce(ctx, valid...)
	admitted.wrote(results)
	results = refused.among(results)
	trail.acknowledged(results)
	who.claim.note(results)
	for i := range results {
		results[i].Err = who.shownError(results[i].Err, topic)
	}
	return results, nil
}

// Send hands one record over and does not wait for its acknowledgement; done is
// called with the outcome, from another goroutine, exactly once unless Send
// returns an error. The record names its topic. Policies refuse it with a Denial, also
// where the caller may not know of the topic: it is one record among many, and they
// are refused in the same words whether their topics exist or not.
func (g *Gate) Send(ctx context.Context, who Principal, record *kgo.Record, done func(error)) error {
	if who.TopicPrefix != "" {
		shown, told := record.Topic, done
		record.Topic = who.real(shown)
		named := record.Topic
		done = func(err error) {
			record.Topic = shown
			told(who.shownError(err, named))
		}
	}
	if g.Guarded() {
		err := g.check(ctx, &Call{Principal: who, Action: WriteData, Resource: Resource{Kind: "topic", Name: record.Topic}, Records: []*kgo.Record{record}})
		if d := DenialOf(err); d != nil {
			return d
		}
		if err != nil {
			return err
		}
	}
	if err := who.visit.produce(ctx, record.Topic, true, record); err != nil {
		return err
	}
	if g.validation.Load() != nil {
		if err := g.validateAll(record.Topic, []*kgo.Record{record}); err != nil {
			return err
		}
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	admitted, err := g.protection.write(ctx, cluster, &who, record.Topic, []*kgo.Record{record})
	if err != nil {
		return err
	}
	if err := who.claim.begin(ctx); err != nil {
		admitted.ended(context.Canceled)
		return err
	}
	g.produced.count(record)
	g.stamp(&who, []*kgo.Record{record})
	done = admitted.ending(done)
	if trail := who.trail(); trail != nil {
		trail.mark([]*kgo.Record{record})
		trail.sent(record.Topic, []*kgo.Record{record}, time.Now())
		done = trail.noting(record, done)
	}
	cluster.Send(ctx, record, who.claim.noting(done))
	return nil
}

// SendAll hands records to a topic over, in the order given, as Send does. done
// is called once, when all of them are written or have failed, unless SendAll
// returns the error of a policy; then nothing is written.
func (g *Gate) SendAll(ctx context.Context, who Principal, topic string, records []*kgo.Record, done func()) error {
	topic = who.real(topic)
	if g.Guarded() {
		if err := g.checks(ctx, &who, WriteData, Resource{Kind: "topic", Name: topic}, records); err != nil {
			return err
		}
	}
	if err := g.bounded(records); err != nil {
		return err
	}
	if err := who.visit.produce(ctx, topic, false, records...); err != nil {
		return err
	}
	if err := g.validateAll(topic, records); err != nil {
		return err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	admitted, err := g.protection.write(ctx, cluster, &who, topic, records)
	if err != nil {
		return err
	}
	if err := who.claim.begin(ctx); err != nil {
		admitted.ended(context.Canceled)
		return err
	}
	g.produced.count(records...)
	g.stamp(&who, records)
	trail := who.trail()
	trail.mark(records)
	trail.sent(topic, records, time.Now())
	var left atomic.Int64
	var failed atomic.Pointer[error]
	left.Store(int64(len(records)))
	for _, r := range records {
		r.Topic = topic
		cluster.Send(ctx, r, trail.noting(r, func(err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			if left.Add(-1) == 0 {
				if first := failed.Load(); first != nil {
					err = *first
				}
				admitted.ended(err)
				done()
			}
		}))
	}
	return nil
}

// Bound says how many records one call may write; 0 is any number. It counts from the
// next call on.
func (g *Gate) Bound(records int) { g.mostRecords.Store(int64(records)) }

// ErrTooManyRecords says that a call has more records than one call may write.
var ErrTooManyRecords = &Error{TooLarge, "too many records in one request"}

// bounded refuses more records than one call may write.
func (g *Gate) bounded(records []*kgo.Record) error {
	if most := g.mostRecords.Load(); most > 0 && int64(len(records)) > most {
		return fmt.Errorf("%w: %d; at most %d can be written at once (sizes.records)", ErrTooManyRecords, len(records), most)
	}
	return nil
}
