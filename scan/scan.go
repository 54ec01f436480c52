// Package scan checks JSON text in one pass and without allocating.
//
// It accepts exactly what encoding/json.Valid accepts (RFC 8259, any bytes of
// 0x80 and above inside strings, nesting up to Depth) and is several times
// faster, because klamm looks at every record value that a filter, a batch or a
// document needs as JSON.
package scan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Depth is how deeply arrays and objects may be nested.
const Depth = 10_000

// Valid says whether b is exactly one JSON value, with white space around it or
// not.
func Valid(b []byte) bool {
	i, ok := Value(b, space(b, 0))
	return ok && space(b, i) == len(b)
}

// Value returns where the JSON value that begins at b[i] ends, and false if none
// does. White space before it is not skipped.
func Value(b []byte, i int) (end int, ok bool) {
	s := scanner{b: b}
	return s.value(i)
}

// A Survey is what one look at a JSON value says about it.
type Survey struct {
	// End is where the value ends.
	End int
	// Compact says that there is no white space between its tokens, so that Compact,
	// which takes another look at every byte, can be spared.
	Compact bool
	// Depth is how many arrays and objects are open at once at most.
	Depth int
	// Number is how many bytes the longest number has; 0: there is none.
	Number int
}

// Look is Value for a caller who wants to know more about the value that begins at b[i].
func Look(b []byte, i int) (Survey, bool) {
	s := scanner{b: b}
	end, ok := s.value(i)
	return Survey{end, !s.spaced, s.deepest, s.number}, ok
}

// String returns where the JSON string that begins at b[i], a double quote,
// ends, and whether it has escapes. It is false if the string is not valid.
func String(b []byte, i int) (end int, escaped, ok bool) { return skipString(b, i) }

// Space returns the index of the first byte at or after i that is not white
// space.
func Space(b []byte, i int) int { return space(b, i) }

type scanner struct {
	b []byte
	// stack holds one bit for each open bracket, 1 for an object. The first
	// 256 levels need no memory of their own.
	few   [4]uint64
	more  []uint64
	depth int
	// deepest is the most that depth has been, and number the length of the longest number.
	deepest, number int
	// spaced says that there was white space between tokens.
	spaced bool
}

func (s *scanner) push(object bool) bool {
	if s.depth == Depth {
		return false
	}
	word, bit := s.depth/64, uint64(1)<<(s.depth%64)
	p := &s.few[word&3]
	if word >= len(s.few) {
		for len(s.more) <= word-len(s.few) {
			s.more = append(s.more, 0)
		}
		p = &s.more[word-len(s.few)]
	}
	if object {
		*p |= bit
	} else {
		*p &^= bit
	}
	s.depth++
	s.deepest = max(s.deepest, s.depth)
	return true
}

// object says whether the innermost open bracket is an object's.
func (s *scanner) object() bool {
	word, bit := (s.depth-1)/64, uint64(1)<<((s.depth-1)%64)
	if word >= len(s.few) {
		return s.more[word-len(s.few)]&bit != 0
	}
	return s.few[word]&bit != 0
}

// value is a loop over values; depth says how many brackets are open.
func (s *scanner) value(i int) (int, bool) {
	b := s.b
	var ok bool
value:
	if i >= len(b) {
		return i, false
	}
	switch c := b[i]; {
	case c == '"':
		if i, _, ok = skipString(b, i); !ok {
			return i, false
		}
	case c == '{':
		if !s.push(true) {
			return i, false
		}
		i = s.space(i + 1)
		if i < len(b) && b[i] == '}' {
			s.depth--
			i++
			break
		}
		goto member
	case c == '[':
		if !s.push(false) {
			return i, false
		}
		i = s.space(i + 1)
		if i < len(b) && b[i] == ']' {
			s.depth--
			i++
			break
		}
		goto value
	case c == '-' || c >= '0' && c <= '9':
		start := i
		if i, ok = number(b, i); !ok {
			return i, false
		}
		s.number = max(s.number, i-start)
	case c == 't':
		if i+4 > len(b) || string(b[i:i+4]) != "true" {
			return i, false
		}
		i += 4
	case c == 'f':
		if i+5 > len(b) || string(b[i:i+5]) != "false" {
			return i, false
		}
		i += 5
	case c == 'n':
		if i+4 > len(b) || string(b[i:i+4]) != "null" {
			return i, false
		}
		i += 4
	default:
		return i, false
	}
	// A value has ended; what surrounds it decides what may follow.
	for s.depth > 0 {
		i = s.space(i)
		if i >= len(b) {
			return i, false
		}
		object := s.object()
		switch {
		case b[i] == ',':
			i = s.space(i + 1)
			if object {
				goto member
			}
			goto value
		case object && b[i] == '}', !object && b[i] == ']':
			s.depth--
			i++
		default:
			return i, false
		}
	}
	return i, true
member:
	if i >= len(b) || b[i] != '"' {
		return i, false
	}
	if i, _, ok = skipString(b, i); !ok {
		return i, false
	}
	i = s.space(i)
	if i >= len(b) || b[i] != ':' {
		return i, false
	}
	i = s.space(i + 1)
	goto value
}

// space is the function of that name, and remembers if there was any.
func (s *scanner) space(i int) int {
	for i < len(s.b) && (s.b[i] == ' ' || s.b[i] == '\n' || s.b[i] == '\t' || s.b[i] == '\r') {
		s.spaced = true
		i++
	}
	return i
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

func number(b []byte, i int) (int, bool) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case i < len(b) && b[i] >= '1' && b[i] <= '9':
		i = digits(b, i)
	default:
		return i, false
	}
	if i < len(b) && b[i] == '.' {
		start := i + 1
		if i = digits(b, start); i == start {
			return i, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start := i
		if i = digits(b, start); i == start {
			return i, false
		}
	}
	return i, true
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// skipString looks at eight bytes at a time for a quote, a backslash or a
// control character. The subtractions find each byte that fits, and may also
// mark bytes behind the first one that does, so only the lowest mark counts.
func skipString(b []byte, i int) (end int, escaped, ok bool) {
	i++
	for {
		for words := 0; i+8 <= len(b); words++ {
			if words == 4 { // a long text
				i = skipPlain(b, i)
				words = 0
				if i+8 > len(b) {
					break
				}
			}
			w := binary.LittleEndian.Uint64(b[i:])
			quote := w ^ (ones * '"')
			slash := w ^ (ones * '\\')
			marks := ((w-ones*0x20)&^w | (quote-ones)&^quote | (slash-ones)&^slash) & highs
			if marks == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(marks) / 8
			break
		}
		for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 && i+8 > len(b) {
			i++
		}
		if i >= len(b) {
			return i, escaped, false
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped, true
		case c == '\\':
			escaped = true
			if i+1 >= len(b) {
				return i, escaped, false
			}
			switch b[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				if i+6 > len(b) || !hex4(b[i+2:i+6]) {
					return i, escaped, false
				}
				i += 6
			default:
				return i, escaped, false
			}
		default: // a control character
			return i, escaped, c >= 0x20
		}
	}
}

// window is how far skipPlain looks at most: without a bound, a text with many
// backslashes would be searched for its end again after each of them.
const window = 1 << 10

// skipPlain skips as much of a long text as has neither a quote nor a backslash
// nor a control character in it, rounded down to eight bytes. The searches for
// one byte are the processor's own and far faster than any loop; control
// characters are looked for in four words at a time.
func skipPlain(b []byte, i int) int {
	rest := b[i:min(len(b), i+window)]
	if j := bytes.IndexByte(rest, '"'); j >= 0 {
		rest = rest[:j]
	}
	if j := bytes.IndexByte(rest, '\\'); j >= 0 {
		rest = rest[:j]
	}
	n := 0
	for ; n+32 <= len(rest); n += 32 {
		w0, w1 := binary.LittleEndian.Uint64(rest[n:]), binary.LittleEndian.Uint64(rest[n+8:])
		w2, w3 := binary.LittleEndian.Uint64(rest[n+16:]), binary.LittleEndian.Uint64(rest[n+24:])
		if ((w0-ones*0x20)&^w0|(w1-ones*0x20)&^w1|(w2-ones*0x20)&^w2|(w3-ones*0x20)&^w3)&highs != 0 {
			break
		}
	}
	return i + n
}

func hex4(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
