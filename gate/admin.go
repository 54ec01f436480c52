package gate

import "context"

// The actions of klamm's own operations (gateway-policies.md 2.2).
const (
	AdminRead  Action = "klamm:AdminRead"  // look at pipes, dead letters, deliveries
	AdminWrite Action = "klamm:AdminWrite" // pause, move, redrive, discard, replay
)

// Admin asks the policies whether a caller may do something to a resource that
// is klamm's own; the action is AdminRead or AdminWrite. Unlike the other methods
// it leaves the deed to the caller.
func (g *Gate) Admin(ctx context.Context, who Principal, action Action, r Resource) error {
	return g.allow(ctx, who, action, r.Kind, r.Name)
}
