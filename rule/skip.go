package rule

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/klamm-gateway/klamm/scan"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// firstZero marks the bytes of a word that are zero, by their highest bits. Only
// the lowest mark is to be trusted: a byte above it may be marked in error.
func firstZero(w uint64) uint64 { return (w - ones) &^ w & highs }

// oddBytes marks the bytes of a word that are control characters, backslashes or
// beyond ASCII, and perhaps some above the lowest of them.
func oddBytes(w uint64) uint64 {
	return ((w-ones*0x20)&^w | firstZero(w^ones*'\\') | w) & highs
}

// plainString returns where the string ends that begins at b[i], if it is short
// and plain ASCII.
func plainString(b []byte, i int) (end int, ok bool) {
	at := i + 1
	for words := 0; at+8 <= len(b) && words < 8; words++ {
		w := binary.LittleEndian.Uint64(b[at:])
		quote := firstZero(w ^ ones*'"')
		quote &= -quote
		if oddBytes(w)&(quote-1) != 0 {
			break
		}
		if quote != 0 {
			return at + bits.TrailingZeros64(quote)/8 + 1, true
		}
		at += 8
	}
	return 0, false
}

// skip returns where the value that begins at b[i] ends. It follows strings and
// counts brackets, and looks at nothing else: a value that no path names need
// not be understood.
func skip(b []byte, i int) (end int, ok bool) {
	if i >= len(b) {
		return i, false
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
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

// skipString returns where the string ends that begins at b[i].
func skipString(b []byte, i int) (end int, ok bool) {
	i++
	for words := 0; i+8 <= len(b) && words < 8; words++ {
		w := binary.LittleEndian.Uint64(b[i:])
		marks := firstZero(w^ones*'"') | firstZero(w^ones*'\\')
		if marks == 0 {
			i += 8
			continue
		}
		if i += bits.TrailingZeros64(marks) / 8; b[i] == '"' {
			return i + 1, true
		}
		i += 2
	}
	return skipLongString(b, i)
}

// skipLongString is skipString from inside the string. scan looks for the end of
// a long text with the processor's own means, which take some time to get going.
func skipLongString(b []byte, i int) (end int, ok bool) {
	if i > len(b) {
		return i, false
	}
	end, _, ok = scan.String(b, i-1)
	return end, ok
}

// skipInside returns where the bracket closes that is open at b[i-1]. Between two
// brackets of one kind, those of the other kind come in pairs, and need not be
// counted.
func skipInside(b []byte, i int) (end int, ok bool) {
	open := b[i-1]
	depth := 1
	// Brackets are 0x7b and 0x7d, or 0x5b and 0x5d, to which this bit is added.
	var bit uint64
	if open == '[' {
		bit = ones * 0x20
	}
	quiet, wait := 0, 4
	for i+8 <= len(b) {
		// Adding 5 carries all bytes from 0x7b on into the highest bit. What that
		// says of bytes beyond ASCII does not matter: they are only in strings.
		w := binary.LittleEndian.Uint64(b[i:])
		marks := ((w|bit)+ones*5)&highs | firstZero(w^ones*'"')
		for {
			if marks == 0 {
				i += 8
				if quiet++; quiet == wait {
					far := skipQuiet(b, i, open)
					if far-i < window/8 {
						wait *= 4 // not that kind of text
					}
					i, quiet = far, 0
				}
				break
			}
			quiet = 0
			at := i + bits.TrailingZeros64(marks)/8
			switch b[at] {
			case open:
				depth++
			case open + 2:
				if depth--; depth == 0 {
					return at + 1, true
				}
			case '"':
				if i, ok = skipString(b, at); !ok {
					return i, false
				}
			}
			if b[at] == '"' {
				break
			}
			marks &= marks - 1
		}
	}
	return skipRest(b, i, depth, open)
}

// window is how far skipQuiet looks at most: without a bound, the same text might
// be searched again and again.
const window = 1 << 10

// skipQuiet returns how far b[i:] has neither a quote nor a bracket of one kind.
// The searches for one byte are the processor's own and far faster than any loop.
func skipQuiet(b []byte, i int, open byte) int {
	rest := b[i:min(len(b), i+window)]
	for _, c := range [...]byte{'"', open + 2, open} {
		if j := bytes.IndexByte(rest, c); j >= 0 {
			rest = rest[:j]
		}
	}
	return i + len(rest)
}

// skipRest is skipInside for the last few bytes.
func skipRest(b []byte, i, depth int, open byte) (end int, ok bool) {
	for i < len(b) {
		switch b[i] {
		case '"':
			if i, ok = skipString(b, i); !ok {
				return i, false
			}
			continue
		case open:
			depth++
		case open + 2:
			if depth--; depth == 0 {
				return i + 1, true
			}
		}
		i++
	}
	return i, false
}
