package rule

import (
	"encoding/json"
	"errors"

	"github.com/klamm-gateway/klamm/scan"
)

// ErrEvent says that an event is not a JSON object.
var ErrEvent = errors.New("the event is not a JSON object")

// maxEventDepth bounds the nesting of an event's parts that a pattern names.
const maxEventDepth = 10_000

// A value is one scalar of an event, at a path that the pattern names.
type value struct {
	kind  byte   // '"', '0', 't', 'f', 'n'
	raw   []byte // its JSON text
	at    []step // the array elements it lies in
	text  string // the decoded string, once it was asked for
	ready bool
	num   number
}

// A step is an element of an array of the event.
type step struct{ array, index int }

// string returns the decoded text of a string.
func (v *value) string() string {
	if !v.ready {
		v.ready = true
		plain := v.raw[1 : len(v.raw)-1]
		v.text = string(plain)
		for _, c := range plain {
			if c == '\\' || c >= 0x80 {
				_ = json.Unmarshal(v.raw, &v.text)
				break
			}
		}
	}
	return v.text
}

func (v *value) number() number {
	if !v.ready {
		v.ready = true
		v.num = parseNumber(string(v.raw))
	}
	return v.num
}

// A flattener walks an event once and keeps the values at the pattern's paths.
// Whatever no path names is skipped.
type flattener struct {
	p      *Pattern
	b      []byte
	values [][]value // by path
	path   []byte
	steps  []step
	arrays int
}

// flatten returns the values of an event, by path.
func (p *Pattern) flatten(event []byte) ([][]value, error) {
	f := flattener{p: p, b: event, values: make([][]value, len(p.paths))}
	i := scan.Space(event, 0)
	if i >= len(event) || event[i] != '{' {
		return nil, ErrEvent
	}
	end, ok := f.object(i, 0)
	if !ok || scan.Space(event, end) != len(event) {
		return nil, ErrEvent
	}
	return f.values, nil
}

// object walks the object that begins at b[i].
func (f *flattener) object(i, depth int) (int, bool) {
	if depth > maxEventDepth {
		return i, false
	}
	i = scan.Space(f.b, i+1)
	if i < len(f.b) && f.b[i] == '}' {
		return i + 1, true
	}
	mark := len(f.path)
	for {
		if i >= len(f.b) || f.b[i] != '"' {
			return i, false
		}
		end, escaped, ok := scan.String(f.b, i)
		if !ok {
			return end, false
		}
		if mark > 0 {
			f.path = append(f.path, '.')
		}
		if escaped {
			var name string
			_ = json.Unmarshal(f.b[i:end], &name)
			f.path = append(f.path, name...)
		} else {
			f.path = append(f.path, f.b[i+1:end-1]...)
		}
		if i = scan.Space(f.b, end); i >= len(f.b) || f.b[i] != ':' {
			return i, false
		}
		if i, ok = f.member(scan.Space(f.b, i+1), depth); !ok {
			return i, false
		}
		f.path = f.path[:mark]
		if i = scan.Space(f.b, i); i >= len(f.b) {
			return i, false
		}
		if f.b[i] == '}' {
			return i + 1, true
		}
		if f.b[i] != ',' {
			return i, false
		}
		i = scan.Space(f.b, i+1)
	}
}

// member walks a value at the current path, or skips it if no path leads there.
func (f *flattener) member(i, depth int) (int, bool) {
	leaf, isLeaf := f.p.index[string(f.path)]
	if !isLeaf && !f.p.inner[string(f.path)] {
		return scan.Value(f.b, i)
	}
	if !isLeaf {
		leaf = -1
	}
	return f.value(i, leaf, depth)
}

// value walks any value at the current path; leaf is that path's number, or -1.
func (f *flattener) value(i, leaf, depth int) (int, bool) {
	if i >= len(f.b) || depth > maxEventDepth {
		return i, false
	}
	switch c := f.b[i]; c {
	case '{':
		return f.object(i, depth+1)
	case '[':
		return f.array(i, leaf, depth+1)
	default:
		end, ok := scan.Value(f.b, i)
		if ok && leaf >= 0 {
			if c == '-' || c >= '0' && c <= '9' {
				c = '0'
			}
			f.values[leaf] = append(f.values[leaf], value{kind: c, raw: f.b[i:end], at: f.steps[:len(f.steps):len(f.steps)]})
		}
		return end, ok
	}
}

// array walks the array that begins at b[i]. Objects and arrays in it lie in one
// of its elements; scalars do not, so that any of them may serve.
func (f *flattener) array(i, leaf, depth int) (int, bool) {
	f.arrays++
	array, mark := f.arrays, f.steps
	i = scan.Space(f.b, i+1)
	if i < len(f.b) && f.b[i] == ']' {
		return i + 1, true
	}
	for index := 0; ; index++ {
		if i >= len(f.b) {
			return i, false
		}
		if c := f.b[i]; c == '{' || c == '[' {
			// A fresh slice for each element: values keep theirs.
			f.steps = append(mark[:len(mark):len(mark)], step{array, index})
		}
		end, ok := f.value(i, leaf, depth)
		f.steps = mark
		if !ok {
			return end, false
		}
		if i = scan.Space(f.b, end); i >= len(f.b) {
			return i, false
		}
		if f.b[i] == ']' {
			return i + 1, true
		}
		if f.b[i] != ',' {
			return i, false
		}
		i = scan.Space(f.b, i+1)
	}
}
