package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Reassignment is a partition that is on its way to other brokers.
type Reassignment struct {
	Topic     string
	Partition int32
	Adding    []int32
	Removing  []int32
}

// Reassignments returns the reassignments under way of one topic, or of all if
// topic is "", by topic and partition.
func (c *Cluster) Reassignments(ctx context.Context, topic string, partitions ...int32) ([]Reassignment, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis = int32(adminTimeout.Milliseconds())
	if topic != "" {
		rt := kmsg.NewListPartitionReassignmentsRequestTopic()
		rt.Topic, rt.Partitions = topic, partitions
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return nil, fmt.Errorf("reassignments: %w", c.unreachable(err))
	}
	if err := explained(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, err
	}
	var all []Reassignment
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if len(p.AddingReplicas)+len(p.RemovingReplicas) > 0 {
				all = append(all, Reassignment{t.Topic, p.Partition, p.AddingReplicas, p.RemovingReplicas})
			}
		}
	}
	slices.SortFunc(all, func(a, b Reassignment) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all, nil
}
