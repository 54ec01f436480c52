package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/event"
	"github.com/klamm-gateway/klamm/kafka"
)

const (
	// batchRecords and batchBytes bound what is put on the bus at once.
	batchRecords = 500
	batchBytes   = 1 << 20
	// readRecords bounds what is read of a partition at once.
	readRecords = 1000
	// commitEvery is how often offsets are committed, and so how much comes twice, at
	// most, where a process dies.
	commitEvery = time.Second
	// noteEvery is how often the catalog is told how far the replay is.
	noteEvery = 5 * time.Second
	// idle is the pause of who has nothing to do.
	idle = 50 * time.Millisecond
	// archiveWithin is how long a replay waits for the archive to have what was put on the
	// bus before.
	archiveWithin = time.Minute
	// attempts bounds how often a change is tried again that others have overtaken.
	attempts = 20
	// stopWithin bounds what is done at the end of a membership.
	stopWithin = 10 * time.Second
)

// A job is one replay, as this process takes part in it.
type job struct {
	runner  *Runner
	cfg     *Config
	name    string
	archive string
	bus     string
	topic   string // of the archive
	cancel  context.CancelFunc
	woken   chan struct{}
	ended   bool // this process has noted the end of the replay

	handed sync.Mutex // guards what follows
	fresh  map[int32]bool
	lost   map[int32]bool

	mu        sync.Mutex // held for a step; guards what follows
	consumer  *kafka.Consumer
	source    kafka.Topic
	parts     map[int32]*part
	window    window
	last      time.Time // the latest of an event that was replayed
	skipped   int       // events that cannot be put on the bus again
	upTo      map[int32]int64
	waited    time.Time // since when the archive has been waited for
	paced     time.Time
	credit    float64 // events that may be put on the bus now
	committed time.Time
	noted     time.Time
}

func newJob(r *Runner, name string, b catalog.Replay) *job {
	return &job{runner: r, cfg: &r.cfg, name: name, archive: b.Archive, bus: b.Bus, topic: event.ArchiveTopic(b.Archive), woken: make(chan struct{}, 1)}
}

func (j *job) group() string { return "klamm-replay-" + j.name }

// busless says whether there is no bus any more to put events on.
func (j *job) busless() bool {
	_, ok := j.cfg.Store.Look(catalog.KindBus, j.bus)
	return !ok && j.bus != catalog.DefaultBus
}

// wake has the job look at its document.
func (j *job) wake() {
	select {
	case j.woken <- struct{}{}:
	default:
	}
}

// run takes part in the replay until it has ended, or ctx has.
func (j *job) run(ctx context.Context) {
	for ctx.Err() == nil && !j.ended {
		if err := j.member(ctx); err != nil && ctx.Err() == nil {
			j.cfg.Log.Error("a replay does not go on", "replay", j.name, "again_in", time.Second, "err", err)
			pause(ctx, time.Second)
		}
	}
	if !j.ended {
		return
	}
	// Members of other processes leave in a moment.
	for range 10 {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		err := j.cfg.Cluster.DeleteGroup(end, j.group())
		cancel()
		if err == nil || !pause(ctx, 500*time.Millisecond) {
			return
		}
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// member is one membership of the replay's group.
func (j *job) member(ctx context.Context) error {
	if _, ok := j.cfg.Store.Look(catalog.KindArchive, j.archive); !ok {
		return j.finish(ctx, catalog.ReplayFailed, "The archive was deleted.")
	}
	if j.busless() {
		return j.finish(ctx, catalog.ReplayFailed, "The event bus was deleted.")
	}
	source, err := j.cfg.Cluster.Topic(ctx, j.topic)
	if err != nil {
		return err
	}
	j.source = source
	j.fresh, j.lost = map[int32]bool{}, map[int32]bool{}
	j.parts, j.window = map[int32]*part{}, window{}
	consumer, err := j.cfg.Cluster.Join(ctx, kafka.Membership{
		Group: j.group(), Topics: []string{j.topic}, Start: kafka.Start{Earliest: true}, FetchBytes: 1 << 20, Most: func() int { return 1 },
		Assigned: j.assigned, Revoked: j.revoked, Lost: j.taken,
	}, j.cfg.Log)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.consumer = consumer
	j.mu.Unlock()
	polling, stop := context.WithCancel(ctx)
	var polls sync.WaitGroup
	polls.Go(func() { j.poll(polling, consumer) })
	err = j.steps(ctx, consumer)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	stop()
	polls.Wait()
	consumer.Leave(end)
	return err
}

// poll lets the group hand out its partitions. What there is to read is read elsewhere.
func (j *job) poll(ctx context.Context, consumer *kafka.Consumer) {
	for ctx.Err() == nil {
		turn, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, _ = consumer.Poll(turn, 1)
		cancel()
		consumer.Release()
	}
}

// assigned is told of partitions that this process has got.
func (j *job) assigned(partitions map[string][]int32) {
	j.handed.Lock()
	defer j.handed.Unlock()
	for _, p := range partitions[j.topic] {
		j.fresh[p] = true
		delete(j.lost, p)
	}
}

// taken is told of partitions that others may have already.
func (j *job) taken(partitions map[string][]int32) {
	j.handed.Lock()
	defer j.handed.Unlock()
	for _, p := range partitions[j.topic] {
		delete(j.fresh, p)
		j.lost[p] = true
	}
}

// revoked lets go of partitions, after what is under way.
func (j *job) revoked(ctx context.Context, partitions map[string][]int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.commit(ctx); err != nil {
		j.cfg.Log.Warn("a replay hands over what it has not committed; some events come twice", "replay", j.name, "err", err)
	}
	j.taken(partitions)
	j.let()
}

// let drops partitions that were lost. The mutex is held.
func (j *job) let() {
	j.handed.Lock()
	defer j.handed.Unlock()
	for id := range j.lost {
		if p := j.parts[id]; p != nil {
			j.window.drop(p)
			delete(j.parts, id)
		}
		delete(j.lost, id)
	}
}

// own takes partitions that were handed out, where their offsets stand. The mutex is held.
func (j *job) own(ctx context.Context) error {
	j.let()
	j.handed.Lock()
	var wanted []kafka.TopicPartition
	for id := range j.fresh {
		wanted = append(wanted, kafka.TopicPartition{Topic: j.topic, Partition: id})
	}
	j.handed.Unlock()
	if len(wanted) == 0 {
		return nil
	}
	stored, err := j.cfg.Cluster.CommittedOffsets(ctx, j.group(), wanted)
	if err != nil {
		return err
	}
	if len(stored) < len(wanted) {
		return fmt.Errorf("group %s has no offsets of %d of the partitions of topic %s", j.group(), len(wanted)-len(stored), j.topic)
	}
	j.handed.Lock()
	defer j.handed.Unlock()
	for _, c := range stored {
		if j.fresh[c.Partition] {
			delete(j.fresh, c.Partition)
			j.parts[c.Partition] = &part{id: c.Partition, next: c.Offset}
		}
	}
	return nil
}

// steps goes on until the replay has ended, ctx has, or something is wrong.
func (j *job) steps(ctx context.Context, consumer *kafka.Consumer) error {
	for {
		if consumer.Left() {
			return errors.New("the member of the replay's group has ended")
		}
		busy, err := j.step(ctx)
		if err != nil || j.ended || ctx.Err() != nil {
			return err
		}
		if busy {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-j.woken:
		case <-time.After(idle):
		}
	}
}

// step does what there is to be done next, and says whether there was something.
func (j *job) step(ctx context.Context) (busy bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.own(ctx); err != nil {
		return false, err
	}
	doc, ok := j.cfg.Store.Look(catalog.KindReplay, j.name)
	if !ok {
		return false, nil
	}
	b, ok := read(doc)
	// Who has the first partition speaks for the replay.
	leads := j.parts[0] != nil
	if !ok || !b.Active() || len(j.parts) == 0 {
		return false, nil
	}
	if _, ok := j.cfg.Store.Look(catalog.KindArchive, j.archive); !ok {
		return false, j.finish(ctx, catalog.ReplayFailed, "The archive was deleted.")
	}
	switch b.State {
	case catalog.ReplayCancelling:
		if !leads {
			return false, nil
		}
		if err := j.commit(ctx); err != nil {
			return false, err
		}
		return false, j.finish(ctx, catalog.ReplayCancelled, "")
	case catalog.ReplayStarting:
		if !leads {
			return false, nil
		}
		return false, j.begin(ctx, b.Bus)
	}
	return j.replay(ctx, &b)
}

// begin fixes where the archive ends, as soon as that has what was put on the bus before.
func (j *job) begin(ctx context.Context, bus string) error {
	ready, err := j.archived(ctx, bus)
	if err != nil || !ready {
		return err
	}
	ranges, err := j.cfg.Cluster.Ranges(ctx, j.topic)
	if err != nil {
		return err
	}
	ends := map[int32]int64{}
	for p, r := range ranges {
		ends[p] = r.End
	}
	return j.change(ctx, func(b *catalog.Replay) bool {
		if b.State != catalog.ReplayStarting {
			return false
		}
		b.State, b.Ends = catalog.ReplayRunning, ends
		return true
	})
}

// archived says whether the archive has all that the bus had when the job was started.
func (j *job) archived(ctx context.Context, bus string) (bool, error) {
	if j.upTo == nil {
		ranges, err := j.cfg.Cluster.Ranges(ctx, event.BusTopic(bus))
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		j.upTo, j.waited = map[int32]int64{}, time.Now()
		for p, r := range ranges {
			if r.End > r.Start {
				j.upTo[p] = r.End
			}
		}
	}
	shared, own := "klamm-bus-"+bus, "klamm-archive-"+j.archive
	offsets, err := j.cfg.Cluster.OffsetsOf(ctx, shared, own)
	if err != nil {
		return false, err
	}
	for p, end := range j.upTo {
		at := kafka.TopicPartition{Topic: event.BusTopic(bus), Partition: p}
		offset, behind := offsets[own][at]
		if !behind {
			offset = offsets[shared][at]
		}
		if offset < end {
			return time.Since(j.waited) > archiveWithin, nil
		}
	}
	return true, nil
}

// replay reads, puts events on the bus, and notes how far it is.
func (j *job) replay(ctx context.Context, b *catalog.Replay) (busy bool, err error) {
	for _, p := range j.parts {
		p.end = b.Ends[p.id]
	}
	if err := j.fill(ctx, b); err != nil {
		return false, err
	}
	put, err := j.put(ctx, b)
	if err != nil {
		return false, err
	}
	left := len(j.window.heap) > 0
	for _, p := range j.parts {
		left = left || p.next < p.end
	}
	if !left || time.Since(j.committed) > commitEvery {
		if err := j.commit(ctx); err != nil {
			return false, err
		}
	}
	if left && time.Since(j.noted) > noteEvery {
		j.noted = time.Now()
		if err := j.change(ctx, func(b *catalog.Replay) bool { return b.Active() && j.note(b) }); err != nil {
			return false, err
		}
	}
	if left {
		return put > 0, nil
	}
	return false, j.complete(ctx, b)
}

// fill reads until the window is full or the archive is at its end: always the partition
// that is the farthest behind in time.
func (j *job) fill(ctx context.Context, b *catalog.Replay) error {
	for !j.window.full() {
		var p *part
		for _, o := range j.parts {
			if o.next < o.end && (p == nil || o.latest < p.latest || o.latest == p.latest && o.id < p.id) {
				p = o
			}
		}
		if p == nil {
			return nil
		}
		records, next, err := j.cfg.Cluster.Read(ctx, j.source, p.id, p.next, kafka.Limits{Records: readRecords, Bytes: batchBytes})
		if errors.Is(err, kerr.OffsetOutOfRange) {
			next, err = j.skip(ctx, p)
		}
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.Offset < p.end {
				j.window.put(p, r, time.UnixMilli(b.Start), time.UnixMilli(b.End))
			}
		}
		if next <= p.next {
			return nil // the leader is not there yet
		}
		p.next = next
	}
	return nil
}

// skip returns the first offset that retention has left.
func (j *job) skip(ctx context.Context, p *part) (int64, error) {
	ranges, err := j.cfg.Cluster.Ranges(ctx, j.topic)
	if err != nil {
		return 0, err
	}
	return max(ranges[p.id].Start, p.next), nil
}

// put puts events on the bus as far as the rate allows, and returns how many were taken.
func (j *job) put(ctx context.Context, b *catalog.Replay) (int, error) {
	now, rate := time.Now(), float64(j.cfg.Rate)
	j.credit = min(j.credit+rate*now.Sub(j.paced).Seconds(), max(rate/4, 1))
	j.paced = now
	events := j.window.pop(min(batchRecords, int(j.credit)), batchBytes)
	if len(events) == 0 {
		return 0, nil
	}
	j.credit -= float64(len(events))
	headers := []kgo.RecordHeader{{Key: event.HeaderReplay, Value: []byte(j.name)}}
	if len(b.Rules) > 0 {
		headers = append(headers, kgo.RecordHeader{Key: event.HeaderRules, Value: []byte(strings.Join(b.Rules, ","))})
	}
	records := make([]*kgo.Record, 0, len(events))
	sent := events[:0]
	for _, e := range events {
		value, ok := event.AppendReplayed(make([]byte, 0, len(e.record.Value)+128), e.record.Value, j.name)
		if !ok {
			e.reading.done = true
			j.skipped++
			continue
		}
		records = append(records, &kgo.Record{Topic: event.BusTopic(b.Bus), Partition: -1, Key: e.record.Key, Value: value, Headers: headers, Timestamp: now})
		sent = append(sent, e)
	}
	var failed error
	for i, result := range j.cfg.Cluster.Produce(ctx, records...) {
		e := sent[i]
		switch {
		case result.Err == nil:
			e.reading.done = true
			if e.at.After(j.last) {
				j.last = e.at
			}
			j.runner.replayed.Inc()
		case errors.Is(result.Err, kerr.MessageTooLarge):
			e.reading.done = true
			j.skipped++
		default:
			failed = result.Err
			j.window.back(e)
		}
	}
	if failed == nil {
		return len(events), nil
	}
	if j.busless() {
		return 0, j.finish(ctx, catalog.ReplayFailed, "The event bus was deleted.")
	}
	return 0, fmt.Errorf("put events on bus %q: %w", b.Bus, failed)
}

// commit commits what is finished. The mutex is held.
func (j *job) commit(ctx context.Context) error {
	offsets := map[int32]int64{}
	for id, p := range j.parts {
		offsets[id] = p.finished()
	}
	if len(offsets) == 0 || j.consumer == nil {
		return nil
	}
	j.committed = time.Now()
	return j.consumer.Commit(ctx, map[string]map[int32]int64{j.topic: offsets})
}

// complete ends the replay if all partitions are done, whoever has them.
func (j *job) complete(ctx context.Context, b *catalog.Replay) error {
	offsets, err := j.cfg.Cluster.OffsetsOf(ctx, j.group())
	if err != nil {
		return err
	}
	for id, end := range b.Ends {
		if offsets[j.group()][kafka.TopicPartition{Topic: j.topic, Partition: id}] < end {
			return nil
		}
	}
	reason := ""
	if j.skipped > 0 {
		reason = fmt.Sprintf("%d records of the archive could not be put on the event bus again, and were left out.", j.skipped)
	}
	return j.finish(ctx, catalog.ReplayCompleted, reason)
}

// note writes into a document how far the replay is, and says whether that is news.
func (j *job) note(b *catalog.Replay) bool {
	if j.last.IsZero() || b.LastReplayed == j.last.UnixMilli() {
		return false
	}
	b.LastReplayed = j.last.UnixMilli()
	return true
}

// finish notes the end of the replay.
func (j *job) finish(ctx context.Context, state, reason string) error {
	err := j.change(ctx, func(b *catalog.Replay) bool {
		if !b.Active() {
			return false
		}
		if state == catalog.ReplayCompleted && b.State == catalog.ReplayCancelling {
			state = catalog.ReplayCancelled
		}
		j.note(b)
		b.State, b.Reason, b.Ended = state, reason, time.Now().UnixMilli()
		return true
	})
	if err == nil {
		j.ended = true
		j.cfg.Log.Info("a replay has ended", "replay", j.name, "state", state)
	}
	return err
}

// change changes the replay's document, unless change says that there is nothing to do.
func (j *job) change(ctx context.Context, change func(*catalog.Replay) bool) error {
	for attempt := 1; ; attempt++ {
		doc, err := j.cfg.Store.Get(ctx, catalog.KindReplay, j.name)
		if err != nil {
			return err
		}
		b, ok := read(doc)
		if !ok {
			return fmt.Errorf("replay %q cannot be read", j.name)
		}
		if !change(&b) {
			return nil
		}
		if err = j.store(ctx, doc, &b); err == nil || attempt == attempts || !errors.Is(err, catalog.ErrConflict) {
			return err
		}
		if !pause(ctx, idle) {
			return ctx.Err()
		}
	}
}

// store writes the document of the replay.
func (j *job) store(ctx context.Context, doc catalog.Document, b *catalog.Replay) error {
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	doc.Body = body
	_, err = j.cfg.Store.Put(ctx, doc, doc.Version)
	return err
}
