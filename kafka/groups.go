package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Group is a consumer group at one moment.
type Group struct {
	ID          string
	Type        string // "CLASSIC" or "CONSUMER"
	State       string // such as "STABLE" or "PREPARING_REBALANCE"
	Simple      bool   // somebody commits offsets under this name, without membership
	Mixed       bool   // of type CONSUMER, with members that speak the classic protocol
	Assignor    string // how partitions are assigned; "" where nobody has decided
	Coordinator int32  // the broker that coordinates it
	Members     []Member
}

// A Member is one member of a consumer group.
type Member struct {
	ID         string
	InstanceID *string // nil: not a static member
	ClientID   string
	Host       string           // as its broker sees it, such as "/10.0.0.7"
	Assigned   []TopicPartition // by topic and partition
}

// A TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// A Lag is how far a consumer group is behind on one partition.
type Lag struct {
	TopicPartition
	Committed int64 // the next offset to be read
	End       int64 // of the log as far as transactions are complete
	Member    *Member
}

// Behind is the number of offsets between the committed one and the end.
func (l Lag) Behind() int64 { return l.End - l.Committed }

const (
	classicGroup  = "CLASSIC"
	consumerGroup = "CONSUMER"
)

// Groups returns the consumer groups of the cluster, sorted by id. Groups of
// other kinds, such as those of Kafka Connect, are left out.
func (c *Cluster) Groups(ctx context.Context) ([]Group, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var classic, consumer []string
	for _, shard := range c.reader.RequestSharded(ctx, kmsg.NewPtrListGroupsRequest()) {
		if shard.Err != nil {
			return nil, fmt.Errorf("list consumer groups: %w", c.unreachable(shard.Err))
		}
		resp := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, err
		}
		for _, g := range resp.Groups {
			switch kind := strings.ToUpper(g.GroupType); {
			case kind == consumerGroup:
				consumer = append(consumer, g.Group)
			case (kind == classicGroup || kind == "") && (g.ProtocolType == "" || g.ProtocolType == "consumer"):
				classic = append(classic, g.Group)
			}
		}
	}
	groups, err := c.describe(ctx, classic, consumer)
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	return groups, err
}

// Group returns one consumer group; one that does not exist is
// kerr.GroupIDNotFound.
func (c *Cluster) Group(ctx context.Context, id string) (Group, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var groups []Group
	err := coordinated(ctx, func() (err error) {
		groups, err = c.describeEither(ctx, []string{id})
		return err
	})
	switch {
	case err != nil:
		return Group{}, err
	case len(groups) != 1:
		return Group{}, kerr.GroupIDNotFound
	}
	return groups[0], nil
}

// describeEither is describe for groups of which nobody knows the kind.
func (c *Cluster) describeEither(ctx context.Context, ids []string) ([]Group, error) {
	groups, err := c.describe(ctx, nil, ids)
	if err != nil && !errors.Is(err, kerr.UnsupportedVersion) && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, err
	}
	found := make(map[string]bool, len(groups))
	for _, g := range groups {
		found[g.ID] = true
	}
	left := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return found[id] })
	others, err := c.describe(ctx, left, nil)
	groups = append(groups, others...)
	return slices.DeleteFunc(groups, func(g Group) bool { return g.State == "DEAD" && len(g.Members) == 0 }), err
}

// coordinated does something again while a coordinator is not there yet, which
// takes a cluster some seconds when it is asked for one for the first time.
func coordinated(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !errors.Is(err, kerr.CoordinatorNotAvailable) && !errors.Is(err, kerr.CoordinatorLoadInProgress) && !errors.Is(err, kerr.NotCoordinator) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// describe asks the coordinators about groups of both kinds. Those that have
// vanished meanwhile are left out.
func (c *Cluster) describe(ctx context.Context, classic, consumer []string) ([]Group, error) {
	var groups []Group
	if len(consumer) > 0 {
		var err error
		if groups, err = c.describeConsumer(ctx, consumer); err != nil {
			return nil, err
		}
	}
	if len(classic) > 0 {
		described, err := c.admin.DescribeGroups(ctx, classic...)
		if err != nil {
			return nil, fmt.Errorf("describe consumer groups: %w", c.unreachable(firstShard(err)))
		}
		for _, d := range described {
			switch {
			case errors.Is(d.Err, kerr.GroupIDNotFound):
			case d.Err != nil:
				return nil, d.Err
			default:
				groups = append(groups, fromClassic(d))
			}
		}
	}
	return groups, nil
}

// firstShard unpacks the error of a request that went to several brokers.
func firstShard(err error) error {
	var shards *kadm.ShardErrors
	if errors.As(err, &shards) && len(shards.Errs) > 0 {
		return shards.Errs[0].Err
	}
	return err
}

func fromClassic(d kadm.DescribedGroup) Group {
	g := Group{ID: d.Group, Type: classicGroup, State: stateName(d.State), Simple: d.ProtocolType == "", Assignor: d.Protocol, Coordinator: d.Coordinator.NodeID}
	for _, m := range d.Members {
		member := Member{ID: m.MemberID, InstanceID: m.InstanceID, ClientID: m.ClientID, Host: m.ClientHost}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				for _, p := range t.Partitions {
					member.Assigned = append(member.Assigned, TopicPartition{t.Topic, p})
				}
			}
		}
		g.Members = append(g.Members, member)
	}
	g.sort()
	return g
}

// describeConsumer asks about groups of the newer kind.
func (c *Cluster) describeConsumer(ctx context.Context, ids []string) ([]Group, error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = ids
	var groups []Group
	var names topicNames
	for _, shard := range c.reader.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, fmt.Errorf("describe consumer groups: %w", c.unreachable(shard.Err))
		}
		for _, d := range shard.Resp.(*kmsg.ConsumerGroupDescribeResponse).Groups {
			switch err := kerr.ErrorForCode(d.ErrorCode); {
			case errors.Is(err, kerr.GroupIDNotFound):
				continue
			case err != nil:
				return nil, err
			}
			g := Group{ID: d.Group, Type: consumerGroup, State: stateName(d.State), Assignor: d.AssignorName, Coordinator: shard.Meta.NodeID}
			for _, m := range d.Members {
				assigned, err := c.assigned(ctx, &names, m.Assignment)
				if err != nil {
					return nil, err
				}
				g.Mixed = g.Mixed || m.MemberType == 0
				g.Members = append(g.Members, Member{m.MemberID, m.InstanceID, m.ClientID, m.ClientHost, assigned})
			}
			g.sort()
			groups = append(groups, g)
		}
	}
	return groups, nil
}

// topicNames are the names of topics by their ids; nil: nobody has asked for them.
type topicNames map[[16]byte]string

// assigned reads an assignment. The embedded broker names its topics by their
// ids only.
func (c *Cluster) assigned(ctx context.Context, names *topicNames, a kmsg.Assignment) ([]TopicPartition, error) {
	var all []TopicPartition
	for _, t := range a.TopicPartitions {
		if t.Topic == "" {
			if *names == nil {
				topics, err := c.Topics(ctx)
				if err != nil {
					return nil, err
				}
				*names = make(topicNames, len(topics))
				for _, topic := range topics {
					(*names)[topic.ID] = topic.Name
				}
			}
			if t.Topic = (*names)[t.TopicID]; t.Topic == "" { // deleted meanwhile
				continue
			}
		}
		for _, p := range t.Partitions {
			all = append(all, TopicPartition{t.Topic, p})
		}
	}
	return all, nil
}

func (g *Group) sort() {
	slices.SortFunc(g.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	for _, m := range g.Members {
		slices.SortFunc(m.Assigned, TopicPartition.compare)
	}
}

func (p TopicPartition) compare(q TopicPartition) int {
	return cmp.Or(cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.Partition, q.Partition))
}

// stateName turns Kafka's "PreparingRebalance" into "PREPARING_REBALANCE".
func stateName(s string) string {
	if s == "" {
		return "UNKNOWN"
	}
	var b strings.Builder
	for i, r := range s {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// Lags returns how far a consumer group is behind on each partition that it has
// a committed offset of, the largest lag first. A group without any is an empty
// list; one that does not exist is kerr.GroupIDNotFound.
func (c *Cluster) Lags(ctx context.Context, id string) ([]Lag, error) {
	group, err := c.Group(ctx, id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	var committed kadm.OffsetResponses
	err = coordinated(ctx, func() (err error) {
		committed, err = c.admin.FetchOffsets(ctx, id)
		return firstShard(err)
	})
	if err != nil {
		return nil, fmt.Errorf("offsets of group %s: %w", id, c.unreachable(firstShard(err)))
	}
	topics := make([]string, 0, len(committed))
	for t := range committed {
		topics = append(topics, t)
	}
	if len(topics) == 0 {
		return nil, nil
	}
	ends, err := c.admin.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("ends of the topics of group %s: %w", id, c.unreachable(firstShard(err)))
	}
	owners := map[TopicPartition]*Member{}
	for i := range group.Members {
		for _, p := range group.Members[i].Assigned {
			owners[p] = &group.Members[i]
		}
	}
	var lags []Lag
	committed.Each(func(o kadm.OffsetResponse) {
		end, ok := ends.Lookup(o.Topic, o.Partition)
		if o.Err != nil || o.At < 0 || !ok || end.Err != nil { // a topic that was deleted has no end
			return
		}
		at := TopicPartition{o.Topic, o.Partition}
		lags = append(lags, Lag{at, o.At, end.Offset, owners[at]})
	})
	slices.SortFunc(lags, func(a, b Lag) int {
		return cmp.Or(cmp.Compare(b.Behind(), a.Behind()), a.TopicPartition.compare(b.TopicPartition))
	})
	return lags, nil
}
