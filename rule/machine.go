package rule

import "slices"

// A machine is a tree of the alternatives of one or many patterns:
//
//	state --step: path a--> edge: clause ["x"]  --> state --step: path b--> ...
//	                    \-> edge: clause ["y"]  --> state, where alternative 1 ends
//
// On every way down, the paths ascend. It is immutable.
type machine struct {
	root  *state
	names *names
	paths vector[string] // by number
	size  int32          // the numbers in use are below
}

// A state is what is left to satisfy after some clauses were.
type state struct {
	path  int32   // of the last of those clauses
	ends  []int32 // the alternatives that are satisfied here
	few   []*step // up to fewSteps
	many  table[int32, *step]
	count int // how many are in many
	// always are the paths in many that are to be looked at even where the
	// event has no value.
	always []int32
}

// A step is what the clauses below a state have to say about one path.
type step struct {
	path   int32
	data   data
	absent int    // how many edges are also satisfied if there is no value
	few    []edge // up to fewEdges
	index  *index // otherwise
}

// An edge leads to the state in which a clause is satisfied.
type edge struct {
	clause *clause
	to     *state
}

const (
	fewSteps = 8
	fewEdges = 8
)

// A bound is a clause and the number of its path.
type bound struct {
	*clause
	path int32
}

// with adds an alternative that ends as a number.
func (st *state) with(clauses []bound, end int32) *state {
	c := state{path: -1}
	if st != nil {
		c = *st
	}
	if len(clauses) == 0 {
		c.ends = plus(c.ends, end)
		return &c
	}
	b := clauses[0]
	old := c.step(b.path)
	if old == nil {
		old = &step{path: b.path, data: b.data}
	}
	return c.put(b.path, old.with(b, clauses[1:], end))
}

// without removes what with added; nil if nothing is left.
func (st *state) without(clauses []bound, end int32) *state {
	c := *st
	if len(clauses) == 0 {
		c.ends = minus(c.ends, end)
	} else {
		b := clauses[0]
		c = *c.put(b.path, c.step(b.path).without(b, clauses[1:], end))
	}
	if len(c.ends) == 0 && c.last() {
		return nil
	}
	return &c
}

// last says whether nothing comes after a state.
func (st *state) last() bool { return len(st.few) == 0 && st.count == 0 }

func (st *state) step(path int32) *step {
	if st.count > 0 {
		p, _ := st.many.get(hashNumber(path), path)
		return p
	}
	for _, p := range st.few {
		if p.path == path {
			return p
		}
	}
	return nil
}

// put returns a copy with another step for a path; nil removes it.
func (st *state) put(path int32, p *step) *state {
	c := *st
	if c.count == 0 {
		i := slices.IndexFunc(c.few, func(o *step) bool { return o.path == path })
		if i < 0 && len(c.few) == fewSteps {
			for _, o := range c.few {
				c.file(o.path, o)
			}
			c.few = nil
			c.file(path, p)
			return &c
		}
		c.few = slices.Clone(c.few)
		switch {
		case p == nil:
			c.few = slices.Delete(c.few, i, i+1)
		case i >= 0:
			c.few[i] = p
		default:
			c.few = append(c.few, p)
		}
		return &c
	}
	c.file(path, p)
	return &c
}

// file puts a step into the table.
func (st *state) file(path int32, p *step) {
	h := hashNumber(path)
	old, had := st.many.get(h, path)
	if had && old.always() {
		st.always = minus(st.always, path)
	}
	if p == nil {
		st.many, st.count = st.many.without(h, path), st.count-1
		return
	}
	if !had {
		st.count++
	}
	if p.always() {
		st.always = plus(st.always, path)
	}
	st.many = st.many.with(h, path, p)
}

func (p *step) always() bool { return p.absent > 0 || p.data != noData }

func (p *step) with(b bound, rest []bound, end int32) *step {
	c := *p
	i, old := c.find(b.clause)
	e := edge{b.clause, old.to.with(rest, end)}
	e.to.path = b.path
	if old.to != nil {
		e.clause = old.clause
	} else if b.absent {
		c.absent++
	}
	switch {
	case c.index != nil && old.to == nil:
		c.index = c.index.with(e)
	case c.index != nil:
		c.index = c.index.replace(i, e)
	case old.to != nil:
		c.few = slices.Clone(c.few)
		c.few[i] = e
	case len(c.few) < fewEdges:
		c.few = append(slices.Clip(slices.Clone(c.few)), e)
	default:
		c.index = new(index)
		for _, o := range append(slices.Clip(c.few), e) {
			c.index = c.index.with(o)
		}
		c.few = nil
	}
	return &c
}

// without removes what with added; nil if nothing is left.
func (p *step) without(b bound, rest []bound, end int32) *step {
	c := *p
	i, old := c.find(b.clause)
	to := old.to.without(rest, end)
	if to == nil && b.absent {
		c.absent--
	}
	switch {
	case c.index != nil && to == nil:
		if c.index = c.index.without(i); c.index.count == 0 {
			return nil
		}
	case c.index != nil:
		c.index = c.index.replace(i, edge{old.clause, to})
	case to != nil:
		c.few = slices.Clone(c.few)
		c.few[i].to = to
	default:
		if c.few = slices.Delete(slices.Clone(c.few), int(i), int(i)+1); len(c.few) == 0 {
			return nil
		}
	}
	return &c
}

// find returns the edge of a clause; its state is nil if there is none.
func (p *step) find(c *clause) (int32, edge) {
	if p.index != nil {
		return p.index.find(c)
	}
	for i, e := range p.few {
		if e.clause.name == c.name {
			return int32(i), e
		}
	}
	return 0, edge{}
}

// numbering gives paths their numbers while machines are built on one another.
type numbering struct{ free []int32 }

// with adds an alternative.
func (n *numbering) with(m machine, clauses []*clause, end int32) machine {
	bounds := make([]bound, len(clauses))
	for i, c := range clauses {
		number := m.names.get(c.path)
		if number < 0 {
			if last := len(n.free) - 1; last >= 0 {
				number, n.free = n.free[last], n.free[:last]
			} else {
				number = m.size
				m.size++
			}
			m.paths = m.paths.with(number, c.path)
		}
		m.names = m.names.with(c.path, number)
		if c.data != noData {
			m.names = m.names.mark(c.data)
		}
		bounds[i] = bound{c, number}
	}
	m.root = m.root.with(bounds, end)
	return m
}

// without removes an alternative that was added.
func (n *numbering) without(m machine, clauses []*clause, end int32) machine {
	bounds := make([]bound, len(clauses))
	for i, c := range clauses {
		bounds[i] = bound{c, m.names.get(c.path)}
	}
	m.root = m.root.without(bounds, end)
	for _, b := range bounds {
		if m.names = m.names.without(b.clause.path); m.names.get(b.clause.path) < 0 {
			n.free = append(n.free, b.path)
		}
	}
	return m
}
