package pipe_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/klamm-gateway/klamm/kafka"
)

// makeAnew deletes a topic, waits until its group has forgotten it, and makes another one
// of its name.
func makeAnew(t *testing.T, c *kafka.Cluster, topic, group string, partitions int32) {
	t.Helper()
	eventually(t, "the topic is deleted", func() bool {
		return errors.Is(c.DeleteTopic(t.Context(), topic), kerr.UnknownTopicOrPartition)
	})
	eventually(t, "its offsets are deleted", func() bool {
		offsets, err := c.Admin().FetchOffsets(t.Context(), group)
		return err == nil && len(offsets[topic]) == 0
	})
	eventually(t, "there is another topic", func() bool {
		err := c.EnsureTopic(t.Context(), topic, partitions, nil)
		if err == nil {
			_, err = c.Topic(t.Context(), topic)
		}
		return err == nil
	})
}

// Records of a topic that was deleted and made again are all delivered, those included
// that were written before the pipe has noticed, while its other topics go on.
func TestATopicThatWasMadeAnewIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(map[bool]string{true: "under a running pipe", false: "while the pipe was stopped"}[running], func(t *testing.T) {
			c := cluster(t)
			name, other := topic(t, c, 2), topic(t, c, 1)
			l := &ledger{}
			def := quick(name)
			def.Start = "latest"
			def.Topics = []string{name, other}
			if !running { // or the offsets of the other topic would say that the group has begun
				def.Topics = def.Topics[:1]
			}
			_, stop := l.start(t, c, def)
			eventually(t, "a start", func() bool {
				offsets, err := c.Admin().FetchOffsets(t.Context(), name)
				return err == nil && len(offsets[name]) == 2
			})
			fill(t, c, name, 10, 10, []byte("1"))
			eventually(t, "the first topic", func() bool { return committed(t, c, name, name) == 10 })
			before := len(l.taken())
			if !running {
				stop()
			}
			makeAnew(t, c, name, name, 3)
			fill(t, c, name, 20, 20, []byte("2"))
			if !running {
				l.start(t, c, def)
			} else {
				fill(t, c, other, 5, 5, []byte("3"))
			}
			eventually(t, "the second topic", func() bool { return committed(t, c, name, name) == 20 })
			if running {
				eventually(t, "the other topic", func() bool { return committed(t, c, name, other) == 5 })
				before += 5
			}
			if n := len(l.taken()) - before; n < 20 {
				t.Errorf("%d of 20 records delivered", n)
			}
		})
	}
}
