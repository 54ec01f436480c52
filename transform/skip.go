package transform

import (
	"encoding/binary"
	"math/bits"

	"github.com/klamm-gateway/klamm/scan"
)

// A sought is a member of an object that skip is to find.
type sought struct {
	name       string
	start, end int // of its value; the last one counts, and end is 0 if there is none
}

// maxOpen is how many open brackets skip can remember.
const maxOpen = 64

// skip returns where the JSON value that begins at b[i] ends, and whether it is
// compact, which is to have no white space between its tokens; ok is false if it
// is not valid. It accepts what scan.Value accepts, and is made for the short
// tokens that documents consist of. If the value is an object, skip also finds
// the member that is sought; nil seeks nothing.
func skip(b []byte, i int, seek *sought) (end int, compact, ok bool) {
	begin := i
	var name int    // where the name of the member at hand begins
	var open uint64 // the open brackets, the innermost lowest: 1 for an object
	depth, found := 0, false
	compact = true
value:
	if i >= len(b) {
		return i, false, false
	}
	switch c := b[i]; c {
	case '"':
		if n := shortString(b, i); n > 0 {
			i += n
		} else if i, _, ok = scan.String(b, i); !ok {
			return i, false, false
		}
	case '{':
		if depth == maxOpen {
			return skipDeep(b, begin, seek)
		}
		if n := blanks(b, i+1); n > 0 {
			i, compact = i+n, false
		}
		if i++; i < len(b) && b[i] == '}' {
			i++
			break
		}
		open = open<<1 | 1
		depth++
		goto member
	case '[':
		if depth == maxOpen {
			return skipDeep(b, begin, seek)
		}
		if n := blanks(b, i+1); n > 0 {
			i, compact = i+n, false
		}
		if i++; i < len(b) && b[i] == ']' {
			i++
			break
		}
		open <<= 1
		depth++
		goto value
	case 't', 'n':
		if i+4 > len(b) || string(b[i:i+4]) != "true" && string(b[i:i+4]) != "null" {
			return i, false, false
		}
		i += 4
	case 'f':
		if i+5 > len(b) || string(b[i:i+5]) != "false" {
			return i, false, false
		}
		i += 5
	default: // a number; those of unusual forms go the long way
		first := i
		for i < len(b) && b[i]-'0' < 10 {
			i++
		}
		usual := i > first && b[first] != '0'
		if i < len(b) && b[i] == '.' {
			point := i
			for i++; i < len(b) && b[i]-'0' < 10; i++ {
			}
			usual = usual && i > point+1
		}
		if !usual || i == len(b) || b[i]|0x20 == 'e' {
			if i, ok = scan.Value(b, first); !ok {
				return i, false, false
			}
		}
	}
	// A value has ended; what surrounds it decides what may follow.
	for depth > 0 {
		if found && depth == 1 {
			seek.end, found = i, false
		}
		if n := blanks(b, i); n > 0 {
			i, compact = i+n, false
		}
		if i >= len(b) {
			return i, false, false
		}
		c := b[i]
		i++
		switch {
		case c == ',':
			if n := blanks(b, i); n > 0 {
				i, compact = i+n, false
			}
			if open&1 == 0 {
				goto value
			}
			goto member
		case open&1 == 1 && c == '}', open&1 == 0 && c == ']':
			open >>= 1
			depth--
		default:
			return i - 1, false, false
		}
	}
	return i, compact, true
member:
	if i >= len(b) || b[i] != '"' {
		return i, false, false
	}
	name = i
	escaped := false
	// Names repeat from record to record, so that a processor foresees where they
	// end, and a byte at a time is faster than to compute it.
	for i++; i < len(b) && isPlain[b[i]]; i++ {
	}
	if i < len(b) && b[i] == '"' {
		i++
	} else if i, escaped, ok = scan.String(b, name); !ok {
		return i, false, false
	}
	if depth == 1 && seek != nil {
		found = isName(b[name+1:i-1], escaped, seek.name)
	}
	if n := blanks(b, i); n > 0 {
		i, compact = i+n, false
	}
	if i >= len(b) || b[i] != ':' {
		return i, false, false
	}
	if n := blanks(b, i+1); n > 0 {
		i, compact = i+n, false
	}
	if i++; found && depth == 1 {
		seek.start = i
	}
	goto value
}

// skipDeep is skip for values that are nested more deeply than it can remember.
func skipDeep(b []byte, i int, seek *sought) (end int, compact, ok bool) {
	v, ok := scan.Look(b, i)
	if ok && seek != nil && b[i] == '{' {
		scan.Members(b, i, func(name []byte, escaped bool, at int) (int, bool) {
			end, ok := scan.Value(b, at)
			if isName(name, escaped, seek.name) {
				seek.start, seek.end = at, end
			}
			return end, ok
		})
	}
	return v.End, v.Compact, ok
}

// blanks counts the white space at b[i].
func blanks(b []byte, i int) int {
	if i >= len(b) || b[i] > ' ' {
		return 0
	}
	return scan.Space(b, i) - i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// shortString returns the length of a JSON string, which begins at b[i] with its
// quote, if it is at most eight characters without escapes; else 0. A byte that
// is a quote or a control character is below 0x21 once its second bit is turned
// over. The subtractions mark each such byte and each backslash, and may mark
// others behind the first of them, so only the lowest mark counts.
func shortString(b []byte, i int) int {
	if i+9 > len(b) {
		return 0
	}
	w := binary.LittleEndian.Uint64(b[i+1:])
	marks := (((w ^ ones*2) - ones*0x21) | ((w ^ ones*'\\') - ones)) &^ w & highs
	n := bits.TrailingZeros64(marks) / 8
	if n == 8 || b[i+1+n] != '"' {
		return 0
	}
	return n + 2
}

// isPlain says which bytes stand for themselves in a JSON string.
var isPlain = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return plain
}()
