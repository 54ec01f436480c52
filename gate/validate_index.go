package gate

import (
	"path"
	"slices"
	"strings"
)

// A topicIndex finds the rules that match a topic, so that ten thousand rules cost a
// topic that nobody has asked for yet no more than ten: names are looked up as they
// are, patterns that end in their only "*" by what stands before it, and others are
// tried one after the other.
type topicIndex struct {
	names    map[string][]int // places of rules, by whole name
	prefixes map[string][]int // by what stands before "*"
	lengths  []int            // of the prefixes
	rest     []int
}

// newTopicIndex returns an index of patterns with "*" and "?".
func newTopicIndex(patterns []string) *topicIndex {
	x := &topicIndex{names: map[string][]int{}, prefixes: map[string][]int{}}
	for i, pattern := range patterns {
		switch at := strings.IndexAny(pattern, `*?[\`); {
		case at < 0:
			x.names[pattern] = append(x.names[pattern], i)
		case at == len(pattern)-1 && pattern[at] == '*':
			prefix := pattern[:at]
			x.prefixes[prefix] = append(x.prefixes[prefix], i)
			if !slices.Contains(x.lengths, at) {
				x.lengths = append(x.lengths, at)
			}
		default:
			x.rest = append(x.rest, i)
		}
	}
	return x
}

// find returns the places of the patterns that match a topic, in their order. The
// result must not be changed.
func (x *topicIndex) find(topic string, patterns func(i int) string) []int {
	found, parts := x.names[topic], 0
	if len(found) > 0 {
		parts = 1
	}
	add := func(more ...int) {
		if len(more) == 0 {
			return
		}
		if parts++; parts == 1 {
			found = more
			return
		}
		found = append(slices.Clip(found), more...)
	}
	for _, n := range x.lengths {
		if n <= len(topic) {
			add(x.prefixes[topic[:n]]...)
		}
	}
	for _, i := range x.rest {
		if ok, _ := path.Match(patterns(i), topic); ok {
			add(i)
		}
	}
	if parts > 1 {
		slices.Sort(found)
	}
	return found
}
