package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrFenced says that a writer has lost its transactional id to another one, or
// that the brokers have given up its transaction. Nothing of that transaction is
// visible to those who read committed records.
var ErrFenced = errors.New("another writer has taken over")

// ErrUnconfirmed says that a commit was sent and that its outcome is unknown.
var ErrUnconfirmed = errors.New("the outcome of the commit is unknown")

const (
	// transactionTimeout is how long a transaction may stay open: how long the
	// brokers hold back what comes after that of a killed writer, if no other
	// writer takes over, which ends it at once.
	transactionTimeout = 10 * time.Second
	// writerRecords bounds the records of one transaction.
	writerRecords = 50_000
	// learnInterval is how often a new writer looks whether it knows the topic.
	learnInterval = 500 * time.Microsecond
)

// A Writer writes transactions under a transactional id that it alone holds,
// until another Writer takes it. A writer that has returned an error is of no
// use any more, and another one has to be made.
//
// It belongs to one goroutine at a time; only Close may be called from any.
type Writer struct {
	client *kgo.Client
	id     string
}

// Writer takes over a transactional id, which fences the one who had it: its
// commit fails from now on, and a transaction that it has left open is aborted.
// When Writer returns, every transaction under the id has ended and its end is
// in the log, so that whoever reads up to the stable end sees all that this
// writer's own transactions will come after.
func (c *Cluster) Writer(ctx context.Context, id string) (*Writer, error) {
	client, err := kgo.NewClient(append(c.options(),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		// Records wait for Flush, so that those of a transaction share a batch.
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(writerRecords),
		kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.UnknownTopicRetries(8),
		kgo.ConcurrentTransactionsBackoff(2*time.Millisecond),
	)...)
	if err != nil {
		return nil, fmt.Errorf("writer %s: %w", id, err)
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("take over transactional id %s: %w", id, c.unreachable(err))
	}
	return &Writer{client: client, id: id}, nil
}

// A Hold is what a transactional id is used for at a moment.
type Hold int

// What a transactional id may be used for. Taken is also what an id is that was taken
// long ago and never written with.
const (
	Free  Hold = iota // its last transaction has ended, or there was none
	Taken             // a Writer has it that has written nothing yet
	Busy              // a transaction is open, or about to end
)

// Hold says what the brokers know about a transactional id. A Writer would fence who is
// Busy, or Taken for a moment only.
func (c *Cluster) Hold(ctx context.Context, id string) (Hold, error) {
	all, err := c.admin.DescribeTransactions(ctx, id)
	if err == nil {
		err = all[id].Err
	}
	switch {
	case errors.Is(err, kerr.TransactionalIDNotFound):
		return Free, nil
	case err != nil:
		return Free, fmt.Errorf("describe transactional id %s: %w", id, c.unreachable(err))
	}
	switch all[id].State {
	case "Empty":
		return Taken, nil
	case "CompleteCommit", "CompleteAbort", "Dead":
		return Free, nil
	}
	return Busy, nil
}

// Write begins a transaction and writes the records, each to the partition that
// it names, in the order given; at most 50,000, and in one batch if they have
// less than a megabyte together. When it returns nil, all in-sync replicas have
// them and their Offset is set; they become visible with Commit. On an error,
// nothing of them ever does.
func (w *Writer) Write(ctx context.Context, records ...*kgo.Record) error {
	if err := w.client.BeginTransaction(); err != nil {
		return w.explain("begin a transaction of", err)
	}
	var once sync.Once
	var failure error
	failed := make(chan struct{}) // closed when failure is set
	var to []TopicPartition       // noted first: a record that was given to the client is the client's
	for _, r := range records {
		if p := (TopicPartition{r.Topic, r.Partition}); !slices.Contains(to, p) {
			to = append(to, p)
		}
		w.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				once.Do(func() { failure = err; close(failed) })
			}
		})
	}
	w.learn(ctx, failed, to)
	err := w.client.Flush(ctx)
	select {
	case <-failed:
		err = failure
	default:
	}
	return w.explain("write as", err)
}

// learn waits until the client knows the partitions, or has given a record up. A
// new client keeps records until metadata arrives; the goroutine that brings it
// then takes them one by one, and stores the partitions after that (franz-go
// 1.22.2). A Flush that comes in between sends the first ones in a batch of their
// own, or overlooks them all and waits for ever, and a commit finds no partition
// written to and aborts, without an error.
func (w *Writer) learn(ctx context.Context, failed <-chan struct{}, to []TopicPartition) {
	for _, p := range to {
		for {
			if leader, _, _ := w.client.PartitionLeader(p.Topic, p.Partition); leader >= 0 {
				break
			}
			select {
			case <-failed:
				return
			case <-ctx.Done():
				return
			case <-time.After(learnInterval):
			}
		}
	}
}

// Commit ends the transaction that Write began. When it returns nil, the records
// are written for good and become visible in a moment. Every error is
// ErrUnconfirmed: who needs to know takes over with a new Writer, which settles
// the transaction one way or the other, and then reads.
func (w *Writer) Commit(ctx context.Context) error {
	if err := w.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, w.explain("commit as", err))
	}
	return nil
}

// Abort ends the transaction that Write began without its records.
func (w *Writer) Abort(ctx context.Context) error {
	return w.explain("abort as", w.client.EndTransaction(ctx, kgo.TryAbort))
}

// Close ends the connections. A transaction that is open stays open until the
// next Writer takes over, or for ten seconds.
func (w *Writer) Close() { w.client.Close() }

// explain adds what was tried, and that the writer was fenced.
func (w *Writer) explain(tried string, err error) error {
	if err == nil {
		return nil
	}
	for _, fenced := range []*kerr.Error{kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.UnknownProducerID,
		kerr.InvalidTxnState, kerr.TransactionAbortable, kerr.OutOfOrderSequenceNumber, kerr.OperationNotAttempted} {
		if errors.Is(err, fenced) {
			return fmt.Errorf("%s writer %s: %w: %w", tried, w.id, ErrFenced, err)
		}
	}
	return fmt.Errorf("%s writer %s: %w", tried, w.id, err)
}
