package kafka

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// crowdCalls is how many calls of Produce at once are no crowd yet.
	crowdCalls = 16
	// crowdLinger is how long a record of a crowd waits for others: requests to the brokers
	// for a few records each are a large part of what a record costs.
	crowdLinger = 500 * time.Microsecond
)

// A crowd counts the callers that produce at the same time. While there are many, their
// records go by a producer that waits a moment for more of them, so that dozens share a
// request; a caller who is alone never waits. The producer is made when there is a crowd
// for the first time, and not used while records of Send are under way, which go by the
// other one and before those of a later Produce.
//
// What was acknowledged is before what is produced later. A record that its caller gave up,
// and that is written after all, may come behind one that was produced meanwhile.
// The zero value is an empty crowd. It is safe for concurrent use.
type crowd struct {
	calls  atomic.Int64
	sends  atomic.Int64               // records of Send under way
	client atomic.Pointer[kgo.Client] // nil: there was no crowd yet

	mu     sync.Mutex // held while client is made
	closed bool
}

// enter counts a call until leave, which must follow, and returns the producer that it is
// to use. The error is ErrOverloaded: one producer has room for bufferedBytes, and once
// there are two no call begins when they have as much together.
func (c *crowd) enter(of *Cluster) (*kgo.Client, error) {
	many := c.calls.Add(1) > crowdCalls && c.sends.Load() == 0
	client := c.client.Load()
	if many && client == nil {
		client = c.open(of)
	}
	switch {
	case client == nil:
		return of.producer, nil
	case of.waitingBytes() > bufferedBytes-batchBytes:
		return nil, ErrOverloaded
	case many:
		return client, nil
	default:
		return of.producer, nil
	}
}

func (c *crowd) leave() { c.calls.Add(-1) }

// open makes the producer; nil: it cannot be made, or the cluster is closed.
func (c *crowd) open(of *Cluster) *kgo.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client := c.client.Load(); client != nil || c.closed {
		return client
	}
	client, err := of.newProducer(batchBytes, crowdLinger)
	if err != nil {
		of.log.Warn("no producer for many callers; they share the one for few", "err", err)
		c.closed = true
		return nil
	}
	c.client.Store(client)
	return client
}

// waitingBytes is how many bytes of records wait for the brokers.
func (c *crowd) waitingBytes() int64 {
	if client := c.client.Load(); client != nil {
		return client.BufferedProduceBytes()
	}
	return 0
}

// forget has the producer forget topics.
func (c *crowd) forget(topics []string) {
	if client := c.client.Load(); client != nil {
		client.PurgeTopicsFromProducing(topics...)
	}
}

// flush waits until what the producer has is written.
func (c *crowd) flush(ctx context.Context) {
	if client := c.client.Load(); client != nil {
		_ = client.Flush(ctx)
	}
}

// close ends the producer. Records that are still waiting fail.
func (c *crowd) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if client := c.client.Load(); client != nil {
		client.Close()
	}
}
