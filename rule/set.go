package rule

import (
	"sync"
	"sync/atomic"
)

// A Set matches an event against many patterns in one pass. What an event costs
// depends on how many of its fields some pattern names, and on how many patterns
// its values satisfy in part, but hardly on how many there are.
//
// The zero value is empty. All methods are safe for concurrent use; Match takes
// no lock and sees each Add and Remove either as a whole or not at all. A Set must
// not be copied.
type Set[ID comparable] struct {
	now atomic.Pointer[snapshot[ID]]

	mu        sync.Mutex // held by writers; guards what follows
	members   map[ID]memberOf
	numbering numbering
	free      []int32 // ends to be used again
}

// A memberOf is a pattern in a set, and the number by which the machine knows it.
type memberOf struct {
	pattern *Pattern
	end     int32
}

// A snapshot is what readers see. It is immutable.
type snapshot[ID comparable] struct {
	machine machine
	ids     vector[ID] // by end
	ends    int32      // the numbers in use are below
	size    int
}

// Add puts a pattern into the set, in the place of the one that had its id.
func (s *Set[ID]) Add(id ID, p *Pattern) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.copied()
	if old, ok := s.members[id]; ok {
		s.remove(&next, id, old)
	}
	end := next.ends
	if last := len(s.free) - 1; last >= 0 {
		end, s.free = s.free[last], s.free[:last]
	} else {
		next.ends++
	}
	next.ids = next.ids.with(end, id)
	for _, a := range p.alternatives {
		next.machine = s.numbering.with(next.machine, a, end)
	}
	next.size++
	if s.members == nil {
		s.members = map[ID]memberOf{}
	}
	s.members[id] = memberOf{p, end}
	s.now.Store(&next)
}

// Remove takes a pattern out of the set and says whether it was there.
func (s *Set[ID]) Remove(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.members[id]
	if !ok {
		return false
	}
	next := s.copied()
	s.remove(&next, id, old)
	s.now.Store(&next)
	return true
}

func (s *Set[ID]) copied() snapshot[ID] {
	if now := s.now.Load(); now != nil {
		return *now
	}
	return snapshot[ID]{}
}

func (s *Set[ID]) remove(next *snapshot[ID], id ID, m memberOf) {
	for _, a := range m.pattern.alternatives {
		next.machine = s.numbering.without(next.machine, a, m.end)
	}
	var none ID
	next.ids = next.ids.with(m.end, none)
	next.size--
	s.free = append(s.free, m.end)
	delete(s.members, id)
}

// Len returns how many patterns are in the set.
func (s *Set[ID]) Len() int {
	if now := s.now.Load(); now != nil {
		return now.size
	}
	return 0
}

// Match appends the ids of the patterns that match an event to dst, each once, in
// no order. The errors are those of Pattern.Match; with one, dst is returned as
// it was.
func (s *Set[ID]) Match(dst []ID, event []byte) ([]ID, error) {
	now := s.now.Load()
	if now == nil {
		now = &snapshot[ID]{}
	}
	w, err := newSearch(&now.machine, event)
	if err != nil {
		return dst, err
	}
	defer w.done()
	if err := w.run(true, int(now.ends)); err != nil {
		return dst, err
	}
	for _, end := range w.ends {
		dst = append(dst, now.ids.at(end))
	}
	return dst, nil
}
