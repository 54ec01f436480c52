package pipe

import (
	"math"
	"time"
)

// This file keeps the books of one partition of a bus (decision 5), and knows nothing
// of Kafka: what is to be committed and deleted is told to the caller, who says what
// came of it. The bus's mutex guards it all.
//
//	                 5 s behind, or             written
//	   +--------+    does not read along  +---------+      +-----+
//	-->| shared |------------------------>| opening |----->| own |
//	   +--------+                         +---------+      +-----+
//	       ^   deleted   +---------+        ^   caught up |  ^
//	       '-------------| closing |        |             v  | fell behind
//	                     +---------+        |   +-----------+|
//	                          ^ '-----------+-->| rejoining |'
//	                          '-----------------+-----------+
//
// Whoever takes over begins a target where its own books say, and where there are
// none, where the shared ones do. So, at every moment:
//
//   - own books say no more than the target's lowest unfinished offset, and
//   - where there may be none, the shared books do not, either: a target counts in
//     them in every state but own, in which its own ones are known to exist.

const (
	// behindAfter is how far, in time, a target may lie behind what was read and still
	// share the books; so much is repeated after a crash.
	behindAfter = 5 * time.Second
	// recentWithin is how far it may lie behind to share them again.
	recentWithin = 2 * time.Second
	// ownEvery is the pause between two commits of own books, and rewriteOwn when they
	// are written although they have not changed: so that neither Kafka forgets them,
	// nor the last words of a process that has lost the partition stand.
	ownEvery   = time.Second
	rewriteOwn = 15 * time.Second
	// doubtFor is how long a request may be on its way that was given up.
	doubtFor = 30 * time.Second
	// idleAccount is how long an account is kept of a target that has nothing under way.
	idleAccount = 2 * time.Second
	// markEvery is the pause between two marks.
	markEvery = 250 * time.Millisecond
)

// A bookState says where the books of a target in a partition are.
type bookState uint8

const (
	booksShared    bookState = iota // there are no own ones
	booksOpening                    // own ones are to be written, and it is not known that they are there
	booksOwn                        // own ones exist, and the shared ones do not wait for it
	booksRejoining                  // own ones may exist, and the shared ones wait for it
	booksClosing                    // own ones are being deleted
)

// books are those of one partition.
type books struct {
	next   int64 // where the shared read goes on: what lies before was handed out
	shared int64 // the highest offset that may have been committed for all
	marks  []bookMark
	// accounts are those of the targets that have something under way, do not read
	// along, or have own books.
	accounts map[*subscriber]*account
}

// A bookMark says where the shared read was.
type bookMark struct {
	at   time.Time
	next int64
}

// An account is how far one target is in one partition.
type account struct {
	// lowest returns the lowest offset that is under way, and false if none is.
	lowest func() (int64, bool)
	// attached says that the target reads along; of what the shared read brings it
	// takes what is not before at. Otherwise it reads for itself, and at is where it
	// goes on.
	attached bool
	at       int64

	state   bookState
	written int64     // what its own books say; -1: that is not known
	tried   time.Time // when they were written last, or tried to
	doubt   time.Time // until then a deletion that failed may still be carried out
	idle    time.Time // since when it has had nothing to do; zero: it has something

	reading bool // somebody reads for it
	// unseen is where the shared read was when the target was heard of, or where it began:
	// the rule was not asked about what lies before, and not counted. 0: it was.
	unseen int64
}

// newBooks returns books whose shared read begins at an offset, which is committed.
func newBooks(at int64) *books {
	return &books{next: at, shared: at, accounts: map[*subscriber]*account{}}
}

// account returns the account of a target, which it opens if there is none.
func (b *books) account(s *subscriber, lowest func() (int64, bool)) *account {
	a := b.accounts[s]
	if a == nil {
		a = &account{lowest: lowest, attached: true, at: b.next, written: -1}
		b.accounts[s] = a
	}
	return a
}

// resume opens an account of a target whose own books exist.
func (b *books) resume(s *subscriber, own int64, lowest func() (int64, bool)) *account {
	a := b.account(s, lowest)
	a.attached, a.at, a.state, a.written = own >= b.next, own, booksOwn, own
	return a
}

// takes says whether a target is given a record of the shared read.
func (b *books) takes(s *subscriber, offset int64) bool {
	a := b.accounts[s]
	return a == nil || a.attached && offset >= a.at
}

// detach has a target read for itself from the first record that it was not given. A
// record with that offset or a later one is all that the shared read may bring.
func (b *books) detach(a *account, from int64) {
	if a.attached {
		a.attached, a.at = false, max(a.at, from)
	}
}

// back has a target that reads for itself begin again with what is not finished.
func (b *books) back(a *account, offset int64) { a.at = min(a.at, offset) }

// attach has a target read along again, if it has caught up.
func (b *books) attach(a *account) bool {
	if !a.attached && a.at >= b.next {
		a.attached = true
	}
	return a.attached
}

// low returns the lowest offset of which it is not known that the target is done with
// it. It never falls.
func (b *books) low(a *account) int64 {
	low := a.at
	if a.attached {
		low = max(a.at, b.next)
	}
	if o, ok := a.lowest(); ok {
		low = min(low, o)
	}
	return low
}

// due returns the offset to commit for all, and false if there is nothing new. The
// caller commits it, or one that this says later.
func (b *books) due() (int64, bool) {
	low := b.next
	for _, a := range b.accounts {
		if a.state != booksOwn {
			low = min(low, b.low(a))
		}
	}
	if low <= b.shared {
		return b.shared, false
	}
	b.shared = low
	return low, true
}

// mark notes where the shared read is.
func (b *books) mark(now time.Time) {
	if n := len(b.marks); n > 0 && now.Sub(b.marks[n-1].at) < markEvery {
		return
	}
	b.marks = append(b.marks, bookMark{now, b.next})
	for len(b.marks) > 1 && now.Sub(b.marks[1].at) >= behindAfter {
		b.marks = b.marks[1:]
	}
}

// before returns where the shared read was some time ago.
func (b *books) before(now time.Time, ago time.Duration) int64 {
	for i := len(b.marks) - 1; i >= 0; i-- {
		if now.Sub(b.marks[i].at) >= ago {
			return b.marks[i].next
		}
	}
	return math.MinInt64
}

// A bookEntry is what an account's own books are to say.
type bookEntry struct {
	sub    *subscriber
	of     *account
	offset int64
}

// review moves accounts from state to state, and returns what is to be written into
// own books and which of them are to be deleted. The caller says with wrote and erased
// what came of it, before it asks again. Idle says which accounts were dropped.
func (b *books) review(now time.Time) (write, erase []bookEntry, idle []*subscriber) {
	behind, recent := b.before(now, behindAfter), b.before(now, recentWithin)
	for s, a := range b.accounts {
		low := b.low(a)
		late := !a.attached || low < behind
		doubtful := now.Before(a.doubt)
		switch {
		case a.state == booksShared && doubtful: // own ones might vanish
			continue
		case a.state == booksShared && late:
			a.state = booksOpening
			a.tried = time.Time{}
		case a.state == booksShared:
			if b.settled(a, now) {
				delete(b.accounts, s)
				idle = append(idle, s)
			}
			continue
		case a.state == booksOwn && a.attached && low >= recent:
			a.state = booksRejoining
		case a.state == booksRejoining && late && doubtful:
		case a.state == booksRejoining && late && a.written >= 0:
			a.state = booksOwn
		case a.state == booksRejoining && late:
			a.state = booksOpening
		case a.state == booksRejoining && low >= b.shared:
			a.state = booksClosing
			erase = append(erase, bookEntry{s, a, low})
			continue
		case a.state == booksClosing:
			continue
		}
		if since := now.Sub(a.tried); since >= rewriteOwn || since >= ownEvery && low != a.written {
			a.tried = now
			write = append(write, bookEntry{s, a, low})
		}
	}
	return write, erase, idle
}

// settled says whether a target has had nothing to do for a while.
func (b *books) settled(a *account, now time.Time) bool {
	if _, busy := a.lowest(); busy || a.at > b.next {
		a.idle = time.Time{}
		return false
	}
	if a.idle.IsZero() {
		a.idle = now
	}
	return now.Sub(a.idle) >= idleAccount
}

// wrote takes note that own books were written; if not, it is not known what they say.
func (b *books) wrote(e bookEntry, ok bool) {
	a := e.of
	switch {
	case !ok:
		// They exist if they did before, and say this or what they said.
		if a.state != booksOwn && a.state != booksRejoining {
			a.written = -1
		}
	default:
		a.written = e.offset
		if a.state == booksOpening {
			a.state = booksOwn
		}
	}
}

// erased takes note that own books were deleted; if not, it is not known whether they
// are, or will be.
func (b *books) erased(e bookEntry, ok bool, now time.Time) {
	a := e.of
	if a.state != booksClosing {
		return
	}
	a.written, a.idle = -1, time.Time{}
	if a.state = booksShared; !ok {
		a.state, a.tried, a.doubt = booksRejoining, time.Time{}, now.Add(doubtFor)
	}
}
