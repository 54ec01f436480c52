package gate

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// A GroupListed is a consumer group in a list.
type GroupListed struct {
	kafka.Group
	// Lags are those of the topics that the caller may describe.
	Lags []kafka.Lag
}

// GroupsWanted says which consumer groups a page is of, in the order of their ids.
type GroupsWanted struct {
	// Prefix begins their ids, and After is the id that they come behind; empty: any.
	Prefix, After string
	// Topic is one that they have committed offsets of; empty: any, or none.
	Topic string
	// Limit is how many there are at most.
	Limit int
}

// GroupPage returns those of the wanted groups that the caller may describe; more says
// that there are others. The error is that of a topic that the caller may not describe.
func (g *Gate) GroupPage(ctx context.Context, who Principal, want GroupsWanted) (page []GroupListed, more bool, err error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, false, err
	}
	if want.Topic != "" {
		want.Topic = who.real(want.Topic)
		if err := g.allow(ctx, who, DescribeTopic, "topic", want.Topic); err != nil {
			return nil, false, err
		}
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, false, err
	}
	all, err := cluster.ListGroups(ctx)
	if err != nil {
		return nil, false, err
	}
	sees := g.sees(ctx, who, DescribeGroup, "group")
	all = slices.DeleteFunc(all, func(one kafka.Group) bool {
		return one.ID <= want.After && want.After != "" || !strings.HasPrefix(one.ID, want.Prefix) || !sees.of(one.ID)
	})
	if sees.err != nil {
		return nil, false, sees.err
	}
	if want.Topic != "" {
		if all, err = committedTo(ctx, cluster, all, want.Topic, want.Limit+1); err != nil {
			return nil, false, err
		}
	}
	if more = len(all) > want.Limit; more {
		all = all[:want.Limit]
	}
	page, err = g.groupsClosely(ctx, cluster, who, all)
	return page, more, err
}

// groupsAtOnce is how many groups are asked together what they have committed.
const groupsAtOnce = 500

// committedTo returns the first of some groups that have committed offsets of a topic, at
// most so many.
func committedTo(ctx context.Context, cluster *kafka.Cluster, all []kafka.Group, topic string, most int) (found []kafka.Group, err error) {
	for some := range slices.Chunk(all, groupsAtOnce) {
		ids := make([]string, len(some))
		for i, one := range some {
			ids[i] = one.ID
		}
		offsets, err := cluster.OffsetsOf(ctx, ids...)
		if err != nil {
			return nil, err
		}
		for _, one := range some {
			for p := range offsets[one.ID] {
				if p.Topic == topic {
					found = append(found, one)
					break
				}
			}
		}
		if len(found) >= most {
			return found[:most], nil
		}
	}
	return found, nil
}

// groupsClosely looks at the members and the lags of some groups, as the caller sees them.
func (g *Gate) groupsClosely(ctx context.Context, cluster *kafka.Cluster, who Principal, chosen []kafka.Group) ([]GroupListed, error) {
	if len(chosen) == 0 {
		return nil, nil
	}
	closely, err := cluster.GroupsNamed(ctx, chosen)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(chosen))
	for i, group := range chosen {
		ids[i] = group.ID
	}
	lags, err := cluster.LagsOf(ctx, ids...)
	if err != nil {
		return nil, err
	}
	page, sees := make([]GroupListed, len(chosen)), g.sees(ctx, who, DescribeTopic, "topic")
	for i, group := range chosen {
		if found, ok := closely[group.ID]; ok {
			group = found
		}
		group.Members = who.shownMembers(group.Members, sees)
		page[i] = GroupListed{group, who.shownLags(lags[group.ID], sees)}
	}
	return page, sees.err
}

// shownLags returns the lags on those topics that a caller sees, by the names that the
// caller knows them by.
func (p *Principal) shownLags(all []kafka.Lag, sees *sight) []kafka.Lag {
	var seen []kafka.Lag
	for _, l := range all {
		if name, ok := p.shown(l.Topic); ok && sees.of(l.Topic) {
			l.Topic = name
			seen = append(seen, l)
		}
	}
	return seen
}

// NextTimes returns when the first records were written that a group has not read, of
// the partitions with the given lags, which a caller was shown by Lags; see
// kafka.Cluster.NextTimes.
func (g *Gate) NextTimes(ctx context.Context, who Principal, group string, lags []kafka.Lag, most int) (map[kafka.TopicPartition]time.Time, error) {
	if err := g.allow(ctx, who, DescribeGroup, "group", group); err != nil {
		return nil, err
	}
	cluster, err := g.as(ctx, &who)
	if err != nil {
		return nil, err
	}
	inCluster := make([]kafka.Lag, len(lags))
	for i, l := range lags {
		l.Topic = who.real(l.Topic)
		inCluster[i] = l
	}
	times := map[kafka.TopicPartition]time.Time{}
	for p, at := range cluster.NextTimes(ctx, inCluster, most) {
		p.Topic = who.called(p.Topic)
		times[p] = at
	}
	return times, nil
}
