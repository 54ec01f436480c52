package pipe

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// behindTimes remembers when records were produced at which pipes are, which nobody
// changes. It is safe for concurrent use; the zero value knows nothing.
type behindTimes struct {
	mu  sync.Mutex
	all map[behindAt]time.Time
}

type behindAt struct {
	place
	pipe   string // which may read another cluster
	offset int64
}

const (
	// mostBehind bounds how many are remembered; each takes some 100 bytes.
	mostBehind = 20_000
	// behindPartitions is how many partitions of a pipe are looked at, those that lag
	// most, and behindAskers how many are read at once.
	behindPartitions = 4
	behindAskers     = 8
)

func (b *behindTimes) get(at behindAt) (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.all[at]
	return t, ok
}

func (b *behindTimes) put(at behindAt, t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil || len(b.all) >= mostBehind {
		b.all = map[behindAt]time.Time{}
	}
	b.all[at] = t
}

// Behind says how long ago the oldest record was produced that each of some pipes is not
// done with, as far as ctx leaves time to look: nil is not known, and 0 that there is
// none. It looks at the four partitions of a pipe that lag most.
func (r *Runner) Behind(ctx context.Context, pipes []Status) []*time.Duration {
	all := make([]*time.Duration, len(pipes))
	free := make(chan struct{}, behindAskers)
	var asking sync.WaitGroup
	for i, s := range pipes {
		if s.Lag == 0 {
			all[i] = new(time.Duration)
			continue
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		asking.Go(func() {
			defer func() { <-free }()
			all[i] = r.behindOf(ctx, s)
		})
	}
	asking.Wait()
	return all
}

// behindOf is Behind of one pipe.
func (r *Runner) behindOf(ctx context.Context, s Status) *time.Duration {
	def, err := r.definition(s.Pipe)
	if err != nil || def.Bus != nil {
		return nil
	}
	parts := slices.Clone(s.Partitions)
	slices.SortFunc(parts, func(a, b PartitionStatus) int { return cmp.Compare(b.Lag, a.Lag) })
	defer r.sources.use(def.SourceLogin)()
	var oldest time.Time
	for _, p := range parts[:min(len(parts), behindPartitions)] {
		if p.Lag == 0 {
			break
		}
		at := behindAt{place{p.Topic, p.Partition}, s.Pipe, max(p.Committed, p.Start)}
		made, ok := r.behind.get(at)
		if !ok {
			if made, ok = r.madeAt(ctx, s.Pipe, at); !ok {
				continue
			}
			r.behind.put(at, made)
		}
		if oldest.IsZero() || made.Before(oldest) {
			oldest = made
		}
	}
	if oldest.IsZero() {
		return nil
	}
	ago := max(time.Since(oldest), 0)
	return &ago
}

// madeAt reads the record at an offset, and says when it was produced.
func (r *Runner) madeAt(ctx context.Context, pipe string, at behindAt) (time.Time, bool) {
	def, err := r.definition(pipe)
	if err != nil {
		return time.Time{}, false
	}
	source, err := r.source(def)
	if err != nil {
		return time.Time{}, false
	}
	t, err := source.Topic(ctx, at.topic)
	if err != nil {
		return time.Time{}, false
	}
	records, _, err := source.Read(ctx, t, at.number, at.offset, kafka.Limits{Records: 1, Bytes: 1})
	if err != nil || len(records) == 0 {
		return time.Time{}, false
	}
	return records[0].Timestamp, true
}
