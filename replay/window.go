package replay

import (
	"container/heap"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/klamm-gateway/klamm/event"
)

const (
	// mostWaiting and mostBytes bound the events of a window.
	mostWaiting = 10_000
	mostBytes   = 32 << 20
)

// A part is a partition of an archive.
type part struct {
	id     int32
	next   int64 // what is read next
	end    int64 // what is not replayed any more
	latest int64 // the time of the event that was read last, in seconds
	// read are the events that were read and not all finished, by offset.
	read []*reading
}

// A reading is one event that was read.
type reading struct {
	offset int64
	done   bool
}

// take notes that an event was read.
func (p *part) take(offset int64) *reading {
	r := &reading{offset: offset}
	p.read = append(p.read, r)
	return r
}

// finished returns the offset below which all events are finished.
func (p *part) finished() int64 {
	for len(p.read) > 0 && p.read[0].done {
		p.read = p.read[1:]
	}
	if len(p.read) > 0 {
		return p.read[0].offset
	}
	return p.next
}

// A window holds events that were read and not yet replayed. It gives the earliest first,
// and of those of the same second the one that was read first: archives are nearly in
// the order of time, so a small window brings them there.
type window struct {
	heap  waitingHeap
	bytes int
	seq   int64
}

// A waiting is an event in a window.
type waiting struct {
	part    *part
	reading *reading
	record  *kgo.Record
	at      time.Time
	seq     int64
}

func (w *window) full() bool { return len(w.heap) >= mostWaiting || w.bytes >= mostBytes }

// put takes an event of a partition, if it is one of those that are wanted; otherwise it
// is finished.
func (w *window) put(p *part, r *kgo.Record, from, to time.Time) {
	reading := p.take(r.Offset)
	at, ok := event.TimeOf(r.Value)
	if !ok {
		reading.done = true
		return
	}
	p.latest = at.Unix()
	if at.Before(from) || !at.Before(to) {
		reading.done = true
		return
	}
	w.seq++
	w.back(&waiting{p, reading, r, at, w.seq})
}

// back puts an event back that was taken.
func (w *window) back(e *waiting) {
	w.bytes += len(e.record.Value)
	heap.Push(&w.heap, e)
}

// pop takes the first events, at most n and, unless the first is larger, most bytes.
func (w *window) pop(n, most int) (events []*waiting) {
	for size := 0; len(events) < n && len(w.heap) > 0; {
		size += len(w.heap[0].record.Value)
		if len(events) > 0 && size > most {
			break
		}
		e := heap.Pop(&w.heap).(*waiting)
		w.bytes -= len(e.record.Value)
		events = append(events, e)
	}
	return events
}

// drop forgets the events of a partition.
func (w *window) drop(p *part) {
	kept := w.heap[:0]
	for _, e := range w.heap {
		if e.part != p {
			kept = append(kept, e)
		} else {
			w.bytes -= len(e.record.Value)
		}
	}
	clear(w.heap[len(kept):])
	w.heap = kept
	heap.Init(&w.heap)
}

type waitingHeap []*waiting

func (h waitingHeap) Len() int { return len(h) }

func (h waitingHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.seq < b.seq
}

func (h waitingHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *waitingHeap) Push(x any) { *h = append(*h, x.(*waiting)) }

func (h *waitingHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return last
}
