package gate

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/kafka"
)

// TestPagesOfTopics checks which topics a page has, under which names, and that policies are
// not asked about those that are not looked at.
func TestPagesOfTopics(t *testing.T) {
	var all []kafka.Topic
	for _, name := range []string{"__offsets", "dev-", "dev-a", "dev-b", "dev-ba", "dev-bb", "dev-secret", "dev-z", "orders", "pay", "secret"} {
		all = append(all, kafka.Topic{Name: name, Internal: name == "__offsets"})
	}
	for _, tt := range []struct {
		name, stage, prefix, after string
		limit                      int
		want                       []string
		more                       bool
		asked                      int
	}{
		{"all", "", "", "", 100, []string{"dev-", "dev-a", "dev-b", "dev-ba", "dev-bb", "dev-z", "orders", "pay"}, false, 10},
		{"the first", "", "", "", 2, []string{"dev-", "dev-a"}, true, 3},
		{"those after", "", "", "dev-a", 2, []string{"dev-b", "dev-ba"}, true, 3},
		{"after one that is gone", "", "", "dev-c", 2, []string{"dev-z", "orders"}, true, 4},
		{"the last", "", "", "orders", 1, []string{"pay"}, false, 2},
		{"exactly so many", "", "dev-b", "", 3, []string{"dev-b", "dev-ba", "dev-bb"}, false, 3},
		{"of a prefix, after what comes before it", "", "pa", "a", 9, []string{"pay"}, false, 1},
		{"of a prefix, after what comes behind it", "", "dev", "orders", 9, nil, false, 0},
		{"a stage's", "dev-", "", "", 100, []string{"a", "b", "ba", "bb", "z"}, false, 6},
		{"a page of a stage's", "dev-", "b", "b", 1, []string{"ba"}, true, 2},
		{"a stage without topics", "test-", "", "", 5, nil, false, 0},
	} {
		asked := 0
		sees := &sight{of: func(name string) bool { asked++; return name != "dev-secret" && name != "secret" }}
		who := Principal{TopicPrefix: tt.stage}
		page, more := who.topicPage(all, sees, tt.prefix, tt.after, tt.limit)
		var got []string
		for _, topic := range page {
			got = append(got, topic.Name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || more != tt.more {
			t.Errorf("%s: more %v, %s", tt.name, more, diff)
		}
		if asked != tt.asked {
			t.Errorf("%s: policies were asked about %d topics, want %d", tt.name, asked, tt.asked)
		}
	}
	if all[2].Name != "dev-a" {
		t.Errorf("what others are shown has changed: %+v", all[2])
	}
}
