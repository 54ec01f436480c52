package rule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klamm-gateway/klamm/scan"
)

// maxNesting bounds the depth of a pattern.
const maxNesting = 200

// A node is a JSON value of a pattern, with the order of its members and the
// text of its numbers kept.
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

// parse reads a pattern's JSON.
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
		return readInside(d, byte(v), depth)
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

// readInside reads what follows an opening bracket.
func readInside(d *json.Decoder, bracket byte, depth int) (*node, error) {
	n := &node{kind: bracket}
	for d.More() {
		name := ""
		if bracket == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, invalid("not JSON: %v", err)
			}
			name, _ = key.(string)
		}
		value, err := read(d, depth+1)
		if err != nil {
			return nil, err
		}
		if bracket == '{' {
			n.members = append(n.members, member{name, value})
		} else {
			n.items = append(n.items, value)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, invalid("not JSON: %v", err)
	}
	return n, nil
}

// String writes a node as compact JSON.
func (n *node) String() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

func (n *node) write(b *strings.Builder) {
	switch n.kind {
	case '{':
		b.WriteByte('{')
		for i, m := range n.members {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(scan.AppendString(nil, m.name))
			b.WriteByte(':')
			m.value.write(b)
		}
		b.WriteByte('}')
	case '[':
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.write(b)
		}
		b.WriteByte(']')
	case '"':
		b.Write(scan.AppendString(nil, n.text))
	default:
		b.WriteString(n.text)
	}
}
