package rule

// A span is a range of numbers by their keys (number.key), both ends included.
type span struct{ low, high uint64 }

func (s span) contains(key uint64) bool { return key >= s.low && key <= s.high }

// ranges is an immutable set of spans that finds those around a number: a search
// tree by span and edge, a heap by weight, which keeps it shallow, and most is
// the highest end in a subtree, which tells whether to look into it. Nil is
// empty.
type ranges struct {
	span
	edge        int32
	weight      uint64
	most        uint64
	left, right *ranges
}

func newRange(s span, edge int32) *ranges {
	w := (s.low ^ s.high*0x9E3779B97F4A7C15 ^ uint64(edge)<<17) + 0x632BE59BD9B4E019
	w = (w ^ w>>30) * 0xBF58476D1CE4E5B9
	w = (w ^ w>>27) * 0x94D049BB133111EB
	return &ranges{span: s, edge: edge, weight: w ^ w>>31, most: s.high}
}

func (t *ranges) compare(o *ranges) int {
	switch {
	case t.low != o.low:
		return order(t.low < o.low)
	case t.high != o.high:
		return order(t.high < o.high)
	case t.edge != o.edge:
		return order(t.edge < o.edge)
	}
	return 0
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

// over returns a copy of t over other subtrees.
func (t *ranges) over(left, right *ranges) *ranges {
	c := *t
	c.left, c.right, c.most = left, right, t.high
	if left != nil {
		c.most = max(c.most, left.most)
	}
	if right != nil {
		c.most = max(c.most, right.most)
	}
	return &c
}

func (t *ranges) with(n *ranges) *ranges {
	switch {
	case t == nil:
		return n
	case n.weight > t.weight:
		left, right := t.split(n)
		return n.over(left, right)
	case n.compare(t) < 0:
		return t.over(t.left.with(n), t.right)
	default:
		return t.over(t.left, t.right.with(n))
	}
}

// split parts a tree into what comes before n and the rest.
func (t *ranges) split(n *ranges) (before, after *ranges) {
	if t == nil {
		return nil, nil
	}
	if t.compare(n) < 0 {
		before, after = t.right.split(n)
		return t.over(t.left, before), after
	}
	before, after = t.left.split(n)
	return before, t.over(after, t.right)
}

func (t *ranges) without(n *ranges) *ranges {
	if t == nil {
		return nil
	}
	switch c := n.compare(t); {
	case c < 0:
		return t.over(t.left.without(n), t.right)
	case c > 0:
		return t.over(t.left, t.right.without(n))
	}
	return join(t.left, t.right)
}

func join(a, b *ranges) *ranges {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.weight > b.weight:
		return a.over(a.left, join(a.right, b))
	}
	return b.over(join(a, b.left), b.right)
}

// around appends the edges of the spans that contain a key.
func (t *ranges) around(key uint64, edges []int32) []int32 {
	for t != nil && t.most >= key {
		edges = t.left.around(key, edges)
		if t.low > key {
			break
		}
		if t.high >= key {
			edges = append(edges, t.edge)
		}
		t = t.right
	}
	return edges
}
