package gate

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

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

// TestErrorsNameTopicsAsTheStageDoes checks that what is said of a topic has the caller's
// name for it, and that the error stays the same otherwise.
func TestErrorsNameTopicsAsTheStageDoes(t *testing.T) {
	who := Principal{TopicPrefix: "dev-"}
	missing := fmt.Errorf("%w: partition 9 of topic dev-t not present in metadata", kafka.ErrNoPartition)
	got := who.shownError(missing, "dev-t")
	if want := "no such topic or partition: partition 9 of topic t not present in metadata"; !errors.Is(got, kafka.ErrNoPartition) || got.Error() != want || kafka.Message(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if got := (&Principal{}).shownError(missing, "dev-t"); got.Error() != missing.Error() {
		t.Errorf("without a prefix: %v", got)
	}
	if got := who.shownError(kerr.TopicAlreadyExists, "dev-t"); got.Error() != kerr.TopicAlreadyExists.Error() {
		t.Errorf("Kafka's description alone: %v", got)
	}
	if got := who.shownError(nil, "dev-t"); got != nil {
		t.Errorf("no error: %v", got)
	}
	for _, tt := range []struct{ in, want string }{
		{"Topic 'dev-t' already exists.", "Topic 't' already exists."},
		{"There is no broker 3 for a replica of topic dev-t.", "There is no broker 3 for a replica of topic t."},
		{"dev-t dev-tt dev-t.x xdev-t dev-t", "t dev-tt dev-t.x xdev-t t"},
		{"dev-t...", "t..."},
		{"dev-tdev-t", "dev-tdev-t"},
		{"nothing", "nothing"},
	} {
		if got := renamed(tt.in, "dev-t", "t"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.in, got, tt.want)
		}
	}
}
