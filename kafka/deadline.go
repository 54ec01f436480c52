package kafka

import (
	"context"
	"sync"
	"time"
)

// deadlineStep is how exact deadlines are: records that are produced within it
// share one.
const deadlineStep = 250 * time.Millisecond

// A deadline gives the records of a producer the time that they have for their
// acknowledgement. The client's own limit cannot be used: it counts from the
// record's timestamp, which its sender may have set to last year. Only contexts
// that end by themselves are shared between callers: when one is cancelled, the
// client fails the other records that wait for the same partition with it, which
// is right only where they have no more time either.
type deadline struct {
	longest time.Duration

	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc // of ctx; nobody calls it, time does
	fresh  time.Time          // until then, ctx can be given out
}

// next returns a context that ends the longest time from now, or a step later.
func (d *deadline) next() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); d.ctx == nil || now.After(d.fresh) {
		d.fresh = now.Add(deadlineStep)
		d.ctx, d.cancel = context.WithDeadline(context.Background(), d.fresh.Add(d.longest))
	}
	return d.ctx
}
