package rule

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
)

// ErrEffort says that whether the event matches could not be found out with the
// effort allowed. It takes an event with large arrays beside each other that was
// made for the purpose.
var ErrEffort = errors.New("the event takes too much effort to match")

const (
	// patience is how many states are visited before the search begins to
	// remember where it has been.
	patience = 4_096
	// effort is how much is tried for one event, besides a share for each of
	// its values: about a second.
	effort = 50_000_000
	// effortEach is that share.
	effortEach = 64
)

// A search is one walk of an event down a machine: at each step it chooses a
// value that satisfies an edge's clause, such that no two of the chosen values
// lie in different elements of one array, and tries all such choices.
type search struct {
	machine *machine
	all     bool    // find all ends, not just one
	ends    []int32 // found
	marked  []bool  // by end, if all are looked for: it was found

	// The event (flatten.go).
	doc        []byte
	values     []value
	head, last []int32 // by path, 1 + the first and last value
	touched    []int32 // the paths that have values
	texts      [][]byte
	figures    []figure
	elements   []element
	frames     []frame
	arrays     int32
	first      [3]byte // by data, the first byte of a record's key and value
	shapes     [3]shape

	scalar  scalar
	chosen  []int32             // by array, 1 + the index of the element chosen
	undo    []int32             // the arrays of which one is chosen, in order
	edges   []int32             // scratch
	hits    []hit               // scratch; a stack, since the search recurs
	tried   map[*entry]struct{} // scratch: files by their first entries
	visited int
	left    int // of the effort
	tired   bool
	seen    map[situation]struct{}
	until   []string // by array, the last path at which a value lies in it
	scratch []byte
}

// A hit is an edge with an element in which a value satisfies it.
type hit struct{ edge, element int32 }

// A situation is all that the rest of the search depends on.
type situation struct {
	state  *state
	chosen string // the elements that a later choice can conflict with
}

var searches = sync.Pool{New: func() any {
	s := &search{tried: map[*entry]struct{}{}}
	s.scalar.values = s
	return s
}}

// newSearch returns a search that has flattened an event. The caller calls done.
func newSearch(m *machine, event []byte) (*search, error) {
	s, _ := searches.Get().(*search)
	s.machine = m
	if n := int(m.size); cap(s.head) < n {
		s.head, s.last = make([]int32, n), make([]int32, n)
	} else {
		s.head, s.last = s.head[:n], s.last[:n]
	}
	err := s.flatten(m.names, event)
	if err != nil {
		s.done()
		return nil, err
	}
	return s, nil
}

// keepAtMost is how many values a search may have had room for to be used again.
const keepAtMost = 1 << 12

// done gives the search back.
func (s *search) done() {
	if cap(s.values) > keepAtMost || cap(s.head) > 1<<20 || cap(s.frames) > keepAtMost || cap(s.scalar.folding) > 1<<16 ||
		cap(s.elements) > keepAtMost || cap(s.chosen) > keepAtMost || cap(s.hits) > keepAtMost || cap(s.edges) > 1<<16 || cap(s.ends) > 1<<20 {
		return
	}
	for _, path := range s.touched {
		s.head[path], s.last[path] = 0, 0
	}
	if s.all {
		for _, end := range s.ends {
			s.marked[end] = false
		}
	}
	clear(s.texts)
	s.machine, s.all, s.doc, s.seen, s.until, s.scalar.text = nil, false, nil, nil, nil, nil
	s.values, s.touched, s.texts, s.figures = s.values[:0], s.touched[:0], s.texts[:0], s.figures[:0]
	s.elements, s.frames, s.arrays, s.undo = s.elements[:0], s.frames[:0], 0, s.undo[:0]
	s.edges, s.hits, s.ends = s.edges[:0], s.hits[:0], s.ends[:0]
	s.visited, s.tired, s.first, s.shapes = 0, false, [3]byte{}, [3]shape{}
	searches.Put(s)
}

// run walks the machine until an end is reached, or, if all are wanted, whose
// numbers are below ends, until nothing is left to try.
func (s *search) run(all bool, ends int) error {
	if s.all = all; all && cap(s.marked) < ends {
		s.marked = make([]bool, ends)
	}
	s.marked = s.marked[:cap(s.marked)]
	s.left = effort + effortEach*len(s.values)
	if n := int(s.arrays) + 1; n > 1 {
		if cap(s.chosen) < n {
			s.chosen = make([]int32, n)
		}
		s.chosen = s.chosen[:n]
		clear(s.chosen)
	}
	if s.machine.root != nil {
		s.visit(s.machine.root)
	}
	if s.tired {
		return ErrEffort
	}
	return nil
}

// visit goes on from a state, and says whether to stop.
func (s *search) visit(st *state) (stop bool) {
	if s.visited++; s.visited > patience && s.arrays > 0 && !st.last() && s.again(st) {
		return false
	}
	if s.left--; s.left < 0 {
		s.tired = true
		return true
	}
	for _, end := range st.ends {
		if !s.all || !s.marked[end] {
			s.ends = append(s.ends, end)
		}
		if !s.all {
			return true
		}
		s.marked[end] = true
	}
	for _, p := range st.few {
		if s.try(p) {
			return true
		}
	}
	if st.count == 0 {
		return false
	}
	for _, path := range s.touched {
		if p, ok := st.many.get(hashNumber(path), path); ok && s.try(p) {
			return true
		}
	}
	for _, path := range st.always {
		if s.head[path] == 0 {
			if p, ok := st.many.get(hashNumber(path), path); ok && s.try(p) {
				return true
			}
		}
	}
	return false
}

// try looks for values for the edges of a step.
func (s *search) try(p *step) (stop bool) {
	if p.data != noData {
		if done, stop := s.tryData(p); done {
			return stop
		}
	}
	head := s.head[p.path]
	if head != 0 {
		if p.index != nil {
			stop = s.tryIndex(p.index, head)
		} else {
			for i := range p.few {
				if s.tryEdge(&p.few[i], head) {
					return true
				}
			}
		}
	}
	if stop || p.absent == 0 || !s.isAbsent(head) {
		return stop
	}
	if p.index != nil {
		for _, i := range p.index.absent {
			if s.visit(p.index.edges.at(i).to) {
				return true
			}
		}
		return false
	}
	for i := range p.few {
		if p.few[i].clause.absent && s.visit(p.few[i].to) {
			return true
		}
	}
	return false
}

// tryEdge tries each value for one edge.
func (s *search) tryEdge(e *edge, head int32) (stop bool) {
	tried := int32(-1)
	for at := head; at != 0; at = s.values[at-1].next {
		in := s.values[at-1].element
		if in == tried || !s.fits(in) {
			continue
		}
		v := s.load(at - 1)
		if s.left -= 1 + len(e.clause.others)*v.effort(); s.left < 0 {
			s.tired = true
			return true
		}
		if !e.clause.matches(v) {
			continue
		}
		tried = in
		if s.choose(in, e.to) {
			return true
		}
	}
	return false
}

// tryIndex looks each value up, and tries what it satisfies.
func (s *search) tryIndex(x *index, head int32) (stop bool) {
	base := len(s.hits)
	for at := head; at != 0; at = s.values[at-1].next {
		in := s.values[at-1].element
		if !s.fits(in) {
			continue
		}
		s.edges = x.satisfied(s.load(at-1), s.edges[:0])
		s.left -= 1 + 2*len(s.edges)
		for _, i := range s.edges {
			s.hits = append(s.hits, hit{i, in})
		}
		if s.left < 0 {
			s.tired = true
			return true
		}
	}
	if found := s.hits[base:]; len(found) > 1 {
		slices.SortFunc(found, func(a, b hit) int {
			if a.edge != b.edge {
				return int(a.edge - b.edge)
			}
			return int(a.element - b.element)
		})
		s.hits = s.hits[:base+len(slices.Compact(found))]
	}
	for i := base; i < len(s.hits) && !stop; i++ {
		stop = s.choose(s.hits[i].element, x.edges.at(s.hits[i].edge).to)
	}
	s.hits = s.hits[:base]
	return stop
}

// fits says whether a value in an element can be chosen. Where an element was
// chosen, so were all around it.
func (s *search) fits(in int32) bool {
	if len(s.undo) == 0 {
		return true
	}
	for in != 0 && s.left > 0 {
		s.left--
		e := &s.elements[in-1]
		switch s.chosen[e.array] {
		case 0:
		case e.index + 1:
			return true
		default:
			return false
		}
		in = e.outer
	}
	return true
}

// choose goes on with a value in an element chosen, and takes it back.
func (s *search) choose(in int32, to *state) (stop bool) {
	mark := len(s.undo)
	for in != 0 {
		e := &s.elements[in-1]
		if s.chosen[e.array] != 0 {
			break
		}
		s.chosen[e.array] = e.index + 1
		s.undo = append(s.undo, e.array)
		s.left--
		in = e.outer
	}
	stop = s.visit(to)
	for _, array := range s.undo[mark:] {
		s.chosen[array] = 0
	}
	s.undo = s.undo[:mark]
	return stop
}

// isAbsent says whether no value lies in the elements chosen so far.
func (s *search) isAbsent(head int32) bool {
	for at := head; at != 0; at = s.values[at-1].next {
		if s.fits(s.values[at-1].element) {
			return false
		}
	}
	return true
}

// again says whether the search was in this situation before. A choice counts
// only if a value at a later path lies in the same array, so that arrays beside
// each other are not multiplied.
func (s *search) again(st *state) bool {
	if s.seen == nil {
		s.seen = map[situation]struct{}{}
		s.setUntil()
	}
	path := ""
	if st.path >= 0 {
		path = s.machine.paths.at(st.path)
	}
	s.scratch = s.scratch[:0]
	for _, array := range s.undo {
		if s.until[array] > path {
			s.scratch = binary.LittleEndian.AppendUint32(s.scratch, uint32(array))
			s.scratch = binary.LittleEndian.AppendUint32(s.scratch, uint32(s.chosen[array]))
		}
	}
	s.left -= 64 + len(s.undo) + len(s.scratch)
	key := situation{st, string(s.scratch)}
	if _, ok := s.seen[key]; ok {
		return true
	}
	s.seen[key] = struct{}{}
	return false
}

// setUntil finds the last path of each array.
func (s *search) setUntil() {
	s.until = make([]string, s.arrays+1)
	for _, number := range s.touched {
		path := s.machine.paths.at(number)
		for at := s.head[number]; at != 0; at = s.values[at-1].next {
			for in := s.values[at-1].element; in != 0; {
				e := &s.elements[in-1]
				if s.until[e.array] >= path {
					break
				}
				s.until[e.array] = path
				in = e.outer
				s.left--
			}
		}
	}
}
