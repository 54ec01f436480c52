package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
)

// TopicBytes returns how many bytes the records of a topic take on disk, each once
// however many replicas there are. Brokers that do not tell count as none.
func (c *Cluster) TopicBytes(ctx context.Context, topic string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	t, err := c.Topic(ctx, topic)
	if err != nil {
		return 0, err
	}
	asked := kadm.TopicsSet{}
	for _, p := range t.Partitions {
		asked.Add(topic, p.ID)
	}
	dirs, err := c.admin.DescribeAllLogDirs(ctx, asked)
	if err != nil && len(dirs) == 0 {
		return 0, fmt.Errorf("size of topic %s: %w", topic, c.unreachable(err))
	}
	largest := map[int32]int64{} // by partition: a replica that lags has less
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == topic && !p.IsFuture {
				largest[p.Partition] = max(largest[p.Partition], p.Size)
			}
		})
	})
	var sum int64
	for _, size := range largest {
		sum += size
	}
	return sum, nil
}
