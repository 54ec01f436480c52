package pipe

import (
	"cmp"
	"container/heap"
	"iter"
	"slices"
)

// A queue holds the batches that may be delivered. First come those that are given
// up, which the target is not asked about, then the one that was closed first. Nearly
// all come in the order of their age and need no heap. The zero value is empty.
type queue struct {
	inOrder []*batch // by age, from head on
	head    int
	late    byAge // the others
}

func (q *queue) len() int { return len(q.inOrder) - q.head + len(q.late) }

func (q *queue) push(b *batch) {
	if b.verdict != nil || len(q.inOrder) > q.head && b.age < q.inOrder[len(q.inOrder)-1].age {
		heap.Push(&q.late, b)
		return
	}
	if q.head > len(q.inOrder)/2 {
		left := copy(q.inOrder, q.inOrder[q.head:])
		clear(q.inOrder[left:])
		q.inOrder, q.head = q.inOrder[:left], 0
	}
	q.inOrder = append(q.inOrder, b)
}

// first returns the batch that is next; there must be one.
func (q *queue) first() *batch {
	if len(q.inOrder) == q.head || len(q.late) > 0 && before(q.late[0], q.inOrder[q.head]) {
		return q.late[0]
	}
	return q.inOrder[q.head]
}

// pop takes the first batch out.
func (q *queue) pop() *batch {
	b := q.first()
	if len(q.late) > 0 && q.late[0] == b {
		return heap.Pop(&q.late).(*batch)
	}
	q.inOrder[q.head] = nil
	q.head++
	return b
}

// all yields every batch, in no order.
func (q *queue) all() iter.Seq[*batch] {
	return func(yield func(*batch) bool) {
		for _, batches := range [][]*batch{q.inOrder[q.head:], q.late} {
			for _, b := range batches {
				if !yield(b) {
					return
				}
			}
		}
	}
}

// keep takes out the batches that want refuses, and puts those into their places
// that have been given up since they came.
func (q *queue) keep(want func(*batch) bool) {
	rest := slices.Collect(q.all())
	rest = slices.DeleteFunc(rest, func(b *batch) bool { return !want(b) })
	slices.SortFunc(rest, func(a, b *batch) int { return cmp.Compare(a.age, b.age) })
	*q = queue{}
	for _, b := range rest {
		q.push(b)
	}
}

func before(a, b *batch) bool {
	if doomed := a.verdict != nil; doomed != (b.verdict != nil) {
		return doomed
	}
	return a.age < b.age
}

// byAge is a heap of batches.
type byAge []*batch

func (h byAge) Len() int           { return len(h) }
func (h byAge) Less(i, j int) bool { return before(h[i], h[j]) }
func (h byAge) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byAge) Push(b any)        { *h = append(*h, b.(*batch)) }
func (h *byAge) Pop() any {
	last := len(*h) - 1
	b := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return b
}
