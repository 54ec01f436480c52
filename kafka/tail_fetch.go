package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// tailWait is how long a fetch waits in the broker. A partition that joins is
	// fetched by the next request, so it must not be long.
	tailWait = 200 * time.Millisecond
	// tailFetchBytes bounds one answer, and tailPartitionBytes what it holds of
	// one partition, about.
	tailFetchBytes     = 4 << 20
	tailPartitionBytes = 1 << 20
	// tailKept bounds the keys and values of all stretches, about; each has room
	// for tailLeast at least and tailMost at most.
	tailKept  = 64 << 20
	tailLeast = 256 << 10
	tailMost  = 4 << 20
	// tailAge is after how long an entry leaves its stretch, at the latest after
	// twice of it.
	tailAge = 2 * time.Second
	// wakeCost is what it costs to wake one subscription and to write to its
	// client. A loop that has woken many rests for as long as they need, so that
	// they find more than one record each time; wakeMost bounds that.
	wakeCost = 25 * time.Microsecond
	wakeMost = 50 * time.Millisecond
)

// A tailer fetches for all subscriptions there are. Its goroutines are one that
// finds leaders and ends of logs, and one for each broker that leads partitions;
// end waits for them.
type tailer struct {
	cluster *Cluster
	client  *kgo.Client // its connections wait in brokers
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	kick    chan struct{} // filled when there is something to be found

	mu      sync.Mutex // guards what follows, and the fields of topics and tails that say so
	topics  map[string]*tailTopic
	members int            // subscriptions
	loops   map[int32]bool // brokers that a goroutine fetches from
	tails   int
}

// A tailTopic is a topic that somebody is subscribed to.
type tailTopic struct {
	name  string
	meta  atomic.Pointer[Topic]
	count atomic.Int32 // of the topic's partitions
	// tails are the partitions that are subscribed to; guarded by tailer.mu.
	tails map[int32]*tail
}

// A tail is the end of one partition.
type tail struct {
	topic     *tailTopic
	partition int32
	log       atomic.Pointer[stretch] // nil: it is not known yet where the log ends

	// What follows is guarded by tailer.mu.
	subscriptions map[*Subscription]struct{}
	leader        int32     // -1: not known
	next          int64     // to be fetched; -1: not known
	generation    int       // of the last stretch
	failing       time.Time // since when it is out of reach; zero: it is not
	swept         time.Time // when entries were last removed for their age
	old           int64     // entries before it are removed the next time
	size          int       // of the keys and values in the stretch
}

// A stretch is the part of a log that is shared: all records of the offsets from
// first on and before next. It never changes; a longer one takes its place.
type stretch struct {
	first, next int64
	entries     []*Entry
	generation  int   // changes when the stretch does not continue the one before
	err         error // not nil: the partition cannot be followed
}

func newTailer(c *Cluster) (*tailer, error) {
	client, err := kgo.NewClient(append(c.options(), kgo.BrokerMaxReadBytes(recordBytes+(16<<20)))...)
	if err != nil {
		return nil, fmt.Errorf("follow topics: %w", err)
	}
	t := &tailer{cluster: c, client: client, kick: make(chan struct{}, 1), topics: map[string]*tailTopic{}, loops: map[int32]bool{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.running.Go(t.find)
	return t, nil
}

// end stops fetching and waits for that.
func (t *tailer) end() {
	t.cancel()
	t.running.Wait()
	t.client.Close()
}

// join adds a subscription to the tails of partitions, and gives it positions
// whose offsets are still to be set.
func (t *tailer) join(s *Subscription, meta Topic, ids []int32) *tailTopic {
	t.mu.Lock()
	defer t.mu.Unlock()
	topic := t.topics[meta.Name]
	if topic == nil || topic.meta.Load().ID != meta.ID {
		if topic != nil { // deleted and created anew
			topic.stop(fmt.Errorf("%w: %s", ErrTopicGone, meta.Name))
		}
		topic = &tailTopic{name: meta.Name, tails: map[int32]*tail{}}
		t.topics[meta.Name] = topic
		topic.meta.Store(&meta)
		topic.count.Store(int32(len(meta.Partitions)))
	}
	t.members++
	for _, id := range ids {
		s.positions = append(s.positions, position{tail: t.enter(s, topic, id)})
	}
	t.seek()
	return topic
}

// enter adds a subscription to one tail. The caller has the lock.
func (t *tailer) enter(s *Subscription, topic *tailTopic, id int32) *tail {
	tl := topic.tails[id]
	if tl == nil {
		tl = &tail{topic: topic, partition: id, subscriptions: map[*Subscription]struct{}{}, leader: -1, next: -1}
		topic.tails[id] = tl
		t.tails++
	}
	if shared := tl.log.Load(); shared != nil && shared.err != nil {
		tl.log.Store(nil) // the next subscription tries again
		tl.failing = time.Time{}
	}
	tl.subscriptions[s] = struct{}{}
	return tl
}

// grow adds a subscription to the tails of partitions that are new.
func (t *tailer) grow(s *Subscription, count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := int32(len(s.positions)); id < int32(count); id++ {
		// Partitions are numbered from 0 on without holes. Their records are
		// younger than the subscription, all of them.
		s.positions = append(s.positions, position{tail: t.enter(s, s.topic, id), known: 1, generation: outOfStep})
	}
	t.seek()
}

// part takes a subscription out and says whether it was the last.
func (t *tailer) part(s *Subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range s.positions {
		delete(p.tail.subscriptions, s)
		if len(p.tail.subscriptions) == 0 && s.topic.tails[p.tail.partition] == p.tail {
			delete(s.topic.tails, p.tail.partition)
			t.tails--
		}
	}
	if len(s.topic.tails) == 0 && t.topics[s.topic.name] == s.topic {
		delete(t.topics, s.topic.name)
	}
	t.members--
	return t.members == 0
}

// seek has the finder look for what is not known.
func (t *tailer) seek() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// led returns the tails that are to be fetched from a broker, those of one topic
// after each other. Where there are none, the broker's loop has ended with the
// call.
func (t *tailer) led(broker int32) []*tail {
	t.mu.Lock()
	defer t.mu.Unlock()
	var led []*tail
	for _, topic := range t.topics {
		for _, tl := range topic.tails {
			if tl.leader == broker && tl.next >= 0 {
				led = append(led, tl)
			}
		}
	}
	if len(led) == 0 {
		delete(t.loops, broker)
	}
	return led
}

// fetch is the loop of one broker.
func (t *tailer) fetch(broker int32) {
	// The client learns the brokers' addresses from metadata that it asked for.
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	_, unknown := req.RequestWith(t.ctx, t.client)
	for {
		led := t.led(broker)
		if len(led) == 0 {
			return
		}
		woken, err := 0, unknown
		if err == nil {
			woken, err = t.fetchOnce(broker, led)
		}
		if err != nil {
			if t.ctx.Err() != nil {
				return
			}
			t.cluster.log.Debug("fetch of tails failed", "broker", broker, "err", err)
			t.mu.Lock()
			for _, tl := range led {
				tl.leader = -1
				tl.fail(err)
			}
			t.mu.Unlock()
			t.seek()
			continue
		}
		if woken == 0 {
			continue
		}
		rest := time.NewTimer(min(time.Duration(woken)*wakeCost, wakeMost))
		select {
		case <-rest.C:
		case <-t.ctx.Done():
			rest.Stop()
			return
		}
	}
}

// fetchOnce sends one request, and says how many subscriptions the answer woke.
func (t *tailer) fetchOnce(broker int32, led []*tail) (woken int, err error) {
	ctx, cancel := context.WithTimeout(t.ctx, tailWait+adminTimeout)
	defer cancel()
	req := newTailFetch(tailWait, tailFetchBytes)
	type place struct {
		id        [16]byte
		name      string
		partition int32
	}
	asked := make(map[place]*tail, 2*len(led))
	at := make(map[*tail]int64, len(led))
	t.mu.Lock()
	for _, tl := range led {
		id := tl.topic.meta.Load().ID
		at[tl] = tl.next
		// Answers name a topic by its id or by its name, as their version wants.
		asked[place{id: id, partition: tl.partition}] = tl
		asked[place{name: tl.topic.name, partition: tl.partition}] = tl
		addTailPartition(req, tl.topic.name, id, tl.partition, tl.next, tailPartitionBytes)
	}
	t.mu.Unlock()
	answer, err := t.client.Broker(int(broker)).Request(ctx, req)
	if err != nil {
		return 0, t.cluster.unreachable(err)
	}
	resp := answer.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return 0, err
	}
	awake := map[*Subscription]struct{}{}
	for i := range resp.Topics {
		rt := &resp.Topics[i]
		for j := range rt.Partitions {
			got := &rt.Partitions[j]
			tl := asked[place{name: rt.Topic, partition: got.Partition}]
			if rt.Topic == "" {
				tl = asked[place{id: rt.TopicID, partition: got.Partition}]
			}
			if tl != nil {
				t.publish(tl, got, at[tl], awake)
			}
		}
	}
	for s := range awake {
		s.poke()
	}
	return len(awake), nil
}

// publish makes what was fetched of one partition known.
func (t *tailer) publish(tl *tail, got *kmsg.FetchResponseTopicPartition, at int64, awake map[*Subscription]struct{}) {
	records, next, err := decodeTail(got, tl.topic.name, at)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if errors.Is(err, kerr.OffsetOutOfRange) {
			tl.next = -1
		} else {
			tl.leader = -1
		}
		tl.fail(err)
		t.seek()
		return
	}
	tl.failing = time.Time{}
	shared := tl.log.Load()
	if shared == nil || tl.next != at {
		return
	}
	if entries := tl.extend(shared, records, t.room()); next != at || len(entries) != len(shared.entries) {
		longer := &stretch{first: shared.first, next: next, entries: entries, generation: shared.generation}
		if dropped := len(shared.entries) + len(records) - len(entries); dropped > 0 {
			longer.first = next
			if len(entries) > 0 {
				longer.first = entries[0].Record.Offset
			}
		}
		tl.next = next
		tl.log.Store(longer)
	}
	if len(records) > 0 {
		for s := range tl.subscriptions {
			awake[s] = struct{}{}
		}
	}
}

// room is how many bytes a stretch may have. The caller has the lock.
func (t *tailer) room() int { return min(max(tailKept/max(t.tails, 1), tailLeast), tailMost) }

// extend returns the entries of a stretch with more records at the end, and
// without those at the beginning that are too many or too old. Of what was just
// fetched everything stays. The caller has the lock.
func (tl *tail) extend(shared *stretch, records []*kgo.Record, room int) []*Entry {
	entries := shared.entries
	bytes := func(e *Entry) int { return len(e.Record.Key) + len(e.Record.Value) }
	more := 0
	for _, r := range records {
		more += len(r.Key) + len(r.Value)
	}
	drop := func() {
		tl.size -= bytes(entries[0])
		entries = entries[1:]
	}
	for len(entries) > 0 && tl.size+more > room {
		drop()
	}
	if now := time.Now(); now.Sub(tl.swept) >= tailAge {
		for len(entries) > 0 && entries[0].Record.Offset < tl.old {
			drop()
		}
		tl.swept, tl.old = now, shared.next
	}
	if len(entries) == 0 {
		entries = nil // lets the array behind it go
	}
	made := make([]Entry, len(records))
	for i, r := range records {
		made[i].Record = r
		entries = append(entries, &made[i])
	}
	tl.size += more
	return entries
}

// fail notes that a tail is out of reach; after some time its subscriptions are
// told. The caller has the lock.
func (tl *tail) fail(err error) {
	if tl.failing.IsZero() {
		tl.failing = time.Now()
		return
	}
	limit := tailFailing
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
		limit, err = goneAfter, fmt.Errorf("%w: %s", ErrTopicGone, tl.topic.name)
	}
	if time.Since(tl.failing) >= limit {
		tl.stop(err)
	}
}

// stop is stop for all tails of a topic. The caller has the lock.
func (topic *tailTopic) stop(err error) {
	for _, tl := range topic.tails {
		tl.stop(err)
	}
}

// stop tells all subscriptions of a tail that it cannot be followed. The caller
// has the lock.
func (tl *tail) stop(err error) {
	tl.generation++
	tl.next, tl.size = -1, 0
	tl.log.Store(&stretch{generation: tl.generation, err: err})
	for s := range tl.subscriptions {
		s.poke()
	}
}

// begin starts a stretch at an offset. The caller has the lock.
func (tl *tail) begin(at int64) {
	tl.generation++
	tl.next, tl.size, tl.swept, tl.old = at, 0, time.Now(), at
	tl.log.Store(&stretch{first: at, next: at, generation: tl.generation})
	for s := range tl.subscriptions {
		s.poke()
	}
}

// names returns the topics that are subscribed to, sorted.
func (t *tailer) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Sorted(maps.Keys(t.topics))
}
