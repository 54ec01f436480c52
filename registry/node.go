package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/klamm-gateway/klamm/scan"
)

// mostDepth bounds how deep the JSON of a schema may be nested.
const mostDepth = 200

// A node is a JSON value that keeps the order of its members. Exactly one of the kinds
// is set: members for an object, items for an array, text for what else there is.
type node struct {
	object  bool
	array   bool
	members []member
	items   []*node
	text    string // of a string, decoded; of a number, a boolean or null, as it stands
	str     bool
}

type member struct {
	name  string
	value *node
}

// parseNode reads a JSON document. Of members with the same name the last one counts.
func parseNode(text []byte) (*node, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	n, err := readNode(d, 0)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it ends too early")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows after the JSON value")
	}
	return n, nil
}

func readNode(d *json.Decoder, depth int) (*node, error) {
	if depth > mostDepth {
		return nil, fmt.Errorf("it is nested deeper than %d levels", mostDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return readObject(d, depth)
		}
		n := &node{array: true}
		for d.More() {
			item, err := readNode(d, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		_, err := d.Token()
		return n, err
	case string:
		return &node{str: true, text: t}, nil
	case json.Number:
		return &node{text: t.String()}, nil
	case bool:
		if t {
			return &node{text: "true"}, nil
		}
		return &node{text: "false"}, nil
	}
	return &node{text: "null"}, nil
}

func readObject(d *json.Decoder, depth int) (*node, error) {
	n := &node{object: true}
	places := map[string]int{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		value, err := readNode(d, depth+1)
		if err != nil {
			return nil, err
		}
		if at, ok := places[name]; ok {
			n.members[at].value = value
			continue
		}
		places[name] = len(n.members)
		n.members = append(n.members, member{name, value})
	}
	_, err := d.Token()
	return n, err
}

// get returns a member of an object, or nil.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// string returns the text of a string; ok is false for nil and for everything else.
func (n *node) string() (text string, ok bool) {
	if n == nil || !n.str {
		return "", false
	}
	return n.text, true
}

// is says whether n is the literal true, false or null.
func (n *node) is(literal string) bool {
	return n != nil && !n.str && !n.object && !n.array && n.text == literal
}

// number says whether n is a number.
func (n *node) number() bool {
	return n != nil && !n.str && !n.object && !n.array && n.text != "true" && n.text != "false" && n.text != "null"
}

// append appends the JSON of n without whitespace.
func (n *node) append(b []byte) []byte {
	switch {
	case n.object:
		b = append(b, '{')
		for i, m := range n.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(scan.AppendString(b, m.name), ':')
			b = m.value.append(b)
		}
		return append(b, '}')
	case n.array:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.append(b)
		}
		return append(b, ']')
	case n.str:
		return scan.AppendString(b, n.text)
	}
	return append(b, n.text...)
}

// sorted returns n with the members of all its objects in the order of their names.
func (n *node) sorted() *node {
	out := *n
	out.members = slices.Clone(n.members)
	slices.SortFunc(out.members, func(a, b member) int { return compareText(a.name, b.name) })
	for i := range out.members {
		out.members[i].value = out.members[i].value.sorted()
	}
	out.items = nil
	for _, item := range n.items {
		out.items = append(out.items, item.sorted())
	}
	return &out
}

// same says whether two values are equal, whatever the order of members.
func (n *node) same(o *node) bool {
	if n == nil || o == nil {
		return n == o
	}
	return bytes.Equal(n.sorted().append(nil), o.sorted().append(nil))
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
