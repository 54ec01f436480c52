package rule

import "slices"

// A sieve says of most hashes that nothing is filed under them, without a look
// at a large table, whose nodes lie all over the memory. It is a set of bits, of
// which each hash has one, and perhaps some that are no longer of any use. It is
// immutable; the zero value holds nothing.
type sieve struct {
	bits []uint64 // a power of two of them
	used int      // how many bits were set, at most
}

const (
	leastSieve = 4  // words
	sparse     = 16 // bits for each hash, at least
)

// may says whether something may be filed under a hash. It takes the upper half,
// since tables branch by the lower.
func (s *sieve) may(hash uint64) bool {
	if len(s.bits) == 0 {
		return false
	}
	at := hash >> 32
	return s.bits[at>>6&uint64(len(s.bits)-1)]>>(at&63)&1 != 0
}

// full says that with needs more room.
func (s *sieve) full() bool { return (s.used+1)*sparse > len(s.bits)*64 }

// with adds a hash. The caller asks full first.
func (s sieve) with(hash uint64) sieve {
	s.bits = slices.Clone(s.bits)
	s.add(hash)
	return s
}

func (s *sieve) add(hash uint64) {
	at := hash >> 32
	s.bits[at>>6&uint64(len(s.bits)-1)] |= 1 << (at & 63)
	s.used++
}

// newSieve returns a sieve of the hashes of a table, with room for as many again.
func newSieve[K comparable, V any](t table[K, V]) sieve {
	count := 0
	t.root.each(func(uint64) { count++ })
	words := leastSieve
	for words*64 < 2*(count+1)*sparse {
		words *= 2
	}
	s := sieve{bits: make([]uint64, words)}
	t.root.each(s.add)
	return s
}

// each calls f with the hash of each leaf below.
func (b *branch[K, V]) each(f func(hash uint64)) {
	if b == nil {
		return
	}
	for _, s := range b.slots {
		if s.leaf != nil {
			f(s.leaf.hash)
		} else {
			s.sub.each(f)
		}
	}
}
