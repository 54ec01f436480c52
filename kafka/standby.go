package kafka

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A standby balancer is the cooperative sticky balancer of a group in which no
// more than most of klamm's members get partitions; the others stand by. It runs
// where the group has its leader, so nobody else has to be elected.
//
// A member that stands by is shown to the sticky balancer as one that wants no
// topics and still holds its partitions. Those are then taken from it first, and
// given to somebody else only in the rebalance after that, as with any partition
// that moves: it is never read by two at once.
type standby struct {
	kgo.GroupBalancer
	group string
	most  func() int // 0: no limit
}

// balancer returns how the members of a group share its partitions.
func (m *Membership) balancer() kgo.GroupBalancer {
	sticky := kgo.CooperativeStickyBalancer()
	if m.Most == nil {
		return sticky
	}
	return standby{sticky, m.Group, m.Most}
}

// MemberBalancer is called by the group's leader with all members.
func (s standby) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	return s.GroupBalancer.MemberBalancer(s.rest(members))
}

// rest takes the topics from those who are to stand by. Who that is depends on
// the members and the group alone: the same ones after every rebalance, and others
// in another group.
func (s standby) rest(members []kmsg.JoinGroupResponseMember) []kmsg.JoinGroupResponseMember {
	most := s.most()
	if most <= 0 || len(members) <= most {
		return members
	}
	type ranked struct {
		at   int
		rank uint64
	}
	var own []ranked
	for i, m := range members {
		// A foreign member of the group has what it asks for (pipes.md 3).
		if strings.HasPrefix(m.MemberID, clientID+"-") {
			h := fnv.New64a()
			_, _ = h.Write([]byte(s.group + "\x00" + m.MemberID))
			own = append(own, ranked{i, h.Sum64()})
		}
	}
	slices.SortFunc(own, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.at, b.at)) })
	members = slices.Clone(members)
	for _, r := range own[min(most, len(own)):] {
		meta := kmsg.NewConsumerMemberMetadata()
		if meta.ReadFrom(members[r.at].ProtocolMetadata) != nil {
			continue // the sticky balancer says what is wrong with it
		}
		meta.Topics = nil
		members[r.at].ProtocolMetadata = meta.AppendTo(nil)
	}
	return members
}

// Rebalance has the group share its partitions anew, because Most has another
// value now. Every member of klamm's must call it: only the leader's call has an
// effect, and nobody knows who that is.
func (c *Consumer) Rebalance() { c.client.ForceRebalance() }
