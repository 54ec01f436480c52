package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrTopicGone says that a topic that is being followed has been deleted, or
// deleted and created again.
var ErrTopicGone = errors.New("the topic was deleted or created anew")

const (
	// followBytes is how much one fetch of a follower asks for.
	followBytes = 4 << 20
	// goneAfter is how long the brokers must deny a topic before it counts as
	// deleted: one that has just started does not know its topics yet.
	goneAfter = 5 * time.Second
)

// A Follower reads one partition from its beginning and then record by record
// as transactions are committed. It holds a connection of its own, on which it
// waits in the broker. It belongs to one goroutine; only Stable, End, Start and Close
// may be called from any.
type Follower struct {
	cluster   *Cluster
	client    *kgo.Client
	name      string
	partition int32
	topic     Topic
	located   bool // topic says where the leader is
	offset    int64
	denied    time.Time // since when the brokers deny the topic; zero: they do not
}

// Follow makes a follower of a partition, at offset 0. It does not wait.
func (c *Cluster) Follow(topic Topic, partition int32) (*Follower, error) {
	client, err := kgo.NewClient(append(c.options(), kgo.BrokerMaxReadBytes(recordBytes+(16<<20)))...)
	if err != nil {
		return nil, fmt.Errorf("follow %s/%d: %w", topic.Name, partition, err)
	}
	return &Follower{cluster: c, client: client, name: topic.Name, partition: partition, topic: topic}, nil
}

// Close ends the connections; a Next that waits returns.
func (f *Follower) Close() { f.client.Close() }

// MoveTo says which offset to go on at.
func (f *Follower) MoveTo(offset int64) { f.offset = offset }

// Next returns committed records that follow, and the offset to go on at, which
// is further than the last record where offsets have no record to be seen: those
// of compacted and of aborted ones and of transaction markers. At the end it waits
// in the broker, for wait at most. After an error it may be called again and goes
// on where it was, except for ErrTopicGone, which is final, and
// kerr.OffsetOutOfRange, which asks for a MoveTo.
func (f *Follower) Next(ctx context.Context, wait time.Duration) ([]*kgo.Record, int64, error) {
	if !f.located {
		if err := f.locate(ctx); err != nil {
			return nil, f.offset, err
		}
	}
	records, next, err := f.fetch(ctx, wait)
	if err != nil {
		f.located = errors.Is(err, kerr.OffsetOutOfRange)
		return nil, f.offset, err
	}
	f.offset, f.denied = next, time.Time{}
	return records, next, nil
}

// fetch sends one request to the partition's leader.
func (f *Follower) fetch(ctx context.Context, wait time.Duration) ([]*kgo.Record, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+adminTimeout)
	defer cancel()
	p, err := f.topic.Partition(f.partition)
	if err != nil {
		return nil, 0, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.IsolationLevel = -1, 1
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(wait.Milliseconds()), 1, followBytes
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = f.name, f.topic.ID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = f.partition, f.offset, followBytes, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	answer, err := f.client.Broker(int(p.Leader)).Request(ctx, req)
	if err != nil {
		return nil, 0, fmt.Errorf("follow %s/%d: %w", f.name, f.partition, f.cluster.unreachable(err))
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, 0, fmt.Errorf("follow %s/%d: the broker answered for another partition", f.name, f.partition)
	}
	got := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return nil, 0, err
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: f.offset, IsolationLevel: kgo.ReadCommitted(), Topic: f.name, Partition: f.partition}
	page, next := kgo.ProcessFetchPartition(opts, got, kgo.DefaultDecompressor(), nil)
	if page.Err != nil {
		return nil, 0, fmt.Errorf("follow %s/%d at offset %d: %w", f.name, f.partition, f.offset, page.Err)
	}
	return page.Records, max(next, f.offset), nil
}

// locate asks for the topic's leader. It returns ErrTopicGone if there is another
// topic of that name now, or has been none for some time.
func (f *Follower) locate(ctx context.Context) error {
	// The client learns the brokers' addresses from metadata that it asked for.
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	if _, err := req.RequestWith(ctx, f.client); err != nil {
		return fmt.Errorf("follow %s/%d: %w", f.name, f.partition, f.cluster.unreachable(err))
	}
	topic, err := f.cluster.Topic(ctx, f.name)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if f.denied.IsZero() {
			f.denied = time.Now()
		}
		if time.Since(f.denied) >= goneAfter {
			err = fmt.Errorf("%w: %s", ErrTopicGone, f.name)
		}
	}
	if err != nil {
		return err
	}
	if topic.ID != f.topic.ID {
		return fmt.Errorf("%w: %s", ErrTopicGone, f.name)
	}
	f.topic, f.located, f.denied = topic, true, time.Time{}
	return nil
}

// Stable returns the offset before which every transaction has ended: whoever
// has read up to it has seen all that could be seen by anybody before the call.
func (f *Follower) Stable(ctx context.Context) (int64, error) {
	return f.bound(ctx, f.cluster.admin.ListCommittedOffsets)
}

// End returns the offset after the last record, whether it is committed or not.
func (f *Follower) End(ctx context.Context) (int64, error) {
	return f.bound(ctx, f.cluster.admin.ListEndOffsets)
}

// Start returns the offset of the first record that is left.
func (f *Follower) Start(ctx context.Context) (int64, error) {
	return f.bound(ctx, f.cluster.admin.ListStartOffsets)
}

func (f *Follower) bound(ctx context.Context, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	listed, err := list(ctx, f.name)
	if err != nil {
		return 0, fmt.Errorf("offsets of %s: %w", f.name, f.cluster.unreachable(firstShard(err)))
	}
	o, ok := listed.Lookup(f.name, f.partition)
	if !ok {
		return 0, fmt.Errorf("offsets of %s: %w", f.name, kerr.UnknownTopicOrPartition)
	}
	return o.Offset, o.Err
}
