package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Reached is how far a receiver is known to have got in a topic that it reads
// with a group: for partitions the offset of the next record.
type Reached map[int32]int64

// SubscribeFrom makes an instance that is a member of the group and reads the
// topics' committed records. A group without committed offsets begins where start
// says, which is committed at once, so that nothing is passed over between two
// members that follow each other. Partitions that are added later are read from
// their beginning.
//
// What a receiver of one of the topics has acknowledged is committed before,
// where the group is not further already. Where other members are at work, who
// alone may commit, late is what is left of it: the offsets to be committed and
// sought once the instance has the partitions.
func (c *Cluster) SubscribeFrom(ctx context.Context, group, clientID, topic string, start Start, reached Reached) (i *Instance, late []Commit, err error) {
	if late, err = c.acknowledge(ctx, group, topic, reached); err != nil {
		return nil, nil, err
	}
	if err := patiently(ctx, func() error {
		return c.commitStart(ctx, Membership{Group: group, Topics: []string{topic}, Start: start})
	}); err != nil {
		return nil, nil, err
	}
	i, err = c.Subscribe(InstanceConfig{Group: group, ClientID: clientID, Reset: ResetEarliest, Committed: true, AutoCommit: true}, []string{topic})
	return i, late, err
}

// acknowledge commits what a receiver has reached, and returns what could not be.
func (c *Cluster) acknowledge(ctx context.Context, group, topic string, reached Reached) ([]Commit, error) {
	if len(reached) == 0 {
		return nil, nil
	}
	meta, err := c.Topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	bounds, err := c.StableRanges(ctx, topic, slices.Collect(maps.Keys(reached))...)
	if err != nil {
		return nil, err
	}
	var partitions []TopicPartition
	for _, p := range meta.Partitions {
		if at, ok := reached[p.ID]; ok && at >= bounds[p.ID].Start && at <= bounds[p.ID].End {
			partitions = append(partitions, TopicPartition{topic, p.ID})
		}
	}
	committed, err := c.CommittedOffsets(ctx, group, partitions)
	if err != nil {
		return nil, err
	}
	known := map[TopicPartition]int64{}
	for _, o := range committed {
		known[o.TopicPartition] = o.Offset
	}
	var ahead []Commit
	for _, p := range partitions {
		// A partition without a committed offset begins with what was
		// acknowledged, too.
		if at, ok := known[p]; !ok || at < reached[p.Partition] {
			ahead = append(ahead, Commit{TopicPartition: p, Offset: reached[p.Partition]})
		}
	}
	if len(ahead) == 0 {
		return nil, nil
	}
	err = c.CommitOffsets(ctx, group, ahead)
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress) {
		return ahead, nil
	}
	if err != nil {
		return nil, fmt.Errorf("commit what a receiver of group %q has acknowledged: %w", group, err)
	}
	return nil, nil
}

// Settle commits and seeks late acknowledgements of SubscribeFrom for partitions
// that the instance has by now, and returns the others.
func (i *Instance) Settle(ctx context.Context, late []Commit) ([]Commit, error) {
	var left, mine []Commit
	seek := map[TopicPartition]int64{}
	i.mu.Lock()
	for _, o := range late {
		if !i.assigned[o.TopicPartition] {
			left = append(left, o)
		} else if i.position[o.TopicPartition] < o.Offset {
			mine = append(mine, o)
			seek[o.TopicPartition] = o.Offset
		}
	}
	i.mu.Unlock()
	if len(mine) == 0 {
		return left, nil
	}
	// Another member may have gone further since.
	var partitions []TopicPartition
	for _, o := range mine {
		partitions = append(partitions, o.TopicPartition)
	}
	committed, err := i.cluster.CommittedOffsets(ctx, i.cfg.Group, partitions)
	if err != nil {
		return late, err
	}
	for _, o := range committed {
		if o.Offset >= seek[o.TopicPartition] {
			delete(seek, o.TopicPartition)
		}
	}
	if len(seek) == 0 {
		return left, nil
	}
	if err := i.Seek(ctx, seek); err != nil {
		return late, err
	}
	return left, i.CommitMoved(ctx)
}

// Forget lets everything count as unread that was delivered since the last
// commit: whoever gets the partitions next begins with it.
func (i *Instance) Forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.position)
	i.moved = false
}
