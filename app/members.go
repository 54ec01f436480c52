package app

import "context"

// join announces this process to the others of the cluster, so that each can say who
// runs what. The end of the peers takes that back.
func (a *App) join(ctx context.Context) {
	err := a.peers.Open(ctx)
	if err == nil {
		err = a.peers.Hold(ctx)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("this process does not show among the members of the cluster", "err", err)
	}
}
