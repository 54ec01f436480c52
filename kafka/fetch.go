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

// Limits bounds one read. A limit that is zero is that of the operation.
type Limits struct {
	Records int           // at most so many records
	Bytes   int           // stop after the record that reaches so many bytes of keys and values
	Wait    time.Duration // wait so long for the first record
	// Committed leaves out the records of aborted transactions, and ends before
	// those of one that is open.
	Committed bool
}

// Fetch reads records of one partition from an offset on, without a consumer
// group and without any state: at least one if there is one, however large, and
// then as many as the limits allow. Offsets that were compacted away are
// skipped. At the end of the log it waits for lim.Wait and returns nothing.
// The error for an offset outside the log is kerr.OffsetOutOfRange, for a
// partition that does not exist ErrNoPartition or
// kerr.UnknownTopicOrPartition.
func (c *Cluster) Fetch(ctx context.Context, topic string, partition int32, offset int64, lim Limits) ([]*kgo.Record, error) {
	t, err := c.Topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	return c.fetch(ctx, t, partition, offset, lim)
}

// FetchFrom is Fetch for a topic whose metadata the caller has at hand.
func (c *Cluster) FetchFrom(ctx context.Context, t Topic, partition int32, offset int64, lim Limits) ([]*kgo.Record, error) {
	return c.fetch(ctx, t, partition, offset, lim)
}

const (
	fetchBytes   = 4 << 20
	fetchRecords = 10_000
)

func (c *Cluster) fetch(ctx context.Context, t Topic, partition int32, offset int64, lim Limits) ([]*kgo.Record, error) {
	if lim.Bytes <= 0 || lim.Bytes > fetchBytes {
		lim.Bytes = fetchBytes
	}
	if lim.Records <= 0 || lim.Records > fetchRecords {
		lim.Records = fetchRecords
	}
	until := time.Now().Add(lim.Wait)
	ctx, cancel := context.WithTimeout(ctx, lim.Wait+adminTimeout)
	defer cancel()
	var got []*kgo.Record
	size := 0
	for {
		records, next, end, err := c.fetchOnce(ctx, t, partition, offset, lim.Bytes, time.Until(until), len(got) == 0, lim.Committed)
		if err != nil {
			if len(got) > 0 {
				return got, nil
			}
			return nil, err
		}
		for _, r := range records {
			got = append(got, r)
			size += len(r.Key) + len(r.Value)
			if len(got) >= lim.Records || size >= lim.Bytes {
				return got, nil
			}
		}
		if (len(got) > 0 || !time.Now().Before(until)) && next >= end {
			return got, nil
		}
		if next == offset && len(records) == 0 && !time.Now().Before(until) {
			return got, nil
		}
		offset = next
	}
}

// fetchOnce sends one fetch request to the partition's leader. It returns the
// records, the offset to go on at, and the end of the log.
func (c *Cluster) fetchOnce(ctx context.Context, t Topic, partition int32, offset int64, bytes int, wait time.Duration, first, committed bool) (records []*kgo.Record, next, end int64, err error) {
	for attempt := 0; ; attempt++ {
		p, err := t.Partition(partition)
		if err != nil {
			return nil, 0, 0, err
		}
		req := kmsg.NewPtrFetchRequest()
		req.ReplicaID = -1
		req.MaxWaitMillis = int32(max(wait, 0) / time.Millisecond)
		if !first {
			req.MaxWaitMillis = 0
		}
		req.MinBytes = 1
		req.MaxBytes = int32(bytes)
		isolation := kgo.ReadUncommitted()
		if committed {
			req.IsolationLevel, isolation = 1, kgo.ReadCommitted()
		}
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = t.Name, t.ID
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = partition, offset, int32(bytes), -1
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := c.reader.Broker(int(p.Leader)).RetriableRequest(ctx, req)
		if err == nil {
			records, next, end, err = decodeFetch(resp.(*kmsg.FetchResponse), t.Name, partition, offset, isolation)
		} else {
			err = c.unreachable(err)
		}
		if err == nil {
			return records, next, end, nil
		}
		// The leader moved between our asking who it is and asking it.
		if attempt >= 3 || !kerr.IsRetriable(err) || errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, 0, 0, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, 0, err
		case <-time.After(100 * time.Millisecond << attempt):
		}
		if t, err = c.Topic(ctx, t.Name); err != nil {
			return nil, 0, 0, err
		}
	}
}

// decodeFetch takes the one partition of a fetch response apart.
func decodeFetch(resp *kmsg.FetchResponse, topic string, partition int32, offset int64, isolation kgo.IsolationLevel) (records []*kgo.Record, next, end int64, err error) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, 0, 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, 0, 0, fmt.Errorf("fetch %s/%d: the broker answered for another partition", topic, partition)
	}
	rp := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
		return nil, 0, 0, err
	}
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: offset, Topic: topic, Partition: partition, IsolationLevel: isolation}, rp, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil && len(fp.Records) == 0 {
		return nil, 0, 0, fmt.Errorf("fetch %s/%d at offset %d: %w", topic, partition, offset, fp.Err)
	}
	return fp.Records, next, rp.HighWatermark, nil
}
