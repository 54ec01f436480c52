package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// GrowTopic raises the number of partitions of a topic to total.
func (c *Cluster) GrowTopic(ctx context.Context, name string, total int32) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	defer c.listed.change()
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = name, total
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), int32(adminTimeout.Milliseconds())
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return fmt.Errorf("add partitions to topic %s: %w", name, c.unreachable(err))
	}
	if len(resp.Topics) != 1 {
		return kerr.UnknownTopicOrPartition
	}
	return explained(resp.Topics[0].ErrorCode, resp.Topics[0].ErrorMessage)
}

// TopicOperations returns what klamm itself may do to each of the topics, by
// the names of ACL operations, as the brokers tell it; an empty list where they
// do not.
func (c *Cluster) TopicOperations(ctx context.Context, topics ...string) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &name
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return nil, fmt.Errorf("operations on topics: %w", c.unreachable(err))
	}
	operations := map[string][]string{}
	for _, t := range resp.Topics {
		if t.Topic != nil {
			operations[*t.Topic] = operationsOf(t.AuthorizedOperations)
		}
	}
	return operations, nil
}

// operationsOf reads a bit field of operations; the smallest number says that
// the broker left it out.
func operationsOf(bits int32) []string {
	names := []string{}
	if bits == -1<<31 {
		return names
	}
	for op, name := range aclOperations {
		if op > 2 && bits&(1<<op) != 0 {
			names = append(names, name)
		}
	}
	return names
}
