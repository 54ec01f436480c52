package gate

import (
	"context"
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

// GroupPage returns, by id, at most limit of the consumer groups that the caller may
// describe whose ids begin with a prefix and come after another; more says that there
// are others.
func (g *Gate) GroupPage(ctx context.Context, who Principal, prefix, after string, limit int) (page []GroupListed, more bool, err error) {
	if err := g.allow(ctx, who, Connect, "cluster", ""); err != nil {
		return nil, false, err
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
	var chosen []kafka.Group
	for _, group := range all {
		if group.ID <= after && after != "" || !strings.HasPrefix(group.ID, prefix) || !sees.of(group.ID) {
			continue
		}
		if len(chosen) == limit {
			more = true
			break
		}
		chosen = append(chosen, group)
	}
	if sees.err != nil {
		return nil, false, sees.err
	}
	page, err = g.groupsClosely(ctx, cluster, who, chosen)
	return page, more, err
}

// groupsClosely looks at the members and the lags of some groups.
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
	real := make([]kafka.Lag, len(lags))
	for i, l := range lags {
		l.Topic = who.real(l.Topic)
		real[i] = l
	}
	times := map[kafka.TopicPartition]time.Time{}
	for p, at := range cluster.NextTimes(ctx, real, most) {
		p.Topic = who.called(p.Topic)
		times[p] = at
	}
	return times, nil
}
