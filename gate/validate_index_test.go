package gate

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestTopicIndexFindsWhatPatternsMatch compares the index with a look at every pattern.
func TestTopicIndexFindsWhatPatternsMatch(t *testing.T) {
	patterns := []string{"orders", "iot.*", "*", "iot.?", "orders", "*.dlq", "iot.a*b", "iot.", "", "o*", "iot.*", "ünï*"}
	x := newTopicIndex(patterns)
	for _, topic := range []string{"orders", "iot.a", "iot.ab", "iot.a.dlq", "iot.", "iot", "o", "other", "", "ünïcode", "x.dlq"} {
		var want []int
		for i, p := range patterns {
			if ok, _ := path.Match(p, topic); ok {
				want = append(want, i)
			}
		}
		if got := x.find(topic, func(i int) string { return patterns[i] }); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", topic, got, want)
		}
	}
	// The index itself is not changed by looking something up.
	for range 3 {
		x.find("iot.a", func(i int) string { return patterns[i] })
	}
	if got := x.prefixes["iot."]; !slices.Equal(got, []int{1, 10}) {
		t.Errorf("the index has changed: %v", got)
	}
}

// manyTopicRules are rules for that many topics, half of them patterns.
func manyTopicRules(n int) []TopicRule {
	rules := make([]TopicRule, n)
	for i := range rules {
		rules[i] = TopicRule{Match: fmt.Sprintf("fleet-%d", i), Value: &PartRule{Schema: json.RawMessage(`{"type":"object","required":["device"]}`)}}
		if i%2 == 1 {
			rules[i].Match += ".*"
		}
	}
	return rules
}

// BenchmarkValidateManyRules writes one record to a topic that nobody has written to
// before, with 10 and with 10,000 rules.
func BenchmarkValidateManyRules(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		v, err := NewValidation(manyTopicRules(n), nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		record := []*kgo.Record{{Value: []byte(`{"device":"d-17","t":21.5}`)}}
		for _, topic := range []string{"fleet-7.a", "fleet-4"} {
			b.Run(fmt.Sprintf("%d/first/%s", n, topic), func(b *testing.B) {
				for b.Loop() {
					if v.check(v.find(topic), record, nil) != nil {
						b.Fatal("refused")
					}
				}
			})
			b.Run(fmt.Sprintf("%d/again/%s", n, topic), func(b *testing.B) {
				for b.Loop() {
					if v.check(v.of(topic), record, nil) != nil {
						b.Fatal("refused")
					}
				}
			})
		}
	}
}
