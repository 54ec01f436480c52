package pipe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/kafka"
)

// takeOver begins partitions and targets that have come, and follows what operators say,
// until ctx ends.
func (b *bus) takeOver(ctx context.Context) {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for attempt := 1; ; attempt++ {
		changed := b.follow()
		err := b.begin(ctx)
		if err == nil {
			attempt = 0
		} else if ctx.Err() == nil {
			b.log.Error("it is not known yet where targets of the event bus begin", "err", err)
		}
		var again <-chan time.Time
		if err != nil {
			again = time.After(backoff(catalog.Backoff{Min: 200 * time.Millisecond, Max: 10 * time.Second}, attempt, 0))
		}
		select {
		case <-ctx.Done():
			return
		case <-b.news:
		case <-changed:
		case <-again:
		case now := <-minute.C:
			b.rest(now)
			b.count(ctx)
		}
		select { // what comes together is looked at together
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// count finds out how many partitions there are by now.
func (b *bus) count(ctx context.Context) {
	if t, err := b.cluster.Topic(ctx, b.eventTopic()); err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.total = len(t.Partitions)
		b.countParts()
	}
}

// eventTopic is the one that the events of the bus are in.
func (b *bus) eventTopic() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.topics[0]
}

// catchUpWithin is how long a partition that has come may wait for the definitions that
// were stored before.
const catchUpWithin = 20 * time.Second

// hear waits until this process knows of every target that the owner before it may have
// known of, if partitions have come: such a target may have no own books any more, and what
// is read before it is heard of would pass by it. Where that is not to be known soon, the
// others do not wait any longer.
func (b *bus) hear(ctx context.Context) {
	b.mu.Lock()
	come := false
	for _, p := range b.parts {
		come = come || p.books == nil && !p.leaving
	}
	b.mu.Unlock()
	if !come || b.runner.cfg.Caught == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	if err := b.runner.cfg.Caught(ctx); err != nil && !errors.Is(err, context.Canceled) {
		b.log.Warn("it is not known whether all definitions have been heard of; partitions of the event bus are read nevertheless", "err", err)
	}
}

// begin finds out where partitions and targets begin that have come.
func (b *bus) begin(ctx context.Context) error {
	b.hear(ctx)
	b.mu.Lock()
	var parts []*busPart
	var at []kafka.TopicPartition
	for _, p := range b.parts {
		if p.books == nil && !p.leaving {
			parts = append(parts, p)
			at = append(at, kafka.TopicPartition{Topic: p.topic, Partition: p.number})
		}
	}
	var fresh []*subscriber
	groups := map[string]bool{}
	for s := range b.fresh {
		fresh = append(fresh, s)
		groups[s.group] = true
	}
	if len(parts) > 0 {
		for _, s := range b.subs {
			groups[s.group] = true
		}
	}
	b.mu.Unlock()
	if len(parts) == 0 && len(fresh) == 0 {
		return nil
	}
	// Each is asked for by its name: a list of groups may lack those whose coordinator has
	// just moved.
	own, err := b.cluster.OffsetsOf(ctx, slices.Collect(maps.Keys(groups))...)
	if err != nil {
		return err
	}
	shared, err := b.cluster.CommittedOffsets(ctx, b.group(), at)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.openParts(parts, shared, own)
	b.admit(fresh, own)
	return nil
}

// openParts begins to read partitions. The mutex is held.
func (b *bus) openParts(parts []*busPart, shared []kafka.Commit, own map[string]map[kafka.TopicPartition]int64) {
	at := map[place]kafka.Commit{}
	for _, c := range shared {
		at[place{c.Topic, c.Partition}] = c
	}
	for _, p := range parts {
		if b.parts[p.place] != p || p.leaving {
			continue // it has gone meanwhile
		}
		from := at[p.place]
		p.books = newBooks(from.Offset)
		p.committed = from.Offset
		for _, s := range b.subs {
			if !b.fresh[s] {
				b.resume(p, s, own, from.Metadata == unread)
			}
		}
		b.consumer.Resume(p.topic, p.number)
	}
}

// admit has targets take part, from where their own books say or from now on. The mutex
// is held.
func (b *bus) admit(fresh []*subscriber, own map[string]map[kafka.TopicPartition]int64) {
	for _, s := range fresh {
		if !b.fresh[s] {
			continue // it has gone meanwhile
		}
		delete(b.fresh, s)
		for _, p := range b.parts {
			if p.books == nil {
				continue
			}
			b.resume(p, s, own, true)
		}
		b.file(s)
	}
}

// unread is noted beside the offsets at which a bus begins that nobody has read yet. What
// was put between the first targets' beginning and them, no shared read will see.
const unread = "unread"

// resume begins a target in a partition that it has own books of; unseen says that its
// rule was not asked about what lies before the shared read.
func (b *bus) resume(p *busPart, s *subscriber, own map[string]map[kafka.TopicPartition]int64, unseen bool) {
	o, ok := own[s.group][kafka.TopicPartition{Topic: p.topic, Partition: p.number}]
	if !ok {
		return
	}
	a := p.books.resume(s, o, s.lowestIn(p.place))
	if unseen && !b.isRetries(p.topic) {
		a.unseen = p.books.next
	}
}

// errStart says that nobody can begin there.
var errStart = errors.New("want latest, earliest, or a time such as 2026-01-31T12:00:00Z")

// Begin notes where a new target of a rule begins, or an archive: with the next event
// ("latest", or empty), with the oldest that the topic of the bus still has ("earliest"),
// or with the first of a time in RFC 3339. It is called before anybody can hear of the
// definition, and never for one that is there: nothing is missed then that is put after
// the answer, whichever process reads the bus.
func (r *Runner) Begin(ctx context.Context, def catalog.Pipe, start string) error {
	if def.Bus == nil || len(def.Topics) == 0 {
		return fmt.Errorf("%w: pipe %q is no target of a rule", ErrBadRequest, def.Name)
	}
	var from kafka.Start
	switch start {
	case "", "latest":
	case "earliest":
		from.Earliest = true
	default:
		at, err := time.Parse(time.RFC3339, start)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBadRequest, errStart)
		}
		from.At = at
	}
	at, err := r.cfg.Cluster.StartOffsets(ctx, def.Topics[0], from)
	if err != nil {
		return err
	}
	return r.cfg.Cluster.CommitOffsets(ctx, busDefaults(def).Group, at)
}
