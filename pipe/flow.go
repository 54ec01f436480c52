package pipe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
	"github.com/klamm-gateway/klamm/target"
	"github.com/klamm-gateway/klamm/transform"
)

const (
	// pollRecords is how many records one poll takes.
	pollRecords = 2_000
	// heldRecords and heldBytes bound what a pipe holds in memory: polling
	// stops beyond them.
	heldRecords = 10_000
	heldBytes   = 32 << 20
	// widestSpan bounds how far a partition may run ahead of its lowest
	// unfinished record: that much is delivered again after a crash.
	widestSpan = 50_000
	// commitEvery is the pause between two commits.
	commitEvery = 100 * time.Millisecond
	// restAtEnd is how long a pipe that ends waits for attempts that are not due yet.
	restAtEnd = 2 * time.Second
)

// A flow is one pipe while it runs: one goroutine polls, filters and
// transforms, one commits, and up to InFlight deliver.
type flow struct {
	def          catalog.Pipe
	runner       *Runner
	cluster      *kafka.Cluster
	seat         *seat  // in the group; a feed's is nobody's
	left         func() // says that the cluster of its source is not needed any more
	target       target.Target
	router       router               // the target, if it is one; nil: it is none
	endpoint     *endpoint            // of the target; nil: it shares none
	pattern      *rule.RecordPattern  // nil: everything passes
	filters      *filters             // of EventBridge Pipes, instead of a pattern
	transform    *transform.Transform // nil: the value as it is
	enrichment   *enrichment          // nil: none
	mapping      *mapping             // the target, if it is that of an event source mapping; nil: it is not
	bus          *subscription        // what it is a target of; nil: it is none
	transacting  transacting
	where        *rule.RecordPattern // beside pattern, of a feed; nil: everything passes
	tally        *tally              // counts for a feed; nil: this is none
	fields       event.Fields        // of the document that pattern and transform see
	decoding     decoding
	metrics      *series
	keeper       *keeper // of what the steps do; nil: nobody keeps it
	log          *slog.Logger
	consumer     *kafka.Consumer
	scratch      []byte        // for documents; the polling goroutine's
	lettersReady atomic.Bool   // the dead-letter topic exists
	halted       chan struct{} // closed with stopped set
	limit        int           // of members that may read, as the group was told; 0: none. Of the goroutine that watches the state
	law          law           // of the goroutine that looks (scale.go)
	lookAt       time.Time     // for the next time; the runner's mutex guards it
	broken       bool          // polling has ended by itself; of the goroutine that runs the flow

	room  chan struct{} // has a token when memory was freed
	dirty chan struct{} // has a token when something can be committed

	mu             sync.Mutex // guards everything below, and all partitions, lanes and batches
	parts          map[place]*partition
	ready          queue // may be delivered
	governor       governor
	recent         *recent // attempts; nil: there were none
	addresses      addresses
	closed         uint64 // how many batches have been closed so far
	active         int    // goroutines that deliver
	records, bytes int    // held in memory
	draining       bool   // no further attempt begins, unless it closes a gap
	over           bool   // none at all
	resting        map[*batch]rest
	read           bool     // there were records since the last look (scale.go)
	stopped        *stopped // why the pipe must not go on by itself; nil: it may
	working        sync.WaitGroup
}

// compile prepares a transform of a pipe.
func (r *Runner) compile(spec transform.Spec, pipe string) (*transform.Transform, error) {
	spec.Lenient = spec.Lenient || r.cfg.LenientTemplates
	return transform.Compile(spec, transform.Vars{PipeName: pipe})
}

// newFlow compiles a definition.
func newFlow(def catalog.Pipe, r *Runner) (_ *flow, failed error) {
	def = def.WithDefaults()
	f := &flow{
		def: def, runner: r, cluster: r.cfg.Cluster, seat: &seat{}, log: r.cfg.Log.With("pipe", def.Name),
		room: make(chan struct{}, 1), dirty: make(chan struct{}, 1), halted: make(chan struct{}), parts: map[place]*partition{}, resting: map[*batch]rest{}, governor: newGovernor(def.Delivery.InFlight),
	}
	if def.Bus == nil { // those of a bus are shared by all its targets
		f.metrics = r.metrics.of(def.Name)
	}
	var err error
	if len(def.Filter) > 0 {
		if f.pattern, err = rule.CompileRecord(def.Filter); err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
	}
	if def.Transform != nil {
		if f.transform, err = r.compile(*def.Transform, def.Name); err != nil {
			return nil, fmt.Errorf("transform: %w", err)
		}
	}
	done := r.sources.use(def.SourceLogin)
	defer func() {
		if failed != nil {
			done()
		}
	}()
	env := target.Env{Pipe: def.Name, Cluster: def.SourceCluster, Transport: r.cfg.Transport, Egress: r.cfg.Egress, Produce: f.produce, Clusters: r.clusters, Invoke: r.cfg.Invoke, Enqueue: r.cfg.Enqueue, Secret: r.cfg.Secret, LoggedIn: r.cfg.LoggedIn, Log: f.log}
	if def.Delivery.Batch.Records > 1 {
		env.Batch = def.Delivery.Batch.Format
	}
	if e := def.Enrich; e != nil {
		f.enrichment = &enrichment{timeout: e.Timeout, batch: def.Delivery.Batch.Records, transform: f.transform}
		f.transform = nil
		if e.Transform != nil {
			if f.transform, err = r.compile(*e.Transform, def.Name); err != nil {
				return nil, fmt.Errorf("enrich.transform: %w", err)
			}
		}
		if f.enrichment.invoker, err = r.openEnrichment(e.Target.Kind, e.Target.Config, env); err != nil {
			return nil, fmt.Errorf("enrich: %w", err)
		}
	}
	if f.filters, err = newFilters(def); err != nil {
		return nil, err
	}
	f.fields = fieldsOf(f.pattern, f.transform)
	f.decoding = decodingOf(def, r.cfg.Schemas, f.fields)
	f.law.high = int64(def.Scale.Lag)
	if f.mapping, err = r.openMapping(f, env); f.mapping != nil {
		f.target = f.mapping
	} else if err == nil {
		f.target, err = r.openTarget(def, env)
	}
	if err != nil {
		if f.enrichment != nil {
			_ = f.enrichment.invoker.Close()
		}
		return nil, err
	}
	f.router, _ = f.target.(router)
	f.endpoint = r.endpoints.of(f)
	f.left = done
	return f, nil
}

// join becomes a member of the pipe's group.
func (f *flow) join(ctx context.Context) error {
	m := kafka.Membership{
		FetchBytes: f.runner.held.fetchBytes(), Memberships: int(f.runner.held.pipes.Load()), Group: f.def.Group, Topics: f.def.Topics, Start: kafka.Start{Earliest: f.def.Start == "earliest"},
		Most:     func() int { return f.runner.memory.scale(f.def.Name).limit() },
		Assigned: f.seat.assigned, Revoked: f.seat.revoked, Lost: f.seat.lost, Gone: f.seat.gone, Began: f.seat.began, Vanished: f.seat.vanished,
	}
	m.Begun = func(t kafka.Topic, partition int32) bool {
		return f.runner.memory.begun(f.def.Name, f.def.Group).knows(t, partition)
	}
	m.Remade = func(t kafka.Topic) bool {
		return f.runner.memory.begun(f.def.Name, f.def.Group).another(t)
	}
	if at, ok := f.def.StartTime(); ok {
		m.Start.At = at
	}
	if f.mapping != nil {
		m.Begun, m.Uncommitted, m.SkipToEnd = nil, true, f.def.Start == "latest"
	}
	f.limit = m.Most()
	f.seat.flow.Store(f)
	f.keeper = f.runner.keeperOf(f.def.Name)
	source, err := f.runner.source(f.def)
	if err != nil {
		return err
	}
	join := source.Join
	m.Markers = f.mapping == nil && !f.def.Transactional()
	if f.def.Transactional() {
		join = f.cluster.JoinTransactional
		f.transacting = transacting{doomed: map[spot]*verdict{}, lettered: map[spot]bool{}}
	}
	consumer, err := join(ctx, m, f.log)
	f.consumer, f.seat.consumer = consumer, consumer
	return err
}

// run polls until ctx ends and then lets deliveries end, for at most grace, which is
// asked then, and commits. The membership of the group is left to the caller.
func (f *flow) run(ctx context.Context, grace func() time.Duration) {
	if f.def.Transactional() {
		f.runTransactions(ctx)
		return
	}
	f.mu.Lock()
	f.showTarget() // nothing is known of it yet, whatever the definition before has learned
	f.mu.Unlock()
	committer := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(committer)
		f.commitUntil(stop)
	}()
	ctx, stopPolling := f.untilHalted(ctx)
	defer stopPolling()
	if f.mapping != nil {
		defer f.mapping.begin(ctx)()
	}
	for f.waitForRoom(ctx) {
		records, err := f.consumer.Poll(ctx, pollRecords)
		if err == nil {
			f.accept(records)
		}
		f.consumer.Release()
		if err != nil && ctx.Err() == nil {
			f.broke(err)
			break
		}
	}
	f.drain(grace())
	close(stop)
	<-committer
}

// broke takes note that polling has ended by itself. What is held of topics that were
// deleted is forgotten: its offsets mean nothing in topics that have their names now.
func (f *flow) broke(err error) {
	f.broken = true
	var gone *kafka.GoneError
	if !errors.As(err, &gone) {
		f.log.Error("polling stopped", "err", err)
		return
	}
	f.log.Warn("a topic was deleted, and made again perhaps; the pipe joins its group anew, and reads a new one from its beginning", "topics", gone.Topics, "err", err)
	over := map[string][]int32{}
	f.mu.Lock()
	for at := range f.parts {
		if slices.Contains(gone.Topics, at.topic) {
			over[at.topic] = append(over[at.topic], at.number)
		}
	}
	f.mu.Unlock()
	f.lost(over)
}

// untilHalted returns a context that ends when the pipe halts, too.
func (f *flow) untilHalted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() { // ends with ctx
		select {
		case <-f.halted:
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

// closeTargets frees the target, who enriches, and the cluster of the source.
func (f *flow) closeTargets() {
	defer f.left()
	f.runner.endpoints.leave(f)
	f.forgetAddresses()
	if err := f.target.Close(); err != nil {
		f.log.Warn("closing the target failed", "err", err)
	}
	if f.enrichment != nil {
		if err := f.enrichment.invoker.Close(); err != nil {
			f.log.Warn("closing the enrichment failed", "err", err)
		}
	}
}

// drain ends deliveries in good order: those under way end, and of the others
// only those are begun without which delivered records could not be committed.
// What is not done within grace is cut short, and will be repeated, as will what
// would have to wait for longer than restAtEnd. Afterwards no attempt begins any more.
func (f *flow) drain(grace time.Duration) {
	patience := grace
	if f.bus == nil {
		patience = min(grace, restAtEnd)
	}
	latest := time.Now().Add(patience)
	f.mu.Lock()
	f.draining = true
	f.mu.Unlock()
	end := time.NewTimer(grace)
	defer end.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for cut := false; !cut && !f.drained(latest); {
		select {
		case <-look.C:
		case <-end.C:
			cut = true
			f.log.Warn("deliveries cut short because their time was up; they will be repeated", "after", grace)
		}
	}
	f.mu.Lock()
	f.over = true
	for _, p := range f.parts {
		p.cancel()
	}
	for b := range f.resting {
		f.rouse(b)
	}
	f.mu.Unlock()
	f.working.Wait()
}

// drained says whether nothing is under way and nothing that was delivered waits
// to be committed for something that can be delivered until latest.
func (f *flow) drained(latest time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dispatch()
	if f.active > 0 {
		return false
	}
	for b, r := range f.resting {
		if r.until.Before(latest) && f.deliverable(b) {
			return false
		}
	}
	return true
}

// A stopped says why a pipe has stopped itself.
type stopped struct {
	state  string // Halted or Disabled
	reason error
}

// offsetVanished halts the pipe: going on from the beginning would be a silent
// replay.
func (f *flow) offsetVanished(topic string, partition int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopFor(Halted, fmt.Errorf("%w: group %s, topic %s, partition %d", kafka.ErrOffsetsVanished, f.def.Group, topic, partition))
}

// stopFor ends the flow; the runner sees to it that the pipe stays stopped. The
// flow's mutex is held.
func (f *flow) stopFor(state string, reason error) {
	if f.stopped == nil {
		f.stopped = &stopped{state, reason}
		close(f.halted)
	}
}

// gone reports records that retention removed before they were read.
func (f *flow) gone(topic string, partition int32, count int64) {
	if f.mapping != nil {
		f.mapping.metrics.gone.Add(float64(count))
	}
	f.metrics.gone.Add(float64(count))
	f.log.Error("retention removed records before the pipe had read them", "topic", topic, "partition", partition, "records", count)
}

func (f *flow) wakePoller() {
	select {
	case f.room <- struct{}{}:
	default:
	}
}

func (f *flow) wakeCommitter() {
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}
