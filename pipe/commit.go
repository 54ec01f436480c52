package pipe

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// commitUntil commits what is finished, at most every commitEvery, and once more
// at the end.
func (f *flow) commitUntil(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := f.commit(ctx); err != nil {
				f.log.Warn("the last commit failed; records will be delivered again", "err", err)
			}
			return
		case <-f.dirty:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := f.commit(ctx); err != nil {
			f.metrics.commitFailures.Inc()
			if f.mapping != nil {
				f.mapping.metrics.commitErrors.Inc()
			}
			f.wakeCommitter() // and again after the pause
			if !errors.Is(err, kerr.RebalanceInProgress) && !errors.Is(err, kerr.IllegalGeneration) && !errors.Is(err, kerr.UnknownMemberID) {
				f.log.Warn("commit failed; it is tried again", "err", err)
			}
		}
		cancel()
		if fresh := f.unremembered(); len(fresh) > 0 {
			f.began(fresh)
		}
		select {
		case <-stop:
			f.wakeCommitter()
		case <-time.After(commitEvery):
		}
	}
}

// commit commits, for each partition, the offset behind its longest run of
// finished records.
func (f *flow) commit(ctx context.Context) error {
	offsets := map[string]map[int32]int64{}
	f.mu.Lock()
	for _, p := range f.parts {
		if p.track.next > p.committed {
			if offsets[p.topic] == nil {
				offsets[p.topic] = map[int32]int64{}
			}
			offsets[p.topic][p.number] = p.track.next
		}
	}
	f.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	if err := f.consumer.Commit(ctx, offsets); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, partitions := range offsets {
		for n, offset := range partitions {
			if p := f.parts[place{topic, n}]; p != nil {
				if f.mapping != nil {
					f.mapping.metrics.committed.Add(float64(max(0, offset-max(p.committed, p.track.first))))
				}
				p.committed = max(p.committed, offset)
			}
		}
	}
	return nil
}

// unremembered returns the partitions that have a committed offset, as far as it
// is not yet remembered that they have one.
func (f *flow) unremembered() map[string][]int32 {
	fresh := map[string][]int32{}
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, p := range f.parts {
		if p.committed > 0 && !p.begun {
			fresh[at.topic] = append(fresh[at.topic], at.number)
		}
	}
	return fresh
}
