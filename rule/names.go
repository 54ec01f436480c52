package rule

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// names is the tree of the paths that a machine looks at, by the names between
// their dots. It is immutable; nil is empty.
type names struct {
	path int32 // the number of the path that ends here, or -1
	uses int   // how many clauses have that path
	data data  // of a record's key and value themselves

	lengths uint64 // that the names below have, or had: bit n for n bytes, the last for all longer ones

	few  []name                // up to fewNames
	many table[string, *names] // otherwise
	size int                   // how many are in many
}

type name struct {
	text string
	word uint64 // its first bytes (wordOf)
	next *names
}

const fewNames = 8

// lengthBit is the bit of a length in names.lengths.
func lengthBit(n int) uint64 { return 1 << min(n, 63) }

// wordOf returns up to eight bytes that a text begins with, the first lowest.
func wordOf[T string | []byte](text T) (w uint64) {
	for i := range min(len(text), 8) {
		w |= uint64(text[i]) << (8 * i)
	}
	return w
}

func hashText(s string) uint64 { return maphash.String(seed, s) }

func hashBytes(b []byte) uint64 { return maphash.Bytes(seed, b) }

// child returns the names below one, which has no dots; nil if there are none.
func (n *names) child(segment []byte) *names { return n.childOf(segment, wordOf(segment)) }

// childOf is child for a caller who knows the segment's word.
func (n *names) childOf(segment []byte, word uint64) *names {
	if n.lengths&lengthBit(len(segment)) == 0 {
		return nil
	}
	for i := range n.few {
		m := &n.few[i]
		if m.word == word && len(m.text) == len(segment) && (len(segment) <= 8 || m.text[8:] == string(segment[8:])) {
			return m.next
		}
	}
	if n.size == 0 {
		return nil
	}
	for l := n.many.at(hashBytes(segment)); l != nil; l = l.next {
		if l.key == string(segment) {
			return l.value
		}
	}
	return nil
}

// read reads an event's key, which begins with the quote b[i], and returns the
// names below it. Keys of plain ASCII without dots are by far the most.
func (n *names) read(b []byte, i int) (below *names, end int, ok bool) {
	start, first := i+1, uint64(0)
	for at := start; at+8 <= len(b); at += 8 {
		w := binary.LittleEndian.Uint64(b[at:])
		odd := oddBytes(w) | firstZero(w^ones*'.')
		quote := firstZero(w ^ ones*'"')
		quote &= -quote
		if odd&(quote-1) != 0 {
			break
		}
		if at == start {
			first = w
		}
		if quote != 0 {
			if at == start {
				first &= quote>>7 - 1
			}
			end = at + bits.TrailingZeros64(quote)/8
			return n.childOf(b[start:end], first), end + 1, true
		}
	}
	end, escaped, ok := scan.String(b, i)
	switch {
	case !ok:
		return nil, end, false
	case escaped:
		return n.find(decode(b[i:end], true)), end, true
	}
	return n.find(b[start : end-1]), end, true
}

// find returns the names below an event's key, which may have dots.
func (n *names) find(key []byte) *names {
	if c := n.child(key); c != nil {
		return c
	}
	for _, c := range key {
		if c == '.' || c >= utf8.RuneSelf {
			return n.findDotted(bytes.ToValidUTF8(key, []byte("\uFFFD")))
		}
	}
	return nil
}

func (n *names) findDotted(key []byte) *names {
	for n != nil {
		segment, rest, more := bytes.Cut(key, []byte{'.'})
		n = n.child(segment)
		if !more {
			break
		}
		key = rest
	}
	return n
}

// leaf says whether nothing lies below.
func (n *names) leaf() bool { return n.few == nil && n.size == 0 }

// get returns the number of a path, or -1.
func (n *names) get(path string) int32 {
	if n == nil {
		return -1
	}
	if n = n.find([]byte(path)); n == nil {
		return -1
	}
	return n.path
}

// with counts a use of a path; number is its number if it is new.
func (n *names) with(path string, number int32) *names {
	segment, rest, more := strings.Cut(path, ".")
	c := names{path: -1}
	if n != nil {
		c = *n
	}
	var next names
	if old := c.child([]byte(segment)); old != nil {
		next = *old
	} else {
		next.path = -1
	}
	if more {
		return c.put(segment, (&next).with(rest, number))
	}
	if next.uses++; next.uses == 1 {
		next.path = number
	}
	return c.put(segment, &next)
}

// without takes one use of a path back; nil if no name is left.
func (n *names) without(path string) *names {
	segment, rest, more := strings.Cut(path, ".")
	old := n.child([]byte(segment))
	var next *names
	if more {
		next = old.without(rest)
	} else {
		next = new(names)
		*next = *old
		if next.uses--; next.uses == 0 {
			next.path = -1
		}
		if next.uses == 0 && next.leaf() {
			next = nil
		}
	}
	c := n.put(segment, next)
	if c.uses == 0 && c.leaf() {
		return nil
	}
	return c
}

// mark notes which of the topmost names is a record's key or value.
func (n *names) mark(d data) *names {
	segment := "key"
	if d == valueData {
		segment = "value"
	}
	next := *n.child([]byte(segment))
	next.data = d
	return n.put(segment, &next)
}

// put returns a copy of n with other names below a segment.
func (n *names) put(segment string, next *names) *names {
	c := *n
	if next != nil {
		c.lengths |= lengthBit(len(segment))
	}
	if c.size > 0 {
		h := hashText(segment)
		_, had := c.many.get(h, segment)
		switch {
		case next == nil:
			c.many, c.size = c.many.without(h, segment), c.size-1
		case had:
			c.many = c.many.with(h, segment, next)
		default:
			c.many, c.size = c.many.with(h, segment, next), c.size+1
		}
		return &c
	}
	c.few = slices.Clone(c.few)
	i := slices.IndexFunc(c.few, func(m name) bool { return m.text == segment })
	switch {
	case next == nil:
		if c.few = slices.Delete(c.few, i, i+1); len(c.few) == 0 {
			c.few = nil
		}
	case i >= 0:
		c.few[i].next = next
	case len(c.few) < fewNames:
		c.few = append(c.few, name{segment, wordOf(segment), next})
	default:
		for _, m := range append(c.few, name{segment, wordOf(segment), next}) {
			c.many = c.many.with(hashText(m.text), m.text, m.next)
		}
		c.few, c.size = nil, fewNames+1
	}
	return &c
}
