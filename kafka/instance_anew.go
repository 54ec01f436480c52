package kafka

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// beginAnew has the instance forget topics that were deleted, and read others of their
// names from the beginning: the client keeps to the topics that it knew. It is not called
// while a rebalance is blocked.
func (i *Instance) beginAnew(topics []string) {
	i.cluster.log.Warn("topics of a consumer instance were deleted; others of their names are read from the beginning", "group", i.cfg.Group, "topics", topics)
	old := map[string][]int32{}
	start := map[string]map[int32]kgo.Offset{}
	i.mu.Lock()
	for p := range i.assigned {
		if slices.Contains(topics, p.Topic) {
			old[p.Topic] = append(old[p.Topic], p.Partition)
			if start[p.Topic] == nil {
				start[p.Topic] = map[int32]kgo.Offset{}
			}
			start[p.Topic][p.Partition] = kgo.NewOffset().AtStart()
		}
	}
	for _, topic := range topics {
		i.remade[topic] = true
	}
	i.mu.Unlock()
	i.lose(old) // before the client gives them up, which would commit where they were
	i.client.PurgeTopicsFromConsuming(topics...)
	i.mu.Lock()
	for p := range i.taken {
		if slices.Contains(topics, p.Topic) {
			delete(i.taken, p) // nobody has taken it
		}
	}
	i.mu.Unlock()
	if i.member {
		i.client.AddConsumeTopics(topics...)
		return
	}
	i.client.AddConsumePartitions(start)
	i.gain(old)
}
