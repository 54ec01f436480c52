package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Positions returns the next offset of each partition of which something was
// delivered or sought, sorted.
func (i *Instance) Positions() []Commit { return i.positions(nil) }

// positions is Positions for some partitions, or for all.
func (i *Instance) positions(some map[string][]int32) []Commit {
	i.mu.Lock()
	defer i.mu.Unlock()
	var at []Commit
	for p, offset := range i.position {
		if some == nil || slices.Contains(some[p.Topic], p.Partition) {
			at = append(at, Commit{TopicPartition: p, Offset: offset})
		}
	}
	slices.SortFunc(at, func(a, b Commit) int { return a.compare(b.TopicPartition) })
	return at
}

// Commit commits offsets for the group, as its member if the instance is one; one
// that is still joining, or that the group has given up, commits when it is a member
// again. Nothing is committed if the group has taken one of the partitions after it
// was read: the error is ErrTaken then.
func (i *Instance) Commit(ctx context.Context, at []Commit) error {
	i.committing.Lock()
	defer i.committing.Unlock()
	if !i.member {
		return i.cluster.CommitOffsets(ctx, i.cfg.Group, at)
	}
	return i.commit(ctx, at, true)
}

// commit is Commit for a member whose committing is held. If it is not patient, it
// does not wait until the instance is a member again.
func (i *Instance) commit(ctx context.Context, at []Commit, patient bool) error {
	offsets := map[string]map[int32]kgo.EpochOffset{}
	notes := map[TopicPartition]string{}
	for _, o := range at {
		if offsets[o.Topic] == nil {
			offsets[o.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[o.Topic][o.Partition] = kgo.EpochOffset{Epoch: -1, Offset: o.Offset}
		notes[o.TopicPartition] = o.Metadata
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for t := range req.Topics {
			for p := range req.Topics[t].Partitions {
				note := notes[TopicPartition{req.Topics[t].Topic, req.Topics[t].Partitions[p].Partition}]
				req.Topics[t].Partitions[p].Metadata = &note
			}
		}
		// The request has its generation by now. What is taken from now on belongs to
		// a later one, and the brokers refuse this one then.
		return i.hasTaken(at)
	})
	for {
		err := i.cluster.commit(ctx, i.client, offsets)
		switch {
		case errors.Is(err, kerr.RebalanceInProgress):
		case patient && (errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.UnknownMemberID)):
		case errors.Is(err, ErrTaken):
			return wrapCommit(i.cfg.Group, err)
		default:
			return wrapCommit(i.cfg.Group, i.cluster.unreachable(err))
		}
		select {
		case <-ctx.Done():
			return wrapCommit(i.cfg.Group, err)
		case <-i.client.Context().Done():
			return wrapCommit(i.cfg.Group, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// hasTaken returns ErrTaken if the group has taken one of the partitions.
func (i *Instance) hasTaken(at []Commit) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, o := range at {
		if i.taken[o.TopicPartition] {
			return fmt.Errorf("partition %s-%d: %w", o.Topic, o.Partition, ErrTaken)
		}
	}
	return nil
}

// CommitPositions commits the positions; those of partitions that the group takes
// meanwhile are left out.
func (i *Instance) CommitPositions(ctx context.Context) error {
	for {
		at := i.Positions()
		if len(at) == 0 {
			return nil
		}
		if err := i.Commit(ctx, at); !errors.Is(err, ErrTaken) {
			return err
		}
	}
}

func wrapCommit(group string, err error) error {
	if err != nil {
		return fmt.Errorf("commit offsets of group %q: %w", group, err)
	}
	return nil
}

// CommitMoved commits the positions if that is automatic and they have moved
// since the last time.
func (i *Instance) CommitMoved(ctx context.Context) error {
	i.mu.Lock()
	moved := i.moved && i.cfg.AutoCommit && !i.disowned
	i.moved = i.moved && !moved
	i.mu.Unlock()
	if !moved {
		return nil
	}
	err := i.CommitPositions(ctx)
	if err != nil {
		i.mu.Lock()
		i.moved = true
		i.mu.Unlock()
	}
	return err
}
