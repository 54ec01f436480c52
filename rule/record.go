package rule

import "strings"

// A Form says what the bytes of a record's key or value are, as the caller has
// put them into the document.
type Form int

// The forms of a key or value.
const (
	// Missing is no bytes at all: a tombstone, or no key. Only null and
	// exists:false match it.
	Missing Form = iota
	// JSON is an object or array. Patterns look into it.
	JSON
	// Text is a plain string; in klamm's own filters also a JSON number, string
	// or literal, which stands in the document as itself.
	Text
	// Binary is anything that is not UTF-8.
	Binary
)

// A RecordPattern filters Kafka records (event-patterns.md 11). A key or value in
// a form that the pattern cannot look into counts as satisfied, as far as the
// rest matches. It is safe for concurrent use.
type RecordPattern struct {
	plain      map[string]bool // key, value: the pattern has an array of matchers for it
	structured map[string]bool // key, value: the pattern has an object for it
	variants   [4]*Pattern     // whole; without key; without value; without both. nil matches everything
	fields     []string
}

// CompileRecord compiles a filter. The error is a *SyntaxError.
func CompileRecord(pattern []byte) (*RecordPattern, error) {
	whole, err := Compile(pattern)
	if err != nil {
		return nil, err
	}
	root, err := parse(pattern)
	if err != nil {
		return nil, err
	}
	alternatives, err := expand(root, "", false)
	if err != nil {
		return nil, err
	}
	r := &RecordPattern{plain: map[string]bool{}, structured: map[string]bool{}, fields: whole.fields}
	for _, path := range whole.paths {
		first, _, nested := strings.Cut(path, ".")
		if nested {
			r.structured[first] = true
		} else {
			r.plain[first] = true
		}
	}
	for i := range r.variants {
		r.variants[i] = without(alternatives, i&1 != 0, i&2 != 0)
	}
	return r, nil
}

// without builds a pattern whose clauses on the key or the value are taken as
// satisfied; nil if that leaves an alternative without any clause.
func without(alternatives [][]clause, key, value bool) *Pattern {
	var kept [][]clause
	for _, a := range alternatives {
		var rest []clause
		for _, c := range a {
			first, _, _ := strings.Cut(c.path, ".")
			if first == "key" && key || first == "value" && value {
				continue
			}
			rest = append(rest, c)
		}
		if len(rest) == 0 {
			return nil
		}
		kept = append(kept, rest)
	}
	return build(kept)
}

// Fields returns the names of the top-level fields that the filter looks at.
func (r *RecordPattern) Fields() []string { return r.fields }

// Match says whether a record passes. The document is the record as JSON, with
// its key and value decoded as the forms say. The error is ErrEvent.
func (r *RecordPattern) Match(document []byte, key, value Form) (bool, error) {
	i := 0
	if r.unreadable("key", key) {
		i |= 1
	}
	if r.unreadable("value", value) {
		i |= 2
	}
	p := r.variants[i]
	if p == nil {
		return true, nil
	}
	return p.Match(document)
}

// unreadable says whether the pattern's form for a data field does not fit the
// data's form.
func (r *RecordPattern) unreadable(field string, form Form) bool {
	switch form {
	case JSON:
		return r.plain[field]
	case Text:
		return r.structured[field]
	case Binary:
		return r.plain[field] || r.structured[field]
	}
	return false
}
