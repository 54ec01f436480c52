package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Reset says where a consumer begins on a partition without a committed
// offset; its values are those of auto.offset.reset.
type Reset string

// The values of Reset.
const (
	ResetLatest   Reset = "latest"
	ResetEarliest Reset = "earliest"
	ResetNone     Reset = "none" // not at all: an error
)

// An InstanceConfig says how an instance consumes.
type InstanceConfig struct {
	Group      string
	ClientID   string // what the group's description shows
	Reset      Reset
	Committed  bool // records of open and aborted transactions are left out
	AutoCommit bool // what was delivered is committed when a partition is given up
	// Places are where a member goes on in partitions that it gets for the first time.
	Places []Place
}

// A Commit is the offset of the next record that a group is to read of a
// partition.
type Commit struct {
	TopicPartition
	Offset   int64
	Metadata string
}

// A Place is where an instance goes on in a partition instead of at the committed
// offset, as long as that is the one that it was when the place was made.
type Place struct {
	TopicPartition
	Offset    int64 // the next record to be read
	Committed int64 // -1: nothing was committed
}

const (
	// instanceBytes bounds what an instance holds of each broker without being
	// asked for it.
	instanceBytes = 1 << 20
	// leastInstanceWait is how long the broker keeps a fetch of an instance that has
	// nothing to bring. The broker answers one fetch of a connection after the other:
	// the first one after a seek or a new assignment waits behind the one before.
	// Those that come when there are more than a hundred wait longer, up to
	// mostInstanceWait: a thousand idle ones that came one after the other ask a broker
	// some 660 times a second, not 2,000.
	leastInstanceWait = 500 * time.Millisecond
	mostInstanceWait  = 5 * time.Second
	// polled is how many records one poll hands over at most.
	polled = 2000
	// settleTimeout bounds the wait for offsets that a new assignment is still
	// asking for.
	settleTimeout = 5 * time.Second
	// leaveTimeout bounds leaving a group.
	leaveTimeout = 5 * time.Second
)

// An Instance is one consumer whose positions move only when its owner says so:
// records that were fetched wait in it until they are taken, and count as read
// when they were delivered. It heartbeats by itself as long as it is open.
//
// Poll, Take, Restore, Deliver and Seek belong to one goroutine at a time; the
// other methods may be called from any.
type Instance struct {
	cluster *Cluster
	cfg     InstanceConfig
	client  *kgo.Client
	member  bool          // of the group; otherwise partitions were named
	ready   chan struct{} // closed with the first partition
	close   sync.Once

	// committing serializes commits, so that an older one cannot come last.
	committing sync.Mutex

	mu       sync.Mutex // guards what follows; never held during a call of client
	assigned map[TopicPartition]bool
	pending  []*kgo.Record            // fetched and not taken, in the order of offsets within each partition
	position map[TopicPartition]int64 // next offset to read, of what was delivered or sought
	sought   map[TopicPartition]int64 // of seeks that a new assignment must not undo
	places   map[TopicPartition]Place // where a new assignment goes on
	begun    []Place                  // ends of logs at which it has begun, for Begun
	taken    map[TopicPartition]bool  // given up after something was delivered of them, and nothing since
	moved    bool                     // since the last automatic commit
	disowned bool                     // somebody else goes on where it was: it commits nothing
	remade   map[string]bool          // topics of which it has read others of their names
}

// Subscribe makes an instance that is a member of its group and gets partitions
// of the topics, of which there must be one. It does not wait.
func (c *Cluster) Subscribe(cfg InstanceConfig, topics []string) (*Instance, error) {
	i := &Instance{cluster: c, cfg: cfg, member: true, ready: make(chan struct{}), places: map[TopicPartition]Place{}}
	for _, p := range cfg.Places {
		i.places[p.TopicPartition] = p
	}
	err := i.open(
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(topics...),
		// Members of other makes may know the old assignment only; the group
		// settles on what all of them know.
		kgo.Balancers(kgo.CooperativeStickyBalancer(), kgo.RangeBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(2*time.Second),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.AdjustFetchOffsetsFn(i.adjust),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { i.gain(p) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, p map[string][]int32) { i.giveUp(ctx, p) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { i.lose(p) }),
	)
	return i, err
}

// Assign makes an instance that reads the partitions and is no member of its
// group. It begins at the offsets in from, and those in sought count as moves of
// its owner; the others begin where cfg.Reset says, and ResetNone is then the
// error kerr.OffsetOutOfRange. Partitions that do not exist yet are read when
// they do.
func (c *Cluster) Assign(cfg InstanceConfig, partitions []TopicPartition, from, sought map[TopicPartition]int64) (*Instance, error) {
	i := &Instance{cluster: c, cfg: cfg, ready: make(chan struct{})}
	start := map[string]map[int32]kgo.Offset{}
	names := map[string][]int32{}
	for _, p := range partitions {
		offset := cfg.Reset.offset()
		if at, ok := sought[p]; ok {
			offset = kgo.NewOffset().At(at)
		} else if at, ok := from[p]; ok {
			offset = kgo.NewOffset().At(at)
		} else if cfg.Reset == ResetNone {
			return nil, fmt.Errorf("partition %s-%d has no committed offset and there is no reset policy: %w", p.Topic, p.Partition, kerr.OffsetOutOfRange)
		}
		if start[p.Topic] == nil {
			start[p.Topic] = map[int32]kgo.Offset{}
		}
		start[p.Topic][p.Partition] = offset
		names[p.Topic] = append(names[p.Topic], p.Partition)
	}
	if err := i.open(kgo.ConsumePartitions(start)); err != nil {
		return nil, err
	}
	i.gain(names)
	for p, offset := range sought {
		if i.assigned[p] {
			i.position[p], i.moved = offset, true
		}
	}
	return i, nil
}

// open makes the client.
func (i *Instance) open(options ...kgo.Opt) error {
	i.assigned, i.position, i.sought, i.taken = map[TopicPartition]bool{}, map[TopicPartition]int64{}, map[TopicPartition]int64{}, map[TopicPartition]bool{}
	i.remade = map[string]bool{}
	isolation := kgo.ReadUncommitted()
	if i.cfg.Committed {
		isolation = kgo.ReadCommitted()
	}
	options = append(i.cluster.options(), options...)
	client, err := kgo.NewClient(append(options,
		kgo.ClientID(i.cfg.ClientID),
		kgo.ConsumeStartOffset(i.cfg.Reset.offset()),
		kgo.ConsumeResetOffset(i.cfg.Reset.offset()),
		kgo.FetchIsolationLevel(isolation),
		kgo.FetchMaxBytes(instanceBytes),
		kgo.FetchMaxPartitionBytes(instanceBytes),
		kgo.FetchMaxWait(i.cluster.instanceWait()),
		kgo.BrokerMaxReadBytes(recordBytes+(16<<20)),
		kgo.ConnIdleTimeout(time.Minute),
	)...)
	if err != nil {
		return fmt.Errorf("consume as %s of group %q: %w", i.cfg.ClientID, i.cfg.Group, err)
	}
	i.client = client
	i.cluster.instances.Add(1)
	return nil
}

// instanceWait is how long the broker keeps a fetch of the next instance.
func (c *Cluster) instanceWait() time.Duration {
	return min(max(time.Duration(c.instances.Load())*(leastInstanceWait/100), leastInstanceWait), mostInstanceWait)
}

func (r Reset) offset() kgo.Offset {
	switch r {
	case ResetEarliest:
		return kgo.NewOffset().AtStart()
	case ResetNone:
		return kgo.NewOffset().AtCommitted()
	}
	return kgo.NewOffset().AtEnd()
}

// adjust gives partitions that were just assigned the offsets that their owner
// sought while the group was still being asked where it is, and those of places.
// What begins at the end of its log begins at an offset that can be told from then
// on: by the time another process goes on there, the end is somewhere else.
func (i *Instance) adjust(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	ends := i.ends(ctx, offsets)
	i.mu.Lock()
	defer i.mu.Unlock()
	for topic, partitions := range offsets {
		for n, offset := range partitions {
			p := TopicPartition{topic, n}
			committed := max(offset.EpochOffset().Offset, -1)
			place, placed := i.places[p]
			end, ended := ends[topic][n]
			at, ok := i.sought[p]
			switch {
			case ok:
			case placed && place.Committed == committed:
				at = place.Offset
				i.position[p], i.sought[p], i.moved = at, at, true
				delete(i.taken, p)
			case committed < 0 && i.remade[topic]:
				partitions[n] = kgo.NewOffset().AtStart()
				continue
			case committed < 0 && ended:
				at = end.End
				i.begun = append(i.begun, Place{p, at, -1})
			default:
				continue
			}
			partitions[n] = kgo.NewOffset().At(at)
		}
	}
	return offsets, nil
}

// ends returns where the logs end in which the group has no place, if that is where
// it begins.
func (i *Instance) ends(ctx context.Context, offsets map[string]map[int32]kgo.Offset) map[string]map[int32]Range {
	if i.cfg.Reset != ResetLatest {
		return nil
	}
	rangesOf := i.cluster.Ranges
	if i.cfg.Committed {
		rangesOf = i.cluster.StableRanges
	}
	ends := map[string]map[int32]Range{}
	for topic, partitions := range offsets {
		for _, offset := range partitions {
			if offset.EpochOffset().Offset >= 0 || ends[topic] != nil {
				continue
			}
			ranges, err := rangesOf(ctx, topic)
			if err != nil {
				i.cluster.log.Debug("ends of a topic not known", "group", i.cfg.Group, "topic", topic, "err", err)
			}
			if ranges == nil {
				ranges = map[int32]Range{}
			}
			ends[topic] = ranges
		}
	}
	return ends
}

// Begun returns, once, the places at which the instance has begun because its group
// had committed nothing and it reads what is new.
func (i *Instance) Begun() []Place {
	i.mu.Lock()
	defer i.mu.Unlock()
	begun := i.begun
	i.begun = nil
	return begun
}

// gain notes partitions that the instance has got.
func (i *Instance) gain(partitions map[string][]int32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for topic, numbers := range partitions {
		for _, p := range numbers {
			i.assigned[TopicPartition{topic, p}] = true
		}
	}
	if len(i.assigned) > 0 {
		select {
		case <-i.ready:
		default:
			close(i.ready)
		}
	}
}

// giveUp lets partitions go, with what was delivered of them committed if that
// is automatic.
func (i *Instance) giveUp(ctx context.Context, partitions map[string][]int32) {
	if i.cfg.AutoCommit && !i.isDisowned() {
		if at := i.positions(partitions); len(at) > 0 {
			ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
			defer cancel()
			// Whoever gets them next begins at an older offset if this fails. A commit
			// that is under way may be waiting for this to end.
			if i.committing.TryLock() {
				_ = i.commit(ctx, at, false)
				i.committing.Unlock()
			}
		}
	}
	i.lose(partitions)
}

// lose forgets all about partitions.
func (i *Instance) lose(partitions map[string][]int32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for topic, numbers := range partitions {
		for _, n := range numbers {
			p := TopicPartition{topic, n}
			if _, read := i.position[p]; read {
				i.taken[p] = true
			}
			delete(i.assigned, p)
			delete(i.position, p)
			delete(i.sought, p)
			delete(i.places, p)
		}
	}
	i.pending = slices.DeleteFunc(i.pending, func(r *kgo.Record) bool { return !i.assigned[TopicPartition{r.Topic, r.Partition}] })
}

// Ready is closed when the instance has its first partition.
func (i *Instance) Ready() <-chan struct{} { return i.ready }

// Assignment returns the partitions that the instance has now, sorted.
func (i *Instance) Assignment() []TopicPartition {
	i.mu.Lock()
	defer i.mu.Unlock()
	partitions := make([]TopicPartition, 0, len(i.assigned))
	for p := range i.assigned {
		partitions = append(partitions, p)
	}
	slices.SortFunc(partitions, TopicPartition.compare)
	return partitions
}

// SetTopics changes what a member is subscribed to; what it has of other topics
// is forgotten.
func (i *Instance) SetTopics(topics []string) {
	have := i.client.GetConsumeTopics()
	var gone, added []string
	for _, t := range have {
		if !slices.Contains(topics, t) {
			gone = append(gone, t)
		}
	}
	for _, t := range topics {
		if !slices.Contains(have, t) {
			added = append(added, t)
		}
	}
	if len(gone) > 0 {
		i.client.PurgeTopicsFromConsuming(gone...)
		i.mu.Lock()
		lost := map[string][]int32{}
		for p := range i.assigned {
			if slices.Contains(gone, p.Topic) {
				lost[p.Topic] = append(lost[p.Topic], p.Partition)
			}
		}
		i.mu.Unlock()
		i.lose(lost)
	}
	if len(added) > 0 {
		i.client.AddConsumeTopics(added...)
	}
}

// Poll fetches more records, waiting until there are some or ctx ends; an ended
// ctx takes only what is there already. It says whether there were any. An error
// is one that trying again does not mend, a *kerr.Error where the broker gave
// one; a topic that does not exist is none, and one that was made anew is read from its
// beginning.
func (i *Instance) Poll(ctx context.Context) (more bool, err error) {
	more, gone, err := i.poll(ctx)
	if len(gone) > 0 {
		i.beginAnew(gone)
	}
	return more, err
}

// poll is Poll but for topics that were deleted, which it returns.
func (i *Instance) poll(ctx context.Context) (more bool, gone []string, err error) {
	if ctx.Err() != nil {
		ctx = nil // as kgo wants it
	}
	fetches := i.client.PollRecords(ctx, polled)
	if i.member {
		// No partition changes hands before what was polled is in its place.
		defer i.client.AllowRebalance()
	}
	fetches.EachError(func(topic string, partition int32, e error) {
		var broker *kerr.Error
		switch {
		case errors.Is(e, context.Canceled), errors.Is(e, context.DeadlineExceeded), errors.Is(e, kgo.ErrClientClosed):
		case errors.Is(e, kerr.UnknownTopicID):
			if !slices.Contains(gone, topic) {
				gone = append(gone, topic)
			}
		case errors.Is(e, kerr.UnknownTopicOrPartition), kerr.IsRetriable(e):
		case errors.As(e, &broker):
			err = fmt.Errorf("partition %s-%d: %w", topic, partition, e)
		case i.cfg.Reset == ResetNone: // kgo exports no value for it
			err = fmt.Errorf("partition %s-%d has no committed offset and there is no reset policy: %w", topic, partition, kerr.OffsetOutOfRange)
		default:
			i.cluster.log.Warn("fetch failed", "group", i.cfg.Group, "topic", topic, "partition", partition, "err", e)
		}
	})
	i.mu.Lock()
	defer i.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) {
		p := TopicPartition{r.Topic, r.Partition}
		if i.assigned[p] {
			delete(i.sought, p)
			i.pending = append(i.pending, r)
			more = true
		}
	})
	return more, gone, err
}

// Take goes through the fetched records in order and removes those from the
// front for which take says so; it stops at the first other.
func (i *Instance) Take(take func(*kgo.Record) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for n < len(i.pending) && take(i.pending[n]) {
		n++
	}
	clear(i.pending[:n])
	i.pending = i.pending[n:]
}

// Restore puts records that were taken back to the front.
func (i *Instance) Restore(records []*kgo.Record) {
	i.mu.Lock()
	defer i.mu.Unlock()
	back := make([]*kgo.Record, 0, len(records)+len(i.pending))
	for _, r := range records {
		if i.assigned[TopicPartition{r.Topic, r.Partition}] {
			back = append(back, r)
		}
	}
	i.pending = append(back, i.pending...)
}

// Deliver counts records that were taken as read.
func (i *Instance) Deliver(records []*kgo.Record) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range records {
		if p := (TopicPartition{r.Topic, r.Partition}); i.assigned[p] {
			i.position[p], i.moved = r.Offset+1, true
			delete(i.taken, p)
		}
	}
}

// Seek moves partitions that the instance has to other offsets and drops what
// was fetched of them.
func (i *Instance) Seek(ctx context.Context, at map[TopicPartition]int64) error {
	set := map[string]map[int32]kgo.EpochOffset{}
	i.mu.Lock()
	for p, offset := range at {
		if set[p.Topic] == nil {
			set[p.Topic] = map[int32]kgo.EpochOffset{}
		}
		set[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
		i.position[p], i.sought[p], i.moved = offset, offset, true
		delete(i.taken, p)
	}
	i.mu.Unlock()
	if !i.member {
		i.restart(at)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for i.member {
		i.client.SetOffsets(set)
		if i.settled(at) {
			break
		}
		// The group is still being asked where it is on these partitions;
		// until that is known kgo takes no other offset.
		select {
		case <-ctx.Done():
			return fmt.Errorf("seek in group %q: %w", i.cfg.Group, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pending = slices.DeleteFunc(i.pending, func(r *kgo.Record) bool {
		_, moved := at[TopicPartition{r.Topic, r.Partition}]
		return moved
	})
	return nil
}

// restart reads partitions of an instance that is no member anew. kgo takes no other
// offset for partitions whose first one it is still finding out, and forgets that it
// was asked to.
func (i *Instance) restart(at map[TopicPartition]int64) {
	gone, start := map[string][]int32{}, map[string]map[int32]kgo.Offset{}
	for p, offset := range at {
		if start[p.Topic] == nil {
			start[p.Topic] = map[int32]kgo.Offset{}
		}
		gone[p.Topic] = append(gone[p.Topic], p.Partition)
		start[p.Topic][p.Partition] = kgo.NewOffset().At(offset)
	}
	i.client.RemoveConsumePartitions(gone)
	i.client.AddConsumePartitions(start)
}

// settled says whether kgo has taken the offsets of those partitions that the
// instance still has.
func (i *Instance) settled(at map[TopicPartition]int64) bool {
	have := i.client.CommittedOffsets()
	i.mu.Lock()
	defer i.mu.Unlock()
	for p, offset := range at {
		if o, ok := have[p.Topic][p.Partition]; i.assigned[p] && (!ok || o.Offset != offset) {
			return false
		}
	}
	return true
}

// ErrTaken says that a group has taken a partition from an instance since that has
// read it. Its records come again, at whoever has it now.
var ErrTaken = errors.New("the group has given the partition to another member")

// Close leaves the group and ends all connections, within ten seconds. A Poll
// that waits returns.
func (i *Instance) Close() {
	i.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		if i.member {
			_ = i.client.LeaveGroupContext(ctx) // a member that cannot leave times out
		} else {
			_ = i.CommitMoved(ctx)
		}
		i.client.CloseAllowingRebalance()
		i.cluster.instances.Add(-1)
	})
}

// Disown is Close for an instance that somebody else has taken over: nothing is
// committed, also where that is automatic.
func (i *Instance) Disown() {
	i.mu.Lock()
	i.disowned = true
	i.mu.Unlock()
	i.Close()
}

func (i *Instance) isDisowned() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.disowned
}
