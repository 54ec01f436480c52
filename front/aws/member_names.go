package aws

import (
	"encoding/json"
	"reflect"
	"strings"
)

// unmarshal is json.Unmarshal for documents of the AWS APIs, where "name" is not "Name"
// but a member that is not known, and ignored (event-bus.md 1).
func unmarshal(data []byte, into any) error {
	data, _ = exactNames(data, reflect.TypeOf(into))
	return json.Unmarshal(data, into)
}

var ownUnmarshal = reflect.TypeFor[json.Unmarshaler]()

// exactNames takes out of JSON what json.Unmarshal would take for a member of a type
// though its name differs in case, and says whether there was any.
func exactNames(data []byte, t reflect.Type) ([]byte, bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(ownUnmarshal) {
		return data, false
	}
	switch t.Kind() {
	case reflect.Struct:
		return exactMembers(data, func(name string) (reflect.Type, bool) { return member(t, name) })
	case reflect.Map:
		return exactMembers(data, func(string) (reflect.Type, bool) { return t.Elem(), true })
	case reflect.Slice:
		return exactElements(data, t.Elem())
	}
	return data, false
}

// exactMembers is exactNames of an object, whose members a function knows.
func exactMembers(data []byte, of func(name string) (t reflect.Type, keep bool)) ([]byte, bool) {
	var all map[string]json.RawMessage
	if json.Unmarshal(data, &all) != nil {
		return data, false // it is no object, which json.Unmarshal puts into words
	}
	changed := false
	for name, value := range all {
		t, keep := of(name)
		if !keep {
			delete(all, name)
			changed = true
		} else if t != nil {
			if exact, other := exactNames(value, t); other {
				all[name], changed = exact, true
			}
		}
	}
	return rewritten(data, all, changed)
}

// exactElements is exactNames of an array.
func exactElements(data []byte, of reflect.Type) ([]byte, bool) {
	var all []json.RawMessage
	if json.Unmarshal(data, &all) != nil {
		return data, false
	}
	changed := false
	for i, value := range all {
		if exact, other := exactNames(value, of); other {
			all[i], changed = exact, true
		}
	}
	return rewritten(data, all, changed)
}

func rewritten(data []byte, v any, changed bool) ([]byte, bool) {
	if !changed {
		return data, false
	}
	again, err := json.Marshal(v)
	if err != nil {
		return data, false
	}
	return again, true
}

// member returns the type of a struct's member, nil for a name that nobody knows. It is
// not kept if only its case differs from that of a member.
func member(t reflect.Type, name string) (of reflect.Type, keep bool) {
	keep = true
	for _, f := range reflect.VisibleFields(t) {
		known, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || known == "-" || f.Anonymous && known == "":
			continue
		case known == "":
			known = f.Name
		}
		if known == name {
			return f.Type, true
		}
		if strings.EqualFold(known, name) {
			keep = false
		}
	}
	return nil, keep
}
