package kafka

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pauses are until when brokers want nothing, which is what their quotas do. Requests
// wait by themselves; this is for whoever could ask for less.
type pauses struct {
	see  atomic.Pointer[func(time.Duration)]
	last atomic.Int64 // when the last of them ends, as time.Time.UnixNano

	mu    sync.Mutex          // guards what follows
	until map[int32]time.Time // by broker
}

// WatchPauses has see called whenever a broker asks for a pause, and for how long. It
// must not block. Only one see is called, the last.
func (c *Cluster) WatchPauses(see func(time.Duration)) { c.pauses.see.Store(&see) }

// note keeps a pause that a broker has asked for.
func (p *pauses) note(broker int32, d time.Duration) {
	if d <= 0 {
		return
	}
	if see := p.see.Load(); see != nil {
		(*see)(d)
	}
	until := time.Now().Add(d)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		p.until = map[int32]time.Time{}
	}
	if until.After(p.until[broker]) {
		p.until[broker] = until
	}
	if n := until.UnixNano(); n > p.last.Load() {
		p.last.Store(n)
	}
}

// of returns for how long brokers want nothing yet; 0 for those that want something.
func (p *pauses) of(brokers ...int32) (longest, shortest time.Duration) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range brokers {
		left := max(p.until[b].Sub(now), 0)
		longest = max(longest, left)
		if i == 0 || left < shortest {
			shortest = left
		}
	}
	return longest, shortest
}

// none says that no broker has asked for a pause that goes on.
func (p *pauses) none() bool { return p.last.Load() <= time.Now().UnixNano() }

// PauseBefore returns for how long brokers want none of these records yet, which are
// all of one topic: the leaders of the partitions that they go to have asked for a
// pause. Records that may go to any partition wait only where all leaders have. It asks
// no broker, and knows nothing of a topic that nothing was written to yet.
func (c *Cluster) PauseBefore(topic string, records []*kgo.Record) (longest time.Duration) {
	if c.pauses.none() || len(records) == 0 {
		return 0
	}
	var leaders []int32
	for p := int32(0); ; p++ {
		leader := c.leader(topic, p)
		if leader < 0 {
			break
		}
		leaders = append(leaders, leader)
	}
	if len(leaders) == 0 {
		return 0
	}
	_, anywhere := c.pauses.of(leaders...)
	keyed := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	for _, r := range records {
		at := r.Partition
		switch {
		case at < 0 && r.Key == nil:
			longest = max(longest, anywhere)
			continue
		case at < 0:
			at = int32(keyed.Partition(r, len(leaders)))
		}
		if int(at) < len(leaders) {
			pause, _ := c.pauses.of(leaders[at])
			longest = max(longest, pause)
		}
	}
	return longest
}

// leader returns the leader of a partition as far as a producer knows it, each of which
// knows the topics that went by it; -1: none does.
func (c *Cluster) leader(topic string, partition int32) int32 {
	for _, producer := range []*kgo.Client{c.crowd.client.Load(), c.producer} {
		if producer == nil {
			continue
		}
		if leader, _, err := producer.PartitionLeader(topic, partition); err == nil && leader >= 0 {
			return leader
		}
	}
	return -1
}

// PauseOf returns for how long a broker wants nothing yet: it has asked for a pause.
func (c *Cluster) PauseOf(broker int32) time.Duration {
	if c.pauses.none() {
		return 0
	}
	pause, _ := c.pauses.of(broker)
	return pause
}

// pauseHook tells a cluster of its brokers' pauses.
type pauseHook struct{ cluster *Cluster }

// OnBrokerThrottle is part of kgo.HookBrokerThrottle.
func (h pauseHook) OnBrokerThrottle(broker kgo.BrokerMetadata, interval time.Duration, _ bool) {
	h.cluster.pauses.note(broker.NodeID, interval)
}

// crowded is the part of the room for waiting records beyond which no more should come
// (gateway-policies.md 3.6).
const crowded = bufferedBytes / 5 * 4

// Crowded says that so many bytes of records wait for the brokers already, more than
// four fifths of what there is room for, that no more should be handed over.
func (c *Cluster) Crowded() bool { return c.waitingBytes() > crowded }

// waitingBytes is how many bytes of ordinary records wait for the brokers.
func (c *Cluster) waitingBytes() int64 {
	return c.producer.BufferedProduceBytes() + c.crowd.waitingBytes()
}
