package pipe

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
)

// waitForRoom waits until the pipe may read on, and is false when ctx has ended.
func (f *flow) waitForRoom(ctx context.Context) bool {
	for {
		f.mu.Lock()
		full := f.full()
		crowded := !full && f.runner.held.crowded(f.bytes)
		f.mu.Unlock()
		if !full && !crowded {
			return ctx.Err() == nil
		}
		var others <-chan time.Time
		if crowded { // others give memory back without telling this pipe
			others = time.After(50 * time.Millisecond)
		}
		select {
		case <-f.room:
		case <-others:
		case <-ctx.Done():
			return false
		}
	}
}

// full says whether the pipe holds all that it may. The flow's mutex is held.
func (f *flow) full() bool { return f.records >= f.heldRecords() || f.bytes >= heldBytes }

// heldRecords is larger than usual where batches are.
func (f *flow) heldRecords() int {
	return max(heldRecords, min(2*f.def.Delivery.InFlight*f.def.Delivery.Batch.Records, 200_000))
}

// accept filters, transforms and batches records of one poll.
func (f *flow) accept(records []*kgo.Record) {
	if len(records) == 0 {
		return
	}
	items := make([]*item, len(records))
	if f.bus == nil { // whose events are JSON already, and come one by one
		f.decoding.begin()
	}
	markers := 0
	for i, r := range records {
		if r.Attrs.IsControl() {
			markers++ // is passed over, and committed
			continue
		}
		items[i] = f.make(r)
	}
	if markers == 0 {
		f.shaped(records, items)
	} else {
		f.shaped(withoutMarkers(records, items))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = true
	var p *partition
	for i, it := range items {
		r := records[i]
		if p == nil || p.topic != r.Topic || p.number != r.Partition {
			p = f.parts[place{r.Topic, r.Partition}]
		}
		if p == nil || p.let || f.stopped != nil {
			continue // given to somebody else since it was fetched
		}
		number := p.track.add(r.Offset)
		if it == nil {
			p.track.finish(number)
			continue
		}
		it.part, it.number = p, number
		f.records, p.records = f.records+1, p.records+1
		f.bytes, p.bytes = f.bytes+it.size, p.bytes+it.size
		f.runner.held.add(it.size)
		f.put(it)
	}
	for _, p := range f.parts {
		if f.consumer != nil && p.track.span() > widestSpan && !p.paused {
			p.paused = true
			f.consumer.Pause(p.topic, p.number)
		}
		if f.def.Delivery.Batch.Wait == 0 {
			f.sendOpen(p)
		}
	}
	f.dispatch()
	f.wakeCommitter()
}

// withoutMarkers leaves out the ends of transactions.
func withoutMarkers(records []*kgo.Record, items []*item) (real []*kgo.Record, of []*item) {
	for i, r := range records {
		if !r.Attrs.IsControl() {
			real, of = append(real, r), append(of, items[i])
		}
	}
	return real, of
}

// passes says whether a record is to be delivered.
func (f *flow) passes(r *kgo.Record) bool {
	if !f.filters.pass(f, r) {
		return false
	}
	if f.pattern == nil && f.where == nil {
		return true
	}
	doc, key, value := event.AppendDocument(nil, f.seen(r), f.fields)
	return (f.where == nil || f.matches(f.where, doc, key, value)) && (f.pattern == nil || f.matches(f.pattern, doc, key, value))
}

// make turns a record into an item, or into nil if the filter drops it.
func (f *flow) make(r *kgo.Record) *item {
	it, passed := f.shape(r)
	if !passed {
		f.metrics.filtered.Inc()
		return nil
	}
	return it
}

// shape filters and transforms a record. The scratch belongs to the polling
// goroutine.
func (f *flow) shape(r *kgo.Record) (it *item, passed bool) {
	switch {
	case f.mapping != nil:
		return f.mapping.shape(r)
	case f.bus != nil:
		return f.bus.shape(r), true
	}
	if !f.filters.pass(f, r) {
		return nil, false
	}
	it = &item{Event: event.Event{Record: r}, size: len(r.Key) + len(r.Value) + 256}
	if !f.decoded(it) {
		return it, true
	}
	passed, doc := f.judge(it, f.scratch[:0])
	f.keepScratch(doc)
	if !passed {
		return nil, false
	}
	it.address = f.locate(it)
	return it, true
}

// judge filters and transforms an item, in the memory of a scratch, which it
// returns.
func (f *flow) judge(it *item, scratch []byte) (passed bool, _ []byte) {
	if f.pattern == nil && f.transform == nil {
		return true, scratch
	}
	doc, key, value := event.AppendDocument(scratch, it.Seen(), f.fields)
	if f.pattern != nil && !f.matches(f.pattern, doc, key, value) {
		return false, doc
	}
	if f.transform == nil {
		return true, doc
	}
	body, err := f.transform.Apply(nil, doc, time.Now())
	if err != nil {
		it.reason = fmt.Errorf("transform: %w", err)
		return true, doc
	}
	it.Body = body
	if it.part == nil {
		it.size += len(body)
	}
	return true, doc
}

// keepScratch keeps a buffer for the next record, unless it is very large.
func (f *flow) keepScratch(buffer []byte) {
	if f.scratch = buffer; cap(buffer) > 1<<20 {
		f.scratch = nil
	}
}
