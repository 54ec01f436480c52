package kafka

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// share lets a leader balance the members, who own what they got the last time,
// and returns what each gets now.
func share(t *testing.T, b kgo.GroupBalancer, ids []string, owned map[string][]int32, generation int32) map[string][]int32 {
	t.Helper()
	var members []kmsg.JoinGroupResponseMember
	for _, id := range ids {
		m := kmsg.NewJoinGroupResponseMember()
		m.MemberID = id
		has := map[string][]int32{}
		if len(owned[id]) > 0 {
			has["t"] = slices.Clone(owned[id])
		}
		m.ProtocolMetadata = b.JoinGroupMetadata([]string{"t"}, has, generation)
		members = append(members, m)
	}
	balancer, topics, err := b.MemberBalancer(members)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := topics["t"]; !ok {
		t.Fatal("nobody wants the topic")
	}
	got := map[string][]int32{}
	plan, err := balancer.(kgo.GroupMemberBalancerOrError).BalanceOrError(map[string]int32{"t": 12})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range plan.IntoSyncAssignment() {
		assigned, err := b.ParseSyncAssignment(a.MemberAssignment)
		if err != nil {
			t.Fatal(err)
		}
		got[a.MemberID] = assigned["t"]
	}
	return got
}

func TestMembersStandBy(t *testing.T) {
	most := 0
	m := Membership{Group: "g", Most: func() int { return most }}
	b := m.balancer()
	ids := []string{"klamm-1", "klamm-2", "klamm-3", "klamm-4", "rdkafka-1"}
	owned := map[string][]int32{}
	generation := int32(1)
	// settle balances until nothing changes and checks that no partition is
	// handed to somebody while another one still has it.
	settle := func() (readers []string) {
		t.Helper()
		for range 5 {
			next := share(t, b, ids, owned, generation)
			generation++
			for who, parts := range next {
				for _, p := range parts {
					for other, had := range owned {
						if other != who && slices.Contains(had, p) {
							t.Fatalf("partition %d goes to %s while %s has it", p, who, other)
						}
					}
				}
			}
			owned = next
		}
		all := 0
		for who, parts := range owned {
			if all += len(parts); len(parts) > 0 {
				readers = append(readers, who)
			}
		}
		if all != 12 {
			t.Fatalf("%d of 12 partitions are assigned: %v", all, owned)
		}
		slices.Sort(readers)
		return readers
	}
	if got := settle(); len(got) != 5 {
		t.Fatalf("without a limit %v read", got)
	}
	for _, most = range []int{3, 2, 1, 2, 1} {
		got := settle()
		if len(got) != most+1 || !slices.Contains(got, "rdkafka-1") {
			t.Fatalf("at most %d: %v read", most, got)
		}
	}
	// The one that reads goes: another takes over.
	for id := range owned {
		if id != "rdkafka-1" && len(owned[id]) > 0 {
			delete(owned, id)
			ids = slices.DeleteFunc(ids, func(have string) bool { return have == id })
		}
	}
	if got := settle(); len(got) != 2 {
		t.Fatalf("%v read after one has gone", got)
	}
	most = 7
	if got := settle(); len(got) != 4 {
		t.Fatalf("%v read with room for more", got)
	}
}

func TestGroupsChooseDifferentMembers(t *testing.T) {
	chosen := map[string]int{}
	for i := range 60 {
		m := Membership{Group: fmt.Sprint("g", i), Most: func() int { return 1 }}
		for who, parts := range share(t, m.balancer(), []string{"klamm-a", "klamm-b", "klamm-c"}, nil, 1) {
			if len(parts) > 0 {
				chosen[who]++
			}
		}
	}
	if len(chosen) != 3 || min(chosen["klamm-a"], chosen["klamm-b"], chosen["klamm-c"]) < 5 {
		t.Fatalf("60 groups have chosen %v", chosen)
	}
}
