package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// This file is for groups without members: names under which somebody keeps offsets.

// groupsAtOnce is how many groups one call asks about.
const groupsAtOnce = 500

// OffsetsOf returns what groups have committed, by their names; a group that has
// nothing, or does not exist, is not in it.
func (c *Cluster) OffsetsOf(ctx context.Context, groups ...string) (map[string]map[TopicPartition]int64, error) {
	all := make(map[string]map[TopicPartition]int64, len(groups))
	for len(groups) > 0 {
		some := groups[:min(len(groups), groupsAtOnce)]
		groups = groups[len(some):]
		if err := c.addOffsets(ctx, all, some); err != nil {
			if len(some) == 1 {
				return nil, fmt.Errorf("committed offsets of group %q: %w", some[0], err)
			}
			return nil, fmt.Errorf("committed offsets of %d groups: %w", len(some), err)
		}
	}
	return all, nil
}

func (c *Cluster) addOffsets(ctx context.Context, to map[string]map[TopicPartition]int64, groups []string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var fetched kadm.FetchOffsetsResponses
	err := coordinated(ctx, func() error {
		fetched = c.admin.FetchManyOffsets(ctx, groups...)
		for _, f := range fetched {
			if f.Err != nil && !errors.Is(f.Err, kerr.GroupIDNotFound) {
				return firstShard(f.Err)
			}
		}
		return nil
	})
	if err != nil {
		return c.unreachable(err)
	}
	for name, f := range fetched {
		at := map[TopicPartition]int64{}
		for topic, partitions := range f.Fetched {
			for n, o := range partitions {
				if o.Err != nil {
					return fmt.Errorf("group %s, %s-%d: %w", name, topic, n, o.Err)
				}
				if o.At >= 0 {
					at[TopicPartition{topic, n}] = o.At
				}
			}
		}
		if len(at) > 0 {
			to[name] = at
		}
	}
	return nil
}

// DeleteOffsets deletes committed offsets of a group that has no members. What is not
// there counts as deleted.
func (c *Cluster) DeleteOffsets(ctx context.Context, group string, partitions []TopicPartition) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	set := kadm.TopicsSet{}
	for _, p := range partitions {
		set.Add(p.Topic, p.Partition)
	}
	err := coordinated(ctx, func() error {
		deleted, err := c.admin.DeleteOffsets(ctx, group, set)
		if err == nil {
			err = deleted.Error()
		}
		return firstShard(err)
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("delete offsets of group %q: %w", group, c.unreachable(err))
	}
	return nil
}

// DeleteGroup deletes a group that has no members, with its offsets. One that is not
// there counts as deleted.
func (c *Cluster) DeleteGroup(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	err := coordinated(ctx, func() error {
		deleted, err := c.admin.DeleteGroup(ctx, group)
		if err == nil {
			err = deleted.Err
		}
		return firstShard(err)
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("delete group %q: %w", group, c.unreachable(err))
	}
	return nil
}

// StartOffsets returns the offsets that a start stands for, of all partitions of a
// topic. The zero Start is the end: nothing that is written after the answer lies
// before it.
func (c *Cluster) StartOffsets(ctx context.Context, topic string, start Start) ([]Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var at map[int32]int64
	err := patiently(ctx, func() (err error) {
		at, err = c.startOffsets(ctx, topic, start)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start offsets of topic %s: %w", topic, err)
	}
	all := make([]Commit, 0, len(at))
	for p, o := range at {
		all = append(all, Commit{TopicPartition: TopicPartition{topic, p}, Offset: o})
	}
	return all, nil
}
