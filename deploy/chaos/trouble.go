package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A kind of event, and what may come more than once because of it: what is in
// flight in all processes, and what was delivered from before the event until
// after it.
//
// Klamm commits every 100 ms; commitLag leaves room for a commit that takes its
// time. Members that the group has thrown out learn of it from their next
// heartbeat, and a lost coordinator of the group is replaced when the session of
// its broker has run out: what is delivered until then cannot be committed.
type kind struct {
	name          string
	before, after time.Duration
	gone          int // members that the group has no more after it, of those it had
}

const (
	commitLag = time.Second
	everyone  = 1 << 30
)

var (
	calm        = kind{name: "before the first event"}
	kill        = kind{name: "kill -9 of a klamm", before: commitLag, gone: 1}
	cooperative = kind{name: "rebalance: a member joins and leaves"}
	eager       = kind{name: "rebalance: all lose everything", before: commitLag, after: 4 * time.Second, gone: everyone}
	lose        = kind{name: "a broker is lost", before: commitLag, after: 15 * time.Second}
	bringBack   = kind{name: "the broker returns", before: commitLag, after: 15 * time.Second}
)

// An event is something that went wrong on purpose.
type event struct {
	kind  kind
	begun time.Time
	took  time.Duration // until all that was written before it had arrived
	bound int           // for what may be repeated
}

// plan puts the events in an order that a seed gives. The broker is lost in the
// middle and returns two events later.
func plan(kills, rebalances int, broker bool, seed uint64) []kind {
	var events []kind
	for range kills {
		events = append(events, kill)
	}
	for i := range rebalances {
		events = append(events, []kind{cooperative, eager}[i%2])
	}
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	if broker {
		middle := len(events) / 2
		events = slices.Insert(events, min(middle+2, len(events)), bringBack)
		events = slices.Insert(events, middle, lose)
	}
	return events
}

// A trouble makes events happen.
type trouble struct {
	*stage
	group, topic string
	nodes        nodes // "": none can be stopped
	random       *rand.Rand
	lost         int // the node that is down
}

// cause makes an event happen. It returns when the trouble is over, though not
// yet its consequences.
func (t *trouble) cause(ctx context.Context, k kind) error {
	switch k {
	case kill:
		return t.killOne(ctx)
	case cooperative:
		return t.intrude(ctx)
	case eager:
		return t.cluster.Evict(ctx, t.group, func([]string) []string { return []string{"klamm"} })
	case lose:
		t.lost = 1 + t.random.IntN(len(t.brokers))
		return t.nodes.lose(ctx, t.stage, t.lost)
	case bringBack:
		return t.nodes.bringBack(ctx, t.stage, t.lost)
	}
	return fmt.Errorf("no such event: %s", k.name)
}

// killOne kills a klamm and starts it again a little later.
func (t *trouble) killOne(ctx context.Context) error {
	p := t.processes[t.random.IntN(len(t.processes))]
	p.kill()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Duration(t.random.IntN(2_000)) * time.Millisecond):
	}
	return p.start()
}

// intrude joins the pipe's group as a foreign member, takes the partitions that it
// is given, reads nothing of them, and leaves.
func (t *trouble) intrude(ctx context.Context) error {
	given := make(chan struct{}, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(t.brokers...), kgo.ClientID("chaos-intruder"), kgo.ConsumerGroup(t.group), kgo.ConsumeTopics(t.topic),
		kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.DisableAutoCommit(), kgo.SessionTimeout(10*time.Second), kgo.FetchMaxBytes(1<<20), kgo.FetchMaxPartitionBytes(64<<10),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) {
			if len(got) > 0 {
				select {
				case given <- struct{}{}:
				default:
				}
			}
		}))
	if err != nil {
		return fmt.Errorf("open the foreign member: %w", err)
	}
	defer client.CloseAllowingRebalance()
	select {
	case <-given:
	case <-time.After(patience):
		return fmt.Errorf("the foreign member got no partition within %s", patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
	leave, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := client.LeaveGroupContext(leave); err != nil {
		return fmt.Errorf("the foreign member leaves: %w", err)
	}
	return nil
}

// members returns the ids of the group's members if it is at rest: every klamm has
// partitions, and nobody else has. Otherwise it returns nil.
func (t *trouble) members(ctx context.Context) (ids []string) {
	g, err := t.cluster.Group(ctx, t.group)
	if err != nil || g.State != "STABLE" || len(g.Members) != len(t.processes) {
		return nil
	}
	for _, m := range g.Members {
		if m.ClientID != "klamm" || len(m.Assigned) == 0 {
			return nil
		}
		ids = append(ids, m.ID)
	}
	return ids
}

// committed returns the offsets that the group has committed, by partition; none if
// nobody can say.
func (t *trouble) committed(ctx context.Context) map[int32]int64 {
	lags, err := t.cluster.Lags(ctx, t.group)
	if err != nil {
		return nil
	}
	offsets := map[int32]int64{}
	for _, l := range lags {
		offsets[l.Partition] = l.Committed
	}
	return offsets
}

// rest waits until the group is at rest without some of the members that it had: a
// klamm that was killed is a member until its session has run out.
func (t *trouble) rest(ctx context.Context, had []string, gone int) error {
	return t.until(ctx, "every klamm has partitions", patience, func() bool {
		now := t.members(ctx)
		left := 0
		for _, id := range had {
			if slices.Contains(now, id) {
				left++
			}
		}
		return now != nil && left <= len(had)-gone
	})
}
