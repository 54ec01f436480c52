package pipe

import (
	"hash/maphash"
	"time"

	"github.com/klamm-gateway/klamm/catalog"
)

// The functions of this file run with the flow's mutex held.

// put adds an item to its partition's open batch, and closes the batch when it
// is full.
func (f *flow) put(it *item) {
	limit := f.def.Delivery.Batch
	if f.mapping != nil {
		limit.Bytes = f.mapping.room()
	}
	p := it.part
	if it.waited != nil && it.reason == nil {
		f.putWaited(it)
		return
	}
	if it.reason != nil { // it will be given up, in a batch of its own and in nobody's way
		f.close(p)
		f.offer(&batch{part: p, items: []*item{it}, bytes: it.size, verdict: &verdict{err: it.reason}})
		return
	}
	body := it.length() + 3
	if p.open != nil && p.open.bytes+body > int(limit.Bytes) {
		f.close(p)
	}
	if p.open == nil {
		p.open = &batch{part: p, items: make([]*item, 0, min(limit.Records, 128))}
		if limit.Wait > 0 {
			opened := p.open
			time.AfterFunc(limit.Wait, func() { f.waited(opened) })
		}
	}
	b := p.open
	b.items = append(b.items, it)
	b.bytes += body
	if l := f.laneOf(it); l != nil && !l.open {
		l.open = true
		b.lanes = append(b.lanes, l)
	}
	if len(b.items) >= limit.Records || b.bytes >= int(limit.Bytes) {
		f.close(p)
	}
}

// seed makes lanes of keys. Two keys of the same hash would share a lane, which
// costs nothing but a wait.
var seed = maphash.MakeSeed()

// laneOf returns the lane that keeps an item in order; nil: none.
func (f *flow) laneOf(it *item) *lane {
	var key uint64
	switch f.def.Delivery.Order {
	case catalog.OrderNone:
		return nil
	case catalog.OrderKey:
		if it.Record.Key == nil {
			return nil
		}
		key = maphash.Bytes(seed, it.Record.Key)
	}
	l := it.part.lanes[key]
	if l == nil {
		l = &lane{key: key}
		it.part.lanes[key] = l
	}
	return l
}

// close closes a partition's open batch, if there is one.
func (f *flow) close(p *partition) {
	b := p.open
	if b == nil {
		return
	}
	p.open = nil
	f.closed++
	b.age = f.closed
	if b.enter() {
		f.offer(b)
	}
}

// sendOpen closes an open batch that does not have to wait for anything: there
// is somebody to deliver it and no batch before it in its lanes. While it would
// have to wait, it may as well grow.
func (f *flow) sendOpen(p *partition) {
	if p.open != nil && f.active+f.ready.len() < f.governor.allowed() && !p.open.blocked() {
		f.close(p)
	}
}

// sendWaiting closes open batches, of whichever partition, as far as there is somebody
// now to deliver them.
func (f *flow) sendWaiting() {
	if b := f.def.Delivery.Batch; b.Records == 1 || b.Wait != 0 {
		return // none waits for that
	}
	for _, p := range f.parts {
		if f.active+f.ready.len() >= f.governor.allowed() {
			return
		}
		f.sendOpen(p)
	}
}

// waited closes a batch that has waited long enough.
func (f *flow) waited(b *batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.part.open == b && !b.part.let {
		f.close(b.part)
		f.dispatch()
	}
}

// dispatch sets goroutines to work on what may be delivered, up to InFlight.
func (f *flow) dispatch() {
	for f.active < f.governor.allowed() {
		b := f.next()
		if b == nil {
			return
		}
		f.active++
		f.working.Add(1)
		go f.work(b)
	}
}

// next takes the oldest batch that may be delivered, and nil if there is none. A
// batch whose next attempt is due, or which waited for its key, is older than
// what was closed since: everything delivered beyond the lowest unfinished
// record would be delivered again after a crash.
func (f *flow) next() *batch {
	for f.ready.len() > 0 {
		var b *batch
		if f.ready.first().verdict == nil && f.down() {
			if b = f.probe(time.Now()); b == nil {
				return nil
			}
		} else if b = f.ready.pop(); !f.deliverable(b) || b.verdict == nil && f.holdsBack(b) {
			continue
		}
		b.part.underway++
		b.part.top = max(b.part.top, b.items[0].number+1)
		return b
	}
	return nil
}

// deliverable says whether a batch that is ready may still be delivered.
func (f *flow) deliverable(b *batch) bool {
	return !b.part.let && !f.over && (!f.draining || f.closesGap(b))
}

// closesGap says whether a batch must still be delivered at the end: records
// behind it were delivered already, or are about to be, and cannot be committed
// before it. They would be delivered again.
func (f *flow) closesGap(b *batch) bool {
	return b.items[0].number < b.part.top && (b.part.track.beyond > 0 || b.part.underway > 0)
}

// offer makes batches ready to be delivered.
func (f *flow) offer(batches ...*batch) {
	for _, b := range batches {
		if b.age == 0 {
			f.closed++
			b.age = f.closed
		}
		f.ready.push(b)
	}
}

// finished settles items: they are delivered, or their dead letters are written.
func (f *flow) finished(items []*item) {
	for _, it := range items {
		p := it.part
		p.track.finish(it.number)
		if f.tally != nil && f.tally.done != nil {
			f.tally.done(it.Record)
		}
		if p.records > 0 { // not forgotten in the meantime
			p.records--
			p.bytes -= it.size
			f.records--
			f.bytes -= it.size
			f.runner.held.add(-it.size)
		}
		if p.paused && p.track.span() < widestSpan/2 && !p.let {
			p.paused = false
			f.consumer.Resume(p.topic, p.number)
		}
	}
}

// release lets the batches behind a finished one go on.
func (f *flow) release(b *batch) {
	f.offer(b.leave()...)
	if f.def.Delivery.Batch.Wait == 0 {
		f.sendOpen(b.part)
	}
	if !f.full() { // or the poller would wake up for each record, to find that there is no room
		f.wakePoller()
	}
	f.wakeCommitter()
}
