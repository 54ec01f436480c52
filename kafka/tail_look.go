package kafka

import (
	"context"
	"sync"
)

// looks lets subscriptions that begin at the same time share what the cluster says of
// their topic: thousands of clients that come back at once cost a few requests. What is
// shared was asked for after each of them had come, so that a subscription begins at the
// end that the log has then or later, not at an older one. The zero value is ready.
type looks struct {
	mu      sync.Mutex
	waiting map[string]*look // by topic; those that nobody has begun with
	busy    map[string]bool  // topics for which somebody asks
}

// A look is what the cluster said of a topic. It must not be changed.
type look struct {
	done   chan struct{} // closed when the others are there
	meta   Topic
	bounds map[int32]Range
	failed map[int32]error // of partitions, as failure takes it
	err    error           // of the whole
}

// at returns what the cluster says of a topic from now on.
func (l *looks) at(ctx context.Context, c *Cluster, topic string) (*look, error) {
	l.mu.Lock()
	one := l.waiting[topic]
	if one == nil {
		if l.waiting == nil {
			l.waiting, l.busy = map[string]*look{}, map[string]bool{}
		}
		one = &look{done: make(chan struct{})}
		l.waiting[topic] = one
		if !l.busy[topic] {
			l.busy[topic] = true
			go l.ask(c, topic)
		}
	}
	l.mu.Unlock()
	select {
	case <-one.done:
		return one, one.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask asks until nobody waits any more.
func (l *looks) ask(c *Cluster, topic string) {
	for {
		l.mu.Lock()
		one := l.waiting[topic]
		delete(l.waiting, topic)
		if one == nil {
			delete(l.busy, topic)
		}
		l.mu.Unlock()
		if one == nil {
			return
		}
		one.take(c, topic)
		close(one.done)
	}
}

func (l *look) take(c *Cluster, topic string) {
	ctx := context.Background() // those who wait may leave; each request has a bound of its own
	if l.meta, l.err = c.Topic(ctx, topic); l.err != nil {
		return
	}
	ranges, failed, err := c.rangesOf(ctx, c.admin.ListCommittedOffsets, topic)
	l.bounds, l.failed, l.err = ranges[topic], failed[topic], err
}
