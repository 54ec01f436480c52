package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrAborted says that a transaction was given up because the group shared its
// partitions anew, or the brokers asked for it. Poll brings the records again.
var ErrAborted = errors.New("the transaction was aborted")

// JoinTransactional is Join for a consumer whose records go to topics of the same
// cluster, together with the offsets, in transactions: Transact takes the place of
// Commit. Who reads committed records sees each record once.
//
// Two things keep a process that has lost its partitions from committing: the
// brokers refuse the offsets of a member that is of an older generation, and do not
// tell the next owner where to begin while a transaction is open.
func (c *Cluster) JoinTransactional(ctx context.Context, m Membership, log *slog.Logger) (*Consumer, error) {
	stale := make(chan struct{}, 1)
	tell := func() {
		select {
		case stale <- struct{}{}:
		default:
		}
	}
	revoked, lost := m.Revoked, m.Lost
	m.Revoked = func(ctx context.Context, p map[string][]int32) { revoked(ctx, p); tell() }
	m.Lost = func(p map[string][]int32) { lost(p); tell() }
	consumer, err := c.join(ctx, m, log, func(opts []kgo.Opt) (*kgo.Client, *kgo.GroupTransactSession, error) {
		session, err := kgo.NewGroupTransactSession(append(opts,
			// Each membership has an id of its own; what fences it is the
			// generation of its group.
			kgo.TransactionalID("klamm-"+m.Group+"-"+rand.Text()),
			kgo.TransactionTimeout(transactionTimeout),
			kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.RecordPartitioner(newPartitioner()),
			kgo.ProducerLinger(0),
			kgo.ProducerBatchMaxBytes(batchBytes),
			kgo.UnknownTopicRetries(8),
			kgo.ConcurrentTransactionsBackoff(5*time.Millisecond),
		)...)
		if err != nil {
			return nil, nil, err
		}
		return session.Client(), session, nil
	})
	if consumer != nil {
		consumer.stale = stale
	}
	return consumer, err
}

// pollSession is Poll in a session. The session tells of lost partitions only once
// between two transactions, and aborts the next one. Where there is nothing to
// transact, an empty transaction makes it ready for the next time.
func (c *Consumer) pollSession(ctx context.Context, most int) ([]*kgo.Record, error) {
	polling, stop := context.WithCancel(ctx)
	var waking sync.WaitGroup
	woken := false
	waking.Go(func() {
		select {
		case <-c.stale:
			woken = true
			stop()
		case <-polling.Done():
		}
	})
	records, err := c.poll(polling, most)
	stop()
	waking.Wait()
	if !woken || len(records) > 0 || ctx.Err() != nil {
		return records, err
	}
	if err := c.session.Begin(); err != nil {
		return nil, fmt.Errorf("begin a transaction of group %q: %w: %w", c.m.Group, ErrFenced, err)
	}
	if _, err := c.session.End(ctx, kgo.TryAbort); err != nil {
		return nil, fmt.Errorf("end a transaction of group %q: %w: %w", c.m.Group, ErrFenced, err)
	}
	return nil, nil
}

// Transact has write produce records in a transaction, and commits it together with
// the offsets of all records that were polled since the last one. It is called
// between Poll and Release. On every error nothing is committed, and what was
// polled is brought by Poll again: the error is that of write, or ErrAborted. With
// ErrFenced the consumer is of no use any more.
//
// What write is given produces as Cluster.Produce does, but a record of more than
// about a megabyte is refused with kerr.MessageTooLarge.
func (c *Consumer) Transact(ctx context.Context, write func(produce func(context.Context, ...*kgo.Record) kgo.ProduceResults) error) error {
	if err := c.session.Begin(); err != nil {
		return fmt.Errorf("begin a transaction of group %q: %w: %w", c.m.Group, ErrFenced, err)
	}
	failed := write(c.produceInTransaction)
	// Whoever ends the transaction must not be stopped half-way.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	committed, err := c.session.End(end, failed == nil)
	switch {
	case err != nil:
		return fmt.Errorf("end a transaction of group %q: %w: %w", c.m.Group, ErrFenced, err)
	case failed != nil:
		return failed
	case !committed:
		return fmt.Errorf("group %q: %w", c.m.Group, ErrAborted)
	}
	return nil
}

// produceInTransaction writes the records and returns when each is acknowledged or
// has failed.
func (c *Consumer) produceInTransaction(ctx context.Context, records ...*kgo.Record) kgo.ProduceResults {
	results := make(kgo.ProduceResults, len(records))
	var all sync.WaitGroup
	all.Add(len(records))
	for i, r := range records {
		if isLarge([]*kgo.Record{r}) {
			results[i] = kgo.ProduceResult{Record: r, Err: kerr.MessageTooLarge}
			all.Done()
			continue
		}
		c.client.Produce(ctx, r, func(r *kgo.Record, err error) {
			results[i] = kgo.ProduceResult{Record: r, Err: c.cluster.explain(r, err)}
			all.Done()
		})
	}
	all.Wait() // every record has an end: kgo fails them when ctx has ended
	// See Writer.Write: without this, a commit that comes right behind the first
	// record of a topic can turn into an abort.
	if err := c.client.AbortBufferedRecords(ctx); err != nil {
		for i := range results {
			if results[i].Err == nil {
				results[i].Err = err
			}
		}
	}
	return results
}

// CreateIfAllowed has the brokers create a topic that does not exist, as producing
// to it would, and does nothing where they do not create topics by themselves.
func (c *Cluster) CreateIfAllowed(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = true
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &name
	req.Topics = append(req.Topics, rt)
	if _, err := req.RequestWith(ctx, c.producer); err != nil {
		return fmt.Errorf("topic %s: %w", name, c.unreachable(err))
	}
	return nil
}
