// Package gate decides and does. Every operation that a caller can ask klamm
// for is a method of Gate, and every method has the same two steps: check the
// policies, then act. Dialects translate HTTP into these calls and have no other
// way to reach a broker, so no policy can be forgotten.
package gate

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/kafka"
)

// A Principal is who a call is made for. The zero value is nobody.
type Principal struct {
	Name   string   // such as "User:alice"; "User:ANONYMOUS" for a caller without credentials
	Groups []string // names of the groups that the caller is a member of
}

// Anonymous is the principal of callers without credentials, where they are
// allowed.
var Anonymous = Principal{Name: "User:ANONYMOUS"}

// An Action is what a caller wants to do, by its IAM name
// (gateway-policies.md 2.6).
type Action string

// The actions that the operations of this package ask for.
const (
	WriteData       Action = "kafka-cluster:WriteData"
	ReadData        Action = "kafka-cluster:ReadData"
	DescribeTopic   Action = "kafka-cluster:DescribeTopic"
	DescribeConfigs Action = "kafka-cluster:DescribeTopicDynamicConfiguration"
	DescribeCluster Action = "kafka-cluster:DescribeCluster"

	Connect                Action = "kafka-cluster:Connect"
	AlterTopic             Action = "kafka-cluster:AlterTopic"
	AlterConfigs           Action = "kafka-cluster:AlterTopicDynamicConfiguration"
	AlterCluster           Action = "kafka-cluster:AlterCluster"
	DescribeClusterConfigs Action = "kafka-cluster:DescribeClusterDynamicConfiguration"
	AlterClusterConfigs    Action = "kafka-cluster:AlterClusterDynamicConfiguration"
	DescribeGroup          Action = "kafka-cluster:DescribeGroup"
)

// A Resource is what an action is done to.
type Resource struct {
	Kind string // "topic", "group", "cluster"
	Name string
}

// A Call says who wants to do what to which resource.
type Call struct {
	Principal Principal
	Action    Action
	Resource  Resource
	Records   []*kgo.Record // what is to be written; policies may look, not change
}

// A Policy lets a call pass by returning nil. Policies run in order and the
// first refusal ends the call. They are used from many goroutines at once.
type Policy interface {
	Check(ctx context.Context, c *Call) error
}

// A Gate is the guarded way to a cluster. It is safe for concurrent use.
type Gate struct {
	cluster   *kafka.Cluster
	policies  []Policy
	consumers consumers
}

// New returns a gate in front of a cluster. Without policies everything is
// allowed.
func New(cluster *kafka.Cluster, policies ...Policy) *Gate {
	return &Gate{cluster: cluster, policies: policies}
}

// check asks the policies.
func (g *Gate) check(ctx context.Context, c *Call) error {
	for _, p := range g.policies {
		if err := p.Check(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// allow is check for calls that carry no records.
func (g *Gate) allow(ctx context.Context, who Principal, action Action, kind, name string) error {
	if len(g.policies) == 0 {
		return nil
	}
	return g.check(ctx, &Call{Principal: who, Action: action, Resource: Resource{Kind: kind, Name: name}})
}
