package config

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

func (d *decoder) duration(path string, n ast.Node, v reflect.Value) {
	s, ok := text(n)
	t, err := time.ParseDuration(s)
	if !ok || err != nil {
		d.problem(path, n, "want a time such as 500ms, 10s or 1h30m")
		return
	}
	v.SetInt(int64(t))
}

var sizeForm = regexp.MustCompile(`^([0-9]+) ?(B|KB|MB|GB|KiB|MiB|GiB)?$`)

var sizeUnits = map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// size decodes a number of bytes.
func (d *decoder) size(path string, n ast.Node, v reflect.Value) {
	s, _ := text(n)
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		d.problem(path, n, "want a size such as 512, 64KB or 1MiB")
		return
	}
	i, err := strconv.ParseInt(m[1], 10, 64)
	if unit := sizeUnits[m[2]]; err != nil || i > math.MaxInt64/unit {
		d.problem(path, n, "this size is too large")
	} else {
		v.SetInt(i * unit)
	}
}

func (d *decoder) number(path string, n ast.Node, v reflect.Value) {
	s, _ := text(n)
	i, err := strconv.ParseInt(s, 10, 64)
	switch _, ok := n.(*ast.IntegerNode); {
	case ok && err == nil:
		v.SetInt(i)
	case kindOf(n) == "a number":
		d.problem(path, n, "want a whole number in decimal digits")
	default:
		d.problem(path, n, "want a whole number, have %s", kindOf(n))
	}
}

// fraction decodes a number that need not be whole.
func (d *decoder) fraction(path string, n ast.Node, v reflect.Value) {
	s, ok := text(n)
	f, err := strconv.ParseFloat(s, 64)
	if !ok || err != nil || !isNumber(s) {
		d.problem(path, n, "want a number such as 5 or 0.5")
		return
	}
	v.SetFloat(f)
}

// raw turns any YAML into JSON, keeping the order of keys and the text of
// numbers.
func (d *decoder) raw(path string, n ast.Node, depth int) (json.RawMessage, bool) {
	if depth > maxDepth {
		d.problem(path, n, "nested more than %d levels deep", maxDepth)
		return nil, false
	}
	if !d.spend(path, n) {
		return nil, false
	}
	if inner, ok := d.inner(path, n); inner != n {
		var out json.RawMessage
		if ok {
			out, ok = d.raw(path, inner, depth+1)
		}
		d.leave(n)
		return out, ok
	}
	if entries, ok := d.entries(path, n); ok {
		return d.rawObject(path, entries, depth)
	}
	switch node := n.(type) {
	case *ast.SequenceNode:
		out, good := []byte{'['}, true
		for i, e := range node.Values {
			if i > 0 {
				out = append(out, ',')
			}
			value, ok := d.raw(path, e, depth+1)
			out, good = append(out, value...), good && ok
		}
		return append(out, ']'), good
	case *ast.NullNode:
		return json.RawMessage("null"), true
	case *ast.BoolNode:
		return strconv.AppendBool(nil, node.Value), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		s := n.GetToken().Value
		if !isNumber(s) {
			d.problem(path, n, "JSON cannot hold a number written like this; for a text put it in quotes")
			return nil, false
		}
		return json.RawMessage(s), true
	}
	s, ok := text(n)
	if !ok {
		d.problem(path, n, "this YAML cannot be written as JSON")
	}
	if isPlain(n) && isNumber(s) {
		return json.RawMessage(s), ok
	}
	return quoted(s), ok
}

// isPlain says whether a scalar is written without quotes. The parser takes some
// numbers of JSON, such as 1e2 and very large ones, for such texts.
func isPlain(n ast.Node) bool {
	s, ok := n.(*ast.StringNode)
	return ok && s.Token.Type == token.StringType
}

// isNumber says whether a text is a number in JSON.
func isNumber(s string) bool {
	return s != "" && (s[0] == '-' || '0' <= s[0] && s[0] <= '9') && json.Valid([]byte(s))
}

func (d *decoder) rawObject(path string, entries []entry, depth int) (json.RawMessage, bool) {
	out, good := []byte{'{'}, true
	for i, e := range entries {
		if i > 0 {
			out = append(out, ',')
		}
		value, ok := d.raw(path, e.value, depth+1)
		out = append(append(append(out, quoted(e.key)...), ':'), value...)
		good = good && ok
	}
	return append(out, '}'), good
}

// quoted returns a text as JSON, as a person would write it: "<" stays "<".
func quoted(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail
	return bytes.TrimSpace(b.Bytes())
}
