package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// followWait is how long one fetch waits in the broker for a change.
	followWait = 2 * time.Second
	// followPause lies between attempts to read that fail.
	followPause = 200 * time.Millisecond
	// healthyFor is how long the topic may be out of reach before Health says so,
	// more than followWait.
	healthyFor = 5 * time.Second
	// callTimeout bounds calls whose caller has no earlier deadline.
	callTimeout = 30 * time.Second
	// staleAfter is how long a table may be out of touch and still go on where it
	// was. Afterwards tombstones may have been compacted away (delete.retention.ms,
	// a day), and it reads the whole topic again.
	staleAfter = 12 * time.Hour
)

// follow applies what is committed until the table is closed or its topic gone.
func (t *Table) follow() {
	defer t.running.Done()
	defer t.watching.end()
	for {
		records, next, err := t.follower.Next(t.ctx, followWait)
		if t.ctx.Err() != nil {
			return
		}
		switch {
		case err == nil && time.Since(t.state.heard) < staleAfter:
			t.advance(records, next)
		case err == nil, errors.Is(err, kerr.OffsetOutOfRange):
			t.log.Warn("table reads its whole topic again", "err", err)
			err = t.reload(t.ctx)
		}
		if errors.Is(err, kafka.ErrTopicGone) {
			t.lose(err)
			return
		}
		if err != nil {
			t.fail(err)
			pause(t.ctx, followPause)
		}
	}
}

// advance applies records and tells the watchers.
func (t *Table) advance(records []*kgo.Record, next int64) {
	t.watching.order.Lock()
	defer t.watching.order.Unlock()
	t.state.mu.Lock()
	changes := t.state.apply(records)
	t.arrive(next)
	t.state.mu.Unlock()
	t.watching.tell(t.ctx, changes)
}

// arrive notes that everything before an offset is there. It is called with the
// state's mutex held.
func (t *Table) arrive(next int64) {
	moved := next != t.state.next || t.state.trouble != nil
	t.state.next, t.state.trouble, t.state.heard = next, nil, time.Now()
	if moved {
		t.state.wake()
	}
}

// reload reads the topic from its first record to its present end, and takes the
// result as the content: the topic is the truth, whatever has become of it.
func (t *Table) reload(ctx context.Context) error {
	next, err := t.follower.Start(ctx)
	if err != nil {
		return err
	}
	end, err := t.follower.Stable(ctx)
	if err != nil {
		return err
	}
	fresh := map[string]stored{}
	for t.follower.MoveTo(next); next < end; {
		records, after, err := t.follower.Next(ctx, followWait)
		if err != nil {
			return err
		}
		for _, r := range records {
			if c := changeOf(r); c.Deleted {
				delete(fresh, c.Key)
			} else if c.Key != "" {
				fresh[c.Key] = stored{c.Value, c.Version, c.Time.UnixMilli()}
			}
		}
		next = after
	}
	t.watching.order.Lock()
	defer t.watching.order.Unlock()
	t.state.mu.Lock()
	changes := t.state.replace(fresh, next)
	t.arrive(next)
	t.state.mu.Unlock()
	t.watching.tell(ctx, changes)
	return nil
}

// fail notes that the topic could not be read.
func (t *Table) fail(err error) {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	if t.state.trouble == nil {
		t.log.Warn("table cannot read its topic", "err", err)
	}
	t.state.trouble = err
}

// lose notes that there is no topic to write to any more.
func (t *Table) lose(cause error) {
	err := fmt.Errorf("table %s: %w: %w", t.topic.Name, ErrLost, cause)
	t.state.mu.Lock()
	first := t.state.lost == nil
	if first {
		t.state.lost = err
		t.state.wake()
	}
	t.state.mu.Unlock()
	if first {
		t.log.Error("table lost its topic and takes no writes any more", "err", cause)
		if t.alarm != nil {
			go t.alarm(err)
		}
	}
}

// Sync waits until everything that anybody has written to the table before the
// call can be seen here, for 30 seconds at most.
func (t *Table) Sync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var end int64
	err := retry(ctx, func() (err error) {
		if err := t.refusal(); err != nil {
			return err
		}
		end, err = t.follower.Stable(ctx)
		return err
	})
	if err == nil {
		err = t.reach(ctx, end)
	}
	if err != nil {
		return fmt.Errorf("sync table %s: %w", t.topic.Name, err)
	}
	return nil
}

// reach waits until everything before an offset has been read.
func (t *Table) reach(ctx context.Context, offset int64) error {
	for {
		t.state.mu.RLock()
		next, lost, moved := t.state.next, t.state.lost, t.state.moved
		t.state.mu.RUnlock()
		switch {
		case next >= offset:
			return nil
		case lost != nil:
			return lost
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// retry does something again while that may help, until ctx ends. The error is
// then the one of the last attempt.
func retry(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || isFinal(err) || ctx.Err() != nil {
			return err
		}
		if pause(ctx, followPause) != nil {
			return err
		}
	}
}

// isFinal says that trying again cannot help.
func isFinal(err error) bool {
	for _, final := range []error{kafka.ErrTopicGone, ErrLost, ErrClosed, errUnfit} {
		if errors.Is(err, final) {
			return true
		}
	}
	if errors.Is(err, kafka.ErrFenced) || errors.Is(err, kerr.OffsetOutOfRange) {
		return false
	}
	var broker *kerr.Error
	return errors.As(err, &broker) && !broker.Retriable
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
