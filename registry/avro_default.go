package registry

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// defaults refuses a schema with a field whose default is no value of its type. It is
// asked for where schemas are normalised; others are stored with such fields, as
// Confluent's registry does.
func (s *avroSchema) defaults() error {
	c := &avroDefaults{}
	seen := map[*avroType]bool{}
	var look func(t *avroType) error
	look = func(t *avroType) error {
		if t == nil || seen[t] || s.borrowed[t] {
			return nil
		}
		seen[t] = true
		for _, f := range t.fields {
			if f.value != nil && !c.fits(f.typ, f.value, 0) {
				return fmt.Errorf("the default of the field %s of the record %s is no value of its type: %s", f.name, t.full(), clip(string(f.value.append(nil))))
			}
			if err := look(f.typ); err != nil {
				return err
			}
		}
		for _, branch := range t.branches {
			if err := look(branch); err != nil {
				return err
			}
		}
		return look(t.inner)
	}
	return look(s.root)
}

// avroDefaults counts what it looks at: types within themselves, with defaults that leave
// out fields, have no end.
type avroDefaults struct{ steps int }

// fits says whether a JSON value can be the default of a type: of a union, of any of its
// branches; of a record, with the defaults of the fields that it leaves out.
func (c *avroDefaults) fits(t *avroType, n *node, depth int) bool {
	if c.steps++; n == nil || depth > mostDepth || c.steps > mostSteps {
		return false
	}
	each := func(list []*node) bool {
		return !slices.ContainsFunc(list, func(item *node) bool { return !c.fits(t.inner, item, depth+1) })
	}
	switch t.kind {
	case "null":
		return n.is("null")
	case "boolean":
		return n.is("true") || n.is("false")
	case "int", "long":
		v, err := strconv.ParseInt(n.text, 10, 64)
		return n.number() && err == nil && (t.kind == "long" || v >= math.MinInt32 && v <= math.MaxInt32)
	case "float", "double":
		return n.number()
	case "array":
		return n.array && each(n.items)
	case "map":
		var values []*node
		for _, m := range n.members {
			values = append(values, m.value)
		}
		return n.object && each(values)
	case "union":
		return slices.ContainsFunc(t.branches, func(branch *avroType) bool { return c.fits(branch, n, depth+1) })
	case "record":
		return n.object && !slices.ContainsFunc(t.fields, func(f avroField) bool {
			value := n.get(f.name)
			if value == nil {
				value = f.value
			}
			return !c.fits(f.typ, value, depth+1)
		})
	}
	return n.str // strings, bytes, enums and fixed types
}
