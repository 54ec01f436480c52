package kafka

import "github.com/twmb/franz-go/pkg/kgo"

// Rewind goes on reading at the given offsets, of partitions that the consumer has
// and has polled records of; others are left alone. What was fetched of them and
// not yet polled is dropped. It must not be called while Revoked or a commit is
// under way, nor between Poll and Release, and not by a transactional consumer.
func (c *Consumer) Rewind(offsets map[string]map[int32]int64) {
	set := make(map[string]map[int32]kgo.EpochOffset, len(offsets))
	for topic, partitions := range offsets {
		set[topic] = make(map[int32]kgo.EpochOffset, len(partitions))
		for p, o := range partitions {
			set[topic][p] = kgo.EpochOffset{Epoch: -1, Offset: o}
			c.reading.begin(TopicPartition{topic, p}, o)
		}
	}
	c.client.SetOffsets(set)
}

// Left says whether the consumer has left its group for good.
func (c *Consumer) Left() bool {
	select {
	case <-c.client.Context().Done():
		return true
	default:
		return false
	}
}
