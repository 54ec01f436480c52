// Package gate decides and does. Every operation that a caller can ask klamm
// for is a method of Gate, and every method has the same two steps: check the
// policies, then act. Dialects translate HTTP into these calls and have no other
// way to reach a broker, so no policy can be forgotten.
package gate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/iam"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/schema"
)

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
	Group     string        // consumer group in which a topic is read; empty: none
	Partition *int32        // that is read; nil: none in particular
	Policies  []*iam.Policy // resource policies that the resource itself has

	decision iam.Decision // of the policy that allowed it
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
	audit     *Audit // nil: there is none
	consumers consumers
	// protection keeps the cluster healthy; nil: nothing does
	protection *Protection
	decisions  decisions
	produced   produced

	identities *identities // nil: every call is klamm's own
	further    map[string]*kafka.Cluster

	stamping atomic.Pointer[Stamping] // nil: no records are stamped

	validation atomic.Pointer[Validation] // nil: records are not looked at

	mostRecords atomic.Int64 // in one call; 0: any number

	schemas *schema.Client // nil: there is no registry
}

// New returns a gate in front of a cluster. Without policies everything is
// allowed.
func New(cluster *kafka.Cluster, policies ...Policy) *Gate {
	return &Gate{cluster: cluster, policies: policies}
}

// Record makes the gate write an audit log. It has to be called before the gate is
// used.
func (g *Gate) Record(a *Audit) { g.audit = a }

// check asks the policies, and keeps the audit log.
func (g *Gate) check(ctx context.Context, c *Call) error {
	if err := c.Principal.renew(ctx); err != nil {
		if g.audit != nil {
			g.audit.refused(c, err)
		}
		return err
	}
	for _, p := range g.policies {
		if err := p.Check(ctx, c); err != nil {
			g.decisions.count(err)
			c.Principal.trail().decided(c, err)
			if g.audit != nil {
				g.audit.refused(c, err)
			}
			return err
		}
	}
	if len(g.policies) > 0 {
		g.decisions.count(nil)
		c.Principal.trail().decided(c, nil)
	}
	if g.audit != nil && administrative[c.Action] {
		g.audit.allowed(c)
	}
	return nil
}

// calls are used again: neither policies nor logs keep a call.
var calls = sync.Pool{New: func() any { return new(Call) }}

// checks is check for a call without resource policies of its own.
func (g *Gate) checks(ctx context.Context, who *Principal, action Action, r Resource, records []*kgo.Record) error {
	c := calls.Get().(*Call)
	c.Principal, c.Action, c.Resource, c.Records = *who, action, r, records
	err := g.check(ctx, c)
	*c = Call{}
	calls.Put(c)
	return err
}

// allow is check for calls that carry no records.
func (g *Gate) allow(ctx context.Context, who Principal, action Action, kind, name string) error {
	if who.visit != nil && action != ReadData {
		if err := who.visit.other(ctx, kind, name); err != nil {
			return err
		}
	}
	if !g.Guarded() && (g.audit == nil || !administrative[action]) {
		return nil
	}
	return g.checks(ctx, &who, action, Resource{Kind: kind, Name: name}, nil)
}

// mayRead is allow for reading a topic, or one of its partitions where partition is not
// negative.
func (g *Gate) mayRead(ctx context.Context, who *Principal, topic string, partition int32) error {
	if !g.Guarded() {
		return nil
	}
	c := &Call{Principal: *who, Action: ReadData, Resource: Resource{Kind: "topic", Name: topic}}
	if partition >= 0 {
		c.Partition = &partition
	}
	return g.check(ctx, c)
}

// A sight says of each name whether a caller may do something to it: for lists, which
// leave the others out. That is no refusal, and not in the audit log. Policies that cannot
// be asked let nothing be seen.
type sight struct {
	of func(name string) bool
	// err is ErrGroups once something could not be seen only because nobody can say which
	// groups the caller is in: the list is not the caller's then.
	err error
}

// sees returns what a caller may do something to.
func (g *Gate) sees(ctx context.Context, who Principal, action Action, kind string) *sight {
	s, c := &sight{}, &Call{Principal: who, Action: action, Resource: Resource{Kind: kind}}
	s.of = func(name string) bool {
		c.Resource.Name = name
		for _, p := range g.policies {
			if err := p.Check(ctx, c); err != nil {
				if errors.Is(err, ErrGroups) {
					s.err = ErrGroups
				}
				return false
			}
		}
		return true
	}
	return s
}
