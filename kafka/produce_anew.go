package kafka

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// This file is about topics that were deleted and made again. A client of kgo keeps to
// the topic that it knew, and refuses every record for the new one until it has been
// told to forget the old one.

// anew says how often producers have forgotten topics. Records that wait for a topic
// when it is forgotten fail with it; so whoever was refused has it forgotten only if
// nobody else has since it began.
type anew struct {
	forgetting sync.Mutex
	times      atomic.Int64
}

// mostAnew is how often one call writes records again whose topic was made anew: for a
// while brokers may know of different ones.
const mostAnew = 5

// ofOldTopic says whether a record was refused for a topic that there is no more. It
// was not written.
func ofOldTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || err != nil && strings.Contains(err.Error(), "purged while buffered") // kgo exports no value for it
}

// ofOldTopics returns the positions of those that were refused so.
func ofOldTopics(results kgo.ProduceResults) (refused []int) {
	for i, r := range results {
		if r.Err != nil && ofOldTopic(r.Err) {
			refused = append(refused, i)
		}
	}
	return refused
}

// produceAnew writes records again whose topics were made anew, to the partitions that
// were asked for, and puts what came of it into the results. It is known how often topics
// were forgotten when the records were written first.
func (c *Cluster) produceAnew(ctx context.Context, producer *kgo.Client, results kgo.ProduceResults, refused []int, asked []int32, known int64, end time.Time) {
	for range mostAnew {
		var topics []string
		records := make([]*kgo.Record, len(refused))
		for n, i := range refused {
			r := results[i].Record
			r.Partition, r.Context = asked[i], nil // and not kgo's deadline for the time before
			records[n] = r
			topics = append(topics, r.Topic)
		}
		c.forget(ctx, topics, known)
		known = c.anew.times.Load()
		left := time.Until(end)
		if ctx.Err() != nil || left <= 0 {
			return
		}
		for n, again := range c.produceOnce(ctx, producer, records, left) {
			results[refused[n]] = again
		}
		if refused = ofOldTopics(results); len(refused) == 0 {
			return
		}
	}
}

// forget has the producers forget topics, unless they have forgotten some since that was
// known. It waits for that until ctx ends.
func (c *Cluster) forget(ctx context.Context, topics []string, known int64) {
	forgotten := make(chan struct{})
	go func() { // ends with the request for metadata that may be under way
		defer close(forgotten)
		c.anew.forgetting.Lock()
		defer c.anew.forgetting.Unlock()
		if c.anew.times.Load() != known {
			return
		}
		c.crowd.forget(topics)
		c.producer.PurgeTopicsFromProducing(topics...)
		c.large.PurgeTopicsFromProducing(topics...)
		c.anew.times.Add(1)
	}()
	select {
	case <-forgotten:
	case <-ctx.Done():
	}
}
