package gate

import (
	"context"

	"github.com/klamm-gateway/klamm/iam"
)

// The actions of klamm's own operations (gateway-policies.md 2.2).
const (
	AdminRead  Action = "klamm:AdminRead"  // look at pipes, dead letters, deliveries
	AdminWrite Action = "klamm:AdminWrite" // pause, move, redrive, discard, replay
)

// Admin asks the policies whether a caller may do something to a resource that
// is klamm's own; the action is AdminRead or AdminWrite, or that of an AWS API on a
// resource of the kind arn. Unlike the other methods it leaves the deed to the caller.
func (g *Gate) Admin(ctx context.Context, who Principal, action Action, r Resource) error {
	return g.allow(ctx, who, action, r.Kind, r.Name)
}

// actionOf returns an action as package iam knows it. Those of the AWS APIs that klamm
// speaks need only be well-formed.
func actionOf(a Action) iam.Action {
	if known, ok := parsed[a]; ok {
		return known
	}
	one, _ := iam.ParseAction(string(a)) // what is none is allowed to nobody
	return one
}
