package pipe

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/target"
)

// This file runs a pipe whose target is a topic of the same cluster and asks for
// transactions. It needs neither lanes nor a tracker: what one poll has brought is
// filtered, transformed and written in one transaction together with its offsets,
// and nothing else is under way meanwhile. If that fails, nothing has happened, and
// the next poll brings the same records. Dead letters are written before, outside
// of the transaction: they may come twice, and are listed once.

// transacting is what such a pipe remembers between two transactions. It belongs to
// the polling goroutine.
type transacting struct {
	produce  target.Produce    // into the open transaction; nil: none is open
	alone    bool              // records go one at a time, to find the one that is refused
	doomed   map[spot]*verdict // records that the topic refuses
	lettered map[spot]bool     // and whose dead letters are written
}

// A spot is where a record lies in its topic.
type spot struct {
	place
	offset int64
}

func spotOf(r *kgo.Record) spot { return spot{place{r.Topic, r.Partition}, r.Offset} }

const (
	// transactTimeout bounds the writing of a transaction; the brokers abort it
	// by themselves some seconds later.
	transactTimeout = 7 * time.Second
	// transactBytes bounds what one transaction writes, about.
	transactBytes = 8 << 20
)

// errDoomed says that a transaction was given up because of records that the topic
// refuses. They become dead letters in the next one.
var errDoomed = errors.New("records were refused")

// produce writes to klamm's own cluster, in the transaction if one is open.
func (f *flow) produce(ctx context.Context, records ...*kgo.Record) kgo.ProduceResults {
	if f.transacting.produce != nil {
		return f.transacting.produce(ctx, records...)
	}
	return f.cluster.Produce(ctx, records...)
}

// runTransactions is run for such a pipe.
func (f *flow) runTransactions(ctx context.Context) {
	ctx, stop := f.untilHalted(ctx)
	defer stop()
	for failures := 0; ctx.Err() == nil; {
		records, err := f.consumer.Poll(ctx, pollRecords)
		if err == nil && len(records) > 0 {
			err = f.handOver(ctx, records)
		}
		f.consumer.Release()
		if err == nil {
			failures = 0
			continue
		}
		if ctx.Err() != nil || errors.Is(err, errDoomed) || errors.Is(err, kafka.ErrAborted) {
			continue
		}
		failures++
		wait := backoff(f.def.Delivery.Backoff, failures, 0)
		over := errors.Is(err, kafka.ErrFenced) || errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, kafka.ErrTopicGone)
		if over {
			wait = max(wait, restart.Min)
		}
		f.log.Warn("a transaction failed; its records are written again", "again_in", wait, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		if over {
			break
		}
	}
}

// handOver writes what was polled. When it returns nil, records and offsets are
// committed.
func (f *flow) handOver(ctx context.Context, records []*kgo.Record) error {
	f.mu.Lock()
	f.read = true
	f.mu.Unlock()
	began := time.Now()
	var events []*event.Event
	dead, filtered := 0, 0
	items := make([]*item, len(records))
	var given []*item
	for i, r := range records {
		f.decoding.begin()
		it, passed := f.shape(r)
		if it != nil && it.undecided != nil {
			return it.undecided
		}
		if !passed {
			filtered++
			continue
		}
		items[i] = it
		v := f.transacting.doomed[spotOf(r)]
		if it.reason != nil {
			v = &verdict{err: it.reason}
		}
		if v == nil {
			events = append(events, &it.Event)
			continue
		}
		dead++
		given = append(given, it)
		if !f.transacting.lettered[spotOf(r)] {
			if err := f.writeLetters([]*item{it}, v); err != nil {
				return err
			}
			f.transacting.lettered[spotOf(r)] = true
		}
	}
	err := f.consumer.Transact(ctx, func(produce func(context.Context, ...*kgo.Record) kgo.ProduceResults) error {
		return f.write(ctx, produce, events)
	})
	if errors.Is(err, kafka.ErrNoPartition) {
		err = errors.Join(err, f.cluster.CreateIfAllowed(context.WithoutCancel(ctx), f.def.TargetTopic()))
	}
	if len(events) > 0 {
		f.metrics.attempt(err, time.Since(began))
	}
	if err != nil {
		return err
	}
	f.metrics.filtered.Add(float64(filtered))
	f.metrics.dead.Add(float64(dead))
	f.shaped(records, items)
	for _, it := range given {
		f.abandoned([]*item{it})
	}
	f.countDelivered(len(events))
	f.transacting.alone = false
	clear(f.transacting.doomed)
	clear(f.transacting.lettered)
	f.noteCommitted(records)
	return nil
}

// write delivers events to the target while its records go into the transaction.
func (f *flow) write(ctx context.Context, produce target.Produce, events []*event.Event) error {
	f.transacting.produce = produce
	defer func() { f.transacting.produce = nil }()
	// A pipe that stops finishes its transaction.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(f.def.Delivery.Timeout, transactTimeout))
	defer cancel()
	for len(events) > 0 {
		n, size := 0, 0
		for n < len(events) && (n == 0 || size < transactBytes && !f.transacting.alone) {
			size += len(events[n].Payload()) + len(events[n].Record.Key)
			n++
		}
		if err := f.doom(events[:n], f.deliver(ctx, events[:n])); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// doom remembers the records that the topic will never take, and returns errDoomed
// if there are some.
func (f *flow) doom(events []*event.Event, err error) error {
	if err == nil {
		return nil
	}
	failed := map[int]error{}
	var partial *target.PartialError
	switch {
	case errors.As(err, &partial):
		failed = partial.Failed
	case len(events) == 1:
		failed[0] = err
	}
	for i, e := range failed {
		if !target.FailureOf(e).Final {
			err = e
			continue
		}
		// Brokers refuse whole batches, and records share them: only one that was
		// alone is to blame. What else has failed may have been taken along.
		if len(events) == 1 {
			f.transacting.doomed[spotOf(events[i].Record)] = newVerdict(e, 1)
		}
		f.transacting.alone = true
		return errDoomed
	}
	return err
}

// noteCommitted remembers how far the group is.
func (f *flow) noteCommitted(records []*kgo.Record) {
	f.mu.Lock()
	for _, r := range records {
		if p := f.parts[place{r.Topic, r.Partition}]; p != nil {
			p.committed = max(p.committed, r.Offset+1)
		}
	}
	f.mu.Unlock()
	if fresh := f.unremembered(); len(fresh) > 0 {
		f.began(fresh)
	}
}
