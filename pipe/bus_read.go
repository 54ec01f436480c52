package pipe

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
)

const (
	// chunkRecords is how many records are handed out before others may look into the
	// books.
	chunkRecords = 64
	// definitionsTake is how long a process may know of a target that others do not
	// know of yet.
	definitionsTake = time.Minute
)

// poll reads for all targets until ctx ends.
func (b *bus) poll(ctx context.Context) {
	for ctx.Err() == nil {
		records, err := b.consumer.Poll(ctx, pollRecords)
		back := map[*busPart]int64{}
		if err == nil {
			b.handOut(records, back)
		}
		b.consumer.Release()
		if len(back) > 0 {
			b.rewind(back)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Error("polling stopped", "err", err)
			return
		}
	}
}

// rewind has partitions read again from an offset on. One that has gone since begins where
// its next owner's books say, also if that is this process.
func (b *bus) rewind(to map[*busPart]int64) {
	b.order.Lock()
	defer b.order.Unlock()
	b.commits.Lock()
	defer b.commits.Unlock()
	offsets := map[string]map[int32]int64{}
	b.mu.Lock()
	for p, offset := range to {
		if b.parts[p.place] != p || p.leaving {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = map[int32]int64{}
		}
		offsets[p.topic][p.number] = offset
	}
	b.mu.Unlock()
	b.consumer.Rewind(offsets)
}

// handOut gives records to the targets that they are for. Back gets those partitions that
// are to be read again, and from where on.
func (b *bus) handOut(records []*kgo.Record, back map[*busPart]int64) {
	for some := range slices.Chunk(records, chunkRecords) {
		b.mu.Lock()
		for _, r := range some {
			p := b.parts[place{r.Topic, r.Partition}]
			if _, again := back[p]; again {
				continue
			}
			switch {
			case p == nil || p.leaving:
			case p.books == nil:
				back[p] = r.Offset
			case r.Offset < p.books.next: // it was rewound meanwhile
			case b.stalls(p, r):
				back[p] = r.Offset
			default:
				b.give(p, r)
				p.books.next = r.Offset + 1
			}
		}
		b.mu.Unlock()
	}
}

// stalls says whether a partition of the retries cannot be read on, since it may be a
// matter of time that the target of the next event is known here.
func (b *bus) stalls(p *busPart, r *kgo.Record) bool {
	if !b.isRetries(p.topic) {
		return false
	}
	name := headerOf(r, headerRetryPipe)
	if b.subs[name] != nil || name == "" || time.Since(r.Timestamp) > definitionsTake {
		return false
	}
	p.stalled = time.Now().Add(time.Second)
	b.consumer.Pause(p.topic, p.number)
	return true
}

// isRetries says whether a topic is that of the retries.
func (b *bus) isRetries(topic string) bool { return len(b.topics) > 1 && topic == b.topics[1] }

// give gives a record to the targets that it is for. The mutex is held, as in what
// follows.
func (b *bus) give(p *busPart, r *kgo.Record) {
	if b.isRetries(p.topic) {
		name := headerOf(r, headerRetryPipe)
		if s := b.subs[name]; s == nil {
			b.log.Warn("an event waited for a target that is gone; it is dropped", "pipe", name, "partition", r.Partition, "offset", r.Offset)
		} else if !b.fresh[s] {
			b.offer(p, s, r)
		} else { // it begins here, since what is meant for it alone cannot be too old
			p.books.detach(b.account(p, s), r.Offset)
		}
		return
	}
	m := meantFor(r)
	if m.schedule != "" {
		for i, s := range b.byRule[m.schedule] {
			if i == 0 {
				s.series.matched()
			}
			if !b.fresh[s] {
				b.offer(p, s, r)
			}
		}
		return
	}
	matched := false
	var err error
	if b.scratch, err = b.set.Match(b.scratch[:0], r.Value); err != nil {
		b.log.Debug("an event of the bus cannot be matched", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "err", err)
	}
	for _, rule := range b.scratch {
		if !m.reaches(rule.name, rule.archive) {
			continue
		}
		if !rule.archive {
			rule.series.matched()
			matched = true
		}
		for _, s := range rule.subs {
			b.offer(p, s, r)
		}
	}
	for s := range b.all {
		if m.reaches("", true) {
			b.offer(p, s, r)
		}
	}
	if !matched {
		b.metrics.unmatched.Inc()
		b.samples.add(r)
	}
}

// offer gives a record of the shared read to a target that reads along. One that cannot
// take it does not read along any more.
func (b *bus) offer(p *busPart, s *subscriber, r *kgo.Record) {
	if !p.books.takes(s, r.Offset) {
		return
	}
	a := b.account(p, s)
	f := s.open()
	if f == nil || !f.hasRoom(false) {
		p.books.detach(a, r.Offset)
		return
	}
	f.take(p.place, r)
}

// take accepts one record, of a partition that it may not have yet.
func (f *flow) take(at place, r *kgo.Record) {
	f.mu.Lock()
	known := f.parts[at] != nil
	f.mu.Unlock()
	if !known {
		f.assigned(map[string][]int32{at.topic: {at.number}})
	}
	f.accept([]*kgo.Record{r})
}

// A meant says whom a record of a bus is for.
type meant struct {
	rules    string // with commas between them; empty: all
	schedule string
	replayed bool
}

func meantFor(r *kgo.Record) (m meant) {
	for _, h := range r.Headers {
		switch h.Key {
		case event.HeaderRules:
			m.rules = string(h.Value)
		case event.HeaderSchedule:
			m.schedule = string(h.Value)
		case event.HeaderReplay:
			m.replayed = true
		}
	}
	return m
}

// reaches says whether a rule or an archive is asked about a record.
func (m meant) reaches(rule string, archive bool) bool {
	if archive {
		return !m.replayed && m.rules == ""
	}
	if m.rules == "" {
		return true
	}
	for name := range strings.SplitSeq(m.rules, ",") {
		if name == rule {
			return true
		}
	}
	return false
}

// wants says whether a record is for a target, apart from all others.
func (s *subscriber) wants(r *kgo.Record) bool {
	if s.bus.isRetries(r.Topic) {
		return headerOf(r, headerRetryPipe) == s.def.Name
	}
	m, sub := meantFor(r), s.def.Bus
	archive := sub.Archive != ""
	switch {
	case m.schedule != "":
		return !archive && m.schedule == sub.Rule
	case !m.reaches(sub.Rule, archive):
		return false
	case s.rule == nil:
		return archive && len(sub.Pattern) == 0
	}
	ok, err := s.rule.pattern.Match(r.Value)
	return ok && err == nil
}

func headerOf(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// hopsOf says by how many buses an event has come here.
func hopsOf(r *kgo.Record) int {
	text := headerOf(r, event.HeaderBusHops)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return mostHops + 1 // nobody knows, and a loop must end
	}
	return n
}

// mostHops is by how many buses an event may come.
const mostHops = 5

// errLoop is why an event is not delivered.
var errLoop = errors.New("the event has come by more than 5 buses: it goes round in a circle")
