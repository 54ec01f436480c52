package rule

import "strings"

// A Form says what the bytes of a record's key or value are, and so what the
// caller has put into the document.
type Form int

// The forms of a key or value.
const (
	// Missing is no bytes at all: a tombstone, or no key. It satisfies null on
	// the field itself and exists:false on it or below, and nothing else,
	// whether the document has the field as null or not at all.
	Missing Form = iota
	// JSON stands in the document as itself. Patterns look into an object or an
	// array, while a number, string or literal is compared as a plain value. A
	// caller for whom only objects and arrays are JSON gives everything else as
	// Text.
	JSON
	// Text is UTF-8, and stands in the document as a string.
	Text
	// Binary is anything that is not UTF-8. No pattern can look at it.
	Binary
)

// A RecordPattern filters Kafka records (event-patterns.md 11). Where the form of
// a key or value does not fit what the pattern asks of it - matchers for an
// object, or an object for a plain value - that clause counts as satisfied and
// the rest decides, inside $or as well. It is immutable and safe for concurrent
// use.
type RecordPattern struct{ pattern *Pattern }

// CompileRecord compiles a filter for records, within the limits of Compile. The
// error is a *SyntaxError.
func CompileRecord(pattern []byte) (*RecordPattern, error) {
	p, err := compile(pattern, true)
	if err != nil {
		return nil, err
	}
	return &RecordPattern{p}, nil
}

// Fields is Pattern.Fields.
func (r *RecordPattern) Fields() []string { return r.pattern.fields }

// Unlisted names the first operator of the filter that AWS does not have in filters of
// pipes and event source mappings (event-patterns.md 10): wildcard, or one within
// anything-but; empty: there is none.
func (r *RecordPattern) Unlisted() string {
	for _, l := range r.pattern.leaves {
		for _, m := range l.clause.matchers {
			if inside, ok := strings.CutPrefix(m.source, `{"anything-but":{"`); ok {
				name, _, _ := strings.Cut(inside, `"`)
				return "anything-but with " + name
			}
			if strings.HasPrefix(m.source, `{"wildcard":`) {
				return "wildcard"
			}
		}
	}
	return ""
}

// Match says whether a record passes. The document is the record as JSON, with
// its key and value decoded as the forms say. The errors are those of
// Pattern.Match.
func (r *RecordPattern) Match(document []byte, key, value Form) (bool, error) {
	s, err := newSearch(&r.pattern.machine, document)
	if err != nil {
		return false, err
	}
	defer s.done()
	s.setShapes(key, value)
	err = s.run(false, 0)
	return len(s.ends) > 0, err
}

// setData notes that a clause is about a record's key or value.
func (c *clause) setData() {
	first, _, nested := strings.Cut(c.path, ".")
	switch first {
	case "key":
		c.data, c.plain = keyData, !nested
	case "value":
		c.data, c.plain = valueData, !nested
	}
}

// A shape is what a clause must be like to look at a key or value.
type shape byte

const (
	noShape     shape = iota // nothing is there
	plainShape               // one value
	nestedShape              // an object or array
	otherShape               // nothing can look at it
)

func (s *search) setShapes(key, value Form) {
	s.shapes = [3]shape{keyData: shapeOf(key, s.first[keyData]), valueData: shapeOf(value, s.first[valueData])}
}

// shapeOf returns the shape of data in a form; first is its first byte in the
// document.
func shapeOf(f Form, first byte) shape {
	switch {
	case f == Missing:
		return noShape
	case f == Text, f == JSON && first != '{' && first != '[':
		return plainShape
	case f == JSON:
		return nestedShape
	}
	return otherShape
}

// asks says whether clauses about data are to be searched, and if not, whether
// one counts as satisfied.
func (s *search) asks(c *clause) (search, satisfied bool) {
	switch s.shapes[c.data] {
	case noShape:
		return false, c.absent || c.plain && c.null
	case plainShape:
		return c.plain, true
	case nestedShape:
		return !c.plain, true
	}
	return false, true
}

// tryData goes on from a step about data that is not searched.
func (s *search) tryData(p *step) (done, stop bool) {
	edges := p.few
	if p.index != nil {
		edges = p.index.all()
	}
	for i := range edges {
		search, satisfied := s.asks(edges[i].clause)
		if search {
			return false, false
		}
		if satisfied && s.visit(edges[i].to) {
			return true, true
		}
	}
	return true, false
}
