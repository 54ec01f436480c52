package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// sessionTimeout is how long a group waits for a member that was killed.
	sessionTimeout = 10 * time.Second
	// A member learns with its next heartbeat that the group shares its partitions
	// anew, and who joins waits for that: so often, where few share the process.
	shortestHeartbeat = 500 * time.Millisecond
	longestHeartbeat  = 15 * time.Second
	// heartbeatShare is what each further membership adds.
	heartbeatShare = 15 * time.Millisecond
	// fetchWait is how long the broker keeps a fetch that has nothing to bring.
	fetchWait   = 5 * time.Second
	longestWait = 30 * time.Second
	// A member asks so often which partitions its topics have.
	shortestMetadataAge = time.Minute
	longestMetadataAge  = 5 * time.Minute
	// rebalanceTimeout is how long a group waits for a member to let go of
	// partitions; deliveries that are under way end within it.
	rebalanceTimeout = 60 * time.Second
)

// A Start says where a group begins on partitions without a committed offset,
// when it first runs.
type Start struct {
	At time.Time // the first record of that time or later; zero: see Earliest
	// Earliest begins with the oldest record; otherwise the group begins with
	// the next one that is written.
	Earliest bool
}

// A Membership says how a consumer takes part in a group.
type Membership struct {
	Group  string
	Topics []string
	Start  Start
	// StartNote is written beside the offsets of a group that begins, as their
	// metadata; the first commit of a member takes it away.
	StartNote string
	// FetchBytes is how much is fetched ahead and waits in memory, about; zero
	// means 8 MiB.
	FetchBytes int
	// Memberships is how many there are in this process, about. The more, the
	// less often each heartbeats and asks for records and partitions that are not
	// there, so that a thousand idle ones cost little: with up to 200 a killed
	// process is missed after 10 s and a new partition read after a minute at the
	// latest, with 1,000 and more after 45 s and 5 min, Kafka's defaults. A broker that
	// keeps its connections and says nothing is given up after 15 s with few, and after
	// 40 s with 1,000. From 334 on they do it all at the same time. Zero is few.
	Memberships int
	// Most says how many members of klamm's may have partitions; the others stand
	// by, to take over from one that is gone. 0 is no limit, and so is nil. After
	// a change every member calls Rebalance.
	Most func() int
	// Assigned is told of partitions that the consumer has got. It must not
	// block.
	Assigned func(map[string][]int32)
	// Revoked is told of partitions that the consumer must let go of, and may
	// still commit for them; it returns when nothing is under way any more.
	Revoked func(context.Context, map[string][]int32)
	// Lost is told of partitions that others may have already. It must not
	// block, and nothing can be committed for them.
	Lost func(map[string][]int32)
	// Begun says whether the group has had a committed offset of a partition
	// before. If it has, and there is none, the offset has vanished: Join fails
	// with ErrOffsetsVanished, and a running consumer tells Vanished. Nil: it
	// never has.
	Begun func(t Topic, partition int32) bool
	// Remade says whether the group has read another topic of that name, which was
	// deleted: the new one is read from its beginning, whatever Start says. Nil: it
	// never has.
	Remade func(t Topic) bool
	// Began is told of partitions whose start has just been committed.
	Began func(partitions map[string][]int32)
	// Vanished is told that the committed offset of a partition has vanished
	// under a running consumer, before anything is fetched of it. It must not
	// block.
	Vanished func(topic string, partition int32)
	// Gone is told that retention removed count records of a partition before
	// the group had read them; under a consumer that runs, only with Markers. It must
	// not block.
	Gone func(topic string, partition int32, count int64)
	// SkipToEnd goes on at the end of the log where retention removed the next
	// record, not at the earliest that is left.
	SkipToEnd bool
	// Uncommitted reads records of transactions that are open or aborted, too.
	Uncommitted bool
	// Markers has Poll bring the ends of transactions, too, as records with
	// Attrs.IsControl: who commits behind them is at the end of the log where nothing
	// else follows.
	Markers bool
}

// ErrOffsetsVanished says that a group which has read a topic before has no
// committed offsets any more. To begin anew would deliver again what retention
// has left, or pass over what was written since.
var ErrOffsetsVanished = errors.New("the committed offsets of the group have vanished")

// A GoneError says which topics of a consumer were deleted, whether or not there are
// others of the same names since. It is an ErrTopicGone. A client keeps to the topics that
// it knew, so only who joins again reads the others.
type GoneError struct{ Topics []string }

func (e *GoneError) Error() string {
	return fmt.Sprintf("%s: %s", ErrTopicGone, strings.Join(e.Topics, ", "))
}

func (e *GoneError) Unwrap() error { return ErrTopicGone }

// A Consumer is one membership of a consumer group. Poll and Resume belong to
// one goroutine; the other methods may be called from any.
type Consumer struct {
	cluster *Cluster
	m       Membership
	log     *slog.Logger
	client  *kgo.Client
	session *kgo.GroupTransactSession // of JoinTransactional; nil otherwise
	stale   chan struct{}             // has a token when the session has lost partitions

	// begun is closed by the first Poll. Until then the callbacks wait: their
	// receiver may not have the consumer yet.
	begun chan struct{}
	begin func()
	leave sync.Once

	reading reading
}

// Join takes part in a consumer group. When the group has no committed offset
// for any of the topics, their start is committed first, so that a restart
// before the first record skips nothing. Partitions and topics that appear later
// are read from their beginning. Join waits for the cluster, but not for
// partitions to be handed out.
func (c *Cluster) Join(ctx context.Context, m Membership, log *slog.Logger) (*Consumer, error) {
	return c.join(ctx, m, log, func(opts []kgo.Opt) (*kgo.Client, *kgo.GroupTransactSession, error) {
		client, err := kgo.NewClient(opts...)
		return client, nil, err
	})
}

// join is Join with a client that somebody else makes.
func (c *Cluster) join(ctx context.Context, m Membership, log *slog.Logger, open func([]kgo.Opt) (*kgo.Client, *kgo.GroupTransactSession, error)) (*Consumer, error) {
	if err := patiently(ctx, func() error { return c.commitStart(ctx, m) }); err != nil {
		return nil, err
	}
	consumer := &Consumer{cluster: c, m: m, log: log, begun: make(chan struct{})}
	consumer.begin = sync.OnceFunc(func() { close(consumer.begun) })
	fetch := m.FetchBytes
	if fetch == 0 {
		fetch = 8 << 20
	}
	opts := append(c.options(), m.rhythm()...)
	if m.Markers {
		opts = append(opts, kgo.KeepControlRecords())
	}
	if m.late() > 0 {
		opts = append(opts, kgo.Dialer(memberBeat.dial(c.login.dialFunc())))
	}
	client, session, err := open(append(opts,
		kgo.ConsumerGroup(m.Group),
		kgo.ConsumeTopics(m.Topics...),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(m.isolation()),
		kgo.Balancers(m.balancer()),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		// What has been fetched waits in memory while a target is down.
		kgo.FetchMaxBytes(int32(fetch)),
		kgo.FetchMaxPartitionBytes(int32(min(fetch, 2<<20))),
		kgo.BrokerMaxReadBytes(recordBytes+(16<<20)),
		kgo.AdjustFetchOffsetsFn(consumer.skipGone),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) {
			<-consumer.begun
			m.Assigned(p)
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, p map[string][]int32) {
			<-consumer.begun
			m.Revoked(ctx, p)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) {
			<-consumer.begun
			m.Lost(p)
		}),
	))
	if err != nil {
		return nil, fmt.Errorf("join group %q: %w", m.Group, err)
	}
	consumer.client, consumer.session = client, session
	return consumer, nil
}

func (m *Membership) isolation() kgo.IsolationLevel {
	if m.Uncommitted {
		return kgo.ReadUncommitted()
	}
	return kgo.ReadCommitted()
}

// rhythm is what a client does although there is nothing to do.
func (m *Membership) rhythm() []kgo.Opt {
	return []kgo.Opt{
		kgo.SessionTimeout(m.session()),
		kgo.HeartbeatInterval(m.heartbeat() - m.late()),
		// A fetch is answered as soon as there is something.
		kgo.FetchMaxWait(m.fetchWait()),
		kgo.MetadataMaxAge(m.metadataAge()),
		kgo.ConnIdleTimeout(m.metadataAge()),
	}
}

// heartbeat grows so that all members together send some 70 a second at most,
// until it is as long as a group may reasonably wait.
func (m *Membership) heartbeat() time.Duration {
	return min(max(time.Duration(m.Memberships)*heartbeatShare, shortestHeartbeat), longestHeartbeat)
}

// late is how long a heartbeat waits for those of other members at most; 0: not at all.
func (m *Membership) late() time.Duration {
	if m.heartbeat() < beatShare*beatEvery {
		return 0
	}
	return beatEvery
}

// session is how long the group waits for a sign of life.
func (m *Membership) session() time.Duration {
	return max(3*m.heartbeat(), sessionTimeout)
}

func (m *Membership) fetchWait() time.Duration {
	return min(max(time.Duration(m.Memberships)*(fetchWait/150), fetchWait), longestWait)
}

func (m *Membership) metadataAge() time.Duration {
	return min(max(time.Duration(m.Memberships)*(longestMetadataAge/1000), shortestMetadataAge), longestMetadataAge)
}

// patiently tries again while a broker says that it is only a matter of time: on
// a young cluster the coordinator of groups comes up with its first group.
func patiently(ctx context.Context, try func() error) error {
	for end := time.Now().Add(adminTimeout); ; {
		err := try()
		if err == nil || !kerr.IsRetriable(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// commitStart commits where the group begins, if it has not begun yet.
func (c *Cluster) commitStart(ctx context.Context, m Membership) error {
	committed, err := c.committedBy(ctx, m.Group)
	if err != nil {
		return err
	}
	remade, err := c.checkBegun(ctx, m, committed)
	if errors.Is(err, ErrOffsetsVanished) {
		// Another process may have begun the group since; it tells of that after it
		// has committed, so that what is committed now decides.
		if committed, err = c.committedBy(ctx, m.Group); err == nil {
			remade, err = c.checkBegun(ctx, m, committed)
		}
	}
	if err != nil {
		return err
	}
	for _, topic := range m.Topics {
		if len(committed[topic]) > 0 {
			return nil
		}
	}
	start := kadm.Offsets{}
	for _, topic := range m.Topics {
		begin := m.Start
		if slices.Contains(remade, topic) {
			begin = Start{Earliest: true}
		}
		listed, err := c.startOffsets(ctx, topic, begin)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue // it is read from its beginning when it appears
		}
		if err != nil {
			return fmt.Errorf("start offsets of topic %q: %w", topic, err)
		}
		for partition, offset := range listed {
			start.Add(kadm.Offset{Topic: topic, Partition: partition, At: offset, LeaderEpoch: -1, Metadata: m.StartNote})
		}
	}
	if len(start) == 0 {
		return nil
	}
	responses, err := c.admin.CommitOffsets(ctx, m.Group, start)
	if err == nil {
		err = responses.Error()
	}
	// Another process was faster: its start is as good as ours.
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("commit the start of group %q: %w", m.Group, c.unreachable(err))
	}
	if m.Began != nil {
		began := map[string][]int32{}
		start.Each(func(o kadm.Offset) { began[o.Topic] = append(began[o.Topic], o.Partition) })
		m.Began(began)
	}
	return nil
}

// committedBy returns what a group has committed.
func (c *Cluster) committedBy(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	committed, err := c.admin.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("committed offsets of group %q: %w", group, c.unreachable(err))
	}
	return committed, nil
}

// checkBegun returns ErrOffsetsVanished if a partition has lost its offset, and otherwise
// which topics were made anew.
func (c *Cluster) checkBegun(ctx context.Context, m Membership, committed kadm.OffsetResponses) (remade []string, err error) {
	if m.Begun == nil {
		return nil, nil
	}
	for _, name := range m.Topics {
		topic, err := c.Topic(ctx, name)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range topic.Partitions {
			if o, ok := committed.Lookup(name, p.ID); (!ok || o.At < 0) && m.Begun(topic, p.ID) {
				return nil, fmt.Errorf("%w: group %s, topic %s, partition %d", ErrOffsetsVanished, m.Group, name, p.ID)
			}
		}
		if m.Remade != nil && m.Remade(topic) {
			remade = append(remade, name)
		}
	}
	return remade, nil
}

// startOffsets returns the offsets that a start stands for, of the partitions
// that exist.
func (c *Cluster) startOffsets(ctx context.Context, topic string, start Start) (map[int32]int64, error) {
	if _, err := c.Topic(ctx, topic); err != nil {
		return nil, err
	}
	if !start.At.IsZero() {
		return c.OffsetsAfter(ctx, topic, start.At.UnixMilli())
	}
	ranges, err := c.Ranges(ctx, topic)
	if err != nil {
		return nil, err
	}
	offsets := make(map[int32]int64, len(ranges))
	for p, r := range ranges {
		offsets[p] = r.End
		if start.Earliest {
			offsets[p] = r.Start
		}
	}
	return offsets, nil
}

// reportVanished tells of partitions that have no committed offset and have had
// one before.
func (c *Consumer) reportVanished(ctx context.Context, name string, partitions map[int32]kgo.Offset) {
	if c.m.Begun == nil {
		return
	}
	var topic Topic
	for partition, offset := range partitions {
		if offset.EpochOffset().Offset >= 0 {
			continue
		}
		if topic.Name == "" {
			var err error
			if topic, err = c.cluster.Topic(ctx, name); err != nil {
				c.log.Warn("it is not known whether the offsets of a topic have vanished", "topic", name, "err", err)
				return
			}
		}
		if c.m.Begun(topic, partition) {
			c.m.Vanished(name, partition)
		}
	}
}

// Poll waits for records and returns at most most of them, in the order of their
// offsets within each partition. Until the next Release no partition is taken
// away, so Release must follow soon, also when nothing was returned. Errors of
// single partitions are logged and retried by themselves; Poll returns an error
// only when ctx has ended or the consumer has left, and a *GoneError: then it has to
// leave, and may join again.
func (c *Consumer) Poll(ctx context.Context, most int) ([]*kgo.Record, error) {
	c.begin()
	if c.session != nil {
		return c.pollSession(ctx, most)
	}
	return c.poll(ctx, most)
}

func (c *Consumer) poll(ctx context.Context, most int) ([]*kgo.Record, error) {
	fetches := c.client.PollRecords(ctx, most)
	if fetches.IsClientClosed() {
		return nil, kgo.ErrClientClosed
	}
	var failed error
	var gone []string
	fetches.EachError(func(topic string, partition int32, err error) {
		switch {
		case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
			failed = err
		case errors.Is(err, kerr.UnknownTopicID): // and that at once, each time
			if !slices.Contains(gone, topic) {
				gone = append(gone, topic)
			}
		default:
			c.log.Warn("fetch failed", "group", c.m.Group, "topic", topic, "partition", partition, "err", err)
		}
	})
	c.countGone(fetches)
	records := fetches.Records()
	if len(records) == 0 && len(gone) > 0 {
		return nil, &GoneError{gone}
	}
	if len(records) == 0 && failed != nil {
		return nil, failed
	}
	return records, nil
}

// Release lets the group take partitions away again.
func (c *Consumer) Release() { c.client.AllowRebalance() }

// Pause stops fetching partitions; what has been fetched of them is dropped and
// fetched again after Resume.
func (c *Consumer) Pause(topic string, partition int32) {
	c.client.PauseFetchPartitions(map[string][]int32{topic: {partition}})
}

// Resume goes on fetching a paused partition.
func (c *Consumer) Resume(topic string, partition int32) {
	c.client.ResumeFetchPartitions(map[string][]int32{topic: {partition}})
}

// Commit commits for each partition the offset of the next record to be read.
func (c *Consumer) Commit(ctx context.Context, offsets map[string]map[int32]int64) error {
	commit := make(map[string]map[int32]kgo.EpochOffset, len(offsets))
	for topic, partitions := range offsets {
		commit[topic] = make(map[int32]kgo.EpochOffset, len(partitions))
		for p, o := range partitions {
			commit[topic][p] = kgo.EpochOffset{Epoch: -1, Offset: o}
		}
	}
	err := c.cluster.commit(ctx, c.client, commit)
	if err != nil {
		return fmt.Errorf("commit offsets of group %q: %w", c.m.Group, err)
	}
	return nil
}

// Leave leaves the group and closes the consumer. Revoked is called before, for
// all partitions.
func (c *Consumer) Leave(ctx context.Context) {
	c.leave.Do(func() {
		c.begin()
		c.client.AllowRebalance()
		_ = c.client.LeaveGroupContext(ctx)
		c.client.CloseAllowingRebalance()
	})
}
