package pipe

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A bookModel is a partition of a bus with everything around its books made up: the
// events, the targets, and what Kafka keeps of the books.
type bookModel struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time
	books  *books
	end    int64 // of the log
	subs   []*modelTarget
	shared int64 // what Kafka has
	// late are deletions that were given up and may still be carried out.
	late map[*modelTarget]time.Time
	log  []string
}

type modelTarget struct {
	sub       *subscriber
	number    int
	begins    int64 // events before it are not meant for it
	delivered map[int64]bool
	safe      int64 // the first event that is not delivered
	track     tracker
	numbers   map[int64]uint64 // of what is under way, in the tracker
	own       int64            // what Kafka has; -1: nothing
	dead      bool
	repeats   int
}

func (m *modelTarget) wants(offset int64) bool {
	return offset >= m.begins && (offset*7+int64(m.number)*3)%5 < 2
}

func (m *modelTarget) lowest() (int64, bool) {
	if m.track.span() == 0 {
		return 0, false
	}
	return m.track.offsets[0], true
}

func (m *modelTarget) take(offset int64) {
	if !m.wants(offset) {
		return
	}
	m.numbers[offset] = m.track.add(offset)
}

func (m *modelTarget) finish(offset int64) {
	if m.delivered[offset] {
		m.repeats++
	}
	m.delivered[offset] = true
	m.track.finish(m.numbers[offset])
	delete(m.numbers, offset)
}

func newBookModel(t *testing.T, seed uint64, targets int) *bookModel {
	m := &bookModel{t: t, random: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_000_000, 0), books: newBooks(0), late: map[*modelTarget]time.Time{}}
	for range targets {
		m.join(-1)
	}
	return m
}

// join adds a target that begins at an offset; -1: it was always there.
func (m *bookModel) join(begins int64) *modelTarget {
	s := &modelTarget{sub: &subscriber{}, number: len(m.subs), begins: max(begins, 0), safe: max(begins, 0), delivered: map[int64]bool{}, numbers: map[int64]uint64{}, own: begins}
	m.subs = append(m.subs, s)
	if begins >= 0 {
		m.books.resume(s.sub, s.own, s.lowest)
	}
	return s
}

func (m *bookModel) say(form string, args ...any) {
	if len(m.log) > 1000 {
		m.log = m.log[960:]
	}
	m.log = append(m.log, fmt.Sprintf(form, args...))
}

// check fails if somebody who took over now would pass over an event.
func (m *bookModel) check(after string) {
	for _, s := range m.subs {
		start := m.shared
		if s.own >= 0 {
			start = s.own
		}
		for !s.wants(s.safe) || s.delivered[s.safe] {
			s.safe++
		}
		if s.safe < start {
			m.t.Fatalf("after %s: target %d would begin at %d (own %d, shared %d), and event %d is not delivered\n%s", after, s.number, start, s.own, m.shared, s.safe, m.tailOfLog())
		}
	}
}

func (m *bookModel) tailOfLog() (text string) {
	for _, line := range m.log[max(0, len(m.log)-40):] {
		text += line + "\n"
	}
	return text
}

// read hands the next event of the log out; full is how likely a target has no room.
func (m *bookModel) read(full float64) {
	if m.books.next >= m.end {
		return
	}
	o := m.books.next
	for _, s := range m.subs {
		if !s.wants(o) || !m.books.takes(s.sub, o) {
			continue
		}
		a := m.books.account(s.sub, s.lowest)
		if m.random.Float64() < full {
			m.books.detach(a, o)
			m.say("target %d detached at %d", s.number, o)
			continue
		}
		s.take(o)
	}
	m.books.next = o + 1
}

// readOwn has a target read for itself.
func (m *bookModel) readOwn(s *modelTarget, n int) {
	a := m.books.accounts[s.sub]
	if a == nil || a.attached {
		return
	}
	for ; n > 0 && a.at < m.end && !m.books.attach(a); n-- {
		s.take(a.at)
		a.at++
	}
	if m.books.attach(a) {
		m.say("target %d attached at %d", s.number, a.at)
	}
}

// replace ends the flow of a target and begins another one with what is not delivered.
func (m *bookModel) replace(s *modelTarget) {
	o, ok := s.lowest()
	s.track, s.numbers = tracker{}, map[int64]uint64{}
	if ok {
		a := m.books.account(s.sub, s.lowest)
		m.books.detach(a, m.books.next)
		m.books.back(a, o)
		m.say("target %d goes back to %d", s.number, o)
	}
}

// outcome says whether a request reaches Kafka, and whether the answer comes back.
func (m *bookModel) outcome(trouble float64) (carried, told bool) {
	if m.random.Float64() >= trouble {
		return true, true
	}
	return m.random.IntN(2) == 0, false
}

func (m *bookModel) commit(trouble float64) {
	at, _ := m.books.due()
	if carried, _ := m.outcome(trouble); carried && at > m.shared {
		m.shared = at
		m.say("shared at %d", at)
	}
}

func (m *bookModel) of(e bookEntry) *modelTarget {
	return m.subs[slices.IndexFunc(m.subs, func(s *modelTarget) bool { return s.sub == e.sub })]
}

func (m *bookModel) review(trouble float64) {
	for s, until := range m.late {
		if m.now.After(until) {
			delete(m.late, s)
		} else if m.random.IntN(10) == 0 {
			m.say("target %d: late deletion", s.number)
			s.own = -1
			delete(m.late, s)
			m.check("a late deletion")
		}
	}
	write, erase, _ := m.books.review(m.now)
	for _, e := range write {
		s := m.of(e)
		carried, told := m.outcome(trouble)
		if carried {
			s.own = e.offset
		}
		m.say("target %d: own %d, carried %v, told %v", s.number, e.offset, carried, told)
		m.books.wrote(e, told)
		m.check("own books")
	}
	for _, e := range erase {
		s := m.of(e)
		carried, told := m.outcome(trouble)
		if carried {
			s.own = -1
		} else {
			m.late[s] = m.now.Add(doubtFor - time.Second)
		}
		m.say("target %d: deletion, carried %v, told %v", s.number, carried, told)
		m.books.erased(e, told, m.now)
		m.check("a deletion")
	}
}

// crash has somebody else take over.
func (m *bookModel) crash() {
	m.say("crash: shared %d", m.shared)
	clear(m.late)
	m.books = newBooks(m.shared)
	for _, s := range m.subs {
		s.track, s.numbers = tracker{}, map[int64]uint64{}
		if s.own >= 0 {
			m.books.resume(s.sub, s.own, s.lowest)
		}
	}
}

// step does something at random.
func (m *bookModel) step(trouble float64) {
	s := m.subs[m.random.IntN(len(m.subs))]
	switch m.random.IntN(20) {
	case 0, 1, 2, 3:
		m.end += int64(m.random.IntN(6))
	case 4, 5, 6, 7:
		for range m.random.IntN(8) {
			m.read(0.02)
		}
	case 8, 9, 10, 11, 12:
		for o := range s.numbers {
			if !s.dead && m.random.IntN(3) == 0 {
				s.finish(o)
			}
		}
	case 13, 14:
		m.readOwn(s, m.random.IntN(20))
	case 15:
		m.now = m.now.Add(time.Duration(m.random.IntN(1500)) * time.Millisecond)
		m.books.mark(m.now)
	case 16:
		m.commit(trouble)
	case 17, 18:
		m.review(trouble)
	default:
		switch m.random.IntN(30) {
		case 0:
			m.crash()
		case 1:
			m.replace(s)
		case 2:
			if len(m.subs) < 8 {
				m.join(m.end)
			}
		case 3:
			s.dead = !s.dead
		}
	}
	m.check("a step")
}

// TestBooksPassOverNothing takes the books of one partition through a random life: events
// finish in any order, targets fall behind, are full, are replaced, come, and die; writes
// and deletions fail, or their answers are lost; and now and then everything crashes.
// Whoever takes over, at any moment, begins with no event passed over. Then the trouble
// ends, and everybody keeps up again.
func TestBooksPassOverNothing(t *testing.T) {
	seeds, steps := uint64(50), 2_000
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		m := newBookModel(t, seed, 4)
		m.say("seed %d", seed)
		for range steps {
			m.step(0.1)
		}
		m.calm(seed)
	}
}

// calm ends all trouble, but for one target that is dead.
func (m *bookModel) calm(seed uint64) {
	dead := m.subs[0]
	for _, s := range m.subs {
		s.dead = s == dead
	}
	m.end += 10
	for range 400 {
		for range 50 {
			m.read(0)
		}
		for _, s := range m.subs {
			m.readOwn(s, 10_000)
			for o := range s.numbers {
				if !s.dead {
					s.finish(o)
				}
			}
		}
		m.now = m.now.Add(300 * time.Millisecond)
		m.books.mark(m.now)
		m.commit(0)
		m.review(0)
		m.check("the end")
	}
	if m.shared != m.end {
		m.t.Errorf("seed %d: the shared books are at %d, want %d\n%s", seed, m.shared, m.end, m.tailOfLog())
	}
	for _, s := range m.subs {
		low, busy := s.lowest()
		switch {
		case s.own >= 0 && !busy:
			m.t.Errorf("seed %d: target %d has own books still, at %d of %d\n%s", seed, s.number, s.own, m.end, m.tailOfLog())
		case busy && s.own != low:
			m.t.Errorf("seed %d: the own books of the target that is dead are at %d, want %d", seed, s.own, low)
		}
		for o := range m.end {
			if s.wants(o) && !s.delivered[o] && !s.dead {
				m.t.Fatalf("seed %d: target %d has not got event %d", seed, s.number, o)
			}
		}
	}
	if len(m.books.accounts) > 1 {
		m.t.Errorf("seed %d: %d accounts are kept, want that of the target that is dead", seed, len(m.books.accounts))
	}
}

// TestTargetsThatKeepUpRepeatFiveSeconds has one target die beside one that is well: after
// a crash that one gets no more once more than what it got in five seconds.
func TestTargetsThatKeepUpRepeatFiveSeconds(t *testing.T) {
	m := newBookModel(t, 1, 2)
	m.subs[0].dead = true
	const perSecond = 40
	for range 60 * 4 { // a minute
		m.end += perSecond / 4
		for m.books.next < m.end {
			m.read(0)
		}
		for o := range m.subs[1].numbers {
			m.subs[1].finish(o)
		}
		m.now = m.now.Add(250 * time.Millisecond)
		m.books.mark(m.now)
		m.commit(0)
		m.review(0)
		if most := int64(perSecond * 6); m.end-m.shared > most {
			t.Fatalf("the shared books are %d events behind, want at most %d", m.end-m.shared, most)
		}
	}
	low, _ := m.subs[0].lowest()
	if m.subs[0].own != low {
		t.Errorf("the own books of the target that is dead are at %d, want %d", m.subs[0].own, low)
	}
}
