package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// This file is for lists of groups: of ten thousand of them only a page is looked at
// closely.

// ListGroups returns the consumer groups of the cluster, sorted by id, with nothing
// but their ids, types and states. Each broker is asked once.
func (c *Cluster) ListGroups(ctx context.Context) ([]Group, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var groups []Group
	err := coordinated(ctx, func() error {
		groups = groups[:0]
		for _, shard := range c.reader.RequestSharded(ctx, kmsg.NewPtrListGroupsRequest()) {
			if shard.Err != nil {
				return c.unreachable(shard.Err)
			}
			resp := shard.Resp.(*kmsg.ListGroupsResponse)
			if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
				return err
			}
			for _, g := range resp.Groups {
				kind := strings.ToUpper(g.GroupType)
				if kind == "" {
					kind = classicGroup
				}
				if kind == consumerGroup || kind == classicGroup && (g.ProtocolType == "" || g.ProtocolType == "consumer") {
					groups = append(groups, Group{ID: g.Group, Type: kind, State: stateName(g.GroupState), Simple: g.ProtocolType == "" && kind == classicGroup})
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list consumer groups: %w", err)
	}
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	return groups, nil
}

// GroupsNamed returns those of some groups that there are, with their members, by id. Of
// each its id has to be given; with its type it costs less.
func (c *Cluster) GroupsNamed(ctx context.Context, listed []Group) (map[string]Group, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var classic, consumer, either []string
	for _, g := range listed {
		switch g.Type {
		case consumerGroup:
			consumer = append(consumer, g.ID)
		case classicGroup:
			classic = append(classic, g.ID)
		default:
			either = append(either, g.ID)
		}
	}
	var groups []Group
	err := coordinated(ctx, func() (err error) {
		if groups, err = c.describe(ctx, classic, consumer); err != nil || len(either) == 0 {
			return err
		}
		others, err := c.describeEither(ctx, either)
		groups = append(groups, others...)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make(map[string]Group, len(groups))
	for _, g := range groups {
		all[g.ID] = g
	}
	return all, nil
}

// LagsOf returns how far groups are behind on each partition that they have a
// committed offset of, by group, without their members. A group without any is not in
// it.
func (c *Cluster) LagsOf(ctx context.Context, groups ...string) (map[string][]Lag, error) {
	committed, err := c.OffsetsOf(ctx, groups...)
	if err != nil {
		return nil, err
	}
	topics := map[string]bool{}
	for _, at := range committed {
		for p := range at {
			topics[p.Topic] = true
		}
	}
	if len(topics) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	ends, err := c.admin.ListCommittedOffsets(ctx, slices.Sorted(maps.Keys(topics))...)
	if err != nil {
		return nil, fmt.Errorf("ends of the topics of %d groups: %w", len(groups), c.unreachable(firstShard(err)))
	}
	lags := make(map[string][]Lag, len(committed))
	for group, at := range committed {
		for p, offset := range at {
			if end, ok := ends.Lookup(p.Topic, p.Partition); ok && end.Err == nil {
				lags[group] = append(lags[group], Lag{TopicPartition: p, Committed: offset, End: end.Offset})
			}
		}
		slices.SortFunc(lags[group], func(a, b Lag) int { return a.compare(b.TopicPartition) })
	}
	return lags, nil
}

// nextAtOnce is how many partitions are read at the same time for NextTimes.
const nextAtOnce = 8

// NextTimes returns the timestamps of the first records that groups have not read, of
// those of the lags that have one. Most is how many partitions are looked at. What cannot be read is left out.
func (c *Cluster) NextTimes(ctx context.Context, lags []Lag, most int) map[TopicPartition]time.Time {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var mu sync.Mutex // guards times
	times := map[TopicPartition]time.Time{}
	topics := map[string]Topic{}
	room := make(chan struct{}, nextAtOnce)
	var reading sync.WaitGroup
	for _, l := range lags {
		if l.Behind() <= 0 {
			continue
		}
		if most--; most < 0 {
			break
		}
		t, ok := topics[l.Topic]
		if !ok {
			t, _ = c.Topic(ctx, l.Topic)
			topics[l.Topic] = t
		}
		if t.Name == "" {
			continue
		}
		room <- struct{}{}
		reading.Go(func() {
			defer func() { <-room }()
			at := c.nextTime(ctx, t, l)
			if at.IsZero() {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			times[l.TopicPartition] = at
		})
	}
	reading.Wait()
	return times
}

// nextTime returns the timestamp of the first record from a committed offset on; where
// retention has removed it, of the first that is left. The zero time says that there
// is none to be had.
func (c *Cluster) nextTime(ctx context.Context, t Topic, l Lag) time.Time {
	one := Limits{Records: 1, Bytes: 1, Committed: true}
	records, _, err := c.Read(ctx, t, l.Partition, l.Committed, one)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		ranges, failed := c.Ranges(ctx, t.Name)
		if failed != nil {
			return time.Time{}
		}
		records, _, err = c.Read(ctx, t, l.Partition, ranges[l.Partition].Start, one)
	}
	if err != nil || len(records) == 0 {
		return time.Time{}
	}
	return records[0].Timestamp
}
