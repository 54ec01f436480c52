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
	kinds  uint32 // of hints, by bits: those in use
	sieve  sieve  // of filed
	filed  table[file, []entry]
	ranges *ranges
	tested []entry // matchers of no kind, and those of clauses with very many
	edges  vector[edge]
	absent []int32       // edges whose clauses have exists:false
	sizes  [kinds][]size // by kind of hint

	size  int32 // the numbers of edges in use are below
	free  *free
	count int
	names table[string, int32] // edges by the names of their clauses
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
	if x.sieve.full() {
		x.sieve = newSieve(x.filed)
	} else {
		x.sieve = x.sieve.with(hash)
	}
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
	if x.kinds &^= bitOf(h.kind); len(sizes) > 0 {
		x.kinds |= bitOf(h.kind)
	}
}

func bitOf(k hintKind) uint32 { return 1 << k }

// has says whether one of some kinds is in use.
func (x *index) has(bits uint32) bool { return x.kinds&bits != 0 }

func hashFile(kind hintKind, hash uint64) uint64 { return hash + uint64(kind)*0x9E3779B97F4A7C15 }

// satisfied appends the edges that a value satisfies, some perhaps twice.
func (x *index) satisfied(v *scalar, edges []int32) []int32 {
	edges = v.pass(x.tested, edges)
	edges = x.look(anyValue, nil, v, edges)
	switch v.kind {
	case '"':
		return x.satisfiedString(v, edges)
	case '0':
		return x.satisfiedNumber(v, edges)
	}
	return x.look(someLiteral, []byte{v.kind}, v, edges)
}

// satisfiedNumber asks last whether the number is exact, which takes the longest
// to find out.
func (x *index) satisfiedNumber(v *scalar, edges []int32) []int32 {
	before := len(edges)
	if x.has(bitOf(someNumber)) {
		var b [8]byte
		edges = x.look(someNumber, appendKey(b[:0], v.key()), v, edges)
	}
	if x.ranges != nil {
		edges = x.ranges.around(v.key(), edges)
	}
	if len(edges) > before && !v.exact() {
		edges = edges[:before]
	}
	if x.has(bitOf(someInexact)) && !v.exact() {
		edges = x.look(someInexact, v.text, v, edges)
	}
	return edges
}

func (x *index) satisfiedString(v *scalar, edges []int32) []int32 {
	edges = x.look(someString, v.text, v, edges)
	if x.has(bitOf(withPrefix)) {
		for _, s := range x.sizes[withPrefix] {
			if s.length > len(v.text) {
				break
			}
			edges = x.look(withPrefix, v.text[:s.length], v, edges)
		}
	}
	if x.has(bitOf(withSuffix)) {
		for _, s := range x.sizes[withSuffix] {
			if s.length > len(v.text) {
				break
			}
			edges = x.look(withSuffix, v.text[len(v.text)-s.length:], v, edges)
		}
	}
	if x.has(1<<folded | 1<<foldedPrefix | 1<<foldedSuffix) {
		edges = x.satisfiedFolded(v, edges)
	}
	if x.has(bitOf(withPart)) {
		edges = x.satisfiedParts(v, edges)
	}
	if x.has(bitOf(someAddress)) {
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

// satisfiedParts looks for parts everywhere in a text. A part may be there very
// often, but what is filed under it needs only one test.
func (x *index) satisfiedParts(v *scalar, edges []int32) []int32 {
	tried := v.values.tried
	for _, s := range x.sizes[withPart] {
		for i := 0; i+s.length <= len(v.text); i++ {
			entries := x.at(withPart, v.text[i:i+s.length])
			if entries == nil {
				continue
			}
			if _, ok := tried[&entries[0]]; !ok {
				tried[&entries[0]] = struct{}{}
				edges = v.pass(entries, edges)
			}
		}
		v.values.left -= len(v.text) / 4
	}
	if len(tried) > keepAtMost {
		v.values.tried = map[*entry]struct{}{}
	} else {
		clear(tried)
	}
	return edges
}

// look appends what is filed under a name and passes its test.
func (x *index) look(kind hintKind, text []byte, v *scalar, edges []int32) []int32 {
	if !x.has(bitOf(kind)) {
		return edges
	}
	v.values.left -= len(text) / 256
	return v.pass(x.at(kind, text), edges)
}

// at returns what is filed under a name.
func (x *index) at(kind hintKind, text []byte) []entry {
	hash := hashFile(kind, maphash.Bytes(seed, text))
	if !x.sieve.may(hash) {
		return nil
	}
	for l := x.filed.at(hash); l != nil; l = l.next {
		if l.key.kind == kind && l.key.text == string(text) {
			return l.value
		}
	}
	return nil
}

// pass appends the edges of the entries whose tests a value passes.
func (v *scalar) pass(entries []entry, edges []int32) []int32 {
	for i := range entries {
		e := &entries[i]
		if e.test != nil {
			v.values.left -= v.effort()
			if !e.test(v) {
				continue
			}
		}
		edges = append(edges, e.edge)
	}
	return edges
}
