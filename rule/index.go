package rule

import (
	"hash/maphash"
	"net/netip"
	"slices"
)

// An index finds which of the many edges of a step a value satisfies, without
// asking each. Matchers are filed under what their hints say; for prefixes and
// the like, the sizes in use are kept, and a value is looked up once for each.
// It is immutable.
type index struct {
	edges vector[edge]
	size  int32 // the numbers in use are below
	free  *free
	count int
	names table[string, int32] // edges by the names of their clauses

	filed   table[file, []entry]
	sizes   [kinds][]size // by kind of hint
	ranges  *ranges
	tested  []entry // matchers of no kind, and those of clauses with very many
	absent  []int32 // edges whose clauses have exists:false
	folding bool    // some hint is of a folded kind
}

const kinds = inRange + 1

// A file is the name under which a matcher is filed.
type file struct {
	kind hintKind
	text string
}

// An entry is a matcher of an edge. Without a test, the file's name has said all.
type entry struct {
	edge int32
	test func(*scalar) bool
}

// A size is a length of texts of one kind, and how many there are.
type size struct{ length, uses int }

// free is a list of edge numbers to be used again.
type free struct {
	number int32
	next   *free
}

// mostFiled is up to how many matchers of a clause are filed one by one.
const mostFiled = 256

func (x *index) find(c *clause) (int32, edge) {
	i, ok := x.names.get(hashText(c.name), c.name)
	if !ok {
		return 0, edge{}
	}
	return i, x.edges.at(i)
}

// all returns the edges.
func (x *index) all() []edge {
	edges := make([]edge, 0, x.count)
	for i := range x.size {
		if e := x.edges.at(i); e.to != nil {
			edges = append(edges, e)
		}
	}
	return edges
}

// replace gives an edge another state.
func (x *index) replace(i int32, e edge) *index {
	c := *x
	c.edges = x.edges.with(i, e)
	return &c
}

func (x *index) with(e edge) *index {
	c := *x
	i := c.size
	if c.free != nil {
		i, c.free = c.free.number, c.free.next
	} else {
		c.size++
	}
	c.count++
	c.edges = c.edges.with(i, e)
	c.names = c.names.with(hashText(e.clause.name), e.clause.name, i)
	if e.clause.absent {
		c.absent = plus(c.absent, i)
	}
	if len(e.clause.matchers) > mostFiled {
		c.tested = append(slices.Clip(slices.Clone(c.tested)), entry{i, e.clause.matches})
		return &c
	}
	for j := range e.clause.matchers {
		c.file(i, &e.clause.matchers[j])
	}
	return &c
}

func (x *index) without(i int32) *index {
	c := *x
	e := x.edges.at(i)
	c.free = &free{i, c.free}
	c.count--
	c.edges = c.edges.with(i, edge{})
	c.names = c.names.without(hashText(e.clause.name), e.clause.name)
	if e.clause.absent {
		c.absent = minus(c.absent, i)
	}
	c.tested = removeEntry(c.tested, i)
	if len(e.clause.matchers) <= mostFiled {
		for j := range e.clause.matchers {
			c.unfile(i, &e.clause.matchers[j])
		}
	}
	return &c
}

func (x *index) file(edge int32, m *matcher) {
	h := m.hint
	e := entry{edge: edge}
	if !m.sure {
		e.test = m.test
	}
	switch {
	case h.kind == anyValue && !m.sure:
		x.tested = append(slices.Clip(slices.Clone(x.tested)), e)
		return
	case h.kind == inRange:
		x.ranges = x.ranges.with(newRange(h.span, edge))
		return
	}
	f := file{h.kind, h.text}
	hash := hashFile(h.kind, hashText(h.text))
	old, _ := x.filed.get(hash, f)
	x.filed = x.filed.with(hash, f, append(slices.Clip(slices.Clone(old)), e))
	x.resize(h, 1)
}

func (x *index) unfile(edge int32, m *matcher) {
	h := m.hint
	switch {
	case h.kind == anyValue && !m.sure:
		return // removed by its edge
	case h.kind == inRange:
		x.ranges = x.ranges.without(newRange(h.span, edge))
		return
	}
	f := file{h.kind, h.text}
	hash := hashFile(h.kind, hashText(h.text))
	x.resize(h, -1)
	old, had := x.filed.get(hash, f)
	if !had {
		return // a matcher of the same clause was filed alike
	}
	if left := removeEntry(old, edge); len(left) > 0 {
		x.filed = x.filed.with(hash, f, left)
	} else {
		x.filed = x.filed.without(hash, f)
	}
}

func removeEntry(list []entry, edge int32) []entry {
	if !slices.ContainsFunc(list, func(e entry) bool { return e.edge == edge }) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(e entry) bool { return e.edge == edge })
}

// resize counts a use of a hint's size.
func (x *index) resize(h hint, by int) {
	length := len(h.text)
	if h.kind == someAddress {
		length = int(h.text[0])
	}
	sizes := slices.Clone(x.sizes[h.kind])
	at, ok := slices.BinarySearchFunc(sizes, length, func(s size, n int) int { return s.length - n })
	if !ok {
		sizes = slices.Insert(sizes, at, size{length: length})
	}
	if sizes[at].uses += by; sizes[at].uses == 0 {
		sizes = slices.Delete(sizes, at, at+1)
	}
	x.sizes[h.kind] = sizes
	x.folding = len(x.sizes[folded])+len(x.sizes[foldedPrefix])+len(x.sizes[foldedSuffix]) > 0
}

func hashFile(kind hintKind, hash uint64) uint64 { return hash + uint64(kind)*0x9E3779B97F4A7C15 }

// satisfied appends the edges that a value satisfies, some perhaps twice.
func (x *index) satisfied(v *scalar, edges []int32) []int32 {
	for i := range x.tested {
		if x.tested[i].test(v) {
			edges = append(edges, x.tested[i].edge)
		}
	}
	edges = x.look(anyValue, nil, v, edges)
	switch v.kind {
	case '"':
		return x.satisfiedString(v, edges)
	case '0':
		n := v.number()
		if !n.exact {
			return x.look(someInexact, v.text, v, edges)
		}
		var b [8]byte
		edges = x.look(someNumber, n.appendName(b[:0]), v, edges)
		return x.ranges.around(n.key, edges)
	}
	return x.look(someLiteral, []byte{v.kind}, v, edges)
}

func (x *index) satisfiedString(v *scalar, edges []int32) []int32 {
	edges = x.look(someString, v.text, v, edges)
	for _, s := range x.sizes[withPrefix] {
		if s.length > len(v.text) {
			break
		}
		edges = x.look(withPrefix, v.text[:s.length], v, edges)
	}
	for _, s := range x.sizes[withSuffix] {
		if s.length > len(v.text) {
			break
		}
		edges = x.look(withSuffix, v.text[len(v.text)-s.length:], v, edges)
	}
	if x.folding {
		edges = x.satisfiedFolded(v, edges)
	}
	for _, s := range x.sizes[withPart] {
		for i := 0; i+s.length <= len(v.text); i++ {
			edges = x.look(withPart, v.text[i:i+s.length], v, edges)
		}
	}
	if len(x.sizes[someAddress]) > 0 {
		if a, ok := v.address(); ok {
			edges = x.satisfiedAddress(a, v, edges)
		}
	}
	return edges
}

func (x *index) satisfiedFolded(v *scalar, edges []int32) []int32 {
	text := v.folded()
	edges = x.look(folded, text, v, edges)
	for _, s := range x.sizes[foldedPrefix] {
		if s.length > len(text) {
			break
		}
		edges = x.look(foldedPrefix, text[:s.length], v, edges)
	}
	for _, s := range x.sizes[foldedSuffix] {
		if s.length > len(text) {
			break
		}
		edges = x.look(foldedSuffix, text[len(text)-s.length:], v, edges)
	}
	return edges
}

func (x *index) satisfiedAddress(a netip.Addr, v *scalar, edges []int32) []int32 {
	least, most := sizeOf(a, 0), sizeOf(a, a.BitLen())
	var b [17]byte
	for _, s := range x.sizes[someAddress] {
		if s.length >= least && s.length <= most {
			edges = x.look(someAddress, appendAddressKey(b[:0], a, s.length-least), v, edges)
		}
	}
	return edges
}

// look looks one file up.
func (x *index) look(kind hintKind, text []byte, v *scalar, edges []int32) []int32 {
	if len(x.sizes[kind]) == 0 {
		return edges
	}
	for l := x.filed.at(hashFile(kind, maphash.Bytes(seed, text))); l != nil; l = l.next {
		if l.key.kind != kind || l.key.text != string(text) {
			continue
		}
		for i := range l.value {
			if e := &l.value[i]; e.test == nil || e.test(v) {
				edges = append(edges, e.edge)
			}
		}
	}
	return edges
}
