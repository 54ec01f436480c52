package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	// findEvery is how often the topics are looked at for partitions that were
	// added.
	findEvery = 5 * time.Second
	// findPause comes between two looks, however urgent the second is.
	findPause = 100 * time.Millisecond
)

// find keeps finding what is not known: leaders, the ends of logs, partitions
// that were added, topics that were deleted.
func (t *tailer) find() {
	tick := time.NewTicker(findEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.kick:
		case <-tick.C:
		}
		for _, name := range t.names() {
			if err := t.locate(t.ctx, name); err != nil && t.ctx.Err() == nil {
				t.cluster.log.Debug("topic not found", "topic", name, "err", err)
				t.seek()
			}
		}
		t.start()
		pause := time.NewTimer(findPause)
		select {
		case <-t.ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// locate brings what is known of one topic up to date.
func (t *tailer) locate(ctx context.Context, name string) error {
	meta, err := t.cluster.Topic(ctx, name)
	t.mu.Lock()
	topic := t.topics[name]
	if topic == nil {
		t.mu.Unlock()
		return nil
	}
	if err == nil && meta.ID != topic.meta.Load().ID {
		topic.stop(fmt.Errorf("%w: %s", ErrTopicGone, name))
		t.mu.Unlock()
		return nil
	}
	ends := false
	for _, tl := range topic.tails {
		if err != nil {
			tl.leader = -1
			tl.fail(err)
			continue
		}
		p, missing := meta.Partition(tl.partition)
		if missing != nil || p.Leader < 0 {
			tl.leader = -1
			tl.fail(kerr.LeaderNotAvailable)
			err = kerr.LeaderNotAvailable // look again soon
			continue
		}
		tl.leader = p.Leader
		ends = ends || tl.next < 0
	}
	grown := err == nil && len(meta.Partitions) > int(topic.count.Load())
	if meta.Name != "" {
		topic.meta.Store(&meta)
		topic.count.Store(max(int32(len(meta.Partitions)), topic.count.Load()))
	}
	if grown {
		awake := map[*Subscription]struct{}{}
		for _, tl := range topic.tails {
			maps.Copy(awake, tl.subscriptions)
		}
		for s := range awake {
			s.poke()
		}
	}
	t.mu.Unlock()
	if ends {
		return errors.Join(err, t.locateEnds(ctx, topic))
	}
	return err
}

// locateEnds begins the stretches of a topic that are not begun.
func (t *tailer) locateEnds(ctx context.Context, topic *tailTopic) error {
	ranges, err := t.cluster.StableRanges(ctx, topic.name)
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, tl := range topic.tails {
		if tl.next >= 0 {
			continue
		}
		if shared := tl.log.Load(); shared != nil && shared.err != nil {
			continue // its subscriptions are about to end
		}
		r, ok := ranges[id]
		switch {
		case ok:
			tl.begin(r.End)
		case err != nil:
			tl.fail(err)
		}
	}
	return err
}

// start starts the loops of brokers that lead something.
func (t *tailer) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, topic := range t.topics {
		for _, tl := range topic.tails {
			if tl.next < 0 || tl.leader < 0 || t.loops[tl.leader] {
				continue
			}
			broker := tl.leader
			t.loops[broker] = true
			t.running.Go(func() { t.fetch(broker) })
		}
	}
}
