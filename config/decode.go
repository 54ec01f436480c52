package config

import (
	"encoding/json"
	"fmt"
	"reflect"
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
//
// Values are known by their paths, as in "pipes[0].delivery.batch", the words in
// which sections report their problems.
type decoder struct {
	kinds    []target.Kind
	problems []Problem
	places   map[string]ast.Node // path of a value to where it stands in the file
	// wrong holds the paths of values that could not be decoded, and for a
	// mapping with an unknown key its path and ".?"; around holds everything
	// that these are parts of. What a section says about either only repeats
	// what was said already.
	wrong, around map[string]bool
	anchors       map[string]ast.Node // those whose value lies behind us
	budget        int                 // of nodes and characters that aliases may make of the file
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

func (d *decoder) decode(n ast.Node, cfg *Config) {
	d.stages(n)
	d.value("", n, reflect.ValueOf(cfg).Elem(), "")
}

// problem notes that the value of a path cannot be decoded, with the node that
// is to blame.
func (d *decoder) problem(path string, n ast.Node, format string, args ...any) {
	d.wrong[path] = true
	for part := path; part != "" && !d.around[part]; {
		part = outer(part)
		d.around[part] = true
	}
	d.note(n, format, args...)
}

func (d *decoder) note(n ast.Node, format string, args ...any) {
	if len(d.problems) < maxProblems {
		line, column := place(n)
		d.problems = append(d.problems, Problem{line, column, fmt.Sprintf(format, args...)})
	}
}

// place is where a node begins. A mapping's own token is its first colon or
// brace, so the first key stands for it.
func place(n ast.Node) (line, column int) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0]
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

// spend says whether a node may still be looked at.
func (d *decoder) spend(path string, n ast.Node) bool {
	if d.budget <= 0 || len(d.problems) == maxProblems {
		return false
	}
	s, _ := text(n)
	if d.budget -= 1 + len(s); d.budget > 0 {
		return true
	}
	d.problem(path, n, "the aliases of this file stand for too much text")
	return false
}

// value decodes a node into v. Null is as if the key were not there. The unit is
// "bytes" for sizes.
func (d *decoder) value(path string, n ast.Node, v reflect.Value, unit string) {
	d.places[path] = n
	if !d.spend(path, n) {
		return
	}
	if inner, ok := d.inner(path, n); inner != n {
		if ok {
			d.value(path, inner, v, unit)
		}
		d.leave(n)
		d.places[path] = n
		return
	}
	if _, ok := n.(*ast.NullNode); ok && v.Kind() != reflect.Struct {
		return
	}
	switch v.Type() {
	case rawType:
		if raw, ok := d.raw(path, n, 0); ok {
			v.SetBytes(raw)
		}
		return
	case targetType:
		d.target(path, n, v)
		return
	case durationType:
		d.duration(path, n, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(path, n, v.Elem(), unit)
	case reflect.Struct:
		d.fields(path, n, v)
		d.validate(path, v)
	case reflect.Slice:
		d.list(path, n, v)
	case reflect.Map:
		d.dictionary(path, n, v)
	case reflect.String:
		if s, ok := text(n); ok {
			v.SetString(s)
		} else {
			d.problem(path, n, "want a text, have %s", kindOf(n))
		}
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
		} else {
			d.problem(path, n, "want true or false, have %s", kindOf(n))
		}
	case reflect.Int, reflect.Int64:
		if unit == "bytes" {
			d.size(path, n, v)
		} else {
			d.number(path, n, v)
		}
	case reflect.Float64:
		d.fraction(path, n, v)
	default:
		panic("config: no way to decode a " + v.Type().String())
	}
}

// validate lets a section check itself. What it says about values that were not
// understood is left out, as is what it misses beside an unknown key, which is
// probably that value under a mistyped name.
func (d *decoder) validate(path string, v reflect.Value) {
	s, ok := v.Addr().Interface().(section)
	if !ok {
		return
	}
	s.Validate(func(field, problem string) {
		at := join(path, field)
		if !d.misread(at) {
			d.note(d.nearest(at), "%s", problem)
		}
	})
}

// misread says whether the value of a path, or a part of it, was not understood.
func (d *decoder) misread(path string) bool {
	if path != "" && d.around[path] {
		return true
	}
	for part := path; part != ""; part = outer(part) {
		if d.wrong[part] {
			return true
		}
	}
	for missing := path; missing != ""; missing = outer(missing) {
		if _, ok := d.places[missing]; ok {
			break
		}
		if d.wrong[join(outer(missing), "?")] {
			return true
		}
	}
	return false
}

// join returns the path of a field of the value at path.
func join(path, field string) string {
	if path == "" || field == "" {
		return path + field
	}
	return path + "." + field
}

// outer returns the path of what a value is part of.
func outer(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// nearest returns the node of a path, or of the closest value around it that the
// file has.
func (d *decoder) nearest(path string) ast.Node {
	for {
		if n, ok := d.places[path]; ok {
			return n
		}
		path = outer(path)
	}
}

// fields decodes a mapping into a struct.
func (d *decoder) fields(path string, n ast.Node, v reflect.Value) {
	if _, ok := n.(*ast.NullNode); ok {
		return
	}
	known := keys(v.Type())
	entries, ok := d.entries(path, n)
	if !ok {
		d.problem(path, n, "want keys with values, have %s; the keys are %s", kindOf(n), strings.Join(known, ", "))
		return
	}
	for _, e := range entries {
		i := slices.Index(known, e.key)
		if i < 0 {
			d.problem(join(path, "?"), e.at, "unknown key %q; %s", short(e.key), suggest(e.key, known))
			continue
		}
		field, unit := fieldOf(v, e.key)
		d.value(join(path, e.key), e.value, field, unit)
	}
}

// keyOf returns the key of a field; it is empty for a field that is not in the
// file.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return strings.TrimPrefix(key, "-")
}

// fieldOf finds the field with a key that keys has listed.
func fieldOf(v reflect.Value, key string) (field reflect.Value, unit string) {
	i := 0
	for keyOf(v.Type().Field(i)) != key {
		i++
	}
	return v.Field(i), v.Type().Field(i).Tag.Get("unit")
}

// keys lists the keys of a struct.
func keys(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			names = append(names, key)
		}
	}
	return names
}

func (d *decoder) list(path string, n ast.Node, v reflect.Value) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.problem(path, n, "want a list, have %s", kindOf(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
	for i, e := range s.Values {
		at := path + "[" + strconv.Itoa(i) + "]"
		if _, ok := e.(*ast.NullNode); ok {
			d.problem(at, e, "this item is empty")
			continue
		}
		d.value(at, e, v.Index(i), "")
	}
}

// dictionary decodes a mapping with keys of the user's choice.
func (d *decoder) dictionary(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(path, n)
	if !ok {
		d.problem(path, n, "want keys with values, have %s", kindOf(n))
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		at := join(path, e.key)
		if _, ok := e.value.(*ast.NullNode); ok {
			d.problem(at, e.at, "key %q has no value", short(e.key))
			continue
		}
		one := reflect.New(v.Type().Elem()).Elem()
		d.value(at, e.value, one, "")
		v.SetMapIndex(reflect.ValueOf(e.key), one)
	}
}

// target decodes the one member of a target: its kind and that kind's
// configuration.
func (d *decoder) target(path string, n ast.Node, v reflect.Value) {
	var names []string
	for _, k := range d.kinds {
		names = append(names, k.Name)
	}
	entries, ok := d.entries(path, n)
	if !ok || len(entries) != 1 {
		d.problem(path, n, "want one target kind (%s) with its configuration", strings.Join(names, ", "))
		return
	}
	e := entries[0]
	i := slices.Index(names, e.key)
	if i < 0 {
		d.problem(path, e.at, "unknown target kind %q; %s", short(e.key), suggest(e.key, names))
		return
	}
	config := d.kinds[i].Config()
	d.value(join(path, e.key), e.value, reflect.ValueOf(config).Elem(), "")
	raw, err := json.Marshal(config)
	if err != nil {
		d.problem(path, e.value, "%v", err)
		return
	}
	v.Set(reflect.ValueOf(catalog.Target{Kind: e.key, Config: raw}))
}
