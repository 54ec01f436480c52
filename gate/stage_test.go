package gate

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestMembersAreShownAsTheStageHasThem checks that the partitions of a group's members
// have the names of the caller's stage, and that those of other topics are not told.
func TestMembersAreShownAsTheStageHasThem(t *testing.T) {
	all := []kafka.Member{
		{ID: "a", Assigned: []kafka.TopicPartition{{Topic: "dev-orders", Partition: 1}, {Topic: "dev-secret", Partition: 0}, {Topic: "prod-orders", Partition: 2}, {Topic: "dev-", Partition: 0}}},
		{ID: "b"},
	}
	sees := &sight{of: func(topic string) bool { return topic != "dev-secret" }}
	for _, tt := range []struct {
		prefix string
		want   []kafka.TopicPartition
	}{
		{"dev-", []kafka.TopicPartition{{Topic: "orders", Partition: 1}}},
		{"", []kafka.TopicPartition{{Topic: "dev-orders", Partition: 1}, {Topic: "prod-orders", Partition: 2}, {Topic: "dev-", Partition: 0}}},
		{"test-", nil},
	} {
		who := Principal{TopicPrefix: tt.prefix}
		want := []kafka.Member{{ID: "a", Assigned: tt.want}, {ID: "b"}}
		if diff := cmp.Diff(want, who.shownMembers(all, sees)); diff != "" {
			t.Errorf("prefix %q: %s", tt.prefix, diff)
		}
	}
	if len(all[0].Assigned) != 4 {
		t.Errorf("what was shown has changed: %+v", all[0])
	}
}
