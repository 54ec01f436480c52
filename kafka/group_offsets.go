package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Evict takes members out of a group, so that their partitions are free at once and
// their commits are refused: those of the client ids that gone returns, of the ones that
// the group has. It is for members whose process has died: one that lives joins again.
func (c *Cluster) Evict(ctx context.Context, group string, gone func(clientIDs []string) []string) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	described, err := c.Group(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take members out of group %q: %w", group, err)
	}
	ids := make([]string, len(described.Members))
	for i, m := range described.Members {
		ids[i] = m.ClientID
	}
	ids = gone(ids)
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, m := range described.Members {
		if slices.Contains(ids, m.ClientID) {
			member := kmsg.NewLeaveGroupRequestMember()
			member.MemberID, member.InstanceID = m.ID, m.InstanceID
			req.Members = append(req.Members, member)
		}
	}
	if len(req.Members) == 0 {
		return nil
	}
	resp, err := req.RequestWith(ctx, c.reader)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("take members out of group %q: %w", group, c.unreachable(err))
	}
	return nil
}

// CommitOffsets commits offsets for a group that has no members.
func (c *Cluster) CommitOffsets(ctx context.Context, group string, at []Commit) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	offsets := kadm.Offsets{}
	for _, o := range at {
		offsets.Add(kadm.Offset{Topic: o.Topic, Partition: o.Partition, At: o.Offset, LeaderEpoch: -1, Metadata: o.Metadata})
	}
	return wrapCommit(group, patiently(ctx, func() error {
		responses, err := c.admin.CommitOffsets(ctx, group, offsets)
		if err == nil {
			err = responses.Error()
		}
		return c.unreachable(err)
	}))
}

// CommittedOffsets returns the committed offsets of a group on those of the
// partitions that have one, in the order given.
func (c *Cluster) CommittedOffsets(ctx context.Context, group string, partitions []TopicPartition) ([]Commit, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var committed kadm.OffsetResponses
	err := patiently(ctx, func() (err error) {
		committed, err = c.admin.FetchOffsets(ctx, group)
		return err
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("committed offsets of group %q: %w", group, c.unreachable(err))
	}
	at := []Commit{}
	for _, p := range partitions {
		o, ok := committed.Lookup(p.Topic, p.Partition)
		if ok && o.Err != nil {
			return nil, o.Err
		}
		if ok && o.At >= 0 {
			at = append(at, Commit{TopicPartition: p, Offset: o.At, Metadata: o.Metadata})
		}
	}
	return at, nil
}
