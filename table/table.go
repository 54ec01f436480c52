package table

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// Limits of what a table takes.
const (
	// MaxKeyBytes bounds a key; it has at least one byte.
	MaxKeyBytes = 1 << 10
	// MaxValueBytes bounds a value; it may be empty.
	MaxValueBytes = 900 << 10
	// MaxUpdateBytes bounds the keys and values of one Update together, with 32
	// bytes for each of them.
	MaxUpdateBytes = 960_000
)

var (
	// ErrConflict says that an entry is not what the caller expected. Nothing was
	// written.
	ErrConflict = errors.New("the entry was changed meanwhile")
	// ErrInvalid says that a key or a value is outside the limits. Nothing was
	// written.
	ErrInvalid = errors.New("not allowed in a table")
	// ErrUnknown says that a write was under way when its time was up or the
	// brokers went away: it may have been done, or be done in a moment.
	ErrUnknown = errors.New("the write may or may not have been done")
	// ErrLost says that the table's topic was deleted or created anew. The table
	// answers with what it had and takes no writes until it is opened again.
	ErrLost = errors.New("the topic of the table is gone")
	// ErrClosed says that the table was closed before the call was done. Nothing
	// was written.
	ErrClosed = errors.New("the table is closed")
)

// A Version tells the states of one entry apart. Those of entries are above zero,
// and a later one is larger. As an expectation there are two more.
type Version int64

const (
	// Absent expects that there is no entry.
	Absent Version = 0
	// Any expects nothing.
	Any Version = -1
)

// An Entry is one entry of a table at one moment. The bytes of Value are shared
// with everybody else who has read it and must not be changed.
type Entry struct {
	Key     string
	Value   []byte
	Version Version
	Time    time.Time // of the write, by the clock of its writer, in milliseconds
}

// Options are what a table may be told. The zero value is fit for use.
type Options struct {
	// Log gets what an operator must know; nil is silent.
	Log *slog.Logger
	// Alarm is called once, from a goroutine of its own, if the table's topic is
	// gone: the error is ErrLost. Nil: nobody is told.
	Alarm func(error)
}

// A Table is a map that is kept in a compacted topic. It is safe for concurrent
// use. Besides its content it needs about 200 bytes of memory per entry.
type Table struct {
	cluster  *kafka.Cluster
	topic    kafka.Topic
	log      *slog.Logger
	alarm    func(error)
	follower *kafka.Follower

	ctx     context.Context // of the goroutines; ends with Close
	cancel  context.CancelFunc
	closing chan struct{} // closed when Close begins
	shut    sync.Once
	ended   chan struct{}  // closed when the writing goroutine has ended
	running sync.WaitGroup // the following and the watching goroutine

	state    state
	watching watching
	ops      chan *op
	writing  writing // belongs to the writing goroutine
}

// Open opens the table of a topic and returns when all that was written before
// the call is there. The topic is created if it does not exist: compacted, one
// partition, with the brokers' default replication. One that exists must have one
// partition and be compacted. While no broker answers, Open tries on until ctx
// ends.
func Open(ctx context.Context, cluster *kafka.Cluster, topic string, opts Options) (*Table, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	t := &Table{cluster: cluster, log: opts.Log.With("topic", topic), alarm: opts.Alarm,
		closing: make(chan struct{}), ended: make(chan struct{}), ops: make(chan *op, queuedOps)}
	t.state.moved = make(chan struct{})
	t.state.awaited = -1
	t.watching.queue = make(chan notice, queuedNotices)
	err := retry(ctx, func() (err error) {
		t.topic, err = ensureTopic(ctx, cluster, topic)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", topic, err)
	}
	if t.follower, err = cluster.Follow(t.topic, 0); err != nil {
		return nil, fmt.Errorf("open table %s: %w", topic, err)
	}
	if err := retry(ctx, func() error { return t.reload(ctx) }); err != nil {
		t.follower.Close()
		return nil, fmt.Errorf("open table %s: %w", topic, err)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.running.Add(2)
	go t.follow()
	go t.notify()
	go t.write()
	return t, nil
}

// closeTimeout is how long Close lets a write that is under way go on.
const closeTimeout = 5 * time.Second

// Close ends the table within about five seconds, unless a watcher takes longer.
// A write that is under way is finished if the brokers answer; those that wait
// fail with ErrClosed. Get, List and All go on answering with what there was. It
// may be called more than once, but not by a watcher.
func (t *Table) Close() {
	t.shut.Do(func() {
		close(t.closing)
		select {
		case <-t.ended:
		case <-time.After(closeTimeout):
		}
		t.cancel()
		<-t.ended
		t.running.Wait()
		t.follower.Close()
	})
}

// Get returns an entry from memory. It never waits for a broker.
func (t *Table) Get(key string) (Entry, bool) {
	t.state.mu.RLock()
	defer t.state.mu.RUnlock()
	return t.state.get(key)
}

// List returns the entries whose keys begin with prefix, as they are at the time
// of the call, sorted by key. It never waits for a broker.
func (t *Table) List(prefix string) []Entry {
	t.state.mu.RLock()
	defer t.state.mu.RUnlock()
	return t.state.list(prefix)
}

// All is List of everything, for ranging over.
func (t *Table) All() iter.Seq[Entry] {
	entries := t.List("")
	return func(yield func(Entry) bool) {
		for _, e := range entries {
			if !yield(e) {
				return
			}
		}
	}
}

// Health returns nil if the table follows its topic, and otherwise what is wrong:
// ErrLost, ErrClosed, or why the topic could not be read for some seconds.
func (t *Table) Health() error {
	if err := t.refusal(); err != nil {
		return err
	}
	t.state.mu.RLock()
	defer t.state.mu.RUnlock()
	if quiet := time.Since(t.state.heard); quiet > healthyFor {
		err := t.state.trouble
		if err == nil {
			err = kafka.ErrUnreachable
		}
		return fmt.Errorf("table %s has not read its topic for %s: %w", t.topic.Name, quiet.Round(time.Second), err)
	}
	return nil
}

// refusal is why nothing can be written any more, or nil.
func (t *Table) refusal() error {
	select {
	case <-t.closing:
		return fmt.Errorf("table %s: %w", t.topic.Name, ErrClosed)
	default:
	}
	t.state.mu.RLock()
	defer t.state.mu.RUnlock()
	return t.state.lost
}
