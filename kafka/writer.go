package kafka

import (
	"context"
	"errors"
	"fmt"
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

// Write begins a transaction and writes the records, each to the partition that
// it names, in the order given; at most 50,000, and in one batch if they have
// less than a megabyte together. When it returns nil, all in-sync replicas have
// them and their Offset is set; they become visible with Commit. On an error,
// nothing of them ever does.
func (w *Writer) Write(ctx context.Context, records ...*kgo.Record) error {
	if err := w.client.BeginTransaction(); err != nil {
		return w.explain("begin a transaction of", err)
	}
	var mu sync.Mutex // guards failed, which outlives this call when ctx ends
	var failed error
	for _, r := range records {
		w.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if failed == nil {
				failed = err
			}
		})
	}
	err := w.client.Flush(ctx)
	if err == nil {
		// The client ends a transaction by the partitions that it knows it has
		// written to, and learns them from metadata. The goroutine that brings
		// the metadata sends the records before it stores the partitions: a
		// commit that comes in between finds none and aborts, without an error
		// (franz-go 1.22.2). The store happens under a lock that this call
		// takes; there is nothing left that it could abort.
		err = w.client.AbortBufferedRecords(ctx)
	}
	mu.Lock()
	defer mu.Unlock()
	if failed != nil {
		err = failed
	}
	return w.explain("write as", err)
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
