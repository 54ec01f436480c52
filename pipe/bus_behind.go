package pipe

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// behindRecords and behindBytes are how much one read of a target that is behind
	// brings.
	behindRecords = 1_000
	behindBytes   = 512 << 10
)

// catchUp has the targets read on that are behind and have room. The mutex is held.
func (b *bus) catchUp(ctx context.Context) {
	for _, p := range b.parts {
		if p.books == nil || p.leaving {
			continue
		}
		for s, a := range p.books.accounts {
			if a.attached || a.reading || b.fresh[s] || s.open() == nil || p.books.attach(a) || !s.flow.hasRoom(true) {
				continue
			}
			select {
			case b.reads <- struct{}{}:
			default:
				return // the others have their turn later; maps have no order
			}
			a.reading = true
			b.reading.Go(func() { // ends with ctx, or when it has caught up
				b.readFor(ctx, p, s, a)
				<-b.reads
				b.mu.Lock()
				defer b.mu.Unlock()
				a.reading = false
			})
		}
	}
}

// readFor reads for a target that is behind, until it has caught up or has no room.
func (b *bus) readFor(ctx context.Context, p *busPart, s *subscriber, a *account) {
	topic, err := b.cluster.Topic(ctx, p.topic)
	for err == nil && ctx.Err() == nil {
		b.mu.Lock()
		at, epoch := a.at, s.epoch
		over := !b.current(p, s, a, epoch) || p.books.attach(a) || s.open() == nil || !s.flow.hasRoom(true)
		b.mu.Unlock()
		if over {
			return
		}
		records, next, failed := b.cluster.Read(ctx, topic, p.number, at, kafka.Limits{Records: behindRecords, Bytes: behindBytes, Committed: true})
		if errors.Is(failed, kerr.OffsetOutOfRange) {
			next, failed = b.skipTo(ctx, p, at)
		}
		if err = failed; err != nil {
			break
		}
		for len(records) > 0 {
			some := records[:min(len(records), chunkRecords)]
			records = records[len(some):]
			b.mu.Lock()
			for _, r := range some {
				if !b.current(p, s, a, epoch) {
					b.mu.Unlock()
					return
				}
				if s.wants(r) {
					f := s.open()
					if f == nil || !f.hasRoom(false) {
						b.mu.Unlock()
						return
					}
					f.take(p.place, r)
					if r.Offset < a.unseen && s.leads() {
						s.series.matched()
					}
				}
				a.at = r.Offset + 1
			}
			b.mu.Unlock()
		}
		b.mu.Lock()
		if b.current(p, s, a, epoch) {
			a.at = max(a.at, next)
		}
		b.mu.Unlock()
	}
	if err != nil && ctx.Err() == nil {
		b.log.Warn("a target that is behind cannot read yet", "pipe", s.name, "topic", p.topic, "partition", p.number, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// current says whether a target still reads a partition for itself, by the same
// definition. The mutex is held.
func (b *bus) current(p *busPart, s *subscriber, a *account, epoch int) bool {
	return !p.leaving && !s.removed && s.epoch == epoch && !a.attached && b.parts[p.place] == p && p.books.accounts[s] == a
}

// skipTo returns where a target goes on whose next event retention has removed.
func (b *bus) skipTo(ctx context.Context, p *busPart, at int64) (int64, error) {
	ranges, err := b.cluster.Ranges(ctx, p.topic)
	if err != nil {
		return at, err
	}
	r := ranges[p.number]
	if at < r.Start {
		b.gone(p.topic, p.number, r.Start-at)
		return r.Start, nil
	}
	return r.End, nil // the topic was made anew
}
