package gate

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

// A ConsumerListed is a consumer instance as it stands in a list.
type ConsumerListed struct {
	Group, Name string
	Owner       string // the caller who made it; "": nobody is known
	Config      ConsumerConfig
	Topics      []string               // subscribed to
	Pattern     string                 // subscribed to
	Assigned    []kafka.TopicPartition // by hand
	Holds       []kafka.TopicPartition // by hand or by the group, as far as it is known
	// Holder is the process that answers for it; "": the next one that is asked.
	Holder string
	// Here says that it is this process, and Alive that the holder was seen lately.
	Here, Alive bool
	// Used is when it was last called, as far as this process knows.
	Used time.Time
}

// ConsumerList returns, by group and name, the consumer instances of the cluster whose
// groups the caller may describe. It makes nothing: where no process has had one yet,
// there is none.
func (g *Gate) ConsumerList(ctx context.Context, who Principal) ([]ConsumerListed, error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, err
	}
	all := g.consumers.list()
	if err := g.consumers.listShared(ctx, g.cluster, all); err != nil {
		return nil, err
	}
	sees := g.sees(ctx, who, DescribeGroup, "group")
	seen := []ConsumerListed{}
	for _, one := range all {
		if sees.of(one.Group) {
			seen = append(seen, *one)
		}
	}
	if sees.err != nil {
		return nil, sees.err
	}
	slices.SortFunc(seen, func(a, b ConsumerListed) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name))
	})
	g.askWhoHolds(ctx, seen)
	for i := range seen {
		one := &seen[i]
		one.Topics, one.Assigned, one.Holds = who.shownAll(one.Topics), who.shownPartitions(one.Assigned), who.shownPartitions(one.Holds)
	}
	return seen, nil
}

// list returns the instances that this process holds.
func (s *consumers) list() map[consumerKey]*ConsumerListed {
	s.mu.Lock()
	held := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	all := map[consumerKey]*ConsumerListed{}
	for _, c := range held {
		c.mu.Lock()
		one := c.definition.listed()
		one.Here, one.Alive, one.Used = true, true, c.used
		if c.using > 0 {
			one.Used = time.Now()
		}
		live := c.shown
		c.mu.Unlock()
		if live != nil && len(one.Holds) == 0 {
			one.Holds = live.Assignment()
		}
		all[consumerKey{one.Group, one.Name}] = one
	}
	return all
}

func (d *consumerDefinition) listed() *ConsumerListed {
	return &ConsumerListed{
		Group: d.Group, Name: d.Name, Owner: d.Owner, Config: d.Config, Topics: slices.Clone(d.Topics), Pattern: d.Pattern,
		Assigned: slices.Clone(d.Partitions), Holds: slices.Clone(d.Partitions), Holder: d.Holder,
	}
}

// listShared adds the instances that other processes hold.
func (s *consumers) listShared(ctx context.Context, cluster *kafka.Cluster, all map[consumerKey]*ConsumerListed) error {
	if s.share == nil {
		return nil
	}
	if !s.share.opened() {
		if _, err := cluster.Topic(ctx, consumerTopic); errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil // to look must not be what makes it
		}
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.share.sync(ctx); err != nil {
		return err
	}
	self := s.share.peers.ID()
	for e := range s.share.table.All() {
		d, err := decodeDefinition(e.Key, e.Value)
		if err != nil || all[d.key()] != nil {
			continue
		}
		one := d.listed()
		one.Here = d.Holder != "" && d.Holder == self
		one.Alive = d.Holder != "" && s.share.peers.Seen(d.Holder)
		all[d.key()] = one
	}
	return nil
}

// opened says whether the definitions have been read already.
func (sh *sharing) opened() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.table != nil
}

// mostHeld bounds the groups that are asked which member has what.
const mostHeld = 200

// askWhoHolds asks the groups of instances that other processes hold what they have:
// a member's client id is the name of its instance. What cannot be found out stays
// unknown.
func (g *Gate) askWhoHolds(ctx context.Context, seen []ConsumerListed) {
	ask := map[string]bool{}
	for _, one := range seen {
		if !one.Here && len(one.Holds) == 0 && len(ask) < mostHeld {
			ask[one.Group] = true
		}
	}
	if len(ask) == 0 {
		return
	}
	var groups []kafka.Group
	for id := range ask {
		groups = append(groups, kafka.Group{ID: id})
	}
	found, err := g.cluster.GroupsNamed(ctx, groups)
	if err != nil {
		return
	}
	for i := range seen {
		one := &seen[i]
		if one.Here || len(one.Holds) > 0 {
			continue
		}
		for _, m := range found[one.Group].Members {
			if m.ClientID == one.Name {
				one.Holds = append(one.Holds, m.Assigned...)
			}
		}
	}
}
