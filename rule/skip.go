package rule

import (
	"encoding/binary"
	"math/bits"

	"github.com/klamm-gateway/klamm/scan"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// skip returns where the value that begins at b[i] ends. It follows strings and
// counts brackets, and looks at nothing else: a value that no path names need
// not be understood.
func skip(b []byte, i int) (end int, ok bool) {
	if i >= len(b) {
		return i, false
	}
	switch b[i] {
	case '"':
		end, _, ok = scan.String(b, i)
		return end, ok
	case '{', '[':
		return skipInside(b, i+1)
	}
	for end = i; end < len(b); end++ {
		switch b[end] {
		case ',', '}', ']', ' ', '\n', '\t', '\r':
			return end, end > i
		case '"', '{', '[', ':':
			return end, false
		}
	}
	return end, false
}

// marks finds the bytes of a word that may be brackets or quotes: the highest bit
// of each is set. The four brackets, and a few letters, are the bytes that have
// the bits of 0x58. No sum carries into the next byte, so no mark is due to
// another byte.
func marks(w uint64) uint64 {
	bracket := w&(ones*0x58) ^ ones*0x58
	quote := w ^ ones*'"'
	return ^((bracket + ones*0x7f) & (quote&^highs + ones*0x7f | quote)) & highs
}

// skipInside returns where the bracket closes that is open at b[i].
func skipInside(b []byte, i int) (end int, ok bool) {
	depth := 1
	for i < len(b) {
		if i+16 <= len(b) {
			m := marks(binary.LittleEndian.Uint64(b[i:]))
			if m == 0 {
				i += 8
				if m = marks(binary.LittleEndian.Uint64(b[i:])); m == 0 {
					i += 8
					continue
				}
			}
			i += bits.TrailingZeros64(m) / 8
		}
		switch b[i] {
		case '"':
			if i, _, ok = scan.String(b, i); !ok {
				return i, false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, true
			}
		}
		i++
	}
	return i, false
}
