package confluent3

import "github.com/klamm-gateway/klamm/scan"

// What the next record of a stream is.
type state int

const (
	whole      state = iota // it could be read, be it good or not
	incomplete              // its end has not arrived
	malformed               // it is not JSON, and what follows cannot be found
)

// longestScalar bounds numbers and words at the top level, which no record can
// be.
const longestScalar = 1024

// An edge looks for the end of a JSON value that has arrived in part. It goes on
// where it stopped, so that a record that comes in many pieces is not read again
// with every one of them. The zero value has seen nothing.
type edge struct {
	at       int // everything before has been looked at; 0: nothing
	depth    int
	inString bool
	escaped  bool
}

// shift says that the text has moved so many bytes to the front.
func (e *edge) shift(n int) {
	if e.at > 0 {
		e.at -= n
	}
}

// next reads the record that begins at b[i] into r. It returns where the record
// ends, or for a malformed one, where it is wrong. last says that nothing will
// follow.
func (e *edge) next(b []byte, i int, last bool, r *parsed) (end int, s state) {
	if b[i] != '{' {
		return e.other(b, i, last, r)
	}
	if e.at > 0 && !last && !e.advance(b, i) {
		return i, incomplete
	}
	p := parser{b: b, i: i}
	if p.record(r) {
		return p.i, whole
	}
	if last || e.at > 0 || p.i+longestToken <= len(b) {
		return p.i, malformed
	}
	// It fails near the end of what has arrived: either that is its reason, or
	// the record ends there as well.
	if e.advance(b, i) {
		return p.i, malformed
	}
	return i, incomplete
}

// other reads what is no object: valid JSON makes one bad record, and anything
// else cannot be skipped.
func (e *edge) other(b []byte, i int, last bool, r *parsed) (end int, s state) {
	nested := b[i] == '[' || b[i] == '"'
	if e.at > 0 && nested && !last && !e.advance(b, i) {
		return i, incomplete
	}
	end, ok := scan.Value(b, i)
	switch {
	case ok && (end < len(b) || last || nested):
		*r = parsed{}
		if b[i] == 'n' {
			r.refuse(payload("Null input provided. Data is required."), true)
		} else {
			r.refuse(wrongJSON("", "ProduceRequest", b[i:end]), true)
		}
		return end, whole
	case last || !ok && (e.at > 0 || end+longestToken <= len(b)) || !nested && len(b)-i > longestScalar:
		return end, malformed
	case nested && e.advance(b, i):
		return end, malformed
	}
	return i, incomplete
}

// advance looks through what has arrived since; true means that the value which
// begins at b[i] has ended, if it is one.
func (e *edge) advance(b []byte, i int) bool {
	at := max(e.at, i)
	for ; at < len(b); at++ {
		c := b[at]
		switch {
		case e.escaped:
			e.escaped = false
		case e.inString:
			switch c {
			case '\\':
				e.escaped = true
			case '"':
				e.inString = false
			}
		case c == '"':
			e.inString = true
		case c == '{' || c == '[':
			e.depth++
		case c == '}' || c == ']':
			e.depth--
		default:
			continue
		}
		if e.depth <= 0 && !e.inString {
			e.at = at + 1
			return true
		}
	}
	e.at = at
	return false
}
