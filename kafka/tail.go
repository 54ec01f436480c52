package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Tails lets any number of subscriptions follow topics for the price of one: the
// newest records of each partition are fetched once, by one loop for each broker,
// and shared.
//
//	partition   0 1 2 3 4 5 6 7 8 9 | 10 11 12 13 14 15 |
//	                  ^               first              next
//	                  a subscription    the shared stretch
//
// A subscription is no more than an offset in each partition. What lies before
// the stretch it reads by itself; from the stretch it takes what is at and behind
// its offset. Offsets alone decide, so that nothing is passed over or taken
// twice at the joint, and a subscription that is too slow for the stretch falls
// out of it and reads by itself again.
//
// Only records of transactions that were committed are seen. There is no fetching
// and no goroutine while there is no subscription. Tails are safe for concurrent
// use.
type Tails struct {
	cluster *Cluster
	reading chan struct{} // held by subscriptions that read by themselves
	looks   looks

	mu     sync.Mutex // guards what follows
	runner *tailer    // nil: there is no subscription
}

// NewTails returns tails of the topics of a cluster.
func NewTails(c *Cluster) *Tails {
	return &Tails{cluster: c, reading: make(chan struct{}, tailReaders)}
}

const (
	// tailReaders is how many subscriptions read by themselves at the same time.
	tailReaders = 32
	// tailFailing is how long a partition may be out of reach before its
	// subscriptions are told.
	tailFailing = 10 * time.Second
)

// From says where a subscription begins. The zero value is the next record that
// is written.
type From struct {
	Earliest bool      // the first record that there is
	At       time.Time // the first record of that time or later
	// Offset, where it is not nil, is the offset to begin with in each partition.
	Offset *int64
	// Next, where it is not nil, holds for partitions the offset to begin with. A
	// partition that is not in it has been added since, and is read from its first
	// record; where it holds none of the subscription's partitions, it does not
	// count.
	Next map[int32]int64
}

// A Gap says that records which a subscription asks for are not there: retention
// has removed them, or the log ends before them. The subscription goes on at the
// earliest record.
type Gap struct {
	Partition           int32
	Requested, Earliest int64
}

// An Entry is a record that several subscriptions may hold at the same time. It
// must not be changed.
type Entry struct {
	Record  *kgo.Record
	forms   [4]atomic.Pointer[[]byte]
	decoded atomic.Pointer[Entry]
}

// Decoded returns the entry of the record that decode makes of this one's. It is
// made once for all who hold the entry; where decode returns the record itself, it
// is the entry itself.
func (e *Entry) Decoded(decode func(*kgo.Record) *kgo.Record) *Entry {
	if made := e.decoded.Load(); made != nil {
		return made
	}
	r := decode(e.Record)
	if r == e.Record {
		return e
	}
	made := &Entry{Record: r}
	e.decoded.Store(made)
	return made
}

// Form returns what write makes of the record. It is made once for all who hold
// the entry, for each of the forms 0 to 3, and must not be changed.
func (e *Entry) Form(form int, write func(*kgo.Record) []byte) []byte {
	if made := e.forms[form].Load(); made != nil {
		return *made
	}
	made := write(e.Record)
	e.forms[form].Store(&made)
	return made
}

// A Subscription reads some or all partitions of a topic. Take and Positions
// belong to one goroutine.
type Subscription struct {
	tails     *Tails
	runner    *tailer
	topic     *tailTopic
	all       bool // partitions that are added are read too
	positions []position
	turn      int // the position that comes first in the next Take
	wake      chan struct{}
	close     sync.Once
}

// A position is where a subscription is in one partition.
type position struct {
	tail *tail
	next int64
	// known is the end of what is known to be readable where there is no stretch:
	// reading by oneself is worth while before it.
	known int64
	// generation is the stretch's that next fits to; another says that the log was
	// cut off, and next may lie outside.
	generation int
}

// Subscribe follows a topic, or one partition of it where partition is not
// negative. It waits for the cluster to say where the partitions begin and end. A
// topic or partition that does not exist is kerr.UnknownTopicOrPartition or
// ErrNoPartition. The subscription must be closed.
func (t *Tails) Subscribe(ctx context.Context, topic string, partition int32, from From) (*Subscription, error) {
	seen, err := t.looks.at(ctx, t.cluster, topic)
	if err != nil {
		return nil, err
	}
	meta, bounds := seen.meta, seen.bounds
	var ids []int32
	if partition >= 0 {
		if _, err := meta.Partition(partition); err != nil {
			return nil, err
		}
		ids = []int32{partition}
	} else {
		for _, p := range meta.Partitions {
			ids = append(ids, p.ID)
		}
	}
	if err := failure(seen.failed, ids); err != nil {
		return nil, err
	}
	at, err := t.cluster.begin(ctx, topic, ids, bounds, from)
	if err != nil {
		return nil, err
	}
	s := &Subscription{tails: t, all: partition < 0, wake: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.runner == nil {
		if t.runner, err = newTailer(t.cluster); err != nil {
			return nil, err
		}
	}
	s.runner = t.runner
	s.topic = s.runner.join(s, meta, ids)
	for i, id := range ids {
		r := bounds[id]
		p := &s.positions[i]
		p.next, p.known, p.generation = at[id], r.End, inStep
		if at[id] < r.Start || at[id] > r.End {
			p.generation = outOfStep
		}
	}
	return s, nil
}

// The generations of positions that no stretch has been compared with.
const (
	outOfStep = -1 // next may lie outside of the log
	inStep    = 0  // next lies inside
)

// begin says where to begin on each partition.
func (c *Cluster) begin(ctx context.Context, topic string, ids []int32, bounds map[int32]Range, from From) (map[int32]int64, error) {
	at := make(map[int32]int64, len(ids))
	resumed := false
	for _, id := range ids {
		_, in := from.Next[id]
		resumed = resumed || in
	}
	var times map[int32]int64
	if !resumed && from.Offset == nil && !from.At.IsZero() {
		var err error
		if times, err = c.OffsetsAfter(ctx, topic, from.At.UnixMilli(), ids...); err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		r, ok := bounds[id]
		if !ok {
			return nil, fmt.Errorf("%w: %s has no partition %d", ErrNoPartition, topic, id)
		}
		switch next, in := from.Next[id]; {
		case in:
			at[id] = next
		case resumed, from.Earliest && from.Offset == nil:
			at[id] = r.Start
		case from.Offset != nil:
			at[id] = *from.Offset
		case times != nil:
			at[id] = min(times[id], r.End)
		default:
			at[id] = r.End
		}
	}
	return at, nil
}

// Wake returns a channel that has something to be received when it is worth while
// to call Take again.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// poke fills the wake channel. It may be called from any goroutine.
func (s *Subscription) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Position is where a subscription is in one partition: the offset to go on at.
type Position struct {
	Partition int32
	Next      int64
}

// Positions appends where the subscription is in each partition, ascending: behind
// everything that Take has returned.
func (s *Subscription) Positions(dst []Position) []Position {
	for i := range s.positions {
		dst = append(dst, Position{s.positions[i].tail.partition, s.positions[i].next})
	}
	return dst
}

// Close ends the subscription. The last one to close waits for the fetching to
// end.
func (s *Subscription) Close() {
	s.close.Do(func() {
		s.tails.mu.Lock()
		defer s.tails.mu.Unlock()
		if s.runner.part(s) && s.tails.runner == s.runner {
			s.tails.runner = nil
			s.runner.end()
		}
	})
}

// Take appends entries that are there, in the order of their offsets within each
// partition, and moves the subscription behind them; about maxBytes of keys and
// values, more only where a single record is larger. None means that there is
// nothing now: wait for Wake. It may read from the cluster, for as long as ctx
// allows.
//
// A gap is returned alone. An error is final: ErrTopicGone where the topic was
// deleted, otherwise one that a new subscription may mend.
func (s *Subscription) Take(ctx context.Context, dst []*Entry, maxBytes int) ([]*Entry, *Gap, error) {
	s.grow()
	size, had := 0, len(dst)
	for n := range s.positions {
		if size >= maxBytes {
			break
		}
		p := &s.positions[(s.turn+n)%len(s.positions)]
		got, gap, err := s.take(ctx, p, dst, maxBytes-size, len(dst) > had)
		if err != nil || gap != nil {
			if len(dst) > had { // in order: what was taken comes first, the gap next time
				return dst, nil, nil
			}
			return dst, gap, err
		}
		for _, e := range got[len(dst):] {
			size += len(e.Record.Key) + len(e.Record.Value)
		}
		dst = got
	}
	if len(s.positions) > 0 {
		s.turn = (s.turn + 1) % len(s.positions)
	}
	return dst, nil, nil
}

// take is Take for one partition. A subscription that has something already does
// not read by itself.
func (s *Subscription) take(ctx context.Context, p *position, dst []*Entry, maxBytes int, has bool) ([]*Entry, *Gap, error) {
	shared := p.tail.log.Load()
	switch {
	case shared != nil && shared.err != nil:
		return dst, nil, shared.err
	case p.generation == outOfStep:
	case shared == nil && p.next >= p.known:
		return dst, nil, nil
	case shared != nil && p.generation != inStep && p.generation != shared.generation:
		p.generation = outOfStep
	case shared != nil && p.next >= shared.first:
		p.generation = shared.generation
		return p.share(shared, dst, maxBytes), nil, nil
	}
	if has {
		s.poke()
		return dst, nil, nil
	}
	return s.read(ctx, p, dst, maxBytes)
}

// share takes from the shared stretch.
func (p *position) share(shared *stretch, dst []*Entry, maxBytes int) []*Entry {
	if p.next >= shared.next {
		return dst
	}
	i, _ := slices.BinarySearchFunc(shared.entries, p.next, func(e *Entry, at int64) int {
		switch {
		case e.Record.Offset < at:
			return -1
		case e.Record.Offset > at:
			return 1
		}
		return 0
	})
	size := 0
	for _, e := range shared.entries[i:] {
		if size >= maxBytes {
			p.next = e.Record.Offset
			return dst
		}
		size += len(e.Record.Key) + len(e.Record.Value)
		dst = append(dst, e)
	}
	p.next = shared.next
	return dst
}

// read reads what lies before the shared stretch.
func (s *Subscription) read(ctx context.Context, p *position, dst []*Entry, maxBytes int) ([]*Entry, *Gap, error) {
	select {
	case s.tails.reading <- struct{}{}:
		defer func() { <-s.tails.reading }()
	case <-ctx.Done():
		return dst, nil, ctx.Err()
	}
	records, next, end, err := s.tails.cluster.readCommitted(ctx, s.topic, p.tail.partition, p.next, min(maxBytes, tailReadBytes))
	if errors.Is(err, kerr.OffsetOutOfRange) {
		gap, err := s.gap(ctx, p)
		return dst, gap, err
	}
	if err != nil {
		return dst, nil, err
	}
	if p.generation == outOfStep {
		p.generation = inStep
	}
	for _, r := range records {
		dst = append(dst, &Entry{Record: r})
	}
	stuck := next <= p.next
	p.next, p.known = max(next, p.next), end
	if stuck {
		// The shared stretch begins behind something that cannot be read yet, as
		// after a change of leader.
		p.known = p.next
		time.AfterFunc(readPause, s.poke)
	} else {
		s.poke()
	}
	return dst, nil, nil
}

// gap moves a position that is outside of the log to its beginning.
func (s *Subscription) gap(ctx context.Context, p *position) (*Gap, error) {
	bounds, err := s.tails.cluster.StableRanges(ctx, s.topic.name, p.tail.partition)
	if err != nil {
		return nil, err
	}
	r, ok := bounds[p.tail.partition]
	if !ok {
		return nil, fmt.Errorf("%w: %s has no partition %d", ErrNoPartition, s.topic.name, p.tail.partition)
	}
	g := &Gap{Partition: p.tail.partition, Requested: p.next, Earliest: r.Start}
	p.next, p.known, p.generation = r.Start, r.End, inStep
	s.poke()
	return g, nil
}

// grow takes in partitions that were added to the topic, from their first
// records.
func (s *Subscription) grow() {
	if count := int(s.topic.count.Load()); s.all && count > len(s.positions) {
		s.runner.grow(s, count)
	}
}
