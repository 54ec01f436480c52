package pipe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/pipe"
	"github.com/klamm-gateway/klamm/target"
)

// trickle writes records until the returned function is called, which says how
// many they were.
func trickle(t *testing.T, c *kafka.Cluster, topic string, every time.Duration) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	var n int
	var writing sync.WaitGroup
	writing.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := c.Produce(t.Context(), &kgo.Record{Topic: topic, Partition: -1, Key: fmt.Appendf(nil, "k%d", n%40), Value: []byte("1")}).FirstErr(); err != nil {
				t.Error(err)
				return
			}
			n++
		}
	})
	return func() int { cancel(); writing.Wait(); return n }
}

// TestConsumersFollowTheLaw runs a pipe in three processes against a target that
// is slow, overloaded, and well again.
func TestConsumersFollowTheLaw(t *testing.T) {
	long(t, "waits for groups")
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 6)
	var overloaded atomic.Bool
	l := &ledger{answer: func([]*event.Event) error {
		if overloaded.Load() {
			return &target.Failure{Status: 429, Err: errors.New("too many requests")}
		}
		return nil
	}}
	def := quick(name)
	def.Scale = catalog.Scale{Interval: 200 * time.Millisecond, Lag: 30}
	r, _ := l.start(t, c, def)
	l.start(t, c, def)
	l.start(t, c, def)
	status := func() pipe.Status {
		s, err := r.Status(t.Context(), def.Name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	eventually(t, "every process reads", func() bool { return status().Consumers == 3 })
	stop := trickle(t, c, name, 2*time.Millisecond)
	eventually(t, "something is delivered", func() bool { return len(l.taken()) > 100 })
	if s := status(); s.Limited {
		t.Fatalf("limited without reason: %+v", s)
	}
	overloaded.Store(true)
	eventually(t, "one reads for an overloaded target", func() bool {
		s := status()
		return s.Consumers == 1 && s.Limited && s.Wanted == 1 && s.Members == 3
	})
	overloaded.Store(false)
	eventually(t, "the limit is gone, and all read again", func() bool { s := status(); return s.Consumers == 3 })
	n := stop()
	eventually(t, "everything is committed", func() bool { return committed(t, c, name, name) == int64(n) })
	if repeated := check(t, l.taken(), n); repeated > 0 {
		t.Errorf("%d of %d records delivered twice: consumers come and go in good order", repeated, n)
	}
	eventually(t, "one is wanted in calm", func() bool { s := status(); return s.Wanted == 1 && !s.Limited && s.Consumers == 3 })
}

func TestALagAsksForMoreConsumersThanThereAre(t *testing.T) {
	long(t, "waits for groups")
	t.Parallel()
	c := cluster(t)
	name := topic(t, c, 6)
	gate := make(chan struct{})
	l := &ledger{answer: func(events []*event.Event) error {
		if bytes.Equal(events[0].Record.Value, []byte("slow")) {
			<-gate
		}
		return nil
	}}
	def := quick(name)
	def.Scale = catalog.Scale{Interval: 200 * time.Millisecond}
	r, _ := l.start(t, c, def)
	fill(t, c, name, 300, 300, []byte("slow"))
	eventually(t, "a second consumer is wanted", func() bool { s, _ := r.Status(t.Context(), def.Name); return s.Wanted == 2 && s.Consumers == 1 })
	l.start(t, c, def)
	eventually(t, "more are wanted when that was not enough", func() bool { s, _ := r.Status(t.Context(), def.Name); return s.Wanted == 4 && !s.Limited })
	close(gate)
	eventually(t, "everything is committed", func() bool { return committed(t, c, name, name) == 300 })
	eventually(t, "one is wanted in calm", func() bool { s, _ := r.Status(t.Context(), def.Name); return s.Wanted == 1 })
	check(t, l.taken(), 300)
}
