package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tailReadBytes is how much one request of a subscription asks for that reads by
// itself.
const tailReadBytes = 256 << 10

// readCommitted reads what one request brings of a partition, and does not wait.
// It returns the records, the offset to go on at and the end of what can be read.
func (c *Cluster) readCommitted(ctx context.Context, topic *tailTopic, partition int32, offset int64, bytes int) (records []*kgo.Record, next, end int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	meta := *topic.meta.Load()
	for attempt := 0; ; attempt++ {
		p, err := meta.Partition(partition)
		if err != nil {
			return nil, 0, 0, err
		}
		req := newTailFetch(0, bytes)
		addTailPartition(req, meta.Name, meta.ID, partition, offset, int32(bytes))
		answer, err := c.reader.Broker(int(p.Leader)).RetriableRequest(ctx, req)
		if err != nil {
			err = c.unreachable(err)
		} else {
			resp := answer.(*kmsg.FetchResponse)
			if err = kerr.ErrorForCode(resp.ErrorCode); err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1) {
				err = errors.New("the broker answered for another partition")
			}
			if err == nil {
				got := &resp.Topics[0].Partitions[0]
				records, next, err = decodeTail(got, meta.Name, offset)
				end = got.LastStableOffset
			}
		}
		if err == nil {
			return records, next, end, nil
		}
		err = fmt.Errorf("read %s/%d at offset %d: %w", meta.Name, partition, offset, err)
		if attempt >= 3 || !kerr.IsRetriable(err) {
			return nil, 0, 0, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, 0, err
		case <-time.After(100 * time.Millisecond << attempt):
		}
		fresh, asked := c.Topic(ctx, meta.Name)
		if asked != nil {
			return nil, 0, 0, asked
		}
		if fresh.ID != meta.ID {
			return nil, 0, 0, fmt.Errorf("%w: %s", ErrTopicGone, meta.Name)
		}
		meta = fresh
	}
}

// newTailFetch returns a request for committed records.
func newTailFetch(wait time.Duration, bytes int) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.IsolationLevel = -1, 1
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(wait.Milliseconds()), 1, int32(bytes)
	return req
}

// addTailPartition asks for one more partition. Those of one topic follow each
// other.
func addTailPartition(req *kmsg.FetchRequest, topic string, id [16]byte, partition int32, offset int64, bytes int32) {
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = partition, offset, bytes, -1
	if n := len(req.Topics); n > 0 && req.Topics[n-1].Topic == topic {
		req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, rp)
		return
	}
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID, rt.Partitions = topic, id, []kmsg.FetchRequestTopicPartition{rp}
	req.Topics = append(req.Topics, rt)
}

// decodeTail takes one partition of a response apart. The error of a partition
// whose first record cannot be decoded is not a *kerr.Error.
func decodeTail(got *kmsg.FetchResponseTopicPartition, topic string, offset int64) ([]*kgo.Record, int64, error) {
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return nil, offset, err
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: offset, IsolationLevel: kgo.ReadCommitted(), Topic: topic, Partition: got.Partition}
	page, next := kgo.ProcessFetchPartition(opts, got, kgo.DefaultDecompressor(), nil)
	if page.Err != nil && len(page.Records) == 0 {
		return nil, offset, page.Err
	}
	return page.Records, max(next, offset), nil
}
