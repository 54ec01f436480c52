package table

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// attemptTimeout bounds one attempt at a transaction.
	attemptTimeout = 10 * time.Second
	// settleTimeout bounds finding out what has become of one.
	settleTimeout = 30 * time.Second
	// writerIdle is how long a writer is kept without use, far less than the
	// brokers keep its id (transactional.id.expiration.ms, seven days).
	writerIdle = 10 * time.Minute
	// firstPace is what a process assumes before it has measured its pace.
	firstPace = 10 * time.Millisecond
	// leastPatience and mostPatience bound how long a process waits for the transactions
	// of another one before it takes the id from it.
	leastPatience = 10 * time.Millisecond
	mostPatience  = 500 * time.Millisecond
	// glance is the mean time between two looks at what the id is used for, at most.
	glance = 5 * time.Millisecond
	// settlePatience is how long to wait for who has taken the id to have ended the
	// transaction that was open.
	settlePatience = 2 * time.Second
	// backoff is the mean of the first pause after an attempt that failed; it
	// doubles up to backoffMost.
	backoff     = 5 * time.Millisecond
	backoffMost = 500 * time.Millisecond
)

// writing is what the writing goroutine keeps between transactions.
type writing struct {
	writer *kafka.Writer // nil: the id has to be taken first
	used   time.Time     // when writer was last used
	synced time.Time     // what had been written by then is in the content
	taken  time.Time     // when writer got the id; zero once it has written
	pace   time.Duration // between the two, last time
	early  bool          // the last writer lost the id before it had written
	open   bool          // a transaction of this process may be open that only taking the id ends
}

// write does what is submitted until the table is closed. Whatever waits when a
// transaction has ended goes into the next one together.
func (t *Table) write() {
	defer close(t.ended)
	defer t.drop()
	for {
		select {
		case o := <-t.ops:
			t.settleAll([]*op{o})
		case <-t.closing:
			return
		}
	}
}

// settleAll answers the ops, and those that arrive meanwhile.
func (t *Table) settleAll(ops []*op) {
	for failed := 0; ; {
		ops = slices.DeleteFunc(t.gather(ops), func(o *op) bool { return o.stage.Load() == takenBack })
		if len(ops) == 0 {
			return
		}
		if err := t.refusal(); err != nil {
			answerAll(ops, err)
			return
		}
		before := len(ops)
		var err error
		ops, err = t.attempt(ops)
		switch {
		case err != nil && isFinal(err):
			answerAll(ops, err)
			return
		case err != nil:
			for _, o := range ops {
				o.trouble.Store(&err)
			}
			t.log.Debug("transaction of table failed", "err", err)
			most := min(backoff<<min(failed, 10), backoffMost) * 2
			_ = pause(t.ctx, rand.N(most))
			failed++
		case len(ops) < before:
			failed = 0
		}
	}
}

// gather adds what waits in the queue.
func (t *Table) gather(ops []*op) []*op {
	for len(ops) < queuedOps {
		select {
		case o := <-t.ops:
			ops = append(ops, o)
		default:
			return ops
		}
	}
	return ops
}

func answerAll(ops []*op, err error) {
	for _, o := range ops {
		o.answer(err)
	}
}

// attempt tries to write a transaction with as many of the ops as can share one,
// and returns those that it has not answered.
func (t *Table) attempt(ops []*op) ([]*op, error) {
	ctx, cancel := context.WithTimeout(t.ctx, attemptTimeout)
	defer cancel()
	if err := t.acquire(ctx); err != nil {
		return ops, err
	}
	ops, b := t.compose(ops)
	if b.stale {
		// Somebody may have taken the id and written since; a refusal would be
		// founded on what is no longer so.
		return ops, t.catchUp(ctx)
	}
	if len(b.records) == 0 {
		return ops, nil
	}
	err := t.commit(ctx, b)
	if err != nil {
		t.drop()
		t.writing.early = !t.writing.taken.IsZero()
		t.writing.open = !errors.Is(err, kafka.ErrFenced)
	}
	if errors.Is(err, kafka.ErrUnconfirmed) {
		err = t.settle(b, err)
	}
	switch {
	case err == nil:
		b.done()
		return ops, nil
	case errors.Is(err, ErrUnknown):
		answerAll(b.ops, err)
		return ops, nil
	}
	return append(b.back(), ops...), err
}

// acquire takes the table's transactional id, unless this process is the last who
// has taken it as far as it knows, and reads what was written before.
func (t *Table) acquire(ctx context.Context) error {
	w := &t.writing
	if w.writer != nil && time.Since(w.used) < writerIdle {
		w.used = time.Now()
		return nil
	}
	t.drop()
	if !w.open {
		t.letOthers(ctx)
	}
	writer, err := t.cluster.Writer(ctx, t.id())
	if err != nil {
		return err
	}
	w.writer, w.used, w.taken, w.open = writer, time.Now(), time.Now(), false
	topic, err := t.cluster.Topic(ctx, t.topic.Name)
	if err == nil && topic.ID != t.topic.ID {
		t.lose(fmt.Errorf("%w: %s", kafka.ErrTopicGone, t.topic.Name))
		err = t.refusal()
	}
	if err == nil {
		err = t.readAll(ctx)
	}
	if err != nil {
		t.drop()
	}
	return err
}

// id is the transactional id that whoever writes must hold.
func (t *Table) id() string { return "klamm.table." + t.topic.Name }

// letOthers waits until nobody seems to be writing. Who takes the id in the middle of
// somebody's transaction undoes that, and has its own undone by whoever tries again:
// several processes that write all the time would spend it on that. It waits for a
// moment only, as the writer may have died.
func (t *Table) letOthers(ctx context.Context) {
	pace := t.writing.pace
	if pace == 0 {
		pace = firstPace
	}
	patience := min(max(10*pace, leastPatience), mostPatience)
	end := time.Now().Add(patience + rand.N(patience))
	step := max(min(pace, glance), time.Millisecond)
	var taken time.Time // since when the id was seen to be taken and not used
	// Who lost it before it had written has met another one who is about to write.
	// Otherwise it is likely to have been taken long ago.
	wary := t.writing.early
	for time.Now().Before(end) {
		hold, err := t.cluster.Hold(ctx, t.id())
		switch {
		case err != nil || hold == kafka.Free:
			return
		case hold == kafka.Busy:
			taken, wary = time.Time{}, true
		case !wary:
			return
		case taken.IsZero():
			taken = time.Now()
		case time.Since(taken) > 2*pace:
			return
		}
		if pause(ctx, step/2+rand.N(step)) != nil {
			return
		}
	}
}

// readAll reads to the end of the log, as who has just taken the id must: all
// transactions under it have ended. To read to the stable end would not do: it
// stands still while a transaction of somebody else is open, and what is
// committed behind that is not to be seen yet.
func (t *Table) readAll(ctx context.Context) error {
	now := time.Now()
	end, err := t.follower.End(ctx)
	if err == nil {
		err = t.reach(ctx, end)
	}
	if err == nil {
		t.writing.synced = now
	}
	return err
}

// catchUp reads everything that has been acknowledged by now.
func (t *Table) catchUp(ctx context.Context) error {
	now := time.Now()
	if err := t.Sync(ctx); err != nil {
		return err
	}
	t.writing.synced = now
	return nil
}

// drop gives the writer up.
func (t *Table) drop() {
	if t.writing.writer != nil {
		t.writing.writer.Close()
		t.writing.writer = nil
	}
}

// A bundle is the ops of one transaction and their records.
type bundle struct {
	ops     []*op
	counts  []int // how many of the records belong to each op
	records []*kgo.Record
	touched map[string]bool // keys of records
	bytes   int
	next    int64 // how far the content had been read
	stale   bool  // an op would be answered that may have arrived after that
}

// compose runs the ops against the content. It answers those that write nothing,
// bundles those that can share a transaction, and returns the others. An op that
// reads or writes what another one of the bundle writes has to wait for the
// next: versions are known only when a transaction has been written. All
// records of a bundle fit into one batch.
func (t *Table) compose(ops []*op) (rest []*op, b bundle) {
	b.touched = map[string]bool{}
	t.state.mu.RLock()
	defer t.state.mu.RUnlock()
	b.next = t.state.next
	for i, o := range ops {
		tx := &Tx{state: &t.state, touched: b.touched, at: map[string]int{}}
		err := o.try(tx)
		switch {
		case tx.crossed:
			rest = append(rest, o)
		case err == nil && len(tx.writes) > 0:
			if b.bytes+tx.bytes <= MaxUpdateBytes {
				b.add(o, tx, t.topic.Name)
			} else {
				rest = append(rest, o)
			}
		case o.arrived.After(t.writing.synced):
			return slices.Concat(b.ops, rest, ops[i:]), bundle{stale: true}
		default:
			o.answer(err)
		}
	}
	return rest, b
}

func (b *bundle) add(o *op, tx *Tx, topic string) {
	b.ops = append(b.ops, o)
	b.counts = append(b.counts, len(tx.writes))
	b.records = append(b.records, tx.records(topic)...)
	b.bytes += tx.bytes
	for _, w := range tx.writes {
		b.touched[w.key] = true
	}
}

// last is the offset of the bundle's last record, once it is written.
func (b *bundle) last() int64 { return b.records[len(b.records)-1].Offset }

// claim says that the ops are going to be committed now; false if one of them was
// taken back.
func (b *bundle) claim() bool {
	all := true
	for _, o := range b.ops {
		all = o.stage.CompareAndSwap(queued, committing) && all
	}
	return all
}

// back undoes claim and returns the ops that somebody still waits for.
func (b *bundle) back() []*op {
	var ops []*op
	for _, o := range b.ops {
		if o.stage.CompareAndSwap(committing, queued) || o.stage.Load() == queued {
			ops = append(ops, o)
		}
	}
	return ops
}

// done answers the ops with what was written.
func (b *bundle) done() {
	at := 0
	for i, o := range b.ops {
		if r := b.records[at]; r.Value != nil {
			o.entry = changeOf(r).Entry
		}
		at += b.counts[i]
		o.answer(nil)
	}
}

// errTakenBack says that a caller has gone away before the commit.
var errTakenBack = errors.New("a caller has given up")

// commit writes the bundle as a transaction and waits until it can be seen here.
// Nothing was written if the error is neither kafka.ErrUnconfirmed nor ErrUnknown.
func (t *Table) commit(ctx context.Context, b bundle) error {
	w := t.writing.writer
	if err := w.Write(ctx, b.records...); err != nil {
		return err
	}
	if !t.writing.taken.IsZero() {
		t.writing.pace, t.writing.taken = time.Since(t.writing.taken), time.Time{}
	}
	if at := b.records[0].Offset; at < b.next {
		return fmt.Errorf("the topic was read up to offset %d but written at %d", b.next, at)
	}
	if !b.claim() {
		return errors.Join(errTakenBack, w.Abort(ctx))
	}
	t.await(b.last())
	if err := w.Commit(ctx); err != nil {
		return err
	}
	if err := t.reach(ctx, b.last()+1); err != nil {
		return fmt.Errorf("%w: it is written but was not read back: %w", ErrUnknown, err)
	}
	return nil
}

// await makes the state note whether a record comes.
func (t *Table) await(offset int64) {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	t.state.awaited, t.state.seen, t.state.reloaded = offset, false, false
}

// settle finds out what has become of a bundle whose commit was not confirmed. Whoever
// takes the id ends the transaction one way or the other: if nobody has, this process
// does. Then it reads past the transaction, and looks whether the records have come. If they have not, they must still
// lie in the topic as aborted ones; otherwise they may have been compacted away
// before they were read, and nobody knows. It returns nil if the bundle was
// written, ErrUnknown, or an error that says that it was not.
func (t *Table) settle(b bundle, cause error) error {
	ctx, cancel := context.WithTimeout(t.ctx, settleTimeout)
	defer cancel()
	ended := false
	if errors.Is(cause, kafka.ErrFenced) {
		patient, cancel := context.WithTimeout(ctx, settlePatience)
		ended = t.reach(patient, b.last()+1) == nil
		cancel()
	}
	if !ended {
		t.writing.open = true
		if err := retry(ctx, func() error { return t.acquire(ctx) }); err != nil {
			return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(cause, err))
		}
		if err := t.reach(ctx, b.last()+1); err != nil {
			return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(cause, err))
		}
	}
	t.state.mu.RLock()
	seen, reloaded := t.state.seen, t.state.reloaded
	t.state.mu.RUnlock()
	if seen {
		return nil
	}
	var raw []*kgo.Record
	err := retry(ctx, func() (err error) {
		raw, err = t.cluster.Fetch(ctx, t.topic.Name, 0, b.last(), kafka.Limits{Records: 1})
		return err
	})
	if !reloaded && err == nil && len(raw) == 1 && raw[0].Offset == b.last() {
		return fmt.Errorf("the transaction was aborted: %v", cause)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(cause, err))
}
