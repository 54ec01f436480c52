package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrNotAcknowledged says that a record was not acknowledged in time. It may
// still have been written.
var ErrNotAcknowledged = errors.New("not acknowledged in time")

// ErrNoPartition says that the topic does not have the partition that a record
// names, or does not exist and may not be created.
var ErrNoPartition = errors.New("no such topic or partition")

// ErrOverloaded says that too many records wait for the brokers already. The
// record was not written.
var ErrOverloaded = errors.New("too many records are waiting for the brokers")

// Produce writes the records, all in the order given, and returns when each is
// acknowledged by all in-sync replicas or has failed; results[i] belongs to
// records[i]. A record with Partition -1 goes where its key says. The topic is
// created if it does not exist and the broker allows it; a name that no topic can
// have is kerr.InvalidTopicException.
//
// A record fails with kerr.MessageTooLarge only if it is too large itself: others of
// its batch are written again one by one, behind those that were accepted.
//
// It never blocks longer than its configuration allows, and two seconds. An error is a *kerr.Error where the
// broker gave one, and otherwise wraps ErrNoPartition, ErrOverloaded or
// ErrNotAcknowledged. The records belong to klamm until Produce
// returns, and for good if one of them was ErrNotAcknowledged.
func (c *Cluster) Produce(ctx context.Context, records ...*kgo.Record) kgo.ProduceResults {
	if isLarge(records) {
		return c.produceLarge(ctx, records)
	}
	producer, err := c.crowd.enter(c)
	defer c.crowd.leave()
	if err != nil {
		return refused(records, err)
	}
	return c.sift(ctx, c.produceBy(ctx, producer, records))
}

// refused are the results of records none of which was handed over.
func refused(records []*kgo.Record, err error) kgo.ProduceResults {
	results := make(kgo.ProduceResults, len(records))
	for i, r := range records {
		results[i] = kgo.ProduceResult{Record: r, Err: err}
	}
	return results
}

// produceBy is Produce by one of the producers.
func (c *Cluster) produceBy(ctx context.Context, producer *kgo.Client, records []*kgo.Record) kgo.ProduceResults {
	end := time.Now().Add(c.cfg.Producing.timeout() + 2*time.Second)
	var few [8]int32 // the partitions that were asked for: kgo writes where a record goes into it
	asked := few[:0]
	for _, r := range records {
		asked = append(asked, r.Partition)
	}
	known := c.anew.times.Load()
	results := c.produceOnce(ctx, producer, records, time.Until(end))
	if refused := ofOldTopics(results); len(refused) > 0 {
		c.produceAnew(ctx, producer, results, refused, asked, known, end)
	}
	return c.named(results)
}

// produceOnce is produceBy with the errors of kgo, and within a time.
func (c *Cluster) produceOnce(ctx context.Context, producer *kgo.Client, records []*kgo.Record, within time.Duration) kgo.ProduceResults {
	w := &waiting{results: make(kgo.ProduceResults, len(records)), left: len(records), done: make(chan struct{})}
	for i, r := range records {
		w.results[i].Record = r
		w.results[i].Err = errPending
	}
	timer := timers.Get().(*time.Timer)
	timer.Reset(within)
	defer func() {
		timer.Stop()
		timers.Put(timer)
	}()
	// The caller's context does not reach kgo: when a record is cancelled, kgo
	// fails the others that wait for the same partition with it, and those
	// belong to other callers.
	limit := c.limit.next()
	valid := false
	for i, r := range records {
		if i == 0 || r.Topic != records[i-1].Topic {
			valid = ValidTopic(r.Topic)
		}
		if !valid { // the embedded broker would create it
			w.settle(i, kerr.InvalidTopicException)
			continue
		}
		producer.TryProduce(limit, r, func(_ *kgo.Record, err error) { w.settle(i, err) })
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		return w.give(fmt.Errorf("%w: %w", ErrNotAcknowledged, ctx.Err()))
	case <-timer.C:
		return w.give(fmt.Errorf("%w: no broker answered within %s", ErrNotAcknowledged, c.cfg.Producing.timeout()))
	}
	return w.results
}

// timers are used again: every request with records needs one, and hardly any ends.
var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// Send hands over one record and returns at once; done is called with the
// outcome, from another goroutine, exactly once. It blocks only while the
// producer's buffer is full. The rules of Produce hold otherwise.
func (c *Cluster) Send(ctx context.Context, r *kgo.Record, done func(error)) {
	if isLarge([]*kgo.Record{r}) {
		go func() { done(c.Produce(context.WithoutCancel(ctx), r)[0].Err) }()
		return
	}
	if !ValidTopic(r.Topic) {
		go done(kerr.InvalidTopicException)
		return
	}
	known, asked := c.anew.times.Load(), r.Partition
	c.crowd.sends.Add(1)
	c.producer.Produce(c.limit.next(), r, func(r *kgo.Record, err error) {
		c.crowd.sends.Add(-1)
		if ofOldTopic(err) {
			go func() {
				c.forget(context.WithoutCancel(ctx), []string{r.Topic}, known)
				r.Partition, r.Context = asked, nil
				done(c.Produce(context.WithoutCancel(ctx), r)[0].Err)
			}()
			return
		}
		if tooLarge(err) {
			go func() { done(c.sift(context.WithoutCancel(ctx), kgo.ProduceResults{{Record: r, Err: err}})[0].Err) }()
			return
		}
		done(c.explain(r, err))
	})
}

var errPending = errors.New("pending")

// waiting gathers the outcomes of one Produce. The results belong to the
// callbacks, under mu, until all are settled or the caller gives up.
type waiting struct {
	mu      sync.Mutex
	results kgo.ProduceResults
	left    int
	gone    bool
	done    chan struct{}
}

func (w *waiting) settle(i int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return
	}
	w.results[i].Err = err
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// give ends the waiting: what is not settled by now gets err, and keeps a copy
// of its record, because kgo still owns the original.
func (w *waiting) give(err error) kgo.ProduceResults {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	for i := range w.results {
		if errors.Is(w.results[i].Err, errPending) {
			w.results[i] = kgo.ProduceResult{Record: &kgo.Record{Topic: w.results[i].Record.Topic, Partition: -1, Offset: -1}, Err: err}
		}
	}
	return w.results
}

// named gives the errors of kgo that users see klamm's own meaning.
func (c *Cluster) named(results kgo.ProduceResults) kgo.ProduceResults {
	for i := range results {
		if results[i].Err != nil {
			results[i].Err = c.explain(results[i].Record, results[i].Err)
		}
	}
	return results
}

// explain turns an error of kgo into one that callers can act on.
func (c *Cluster) explain(r *kgo.Record, err error) error {
	var broker *kerr.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("%w: topic %s not present in metadata after %d ms", ErrNoPartition, r.Topic, c.cfg.Producing.timeout().Milliseconds())
	case errors.As(err, &broker):
		return broker
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no broker answered within %s", ErrNotAcknowledged, c.cfg.Producing.timeout())
	case errors.Is(err, kgo.ErrMaxBuffered):
		return ErrOverloaded
	case strings.Contains(err.Error(), "invalid record partitioning choice"): // kgo exports no value for it
		return fmt.Errorf("%w: partition %d of topic %s not present in metadata", ErrNoPartition, r.Partition, r.Topic)
	default:
		return err
	}
}
