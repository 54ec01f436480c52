package pipe

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
)

// A bus runs all targets of the rules of one event bus in this process, and the archives
// of it: one membership of one group, one read and one match of each event, and for each
// target a flow like that of any pipe. Decision 5 says how the cluster knows how far each
// of them is.
//
//	bus_books.go     how far everybody is in a partition
//	bus_read.go      one poll and one match for all
//	bus_behind.go    targets that do not keep up read for themselves
//	bus_ledger.go    what the books say goes to Kafka
//	bus_takeover.go  partitions and targets come, and begin where their books say
//	bus_target.go    a target and its flow
//	bus_delivery.go  what follows an attempt
//	bus_retry.go     events that wait elsewhere
//	bus_metrics.go   what is counted
//
// It has four goroutines beside those that deliver: one reads, one takes over, one
// commits for all, and one keeps own books. A target that is idle has none, and no flow.
type bus struct {
	name    string
	runner  *Runner
	cluster *kafka.Cluster
	log     *slog.Logger
	metrics *busSeries
	series  *series // of all its flows
	news    chan struct{}
	reads   chan struct{}  // has a token for each read under way of targets that are behind
	reading sync.WaitGroup // of those reads
	order   sync.Mutex     // held while partitions come and go, and while the consumer is rewound
	writing sync.Mutex     // held while own books are written
	commits sync.Mutex     // held while offsets are committed for all

	mu       sync.Mutex // guards what follows; taken before the mutex of a flow
	topics   []string   // of the bus and of its retries
	subs     map[string]*subscriber
	fresh    map[*subscriber]bool // of which it is not known where they begin
	rules    map[string]*busRule
	byRule   map[string][]*subscriber
	set      rule.Set[*busRule]
	all      map[*subscriber]bool // archives that take every event
	parts    map[place]*busPart
	consumer *kafka.Consumer // nil: it is not a member of its group
	err      error           // why it is not
	total    int             // partitions of the topic of the bus; 0: not known
	samples  samples
	scratch  []*busRule
	wanted   chan struct{} // has a token when there are targets
}

// A busPart is a partition that this process has. The mutex of the bus guards it.
type busPart struct {
	place
	books     *books // nil: it is not known yet where its targets begin
	committed int64
	leaving   bool      // nothing is handed out any more
	stalled   time.Time // it is not read before; zero: it is
}

const (
	// busReads is how many targets that are behind read at the same time.
	busReads = 8
	// busTick is the pause between two commits for all.
	busTick = 100 * time.Millisecond
	// lonely is how long a bus without targets stays in its group.
	lonely = 10 * time.Second
)

func newBus(name string, r *Runner) *bus {
	return &bus{
		name: name, runner: r, cluster: r.cfg.Cluster, log: r.cfg.Log.With("bus", name), metrics: r.metrics.buses.of(name), series: r.metrics.ofBus("klamm.bus." + name),
		news: make(chan struct{}, 1), wanted: make(chan struct{}, 1), reads: make(chan struct{}, busReads), subs: map[string]*subscriber{}, fresh: map[*subscriber]bool{}, rules: map[string]*busRule{},
		byRule: map[string][]*subscriber{}, all: map[*subscriber]bool{}, parts: map[place]*busPart{},
	}
}

// group is that of the processes.
func (b *bus) group() string { return "klamm-bus-" + b.name }

// wake has the bus look for what has come.
func (b *bus) wake() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// keep runs the bus while it has targets, until ctx ends.
func (b *bus) keep(ctx context.Context) {
	defer b.closeFlows()
	select {
	case <-b.runner.known:
	case <-ctx.Done():
		return
	}
	select {
	case <-b.runner.busesKnown:
	case <-ctx.Done():
		return
	}
	for attempt := 1; ctx.Err() == nil; attempt++ {
		if !b.peopled() {
			select {
			case <-b.wanted:
			case <-ctx.Done():
			}
			attempt = 0
			continue
		}
		err := b.join(ctx)
		if err == nil {
			attempt = 0
			b.log.Info("event bus running", "topic", b.eventTopic(), "group", b.group())
			b.run(ctx)
			continue
		}
		wait := backoff(restart, attempt, 0)
		if ctx.Err() == nil {
			b.log.Error("the event bus cannot be read yet", "again_in", wait, "err", err)
		}
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// peopled says whether there are targets.
func (b *bus) peopled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subs) > 0
}

// join becomes a member of the group.
func (b *bus) join(ctx context.Context) error {
	b.mu.Lock()
	topics := b.topics
	b.mu.Unlock()
	meta, err := b.cluster.Topic(ctx, topics[0])
	if err != nil {
		return fmt.Errorf("topic %s: %w", topics[0], err)
	}
	if len(topics) > 1 {
		if err := b.ensureRetries(ctx, topics[1]); err != nil {
			return err
		}
	}
	consumer, err := b.cluster.Join(ctx, kafka.Membership{
		Group: b.group(), Topics: topics, StartNote: unread, FetchBytes: b.runner.held.fetchBytes(), Memberships: int(b.runner.held.pipes.Load()),
		Assigned: b.assigned, Revoked: b.revoked, Lost: b.lost, Gone: b.gone,
	}, b.log)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.consumer, b.err, b.total = consumer, nil, len(meta.Partitions)
	return nil
}

// run reads and delivers until ctx ends or there are no targets any more.
func (b *bus) run(ctx context.Context) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	var parts sync.WaitGroup
	parts.Go(func() { b.takeOver(working) })
	parts.Go(func() { b.commitAll(working) })
	parts.Go(func() { b.keepOwn(working) })
	parts.Go(func() {
		b.awaitLonely(working)
		stop()
	})
	b.poll(working)
	stop()
	parts.Wait()
	b.reading.Wait()
	b.drain()
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b.closeBooks(last, b.ownParts(nil))
	// From here on the flows say nothing about the books any more, which Leave would ask.
	b.mu.Lock()
	clear(b.parts)
	b.countParts()
	b.mu.Unlock()
	b.closeFlows()
	b.consumer.Leave(last)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.consumer = nil
}

// awaitLonely waits until there have been no targets for a while.
func (b *bus) awaitLonely(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for since := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			if b.peopled() {
				since = now
			} else if now.Sub(since) >= lonely {
				return
			}
		}
	}
}

// drain lets what is under way end, with all targets at once. Their flows are over then,
// and others begin where they stood when the bus runs again.
func (b *bus) drain() {
	b.mu.Lock()
	var flows []*flow
	for _, s := range b.subs {
		if s.flow != nil {
			flows = append(flows, s.flow)
		}
	}
	b.mu.Unlock()
	var ending sync.WaitGroup
	for _, f := range flows {
		ending.Go(func() { f.drain(b.graceOf(f)) })
	}
	ending.Wait()
}

// graceOf is how long attempts that are under way may take.
func (b *bus) graceOf(f *flow) time.Duration {
	return min(b.runner.cfg.Grace, f.def.Delivery.Timeout+time.Second)
}

// closeFlows frees what targets hold.
func (b *bus) closeFlows() {
	b.mu.Lock()
	var flows []*flow
	for _, s := range b.subs {
		if s.flow != nil {
			flows = append(flows, s.flow)
			s.flow = nil
		}
	}
	b.mu.Unlock()
	for _, f := range flows {
		f.endAll()
	}
}

// assigned takes partitions that the group has handed out. They are not read before it is
// known where their targets begin.
func (b *bus) assigned(got map[string][]int32) {
	b.order.Lock()
	defer b.order.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for topic, numbers := range got {
		for _, n := range numbers {
			at := place{topic, n}
			b.parts[at] = &busPart{place: at}
			b.consumer.Pause(topic, n)
		}
	}
	b.countParts()
	b.wake()
}

// ownParts returns the partitions with these places, or all.
func (b *bus) ownParts(of map[string][]int32) (parts []*busPart) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, p := range b.parts {
		if of == nil || slices.Contains(of[at.topic], at.number) {
			parts = append(parts, p)
		}
	}
	return parts
}

// revoked lets go of partitions: attempts that are under way end, what they achieved is
// committed, and everything else is left to the next owner.
func (b *bus) revoked(ctx context.Context, taken map[string][]int32) {
	b.order.Lock()
	defer b.order.Unlock()
	parts := b.ownParts(taken)
	flows := b.letGo(parts)
	patience := time.After(30 * time.Second)
	for f, leaving := range flows {
		own := time.After(f.def.Delivery.Timeout + time.Second)
		for _, p := range leaving {
			select {
			case <-p.quiet:
			case <-own:
			case <-patience:
			}
		}
	}
	b.closeBooks(ctx, parts)
	b.forget(parts, flows)
}

// lost forgets partitions that others may have already.
func (b *bus) lost(taken map[string][]int32) {
	b.order.Lock()
	defer b.order.Unlock()
	parts := b.ownParts(taken)
	b.forget(parts, b.letGo(parts))
}

// letGo hands nothing out any more of the partitions, and begins no attempt at what was.
func (b *bus) letGo(parts []*busPart) map[*flow][]*partition {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := map[string][]int32{}
	flows := map[*flow][]*partition{}
	for _, p := range parts {
		p.leaving = true
		taken[p.topic] = append(taken[p.topic], p.number)
		if p.books == nil {
			continue
		}
		for s := range p.books.accounts {
			for _, f := range []*flow{s.flow, s.leaving} {
				if f != nil {
					flows[f] = nil
				}
			}
		}
	}
	for f := range flows {
		flows[f] = f.letGo(taken)
	}
	return flows
}

// forget drops partitions with everything that is held of them. The partitions go first:
// once a flow has forgotten what was under way, it would seem to be finished, and be
// committed.
func (b *bus) forget(parts []*busPart, flows map[*flow][]*partition) {
	b.mu.Lock()
	for _, p := range parts {
		if b.parts[p.place] == p {
			delete(b.parts, p.place)
		}
	}
	b.countParts()
	b.mu.Unlock()
	for f, leaving := range flows {
		f.forget(leaving)
	}
}

// countParts tells the metrics what there is, and the rates which part of it is here. The
// mutex is held.
func (b *bus) countParts() {
	if b.total > 0 {
		events := 0
		for at := range b.parts {
			if at.topic == b.topics[0] {
				events++
			}
		}
		b.runner.rates.hold(b.name, min(float64(events)/float64(b.total), 1))
	}
	b.series.partitions.Set(float64(len(b.parts)))
	b.series.consumers.Set(boolean(len(b.parts) > 0))
}

// gone reports events that retention removed before they were read.
func (b *bus) gone(topic string, partition int32, count int64) {
	b.series.gone.Add(float64(count))
	b.log.Error("retention removed events before the bus had read them", "topic", topic, "partition", partition, "records", count)
}

// busDefaults returns a pipe of a bus with every default spelled out.
func busDefaults(def catalog.Pipe) catalog.Pipe {
	def.Group = busGroup(def)
	if def.Delivery.Order == "" {
		def.Delivery.Order = catalog.OrderNone
	}
	if def.Delivery.Backoff == (catalog.Backoff{}) {
		def.Delivery.Backoff = busBackoff
	}
	return def.WithDefaults()
}

// busGroup is the group of a target's own books.
func busGroup(def catalog.Pipe) string {
	if s := def.Bus; s.Archive != "" {
		return "klamm-archive-" + s.Archive
	}
	return "klamm-rule-" + def.Bus.Bus + "/" + def.Bus.Rule + "/" + def.Bus.Target
}
