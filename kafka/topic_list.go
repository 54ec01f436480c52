package kafka

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// listedFor is for how long a list of very many topics is given to others who ask for
	// it, and manyTopics from how many on: reading the metadata of ten thousand takes a
	// tenth of a second, and who goes through them page by page asks for it each time.
	listedFor  = 2 * time.Second
	manyTopics = 1_000
)

// A topicList remembers the topics of a cluster for a moment. It is safe for concurrent use.
type topicList struct {
	free    chan struct{} // has room for one, who asks or looks at the fields below
	topics  []Topic
	until   time.Time
	changes int64        // that were known when topics were asked for
	changed atomic.Int64 // how often this process has changed a topic
}

func newTopicList() *topicList { return &topicList{free: make(chan struct{}, 1)} }

// change has the next caller ask anew. It is called when a change can be seen.
func (l *topicList) change() { l.changed.Add(1) }

// get returns what ask has returned a moment ago, or asks.
func (l *topicList) get(ctx context.Context, ask func(context.Context) ([]Topic, error)) ([]Topic, error) {
	select {
	case l.free <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.free }()
	if time.Now().Before(l.until) && l.changes == l.changed.Load() {
		return l.topics, nil
	}
	l.topics, l.until, l.changes = nil, time.Time{}, l.changed.Load()
	topics, err := ask(ctx)
	if err == nil && len(topics) > manyTopics {
		l.topics, l.until = topics, time.Now().Add(listedFor)
	}
	return topics, err
}

// TopicList returns the metadata of all topics, sorted by name. Where there are more than a
// thousand they are as they were at most two seconds ago, but for what this process has
// changed since. The caller may not change what it is given.
func (c *Cluster) TopicList(ctx context.Context) ([]Topic, error) {
	return c.listed.get(ctx, func(ctx context.Context) ([]Topic, error) { return c.Topics(ctx) })
}
