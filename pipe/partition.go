package pipe

import (
	"context"

	"github.com/klamm-gateway/klamm/event"
)

// A tracker remembers which records of a partition are under way, and with that
// which offset can be committed: the one behind the longest run of finished
// records.
//
//	           head                          tail
//	            |                             |
//	finished  [ . ][ x ][ x ][ . ][ x ]       v     x: finished, but not yet
//	            ^ lowest unfinished record          committable
//
// Records enter in the order of their offsets. Gaps between offsets (compaction,
// transactions) do not matter: only records that were read are waited for. The
// zero value is ready for use.
type tracker struct {
	base     uint64 // number of the entry at finished[0]
	offsets  []int64
	finished []bool
	next     int64 // the offset to commit; 0: nothing is finished yet
	first    int64 // the offset of the first record that was added
	beyond   int   // finished records that wait for an unfinished one before them
}

// add enters a record and returns the number by which it is known.
func (t *tracker) add(offset int64) uint64 {
	if t.base == 0 && len(t.offsets) == 0 {
		t.first = offset
	}
	t.offsets = append(t.offsets, offset)
	t.finished = append(t.finished, false)
	return t.base + uint64(len(t.offsets)) - 1
}

// finish marks a record as finished.
func (t *tracker) finish(number uint64) {
	t.finished[number-t.base] = true
	t.beyond++
	n := 0
	for n < len(t.finished) && t.finished[n] {
		n++
	}
	if n == 0 {
		return
	}
	t.next = t.offsets[n-1] + 1
	t.base += uint64(n)
	t.beyond -= n
	t.offsets = t.offsets[n:]
	t.finished = t.finished[n:]
	if len(t.offsets) == 0 {
		t.offsets, t.finished = nil, nil
	}
}

// span is how many records lie between the lowest unfinished one and the last.
func (t *tracker) span() int { return len(t.offsets) }

// place is a topic and one of its partitions.
type place struct {
	topic  string
	number int32
}

// A partition is an assigned partition of a running pipe. All its fields are
// guarded by the flow's mutex.
type partition struct {
	place
	track     tracker
	committed int64
	lanes     map[uint64]*lane // of the keys that are under way, by the hash of the key
	open      *batch           // the batch being filled; nil: none
	paused    bool             // fetching is paused, because span has grown too large
	begun     bool             // it is remembered that this partition has a committed offset

	records, bytes int    // of this partition held in memory
	underway       int    // batches being attempted right now
	top            uint64 // every batch that was attempted begins below this number
	// let says that the partition is to be let go of: no further attempt
	// begins. quiet is closed when the last one has ended.
	let   bool
	quiet chan struct{}
	// ctx ends when nothing may be delivered from this partition any more.
	ctx    context.Context
	cancel context.CancelFunc
}

// An item is one record on its way.
type item struct {
	event.Event
	part   *partition
	number uint64 // in the tracker
	size   int
	reason error // why it can only be given up; nil: it can be delivered
	// undecided is why it is not known yet whether it is to be delivered, and as what;
	// dropped says that it is not.
	undecided error
	dropped   bool
	unread    bool    // reason is that it could not be decoded
	waited    *waited // of an event that has waited elsewhere; nil: it has not
	// address is where it goes, as a hash; 0: the target has only one address.
	address uint64
	// unmade is the length of the body that a mapping makes of it with each attempt; 0:
	// it has its body.
	unmade int
}

// length is how many bytes its body has.
func (it *item) length() int {
	if it.unmade > 0 {
		return it.unmade
	}
	return len(it.Payload())
}

// A batch is delivered by one call of the target. Its items are consecutive
// records of one partition, apart from those that the filter has dropped.
type batch struct {
	part    *partition
	items   []*item
	bytes   int
	lanes   []*lane // each once
	waiting int     // for so many lanes in which it is not the first
	age     uint64  // the number of its closing; the oldest goes first

	attempt int
	missed  int   // how often in a row the function of a mapping was not reached
	begun   int64 // when the first attempt began, in Unix nanoseconds
	err     error // of the last attempt
	verdict *verdict

	probes    probeOf // what this attempt is to find out about
	failed    bool    // an attempt has failed; the governor knows it
	unreached bool    // there was no connection; the endpoint knows it
	ailing    bool    // its address was known to be, when the last attempt ended
	counted   bool    // among the attempts at ailing addresses
	throttled bool    // the rate of the target has made it wait
	turned    bool    // it has a turn by that rate when it comes back
}

// ends says whether an attempt that has ended was a probe, and that it is none any
// more.
func (b *batch) ends(of probeOf) (probe bool) {
	probe = b.probes&of != 0
	b.probes &^= of
	return probe
}

// address is where the batch goes; 0: the target has only one address. Where there
// are several, a batch is one record, or all go to the same.
func (b *batch) address() uint64 {
	if len(b.items) == 0 {
		return 0
	}
	return b.items[0].address
}

// A lane keeps the batches of one key in order: only the first may be delivered.
//
//	lane "a":  batch 1, batch 4          batch 4 waits for 1 and for 2
//	lane "b":  batch 2, batch 4          batch 3 waits for nobody
//	lane "c":  batch 3
//
// With order "partition" a partition has one lane; records without a key, and
// with order "none" all records, have none.
type lane struct {
	key   uint64
	queue []*batch // closed batches, first the one that may be delivered
	open  bool     // the partition's open batch has records of this lane
}

// enter puts a closed batch at the end of its lanes and says whether it may be
// delivered at once.
func (b *batch) enter() bool {
	for _, l := range b.lanes {
		l.open = false
		if len(l.queue) > 0 {
			b.waiting++
		}
		l.queue = append(l.queue, b)
	}
	return b.waiting == 0
}

// leave takes a finished batch out of its lanes and returns the batches that may
// be delivered now.
func (b *batch) leave() (free []*batch) {
	for _, l := range b.lanes {
		l.queue[0] = nil
		l.queue = l.queue[1:]
		if len(l.queue) > 0 {
			if first := l.queue[0]; first.waiting > 0 {
				if first.waiting--; first.waiting == 0 {
					free = append(free, first)
				}
			}
		} else if !l.open {
			delete(b.part.lanes, l.key)
		}
	}
	return free
}

// blocked says whether a batch would have to wait if it were closed now.
func (b *batch) blocked() bool {
	for _, l := range b.lanes {
		if len(l.queue) > 0 {
			return true
		}
	}
	return false
}
