package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// This file counts what retention removes before a group has read it: behind the
// committed offset, and behind the place where a consumer reads that has been kept from
// going on.

// A reading is where a consumer goes on in its partitions. The zero value is ready for
// use, and safe for concurrent use.
type reading struct {
	mu   sync.Mutex
	next map[TopicPartition]int64
}

// begin notes where a partition is read from; below zero: that is not known.
func (r *reading) begin(at TopicPartition, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = map[TopicPartition]int64{}
	}
	if delete(r.next, at); offset >= 0 {
		r.next[at] = offset
	}
}

// forget notes that it is not known where partitions are read from.
func (r *reading) forget(topic string, partitions map[int32]kgo.Offset) {
	for p := range partitions {
		r.begin(TopicPartition{topic, p}, -1)
	}
}

// passed notes that records of a partition were read, and returns how many offsets
// before them are not in the log any more. A gap alone says nothing: compaction and
// transactions leave some.
func (r *reading) passed(at TopicPartition, first, last, start int64) (gone int64) {
	r.mu.Lock()
	next, known := r.next[at]
	r.mu.Unlock()
	r.begin(at, last+1)
	if !known {
		return 0
	}
	return max(min(start, first)-next, 0)
}

// countGone tells of what retention removed under the consumer. The client itself has
// gone on with the earliest record that is left.
func (c *Consumer) countGone(fetches kgo.Fetches) {
	if !c.m.Markers {
		return // the ends of transactions, which it has passed unseen, would count as gone
	}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		first, last := p.Records[0].Offset, p.Records[len(p.Records)-1].Offset
		if gone := c.reading.passed(TopicPartition{p.Topic, p.Partition}, first, last, p.LogStartOffset); gone > 0 {
			c.m.Gone(p.Topic, p.Partition, gone)
		}
	})
}

// skipGone moves committed offsets that retention has passed to the earliest
// record left, and tells how much is gone. It runs before newly assigned
// partitions are fetched.
func (c *Consumer) skipGone(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-c.begun
	for topic, partitions := range offsets {
		c.reportVanished(ctx, topic, partitions)
		ranges, err := c.cluster.Ranges(ctx, topic)
		if err != nil {
			c.reading.forget(topic, partitions)
			continue // kgo starts at the earliest record by itself; only the count is lost
		}
		for partition, offset := range partitions {
			at := offset.EpochOffset().Offset
			r, ok := ranges[partition]
			if ok && at >= 0 && at < r.Start {
				to := r.Start
				if c.m.SkipToEnd {
					to = r.End
				}
				partitions[partition] = kgo.NewOffset().At(to)
				c.m.Gone(topic, partition, r.Start-at)
				at = to
			}
			c.reading.begin(TopicPartition{topic, partition}, at)
		}
	}
	return offsets, nil
}
