package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Topic is a topic's metadata at one moment.
type Topic struct {
	Name       string
	ID         [16]byte
	Internal   bool
	Partitions []Partition // ascending
}

// A Partition is one partition's metadata at one moment.
type Partition struct {
	ID       int32
	Leader   int32   // -1: none
	Replicas []int32 // in assignment order, the preferred leader first
	InSync   []int32
	Offline  []int32
}

// Partition returns the partition with that number; the error is
// ErrNoPartition.
func (t Topic) Partition(id int32) (Partition, error) {
	for _, p := range t.Partitions {
		if p.ID == id {
			return p, nil
		}
	}
	return Partition{}, fmt.Errorf("%w: %s has no partition %d", ErrNoPartition, t.Name, id)
}

// Topics returns the metadata of the named topics, or of all if none is named,
// sorted by name. A topic that does not exist is
// kerr.UnknownTopicOrPartition for the whole call. It asks the cluster each
// time, since kgo's own cache still says "unknown" just after a create.
func (c *Cluster) Topics(ctx context.Context, names ...string) ([]Topic, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return nil, fmt.Errorf("metadata of topics: %w", c.unreachable(err))
	}
	topics := make([]Topic, 0, len(resp.Topics))
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.LeaderNotAvailable) {
			if len(names) == 0 {
				continue
			}
			return nil, err
		}
		if t.Topic == nil {
			continue
		}
		topic := Topic{Name: *t.Topic, ID: t.TopicID, Internal: t.IsInternal}
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, Partition{ID: p.Partition, Leader: p.Leader, Replicas: p.Replicas, InSync: p.ISR, Offline: p.OfflineReplicas})
		}
		slices.SortFunc(topic.Partitions, func(a, b Partition) int { return int(a.ID - b.ID) })
		topics = append(topics, topic)
	}
	slices.SortFunc(topics, func(a, b Topic) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return topics, nil
}

// Topic returns the metadata of one topic; see Topics. A name that no topic can
// have is kerr.InvalidTopicException, whatever the broker thinks.
func (c *Cluster) Topic(ctx context.Context, name string) (Topic, error) {
	if !ValidTopic(name) {
		return Topic{}, kerr.InvalidTopicException
	}
	topics, err := c.Topics(ctx, name)
	if err != nil {
		return Topic{}, err
	}
	if len(topics) != 1 {
		return Topic{}, kerr.UnknownTopicOrPartition
	}
	return topics[0], nil
}

// A Setting is one configuration entry of a topic or broker.
type Setting struct {
	Name  string
	Value *string // nil: sensitive, or not set
}

// TopicSettings returns all settings of a topic, defaults included.
func (c *Cluster) TopicSettings(ctx context.Context, topic string) ([]Setting, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	configs, err := c.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("configuration of topic %s: %w", topic, c.unreachable(err))
	}
	config, err := configs.On(topic, nil)
	if err != nil {
		return nil, fmt.Errorf("configuration of topic %s: %w", topic, err)
	}
	if config.Err != nil {
		return nil, config.Err
	}
	settings := make([]Setting, 0, len(config.Configs))
	for _, s := range config.Configs {
		settings = append(settings, Setting{Name: s.Key, Value: s.Value})
	}
	return settings, nil
}

// A Range is where a partition's log begins and ends: the offsets of its first
// record and of the next one to be written.
type Range struct{ Start, End int64 }

// Ranges returns the ranges of a topic's partitions, read uncommitted: of all, and
// fails with any of them, as one without a leader does; or of those in only, and fails
// with these.
func (c *Cluster) Ranges(ctx context.Context, topic string, only ...int32) (map[int32]Range, error) {
	ranges, failed, err := c.rangesOf(ctx, c.admin.ListEndOffsets, topic)
	if err != nil {
		return nil, err
	}
	return ranges[topic], failure(failed[topic], only)
}

// StableRanges returns what Ranges does, but with ends that lie before the first
// record of a transaction that is open: consumers who read committed get that far.
func (c *Cluster) StableRanges(ctx context.Context, topic string, only ...int32) (map[int32]Range, error) {
	ranges, failed, err := c.rangesOf(ctx, c.admin.ListCommittedOffsets, topic)
	if err != nil {
		return nil, err
	}
	return ranges[topic], failure(failed[topic], only)
}

// wholeTopic stands for all partitions of a topic that cannot be listed at all.
const wholeTopic = -1

// failure returns what has failed of a topic's partitions, or of those in only if
// there are some.
func failure(failed map[int32]error, only []int32) error {
	for _, p := range slices.Sorted(maps.Keys(failed)) {
		if p == wholeTopic || len(only) == 0 || slices.Contains(only, p) {
			return failed[p]
		}
	}
	return nil
}

// RangesOf returns the ranges of the partitions of topics, by topic. One that does not
// exist is not in it.
func (c *Cluster) RangesOf(ctx context.Context, topics ...string) (map[string]map[int32]Range, error) {
	if len(topics) == 0 {
		return nil, nil
	}
	ranges, failed, err := c.rangesOf(ctx, c.admin.ListEndOffsets, topics...)
	if err != nil {
		return nil, err
	}
	for topic, of := range failed {
		err := failure(of, nil)
		if err == nil {
			continue
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil, fmt.Errorf("offsets of %s: %w", topic, err)
		}
		delete(ranges, topic)
	}
	return ranges, nil
}

// rangesOf returns the ranges of topics up to the ends that listEnds lists, and of
// each, by partition, what has failed.
func (c *Cluster) rangesOf(ctx context.Context, listEnds func(context.Context, ...string) (kadm.ListedOffsets, error), topics ...string) (map[string]map[int32]Range, failures, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	failed := failures{}
	starts, err := c.admin.ListStartOffsets(ctx, topics...)
	if err := c.sort(err, failed); err != nil {
		return nil, nil, fmt.Errorf("start offsets of %s: %w", someOf(topics), err)
	}
	ends, err := listEnds(ctx, topics...)
	if err := c.sort(err, failed); err != nil {
		return nil, nil, fmt.Errorf("end offsets of %s: %w", someOf(topics), err)
	}
	ranges := map[string]map[int32]Range{}
	starts.Each(func(o kadm.ListedOffset) {
		if ranges[o.Topic] == nil {
			ranges[o.Topic] = map[int32]Range{}
		}
		end, ok := ends.Lookup(o.Topic, o.Partition)
		if err := cmp.Or(o.Err, end.Err); err != nil {
			failed.add(o.Topic, o.Partition, err)
		} else if ok {
			ranges[o.Topic][o.Partition] = Range{Start: o.Offset, End: max(end.Offset, o.Offset)}
		}
	})
	return ranges, failed, nil
}

// failures are what has failed of topics, by partition.
type failures map[string]map[int32]error

func (f failures) add(topic string, partition int32, err error) {
	if f[topic] == nil {
		f[topic] = map[int32]error{}
	}
	f[topic][partition] = err
}

// sort adds to failures the partitions that an error of a list of offsets is about: those
// of brokers that did not answer, and those without a leader. An error that is about
// anything else is returned.
func (c *Cluster) sort(err error, failed failures) error {
	var shards *kadm.ShardErrors
	if !errors.As(err, &shards) {
		return c.unreachable(err)
	}
	for _, shard := range shards.Errs {
		req, ok := shard.Req.(*kmsg.ListOffsetsRequest)
		if !ok {
			return c.unreachable(err)
		}
		for _, topic := range req.Topics {
			for _, p := range topic.Partitions {
				failed.add(topic.Topic, p.Partition, c.unreachable(shard.Err))
			}
		}
	}
	return nil
}

// someOf names one topic, or says how many there are.
func someOf(topics []string) string {
	if len(topics) == 1 {
		return topics[0]
	}
	return fmt.Sprintf("%d topics", len(topics))
}

// OffsetsAfter returns for each partition of a topic the offset of the first
// record with a timestamp (in Unix milliseconds) of at least that, and the end
// of the log where there is none. It fails as Ranges does.
func (c *Cluster) OffsetsAfter(ctx context.Context, topic string, millis int64, only ...int32) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	failed := failures{}
	listed, err := c.admin.ListOffsetsAfterMilli(ctx, millis, topic)
	if err := c.sort(err, failed); err != nil {
		return nil, fmt.Errorf("offsets of %s after a time: %w", topic, err)
	}
	offsets := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			failed.add(topic, o.Partition, o.Err)
		} else {
			offsets[o.Partition] = o.Offset
		}
	})
	return offsets, failure(failed[topic], only)
}

// EnsureTopic creates a topic with the broker's defaults and the given settings
// unless it exists. When it returns nil, all brokers know the topic, if they can be
// reached.
func (c *Cluster) EnsureTopic(ctx context.Context, name string, partitions int32, settings map[string]*string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	defer c.listed.change()
	resp, err := c.admin.CreateTopic(ctx, partitions, -1, settings, name)
	if err == nil {
		err = resp.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", name, c.unreachable(err))
	}
	// Also one that exists: another process may have made it just now.
	c.until(ctx, name, func(shown kmsg.MetadataResponseTopic) bool { return shown.ErrorCode == 0 && len(shown.Partitions) > 0 })
	return nil
}

// ErrUnreachable says that no broker answered.
var ErrUnreachable = errors.New("no broker answers")

// unreachable marks an error that did not come from a broker.
func (c *Cluster) unreachable(err error) error {
	var broker *kerr.Error
	if err == nil || errors.As(err, &broker) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w (%v): %w", ErrUnreachable, c.cfg.Brokers, err)
}

// BrokerIDs returns the ids of the live brokers, ascending.
func (c *Cluster) BrokerIDs(ctx context.Context) ([]int32, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		return nil, fmt.Errorf("brokers: %w", c.unreachable(err))
	}
	return brokers.NodeIDs(), nil
}
