package pipe

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/kafka"
)

// A seat is a membership of a pipe's group. Flows occupy it one after the other: when
// a definition changes and neither topics nor group do, the next flow takes over the
// partitions of the one before, and nobody else in the group notices. What the group
// has to tell goes to the flow that occupies it.
type seat struct {
	consumer *kafka.Consumer
	flow     atomic.Pointer[flow]
	order    sync.Mutex // held while partitions come and go, and while flows change
}

func (s *seat) assigned(got map[string][]int32) {
	s.order.Lock()
	defer s.order.Unlock()
	s.flow.Load().assigned(got)
}

func (s *seat) revoked(ctx context.Context, taken map[string][]int32) {
	s.order.Lock()
	defer s.order.Unlock()
	s.flow.Load().revoked(ctx, taken)
}

func (s *seat) lost(taken map[string][]int32) {
	s.order.Lock()
	defer s.order.Unlock()
	s.flow.Load().lost(taken)
}

func (s *seat) gone(topic string, partition int32, count int64) {
	s.flow.Load().gone(topic, partition, count)
}

func (s *seat) began(partitions map[string][]int32) { s.flow.Load().began(partitions) }

func (s *seat) vanished(topic string, partition int32) {
	s.flow.Load().offsetVanished(topic, partition)
}

// hand gives the seat to the next flow. The one before has ended its deliveries and
// committed: what it had read and not delivered is read again, by the new
// definition.
func (s *seat) hand(to *flow) {
	s.order.Lock()
	defer s.order.Unlock()
	from := s.flow.Load()
	got := map[string][]int32{}
	back := map[string]map[int32]int64{}
	var paused, leaving []*partition
	from.mu.Lock()
	for at, p := range from.parts {
		got[at.topic] = append(got[at.topic], at.number)
		if p.track.span() > 0 {
			if back[at.topic] == nil {
				back[at.topic] = map[int32]int64{}
			}
			back[at.topic][at.number] = p.track.offsets[0] // the lowest that is not finished
		}
		if p.paused {
			paused = append(paused, p)
		}
		p.let = true // nothing that still waits for its turn is attempted
		leaving = append(leaving, p)
	}
	from.mu.Unlock()
	from.forget(leaving)
	to.seat, to.consumer, to.limit = s, s.consumer, from.limit
	to.assigned(got)
	if len(back) > 0 {
		s.consumer.Rewind(back)
	}
	for _, p := range paused {
		s.consumer.Resume(p.topic, p.number)
	}
	s.flow.Store(to)
}

// leave ends the membership.
func (s *seat) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.consumer.Leave(ctx)
}
