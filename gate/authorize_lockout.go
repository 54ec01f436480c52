package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/iam"
)

// ShutsOut says whether the policy of a cluster would keep the one who writes it from
// writing another one: then it takes somebody else, or the configuration file, to undo
// it. The policy must be one that CheckClusterPolicy takes. Name and ARN are the
// cluster's; the policy does not take effect.
func (a *Authority) ShutsOut(ctx context.Context, who Principal, name, arn, policy string) (bool, error) {
	d, err := iam.Parse([]byte(policy), iam.Resources)
	if err != nil {
		return false, err
	}
	draft := &clusterPolicy{policy: d}
	if name != OwnCluster {
		draft.arn = arn
	}
	a.mu.Lock()
	clusters := map[string]*clusterPolicy{}
	for other, c := range a.owns {
		clusters[other] = c
	}
	clusters[name] = draft
	l, err := a.file.with(a.made, clusters)
	a.mu.Unlock()
	if err != nil {
		return false, err
	}
	q, err := a.ask(ctx, l, &Call{Principal: who, Action: PutClusterPolicy, Resource: Resource{Kind: "arn", Name: arn}})
	if err != nil {
		return false, err
	}
	return a.judge(q) != nil, nil
}
