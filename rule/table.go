package rule

import (
	"hash/maphash"
	"math/bits"
	"slices"
)

// seed makes the hashes of this process its own, so that nobody outside can
// choose names that collide.
var seed = maphash.MakeSeed()

// A table is an immutable hash map: with and without return another one, which
// shares all but a few nodes with the first. The zero value is empty.
//
// It is a tree in which each level looks at five more bits of the hash; a node
// has slots only for those of the 32 values that occur, marked in present:
//
//	present ..1..1.1   slots [ leaf | node | leaf ]
type table[K comparable, V any] struct{ root *branch[K, V] }

type branch[K comparable, V any] struct {
	present uint32
	slots   []slot[K, V]
}

// A slot holds either a branch or a leaf.
type slot[K comparable, V any] struct {
	sub  *branch[K, V]
	leaf *leaf[K, V]
}

// A leaf is an entry; next are others with the same hash.
type leaf[K comparable, V any] struct {
	hash  uint64
	key   K
	value V
	next  *leaf[K, V]
}

// at returns the entries with a hash; the caller compares the keys, which spares
// making one to look for.
func (t table[K, V]) at(hash uint64) *leaf[K, V] {
	rest := hash
	for b := t.root; b != nil; rest >>= 5 {
		bit := uint32(1) << (rest & 31)
		if b.present&bit == 0 {
			return nil
		}
		s := &b.slots[bits.OnesCount32(b.present&(bit-1))]
		if s.leaf != nil {
			if s.leaf.hash == hash {
				return s.leaf
			}
			return nil
		}
		b = s.sub
	}
	return nil
}

func (t table[K, V]) get(hash uint64, key K) (value V, ok bool) {
	for l := t.at(hash); l != nil; l = l.next {
		if l.key == key {
			return l.value, true
		}
	}
	return value, false
}

func (t table[K, V]) with(hash uint64, key K, value V) table[K, V] {
	return table[K, V]{t.root.with(0, hash, key, value)}
}

func (b *branch[K, V]) with(shift uint, hash uint64, key K, value V) *branch[K, V] {
	bit := uint32(1) << (hash >> shift & 31)
	if b == nil {
		return &branch[K, V]{bit, []slot[K, V]{{leaf: &leaf[K, V]{hash: hash, key: key, value: value}}}}
	}
	at := bits.OnesCount32(b.present & (bit - 1))
	if b.present&bit == 0 {
		slots := make([]slot[K, V], len(b.slots)+1)
		copy(slots, b.slots[:at])
		slots[at].leaf = &leaf[K, V]{hash: hash, key: key, value: value}
		copy(slots[at+1:], b.slots[at:])
		return &branch[K, V]{b.present | bit, slots}
	}
	var s slot[K, V]
	switch old := b.slots[at]; {
	case old.sub != nil:
		s.sub = old.sub.with(shift+5, hash, key, value)
	case old.leaf.hash == hash:
		s.leaf = &leaf[K, V]{hash: hash, key: key, value: value, next: old.leaf.without(key)}
	default:
		s.sub = (&branch[K, V]{uint32(1) << (old.leaf.hash >> (shift + 5) & 31), []slot[K, V]{old}}).with(shift+5, hash, key, value)
	}
	slots := slices.Clone(b.slots)
	slots[at] = s
	return &branch[K, V]{b.present, slots}
}

func (t table[K, V]) without(hash uint64, key K) table[K, V] {
	return table[K, V]{t.root.without(0, hash, key)}
}

func (b *branch[K, V]) without(shift uint, hash uint64, key K) *branch[K, V] {
	bit := uint32(1) << (hash >> shift & 31)
	if b == nil || b.present&bit == 0 {
		return b
	}
	at := bits.OnesCount32(b.present & (bit - 1))
	s := b.slots[at]
	switch {
	case s.sub != nil:
		s.sub = s.sub.without(shift+5, hash, key)
	case s.leaf.hash == hash:
		s.leaf = s.leaf.without(key)
	}
	if s.sub != nil || s.leaf != nil {
		slots := slices.Clone(b.slots)
		slots[at] = s
		return &branch[K, V]{b.present, slots}
	}
	if len(b.slots) == 1 {
		return nil
	}
	return &branch[K, V]{b.present &^ bit, slices.Delete(slices.Clone(b.slots), at, at+1)}
}

func (l *leaf[K, V]) without(key K) *leaf[K, V] {
	if l == nil {
		return nil
	}
	if l.key == key {
		return l.next
	}
	c := *l
	c.next = l.next.without(key)
	return &c
}

// A vector is an immutable array, of chunks so that a change copies little. The
// zero value is empty.
type vector[T any] struct{ chunks [][]T }

const chunk = 256

func (v vector[T]) at(i int32) T { return v.chunks[i/chunk][i%chunk] }

// with returns a vector with a value at i, which may lie beyond its end.
func (v vector[T]) with(i int32, value T) vector[T] {
	chunks := slices.Clone(v.chunks)
	for int(i/chunk) >= len(chunks) {
		chunks = append(chunks, nil)
	}
	old := chunks[i/chunk]
	c := make([]T, max(len(old), int(i%chunk)+1))
	copy(c, old)
	c[i%chunk] = value
	chunks[i/chunk] = c
	return vector[T]{chunks}
}

// hashNumber spreads small numbers over the low bits, which tables look at first.
func hashNumber(n int32) uint64 { return uint64(n) * 0x9E3779B97F4A7C15 }

// plus and minus add a number to a list and take one occurrence off it, in a
// copy.
func plus(list []int32, n int32) []int32 { return append(slices.Clip(slices.Clone(list)), n) }

func minus(list []int32, n int32) []int32 {
	if i := slices.Index(list, n); i >= 0 {
		return slices.Delete(slices.Clone(list), i, i+1)
	}
	return list
}
