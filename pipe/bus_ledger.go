package pipe

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// busWriters bounds how many groups are written to at once.
	busWriters = 16
	// eraseWithin is how long after the group has confirmed that this process has a
	// partition own books may be deleted, and how long that may take: nobody else has
	// the partition by then, who would rely on them.
	eraseWithin = 3 * time.Second
)

// commitAll commits for all targets that keep up, until ctx ends.
func (b *bus) commitAll(ctx context.Context) {
	tick := time.NewTicker(busTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.tick(ctx, now)
		}
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := b.commitShared(try, nil); err != nil && ctx.Err() == nil {
			b.series.commitFailures.Inc()
			if !errors.Is(err, kerr.RebalanceInProgress) && !errors.Is(err, kerr.IllegalGeneration) && !errors.Is(err, kerr.UnknownMemberID) {
				b.log.Warn("commit failed; it is tried again", "err", err)
			}
		}
		cancel()
	}
}

// tick marks where the shared read is, and lets go on what waits for it.
func (b *bus) tick(ctx context.Context, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.parts {
		if p.books == nil || p.leaving {
			continue
		}
		p.books.mark(now)
		if !p.stalled.IsZero() && !now.Before(p.stalled) {
			p.stalled = time.Time{}
			b.consumer.Resume(p.topic, p.number)
		}
	}
	b.catchUp(ctx)
}

// commitShared commits what is due. Of the partitions in fence it commits in any case
// what was committed last: the error says that somebody else may have them.
func (b *bus) commitShared(ctx context.Context, fence map[*busPart]bool) error {
	b.commits.Lock()
	defer b.commits.Unlock()
	offsets := map[string]map[int32]int64{}
	b.mu.Lock()
	for at, p := range b.parts {
		if p.books == nil {
			continue
		}
		offset, _ := p.books.due()
		if offset > p.committed || fence[p] {
			if offsets[at.topic] == nil {
				offsets[at.topic] = map[int32]int64{}
			}
			offsets[at.topic][at.number] = offset
		}
	}
	b.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	if err := b.consumer.Commit(ctx, offsets); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for topic, partitions := range offsets {
		for n, offset := range partitions {
			if p := b.parts[place{topic, n}]; p != nil {
				p.committed = max(p.committed, offset)
			}
		}
	}
	return nil
}

// keepOwn keeps the books of the targets that do not keep up, until ctx ends.
func (b *bus) keepOwn(ctx context.Context) {
	tick := time.NewTicker(busTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			b.reviewOwn(ctx, now)
		}
	}
}

// A partEntry is an entry for own books, with its partition.
type partEntry struct {
	bookEntry
	part *busPart
}

// reviewOwn writes and deletes what the books ask for.
func (b *bus) reviewOwn(ctx context.Context, now time.Time) {
	b.writing.Lock()
	defer b.writing.Unlock()
	write, erase := map[*subscriber][]partEntry{}, map[*subscriber][]partEntry{}
	fence := map[*busPart]bool{}
	b.mu.Lock()
	for _, p := range b.parts {
		if p.books == nil || p.leaving {
			continue
		}
		writes, erases, idle := p.books.review(now)
		for _, e := range writes {
			write[e.sub] = append(write[e.sub], partEntry{e, p})
		}
		for _, e := range erases {
			erase[e.sub] = append(erase[e.sub], partEntry{e, p})
			fence[p] = true
		}
		for _, s := range idle {
			s.rest(p.place)
		}
	}
	b.mu.Unlock()
	b.writeOwn(ctx, write)
	if len(erase) > 0 {
		b.eraseOwn(ctx, erase, fence)
	}
}

// writeOwn writes own books.
func (b *bus) writeOwn(ctx context.Context, entries map[*subscriber][]partEntry) {
	b.forEach(entries, func(s *subscriber, entries []partEntry) {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		commits := make([]kafka.Commit, len(entries))
		for i, e := range entries {
			commits[i] = kafka.Commit{TopicPartition: kafka.TopicPartition{Topic: e.part.topic, Partition: e.part.number}, Offset: e.offset}
		}
		err := b.cluster.CommitOffsets(try, s.group, commits)
		if err != nil && ctx.Err() == nil {
			b.series.commitFailures.Inc()
			b.log.Warn("how far a target is that does not keep up cannot be written; it is tried again", "pipe", s.name, "group", s.group, "err", err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range entries {
			e.part.books.wrote(e.bookEntry, err == nil)
		}
	})
}

// eraseOwn deletes own books of targets that keep up again.
func (b *bus) eraseOwn(ctx context.Context, entries map[*subscriber][]partEntry, fence map[*busPart]bool) {
	fenced, cancel := context.WithTimeout(ctx, eraseWithin)
	defer cancel()
	kept := b.commitShared(fenced, fence)
	b.forEach(entries, func(s *subscriber, entries []partEntry) {
		err := kept
		if err == nil {
			var partitions []kafka.TopicPartition
			for _, e := range entries {
				partitions = append(partitions, kafka.TopicPartition{Topic: e.part.topic, Partition: e.part.number})
			}
			err = b.cluster.DeleteOffsets(fenced, s.group, partitions)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Debug("the own offsets of a target that keeps up again cannot be deleted yet", "pipe", s.name, "group", s.group, "err", err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range entries {
			e.part.books.erased(e.bookEntry, err == nil, time.Now())
		}
	})
}

// forEach does something for the entries of each target, several at once.
func (b *bus) forEach(entries map[*subscriber][]partEntry, do func(*subscriber, []partEntry)) {
	var writing sync.WaitGroup
	free := make(chan struct{}, busWriters)
	for s, of := range entries {
		free <- struct{}{}
		writing.Go(func() {
			defer func() { <-free }()
			do(s, of)
		})
	}
	writing.Wait()
}

// closeBooks writes into the books where everybody is, before partitions go to others.
func (b *bus) closeBooks(ctx context.Context, parts []*busPart) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if err := b.commitShared(ctx, nil); err != nil {
		b.log.Warn("commit before a rebalance failed; events will be delivered again", "err", err)
	}
	write := map[*subscriber][]partEntry{}
	b.mu.Lock()
	for _, p := range parts {
		if p.books == nil {
			continue
		}
		for s, a := range p.books.accounts {
			// Where the shared ones wait for it, they know.
			if low := p.books.low(a); a.state != booksShared && a.state != booksOpening && low != a.written {
				write[s] = append(write[s], partEntry{bookEntry{s, a, low}, p})
			}
		}
	}
	b.mu.Unlock()
	b.writeOwn(ctx, write)
}

// rest forgets a partition of which a target has nothing under way. The bus's mutex is
// held.
func (s *subscriber) rest(at place) {
	if s.flow != nil {
		s.flow.dropPart(at)
	}
}

// dropPart forgets a partition of which nothing is under way.
func (f *flow) dropPart(at place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.parts[at]; p != nil && p.track.span() == 0 {
		p.cancel()
		delete(f.parts, at)
	}
}
