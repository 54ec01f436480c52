package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

// A GroupSeek says where a consumer group is to go on in a topic.
type GroupSeek struct {
	Group, Topic string
	// Partitions are those that are moved; empty: all.
	Partitions []int32
	// To is where they go.
	To SeekTo
	// Execute moves them; without it, nothing is moved.
	Execute bool
}

// SeekTo is a place in a log: the first of its fields that is set. The zero value is
// the end.
type SeekTo struct {
	Beginning bool
	Time      time.Time // the first record of that time or later
	Offset    *int64
	Shift     *int64 // by so many offsets from where the group is; of partitions that have a committed offset
}

// A GroupMove is what a seek does to a partition.
type GroupMove struct {
	Partition int32
	From      int64 // -1: nothing was committed
	To        int64
	End       int64
}

// SeekGroup says where a group would go on, or moves it. Offsets outside of the log
// become its nearer end. A group that has members is a conflict that names them, since
// what they commit would count; one that does not exist is made. It is in the audit
// log.
func (g *Gate) SeekGroup(ctx context.Context, who Principal, s GroupSeek) ([]GroupMove, error) {
	s.Topic = who.real(s.Topic)
	c := &Call{Principal: who, Action: AlterGroup, Resource: Resource{Kind: "group", Name: s.Group}}
	if g.Guarded() {
		if err := g.check(ctx, c); err != nil {
			return nil, err
		}
	}
	if err := g.allow(ctx, who, ReadData, "topic", s.Topic); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	moves, err := seekMoves(ctx, cluster, s)
	if err != nil || !s.Execute {
		return moves, err
	}
	if err := noMembers(ctx, cluster, s.Group); err != nil {
		return nil, err
	}
	commits := make([]kafka.Commit, len(moves))
	for i, m := range moves {
		commits[i] = kafka.Commit{TopicPartition: kafka.TopicPartition{Topic: s.Topic, Partition: m.Partition}, Offset: m.To}
	}
	if len(commits) > 0 {
		err = cluster.CommitOffsets(ctx, s.Group, commits)
	}
	switch {
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.RebalanceInProgress), errors.Is(err, kerr.IllegalGeneration):
		return nil, &Error{Conflict, fmt.Sprintf("group %.300q has got members meanwhile, and is not moved", s.Group)}
	case err != nil:
		return nil, err
	}
	if g.audit != nil {
		g.audit.noted(c, fmt.Sprintf("moved on %d partitions of topic %s", len(moves), s.Topic))
	}
	return moves, nil
}

// seekMoves works out what a seek does.
func seekMoves(ctx context.Context, cluster *kafka.Cluster, s GroupSeek) ([]GroupMove, error) {
	topic, err := cluster.Topic(ctx, s.Topic)
	if err != nil {
		return nil, err
	}
	if len(s.Partitions) == 0 {
		for _, p := range topic.Partitions {
			s.Partitions = append(s.Partitions, p.ID)
		}
	}
	places := make([]kafka.TopicPartition, len(s.Partitions))
	for i, id := range s.Partitions {
		if _, err := topic.Partition(id); err != nil {
			return nil, err
		}
		places[i] = kafka.TopicPartition{Topic: s.Topic, Partition: id}
	}
	ranges, err := cluster.Ranges(ctx, s.Topic)
	if err != nil {
		return nil, err
	}
	committed, err := cluster.CommittedOffsets(ctx, s.Group, places)
	if err != nil {
		return nil, err
	}
	from := map[int32]int64{}
	for _, c := range committed {
		from[c.Partition] = c.Offset
	}
	var times map[int32]int64
	if !s.To.Beginning && !s.To.Time.IsZero() {
		if times, err = cluster.OffsetsAfter(ctx, s.Topic, s.To.Time.UnixMilli()); err != nil {
			return nil, err
		}
	}
	moves := []GroupMove{}
	for _, id := range s.Partitions {
		at, ok := ranges[id]
		m := GroupMove{Partition: id, From: -1, To: at.End, End: at.End}
		was, known := from[id]
		if known {
			m.From = was
		}
		switch {
		case !ok, s.To.Shift != nil && !known:
			continue
		case s.To.Beginning:
			m.To = at.Start
		case times != nil:
			m.To = times[id]
		case s.To.Offset != nil:
			m.To = *s.To.Offset
		case s.To.Shift != nil:
			m.To = was + *s.To.Shift
		}
		m.To = max(min(m.To, at.End), at.Start)
		moves = append(moves, m)
	}
	slices.SortFunc(moves, func(a, b GroupMove) int { return cmp.Compare(a.Partition, b.Partition) })
	return moves, nil
}

// mostNamed bounds the members that an error names.
const mostNamed = 5

// noMembers is an error that names the members of a group, if it has any.
func noMembers(ctx context.Context, cluster *kafka.Cluster, group string) error {
	described, err := cluster.Group(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	if err != nil || len(described.Members) == 0 {
		return err
	}
	var names []string
	for _, m := range described.Members[:min(len(described.Members), mostNamed)] {
		name := m.ClientID
		if m.Host != "" {
			name += " on " + strings.TrimPrefix(m.Host, "/")
		}
		names = append(names, name)
	}
	if more := len(described.Members) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return &Error{Conflict, fmt.Sprintf("group %.300q has members, which would go on where they are: %.1000s; stop them first", group, strings.Join(names, ", "))}
}

// DeleteGroup deletes a consumer group with its offsets. A group that has members is a
// conflict that names them.
func (g *Gate) DeleteGroup(ctx context.Context, who Principal, group string) error {
	if err := g.allow(ctx, who, DeleteGroup, "group", group); err != nil {
		return err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return err
	}
	if _, err := cluster.Group(ctx, group); err != nil {
		return err
	}
	if err := noMembers(ctx, cluster, group); err != nil {
		return err
	}
	return cluster.DeleteGroup(ctx, group)
}
