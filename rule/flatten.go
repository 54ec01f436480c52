package rule

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// ErrEvent says that an event is not a JSON object.
var ErrEvent = errors.New("the event is not a JSON object")

// maxEventDepth bounds the nesting of an event's parts that a pattern names.
const maxEventDepth = scan.Depth

// A value is one scalar of an event at a path that the machine names. There may
// be millions, so it is small; a scalar is what matchers see of it.
type value struct {
	kind       byte  // '"', '0', 't', 'f', 'n'
	start, end int32 // of its JSON text
	more       int32 // 1 + where the text of a string is, if that is not its source, or the figure of a number
	element    int32 // the innermost array element that it lies in, 0 for none
	next       int32 // 1 + the next value at the same path
}

// An element is one of an array of the event that has values in it. Scalars in
// an array lie in none of its elements, so that any of them may serve.
type element struct {
	array, index int32
	outer        int32 // the element around the array, 0 for none
}

// A frame is an array that is being walked. Its number and its element are made
// only when a value needs them.
type frame struct {
	array   int32
	index   int32 // of the current element; -1 if that is a scalar
	element int32
}

// A scalar is a value as matchers see it.
type scalar struct {
	kind byte
	text []byte // a string decoded, anything else as in the source

	values *search // where the number is kept
	at     int32

	parsed    byte // 0 not yet, 1 no address, 2 an address
	ip        netip.Addr
	folding   []byte
	hasFolded bool
}

// figure is what is known of a number.
func (v *scalar) figure() *figure {
	s := v.values
	n := &s.values[v.at].more
	if *n == 0 {
		s.figures = append(s.figures, figureOf(parseNumber(v.text)))
		*n = int32(len(s.figures))
	}
	return &s.figures[*n-1]
}

// key orders numbers. It says little of a number that is not exact.
func (v *scalar) key() uint64 {
	f := v.figure()
	if f.known == digitsOnly {
		f.settle(v.text)
	}
	return f.word
}

// exact says whether a number is compared by value.
func (v *scalar) exact() bool {
	f := v.figure()
	if f.known == digitsOnly {
		f.settle(v.text)
	}
	if f.known == keyOnly {
		f.prove(v.text)
	}
	return f.known == isExact
}

// address is the value of a string that is an IP address.
func (v *scalar) address() (netip.Addr, bool) {
	if v.parsed == 0 {
		v.parsed = 1
		if v.kind == '"' {
			a, ok := parseAddress(v.text)
			if ok {
				v.ip, v.parsed = a, 2
			}
		}
	}
	return v.ip, v.parsed == 2
}

// folded is a string in the form that all spellings share (ignore_case.go).
func (v *scalar) folded() []byte {
	if !v.hasFolded {
		v.folding = appendFold(slices.Grow(v.folding[:0], len(v.text)), v.text)
		v.hasFolded = true
	}
	return v.folding
}

// effort is what one test of a value takes.
func (v *scalar) effort() int { return 1 + len(v.text)/32 }

// load makes s.scalar the value with an index.
func (s *search) load(at int32) *scalar {
	v, c := &s.values[at], &s.scalar
	c.kind, c.at, c.parsed, c.hasFolded = v.kind, at, 0, false
	switch {
	case v.kind == '"' && v.more > 0:
		c.text = s.texts[v.more-1]
	case v.kind == '"':
		c.text = s.doc[v.start+1 : v.end-1]
	default:
		c.text = s.doc[v.start:v.end]
	}
	return c
}

// flatten walks an event once and keeps the values at the paths of the tree of
// names. Whatever no path names is skipped.
func (s *search) flatten(root *names, event []byte) error {
	s.doc = event
	i := scan.Space(event, 0)
	if i >= len(event) || event[i] != '{' || len(event) > math.MaxInt32 {
		return ErrEvent
	}
	var end int
	var ok bool
	if root == nil {
		end, ok = skip(event, i)
	} else {
		end, ok = s.object(i, root, 0)
	}
	if !ok || scan.Space(event, end) != len(event) {
		return ErrEvent
	}
	return nil
}

// object walks the object that begins at doc[i]; n are the names below it.
func (s *search) object(i int, n *names, depth int) (int, bool) {
	b := s.doc
	if depth > maxEventDepth {
		return i, false
	}
	i = scan.Space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, true
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return i, false
		}
		below, end, ok := n.read(b, i)
		if !ok {
			return end, false
		}
		if i = end; i >= len(b) || b[i] != ':' {
			if i = scan.Space(b, i); i >= len(b) || b[i] != ':' {
				return i, false
			}
		}
		if i = scan.Space(b, i+1); i >= len(b) {
			return i, false
		}
		if below == nil {
			i, ok = skip(b, i)
		} else {
			if below.data != noData && depth == 0 {
				s.first[below.data] = b[i]
			}
			i, ok = s.value(i, below, depth)
		}
		if !ok {
			return i, false
		}
		if i = scan.Space(b, i); i >= len(b) {
			return i, false
		}
		if b[i] == '}' {
			return i + 1, true
		}
		if b[i] != ',' {
			return i, false
		}
		i = scan.Space(b, i+1)
	}
}

// value walks any value at the path that n stands for.
func (s *search) value(i int, n *names, depth int) (int, bool) {
	if i >= len(s.doc) || depth > maxEventDepth {
		return i, false
	}
	switch c := s.doc[i]; {
	case c == '{' && n.leaf():
		return skip(s.doc, i)
	case c == '{':
		return s.object(i, n, depth+1)
	case c == '[':
		return s.array(i, n, depth+1)
	case n.path < 0:
		return skip(s.doc, i)
	default:
		return s.keep(i, n.path)
	}
}

// keep adds the scalar that begins at doc[i] to the values.
func (s *search) keep(i int, path int32) (end int, ok bool) {
	v := value{kind: s.doc[i], start: int32(i)}
	if v.kind == '"' {
		if end, ok = plainString(s.doc, i); !ok {
			v.more, end, ok = s.text(i)
		}
	} else if v.kind == '-' || v.kind >= '0' && v.kind <= '9' {
		v.kind = '0'
		var d decimal
		if d, end, ok = readDecimal(s.doc, i); ok {
			if len(s.figures) == cap(s.figures) {
				s.figures = slices.Grow(s.figures, max(64, len(s.figures)))
			}
			s.figures = append(s.figures, figure{word: d.mantissa, exponent: int8(d.exponent), negative: d.negative})
			v.more = int32(len(s.figures))
		} else {
			end, ok = scan.Value(s.doc, i)
		}
	} else {
		end, ok = scan.Value(s.doc, i)
	}
	if !ok {
		return end, false
	}
	v.end = int32(end)
	if len(s.frames) > 0 {
		v.element = s.enclosing()
	}
	if len(s.values) == cap(s.values) {
		s.values = slices.Grow(s.values, max(64, len(s.values)))
	}
	s.values = append(s.values, v)
	n := int32(len(s.values))
	if last := s.last[path]; last == 0 {
		s.head[path] = n
		s.touched = append(s.touched, path)
	} else {
		s.values[last-1].next = n
	}
	s.last[path] = n
	return end, true
}

// text reads a string of any kind and keeps its text where that is not its
// source; number is 1 + its place then.
func (s *search) text(i int) (number int32, end int, ok bool) {
	end, escaped, ok := scan.String(s.doc, i)
	if ok && (escaped || !utf8.Valid(s.doc[i:end])) {
		s.texts = append(s.texts, decode(s.doc[i:end], escaped))
		number = int32(len(s.texts))
	}
	return number, end, ok
}

// array walks the array that begins at doc[i].
func (s *search) array(i int, n *names, depth int) (int, bool) {
	b := s.doc
	i = scan.Space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, true
	}
	top := len(s.frames)
	s.frames = append(s.frames, frame{})
	for index := int32(0); ; index++ {
		if i >= len(b) {
			return i, false
		}
		f := &s.frames[top]
		f.index, f.element = -1, 0
		if b[i] == '{' || b[i] == '[' {
			f.index = index
		}
		end, ok := s.value(i, n, depth)
		if !ok {
			return end, false
		}
		if i = scan.Space(b, end); i >= len(b) {
			return i, false
		}
		if b[i] == ']' {
			s.frames = s.frames[:top]
			return i + 1, true
		}
		if b[i] != ',' {
			return i, false
		}
		i = scan.Space(b, i+1)
	}
}

// enclosing returns the innermost element that is being walked, and makes it and
// those around it where they do not exist yet.
func (s *search) enclosing() int32 {
	n := len(s.frames)
	if s.frames[n-1].index < 0 {
		n--
	}
	made := n
	for made > 0 && s.frames[made-1].element == 0 {
		made--
	}
	outer := int32(0)
	if made > 0 {
		outer = s.frames[made-1].element
	}
	for k := made; k < n; k++ {
		f := &s.frames[k]
		if f.array == 0 {
			s.arrays++
			f.array = s.arrays
		}
		s.elements = append(s.elements, element{f.array, f.index, outer})
		outer = int32(len(s.elements))
		f.element = outer
	}
	return outer
}

// decode returns the text of a JSON string, which must be valid. Bytes that are
// not UTF-8 become U+FFFD, as they do in patterns.
func decode(raw []byte, escaped bool) []byte {
	if !escaped && utf8.Valid(raw) {
		return raw[1 : len(raw)-1]
	}
	var text string
	_ = json.Unmarshal(raw, &text)
	return []byte(text)
}
