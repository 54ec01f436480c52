package openapi

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// An object is a JSON object of the document. A nil one has nothing.
type object map[string]any

func objectOf(v any) object {
	switch v := v.(type) {
	case map[string]any:
		return v
	case object:
		return v
	}
	return nil
}

func (o object) text(key string) string {
	s, _ := o[key].(string)
	return s
}

func (o object) object(key string) object { return objectOf(o[key]) }

func (o object) list(key string) []any {
	l, _ := o[key].([]any)
	return l
}

func (o object) flag(key string) bool {
	b, _ := o[key].(bool)
	return b
}

func (o object) keys() []string { return slices.Sorted(maps.Keys(o)) }

// numberOf returns a number that may be written as a text; 0 for anything else.
func numberOf(v any) int {
	switch v := v.(type) {
	case json.Number:
		n, _ := v.Int64()
		return int(n)
	case string:
		n, _ := json.Number(v).Int64()
		return int(n)
	}
	return 0
}

// escape makes a token of a JSON pointer.
func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

// mostReferences bounds a chain of references.
const mostReferences = 20

// resolve follows a reference within the document; nil: it leads nowhere.
func (im *importer) resolve(v any) object {
	o := objectOf(v)
	for range mostReferences {
		ref := o.text("$ref")
		if ref == "" {
			return o
		}
		o = im.pointed(ref)
	}
	return nil
}

// pointed returns what a reference such as #/components/schemas/Beat leads to.
func (im *importer) pointed(ref string) object {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := im.root
	for _, step := range strings.Split(path, "/") {
		at = at.object(strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
	}
	return at
}

// plain makes a value of the document one that is written in a fixed order.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		return plain(map[string]any(v))
	case map[string]any:
		out := make(yaml.MapSlice, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out = append(out, yaml.MapItem{Key: k, Value: plain(v[k])})
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}
