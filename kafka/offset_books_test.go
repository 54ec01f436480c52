package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestOffsetsOfGroupsWithoutMembers commits, finds, reads and deletes the offsets of
// groups that nobody is a member of.
func TestOffsetsOfGroupsWithoutMembers(t *testing.T) {
	c := cluster(t)
	prefix := fmt.Sprintf("books-%d/", time.Now().UnixNano())
	topic := fmt.Sprintf("books-%d", time.Now().UnixNano())
	if err := c.EnsureTopic(t.Context(), topic, 3, nil); err != nil {
		t.Fatal(err)
	}
	at := func(p int32) kafka.TopicPartition { return kafka.TopicPartition{Topic: topic, Partition: p} }
	for i, g := range []string{prefix + "a", prefix + "b"} {
		commits := []kafka.Commit{{TopicPartition: at(0), Offset: int64(10 + i)}, {TopicPartition: at(2), Offset: int64(20 + i)}}
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err := c.CommitOffsets(t.Context(), g, commits)
			if err == nil {
				break
			}
			if time.Now().After(end) { // a topic that has just been made is not known everywhere
				t.Fatal(err)
			}
		}
	}
	got, err := c.OffsetsOf(t.Context(), prefix+"a", prefix+"b", prefix+"none")
	want := map[string]map[kafka.TopicPartition]int64{prefix + "a": {at(0): 10, at(2): 20}, prefix + "b": {at(0): 11, at(2): 21}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("offsets: %v\n%s", err, diff)
	}
	for _, g := range []string{prefix + "a", prefix + "none"} {
		if err := c.DeleteOffsets(t.Context(), g, []kafka.TopicPartition{at(0), at(1)}); err != nil {
			t.Fatalf("delete offsets of %s: %v", g, err)
		}
	}
	delete(want[prefix+"a"], at(0))
	if got, err = c.OffsetsOf(t.Context(), prefix+"a", prefix+"b"); err != nil || cmp.Diff(want, got) != "" {
		t.Fatalf("after the deletion: %v, %v", got, err)
	}
	for _, g := range []string{prefix + "b", prefix + "none"} {
		if err := c.DeleteGroup(t.Context(), g); err != nil {
			t.Fatalf("delete group %s: %v", g, err)
		}
	}
	delete(want, prefix+"b")
	if got, err = c.OffsetsOf(t.Context(), prefix+"a", prefix+"b"); err != nil || cmp.Diff(want, got) != "" {
		t.Fatalf("after the deletion of a group: %v, %v", got, err)
	}
}
