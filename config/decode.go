package config

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target"
)

// A decoder puts YAML nodes into Go values and collects what does not fit. It
// goes on after every problem, so that one run shows them all.
type decoder struct {
	kinds    []target.Kind
	problems []Problem
	places   map[string]ast.Node // path of a field to where it stands in the file
}

// A section validates itself, and reports problems by the path of the field.
type section interface {
	Validate(report func(path, problem string))
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	rawType      = reflect.TypeFor[json.RawMessage]()
	targetType   = reflect.TypeFor[catalog.Target]()
)

func (d *decoder) decode(n ast.Node, cfg *Config) { d.value(n, "", reflect.ValueOf(cfg).Elem(), "") }

// problem notes a mistake at a node.
func (d *decoder) problem(n ast.Node, format string, args ...any) {
	if len(d.problems) >= maxProblems {
		return
	}
	line, column := place(n)
	d.problems = append(d.problems, Problem{line, column, fmt.Sprintf(format, args...)})
}

// place is where a node begins. A mapping's own token is its first colon or
// brace, so the first key stands for it.
func place(n ast.Node) (line, column int) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return max(t.Position.Line, 1), max(t.Position.Column, 1)
	}
	return 1, 1
}

// value decodes a node into v. unit is "bytes" for sizes.
func (d *decoder) value(n ast.Node, path string, v reflect.Value, unit string) {
	d.places[path] = n
	switch node := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode:
		d.problem(node, "anchors and aliases are not supported; write the value out")
		return
	case *ast.TagNode:
		d.problem(node, "YAML tags are not supported")
		return
	case *ast.NullNode:
		return // as if the key were not there
	}
	before := len(d.problems)
	switch {
	case v.Type() == rawType:
		if raw, ok := d.raw(n, 0); ok {
			v.SetBytes(raw)
		}
		return
	case v.Type() == targetType:
		d.target(n, path, v)
		return
	case v.Type() == durationType:
		d.duration(n, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, path, v.Elem(), unit)
		return
	case reflect.Struct:
		d.fields(n, path, v)
	case reflect.Slice:
		d.list(n, path, v)
		return
	case reflect.Map:
		d.dictionary(n, path, v)
		return
	case reflect.String:
		if s, ok := text(n); ok {
			v.SetString(s)
		} else {
			d.problem(n, "want a text, have %s", kindOf(n))
		}
		return
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
		} else {
			d.problem(n, "want true or false, have %s", kindOf(n))
		}
		return
	case reflect.Int, reflect.Int64:
		d.number(n, v, unit)
		return
	default:
		panic("config: no way to decode a " + v.Type().String())
	}
	if len(d.problems) == before {
		d.validate(path, v)
	}
}

// validate lets a section check itself, once it could be decoded.
func (d *decoder) validate(path string, v reflect.Value) {
	s, ok := v.Addr().Interface().(section)
	if !ok {
		return
	}
	s.Validate(func(field, problem string) { d.problem(d.nearest(join(path, field)), "%s", problem) })
}

func join(path, field string) string {
	if path == "" || field == "" {
		return path + field
	}
	return path + "." + field
}

// nearest returns the node of a path, or of the closest field around it that the
// file has.
func (d *decoder) nearest(path string) ast.Node {
	for {
		if n, ok := d.places[path]; ok {
			return n
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// entries returns the members of a mapping.
func (d *decoder) entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

// fields decodes a mapping into a struct.
func (d *decoder) fields(n ast.Node, path string, v reflect.Value) {
	entries, ok := d.entries(n)
	if !ok {
		d.problem(n, "want keys with values, have %s; known keys: %s", kindOf(n), strings.Join(keys(v.Type()), ", "))
		return
	}
	seen := map[string]bool{}
	for _, e := range entries {
		key, _ := text(e.Key)
		field, unit, ok := fieldOf(v, key)
		switch {
		case !ok:
			d.problem(e.Key, "unknown key %q; %s", short(key), suggest(key, keys(v.Type())))
		case seen[key]:
			d.problem(e.Key, "key %q stands here twice", key)
		default:
			d.value(e.Value, join(path, key), field, unit)
		}
		seen[key] = true
	}
}

// fieldOf finds the field with a key.
func fieldOf(v reflect.Value, key string) (field reflect.Value, unit string, ok bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name == key && name != "-" && name != "" {
			return v.Field(i), f.Tag.Get("unit"), true
		}
	}
	return reflect.Value{}, "", false
}

// keys lists the keys of a struct.
func keys(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func (d *decoder) list(n ast.Node, path string, v reflect.Value) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.problem(n, "want a list, have %s", kindOf(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
	for i, e := range s.Values {
		d.value(e, fmt.Sprintf("%s[%d]", path, i), v.Index(i), "")
	}
}

// dictionary decodes a mapping with keys of the user's choice.
func (d *decoder) dictionary(n ast.Node, path string, v reflect.Value) {
	entries, ok := d.entries(n)
	if !ok {
		d.problem(n, "want keys with values, have %s", kindOf(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		key, _ := text(e.Key)
		if v.MapIndex(reflect.ValueOf(key)).IsValid() {
			d.problem(e.Key, "key %q stands here twice", short(key))
			continue
		}
		one := reflect.New(v.Type().Elem()).Elem()
		d.value(e.Value, join(path, key), one, "")
		v.SetMapIndex(reflect.ValueOf(key), one)
	}
}

// target decodes the one member of a target: its kind and that kind's
// configuration.
func (d *decoder) target(n ast.Node, path string, v reflect.Value) {
	var names []string
	for _, k := range d.kinds {
		names = append(names, k.Name)
	}
	entries, ok := d.entries(n)
	if !ok || len(entries) != 1 {
		d.problem(n, "want exactly one target kind (%s) with its configuration", strings.Join(names, ", "))
		return
	}
	kind, _ := text(entries[0].Key)
	i := slices.Index(names, kind)
	if i < 0 {
		d.problem(entries[0].Key, "unknown target kind %q; %s", short(kind), suggest(kind, names))
		return
	}
	before := len(d.problems)
	config := d.kinds[i].Config()
	d.value(entries[0].Value, join(path, kind), reflect.ValueOf(config).Elem(), "")
	if len(d.problems) > before {
		return
	}
	raw, err := json.Marshal(config)
	if err != nil {
		d.problem(entries[0].Value, "%v", err)
		return
	}
	v.Set(reflect.ValueOf(catalog.Target{Kind: kind, Config: raw}))
}

func (d *decoder) duration(n ast.Node, v reflect.Value) {
	s, ok := text(n)
	t, err := time.ParseDuration(s)
	if !ok || err != nil {
		d.problem(n, "want a time such as 500ms, 10s or 1h30m")
		return
	}
	v.SetInt(int64(t))
}

var sizeForm = regexp.MustCompile(`^([0-9]+)\s*(B|KB|MB|GB|KiB|MiB|GiB)?$`)

var sizeUnits = map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

func (d *decoder) number(n ast.Node, v reflect.Value, unit string) {
	s, ok := text(n)
	if unit == "bytes" {
		m := sizeForm.FindStringSubmatch(s)
		if !ok || m == nil {
			d.problem(n, "want a size such as 512, 64KiB or 1MiB")
			return
		}
		i, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil || i > math.MaxInt64/sizeUnits[m[2]] {
			d.problem(n, "this size is too large")
			return
		}
		v.SetInt(i * sizeUnits[m[2]])
		return
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if _, isNumber := n.(*ast.IntegerNode); !isNumber || !ok || err != nil || v.OverflowInt(i) {
		d.problem(n, "want a whole number, have %s", kindOf(n))
		return
	}
	v.SetInt(i)
}

// text returns the text of a scalar, as it is written in the file.
func text(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.MappingKeyNode:
		return text(s.Value)
	}
	return "", false
}

// kindOf says what a node is, in a user's words.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	}
	s, _ := text(n)
	return strconv.Quote(short(s))
}

func short(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// raw turns any YAML into JSON, keeping the order of keys and the text of
// numbers.
func (d *decoder) raw(n ast.Node, depth int) (json.RawMessage, bool) {
	if depth > maxDepth {
		d.problem(n, "nested more than %d levels deep", maxDepth)
		return nil, false
	}
	if entries, ok := d.entries(n); ok {
		out, good := []byte{'{'}, true
		for i, e := range entries {
			if i > 0 {
				out = append(out, ',')
			}
			key, _ := text(e.Key)
			name, _ := json.Marshal(key)
			value, ok := d.raw(e.Value, depth+1)
			good = good && ok
			out = append(append(append(out, name...), ':'), value...)
		}
		return append(out, '}'), good
	}
	switch node := n.(type) {
	case *ast.SequenceNode:
		out, good := []byte{'['}, true
		for i, e := range node.Values {
			if i > 0 {
				out = append(out, ',')
			}
			value, ok := d.raw(e, depth+1)
			good = good && ok
			out = append(out, value...)
		}
		return append(out, ']'), good
	case *ast.NullNode:
		return json.RawMessage("null"), true
	case *ast.BoolNode:
		return strconv.AppendBool(nil, node.Value), true
	case *ast.IntegerNode, *ast.FloatNode:
		s := n.GetToken().Value
		if json.Valid([]byte(s)) {
			return json.RawMessage(s), true
		}
		d.problem(n, "%s is not a number in JSON", strconv.Quote(short(s)))
		return nil, false
	}
	if s, ok := text(n); ok {
		b, err := json.Marshal(s)
		return b, err == nil
	}
	d.problem(n, "this YAML cannot be written as JSON; anchors, aliases and tags are not supported")
	return nil, false
}
