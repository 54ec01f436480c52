// Package rule is the event pattern language: which events does a pattern match?
//
// A pattern is compiled into alternatives, one for each way through its $or
// arrays; an alternative is a list of fields, each a path with the matchers one
// of which must match. An event is flattened in one pass, which skips what no
// path names, and the alternatives are searched over what is left.
//
// The package is pure: it reads no clock, no file and no network.
package rule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// maxPattern bounds a pattern's text, in bytes.
	maxPattern = 64 << 10
	// maxAlternatives is how many ways through its $or arrays a pattern may
	// have.
	maxAlternatives = 1000
	// maxNesting bounds the depth of a pattern.
	maxNesting = 200
)

// A SyntaxError says why a pattern is not valid, in the words of EventBridge.
type SyntaxError struct{ Reason string }

func (e *SyntaxError) Error() string { return "Event pattern is not valid. Reason: " + e.Reason }

func invalid(form string, args ...any) error { return &SyntaxError{fmt.Sprintf(form, args...)} }

// A Pattern is a compiled event pattern. It is safe for concurrent use.
type Pattern struct {
	alternatives []alternative
	paths        []string       // all paths, ascending
	index        map[string]int // of a path in paths
	inner        map[string]bool
	fields       []string
}

// An alternative is a conjunction: fields in ascending order of their paths.
type alternative []field

type field struct {
	path     int // in Pattern.paths
	matchers []matcher
	absent   bool // exists:false stands among the matchers
}

// clause is a path with its matchers while a pattern is compiled.
type clause struct {
	path     string
	matchers []matcher
}

// Compile compiles a pattern. The error is a *SyntaxError.
func Compile(pattern []byte) (*Pattern, error) {
	if len(pattern) > maxPattern {
		return nil, invalid("the pattern has %d bytes; at most %d are allowed", len(pattern), maxPattern)
	}
	root, err := parse(pattern)
	if err != nil {
		return nil, err
	}
	alternatives, err := expand(root, "", false)
	if err != nil {
		return nil, err
	}
	return build(alternatives), nil
}

// build turns alternatives into a pattern.
func build(alternatives [][]clause) *Pattern {
	p := &Pattern{index: map[string]int{}, inner: map[string]bool{}}
	for _, a := range alternatives {
		for _, c := range a {
			p.index[c.path] = 0
		}
	}
	for path := range p.index {
		p.paths = append(p.paths, path)
	}
	slices.Sort(p.paths)
	top := map[string]bool{}
	for i, path := range p.paths {
		p.index[path] = i
		for at, c := range path {
			if c == '.' {
				p.inner[path[:at]] = true
			}
		}
		first, _, _ := strings.Cut(path, ".")
		top[first] = true
	}
	for name := range top {
		p.fields = append(p.fields, name)
	}
	slices.Sort(p.fields)
	for _, a := range alternatives {
		var fields alternative
		for _, c := range a {
			f := field{path: p.index[c.path]}
			for _, m := range c.matchers {
				if m.kind == isAbsent {
					f.absent = true
				} else {
					f.matchers = append(f.matchers, m)
				}
			}
			fields = append(fields, f)
		}
		slices.SortStableFunc(fields, func(a, b field) int { return a.path - b.path })
		p.alternatives = append(p.alternatives, fields)
	}
	return p
}

// Fields returns the names of the top-level fields that the pattern looks at,
// ascending. A caller need not build the others into a document.
func (p *Pattern) Fields() []string { return p.fields }

// A node is a JSON value with the order of its members kept.
type node struct {
	kind    byte // '{', '[', '"', '0', 't', 'f', 'n'
	text    string
	members []member
	items   []*node
}

type member struct {
	name  string
	value *node
}

// parse reads JSON strictly, keeping order and the text of numbers.
func parse(text []byte) (*node, error) {
	if !json.Valid(text) {
		return nil, invalid("%s", jsonProblem(text))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return read(d, 0)
}

func jsonProblem(text []byte) string {
	var v any
	err := json.Unmarshal(text, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("not JSON: %s, at byte %d", syntax.Error(), syntax.Offset)
	}
	return "not JSON"
}

func read(d *json.Decoder, depth int) (*node, error) {
	if depth > maxNesting {
		return nil, invalid("the pattern is nested more than %d levels deep", maxNesting)
	}
	t, err := d.Token()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, invalid("not JSON: %v", err)
	}
	switch v := t.(type) {
	case json.Delim:
		n := &node{kind: byte(v)}
		for d.More() {
			name := ""
			if v == '{' {
				key, err := d.Token()
				if err != nil {
					return nil, invalid("not JSON: %v", err)
				}
				name = key.(string)
			}
			value, err := read(d, depth+1)
			if err != nil {
				return nil, err
			}
			if v == '{' {
				n.members = append(n.members, member{name, value})
			} else {
				n.items = append(n.items, value)
			}
		}
		_, err := d.Token()
		return n, err
	case string:
		return &node{kind: '"', text: v}, nil
	case json.Number:
		return &node{kind: '0', text: v.String()}, nil
	case bool:
		if v {
			return &node{kind: 't', text: "true"}, nil
		}
		return &node{kind: 'f', text: "false"}, nil
	}
	return &node{kind: 'n', text: "null"}, nil
}

// expand returns the alternatives of an object. inOr says that it lies in a $or,
// where some names are reserved.
func expand(n *node, path string, inOr bool) ([][]clause, error) {
	if n.kind != '{' {
		return nil, invalid("Filter is not an object")
	}
	if len(n.members) == 0 {
		return nil, invalid("Empty objects are not allowed")
	}
	alternatives := [][]clause{nil}
	for _, m := range n.members {
		var branches [][]clause
		var err error
		if m.name == "$or" {
			branches, err = expandOr(m.value, path)
		} else {
			branches, err = expandMember(m, path, inOr)
		}
		if err != nil {
			return nil, err
		}
		if len(alternatives)*len(branches) > maxAlternatives {
			return nil, invalid("Too many $or combinations: more than %d", maxAlternatives)
		}
		next := make([][]clause, 0, len(alternatives)*len(branches))
		for _, a := range alternatives {
			for _, b := range branches {
				next = append(next, combine(a, b))
			}
		}
		alternatives = next
	}
	return alternatives, nil
}

// combine adds clauses to others; one with the same path replaces its
// predecessor.
func combine(a, b []clause) []clause {
	out := slices.Clone(a)
	for _, c := range b {
		if i := slices.IndexFunc(out, func(o clause) bool { return o.path == c.path }); i >= 0 {
			out[i] = c
		} else {
			out = append(out, c)
		}
	}
	return out
}

func expandOr(n *node, path string) ([][]clause, error) {
	if n.kind != '[' {
		return nil, invalid("It must be an Array followed with $or.")
	}
	for _, item := range n.items {
		if item.kind != '{' {
			return nil, invalid("Only JSON object is allowed in array of $or relationship.")
		}
	}
	var all [][]clause
	for _, item := range n.items {
		branches, err := expand(item, path, true)
		if err != nil {
			return nil, err
		}
		all = append(all, branches...)
		if len(all) > maxAlternatives {
			return nil, invalid("Too many $or combinations: more than %d", maxAlternatives)
		}
	}
	if len(n.items) < 2 {
		return nil, invalid("There must have at least 2 Objects in $or relationship.")
	}
	return all, nil
}

var reserved = []string{"prefix", "suffix", "numeric", "exists", "cidr", "wildcard", "equals-ignore-case", "anything-but", "exactly", "=", "<", "<=", ">", ">=",
	"regex", "not-wildcard", "not-equals-ignore-case", "date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range", "ip-address-in-range", "ip-address-not-in-range"}

func expandMember(m member, path string, inOr bool) ([][]clause, error) {
	if inOr && slices.Contains(reserved, m.name) {
		return nil, invalid("%s is Ruler reserved fieldName which cannot be used inside $or.", m.name)
	}
	full := m.name
	if path != "" {
		full = path + "." + m.name
	}
	switch m.value.kind {
	case '{':
		return expand(m.value, full, inOr)
	case '[':
		matchers, err := compileMatchers(m.value)
		if err != nil {
			return nil, err
		}
		return [][]clause{{{full, matchers}}}, nil
	}
	return nil, invalid("%q must be an object or an array", m.name)
}
