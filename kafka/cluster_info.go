package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Broker is one live broker, at the address that it gives to clients.
type Broker struct {
	ID   int32
	Host string
	Port int32
	Rack *string // nil: none
}

// Info is what a cluster says about itself.
type Info struct {
	ID         string   // empty where the brokers do not say
	Controller int32    // -1: unknown
	Brokers    []Broker // ascending by id
}

// Info asks the cluster for its id, its controller and its live brokers.
func (c *Cluster) Info(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // nil would ask for all
	resp, err := req.RequestWith(ctx, c.reader)
	if err != nil {
		return Info{}, fmt.Errorf("metadata of the cluster: %w", c.unreachable(err))
	}
	info := Info{Controller: resp.ControllerID}
	if resp.ClusterID != nil {
		info.ID = *resp.ClusterID
	}
	for _, b := range resp.Brokers {
		if b.Rack != nil && *b.Rack == "" {
			b.Rack = nil
		}
		info.Brokers = append(info.Brokers, Broker{b.NodeID, b.Host, b.Port, b.Rack})
	}
	slices.SortFunc(info.Brokers, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	return info, nil
}
