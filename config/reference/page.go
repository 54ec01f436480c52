package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A page is the reference while it is written, section after section.
type page struct {
	out      bytes.Buffer
	comments comments
}

// A row is one key of a section.
type row struct {
	key   string
	field reflect.StructField
}

// rows lists the keys of a struct.
func rows(t reflect.Type) (all []row) {
	for f := range t.Fields() {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" && key != "-" {
			all = append(all, row{key, f})
		}
	}
	return all
}

// section writes the table of a struct, and after it those of the sections in
// it. The path is what stands in front of the section's keys, as in "pipes[].".
func (p *page) section(path string, t reflect.Type) error {
	doc, err := p.comments.of(t)
	if err != nil {
		return err
	}
	if path == "" {
		fmt.Fprintf(&p.out, "\n## Keys\n\n")
	} else {
		fmt.Fprintf(&p.out, "\n### `%s`\n\n", path)
	}
	if text := sectionText(t, doc); text != "" {
		fmt.Fprintf(&p.out, "%s\n\n", text)
	}
	fmt.Fprintf(&p.out, "| Key | Value | Meaning |\n| --- | --- | --- |\n")
	for _, r := range rows(t) {
		text := doc.fields[r.field.Name]
		if text == "" {
			return fmt.Errorf("field %s of %s has no comment", r.field.Name, t)
		}
		fmt.Fprintf(&p.out, "| `%s` | %s | %s |\n", r.key, valueOf(r.field), fieldText(r, text))
	}
	for _, r := range rows(t) {
		if err := p.inner(strings.TrimPrefix(path+"."+r.key, "."), r.field.Type); err != nil {
			return err
		}
	}
	return nil
}

// inner writes the sections below a key.
func (p *page) inner(path string, t reflect.Type) error {
	switch {
	case isSecret(t):
		return nil
	case isTarget(t):
		types := kinds()
		for _, kind := range slices.Sorted(maps.Keys(types)) {
			if err := p.section(path+"."+kind, types[kind]); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() == reflect.Pointer:
		return p.inner(path, t.Elem())
	case t.Kind() == reflect.Slice && isSecret(t.Elem()):
		return nil
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return p.inner(path+"[]", t.Elem())
	case t.Kind() == reflect.Struct:
		return p.section(path, t)
	}
	return nil
}

// isTarget says whether a type is catalog.Target, which has no keys of its own.
func isTarget(t reflect.Type) bool { return t.String() == "catalog.Target" }

// isSecret says whether a type names a secret; the introduction says how.
func isSecret(t reflect.Type) bool { return t.String() == "secret.Ref" }

// valueOf says what a key takes.
func valueOf(f reflect.StructField) string {
	t := f.Type
	switch {
	case isTarget(t):
		names := slices.Sorted(maps.Keys(kinds()))
		return "one of `" + strings.Join(names, "`, `") + "`"
	case isSecret(t):
		return "secret"
	case t.Kind() == reflect.Map && isSecret(t.Elem()):
		return "secrets by name"
	case t.Kind() == reflect.Slice && isSecret(t.Elem()):
		return "list of secrets"
	case t == reflect.TypeFor[time.Duration]():
		return "time"
	case t == reflect.TypeFor[json.RawMessage]():
		return "anything"
	case f.Tag.Get("unit") == "bytes":
		return "size"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int64:
		return "number"
	case reflect.String:
		return "text"
	case reflect.Map:
		return "texts by name"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "list of texts"
		}
		return "list, below"
	}
	return "below"
}

// sectionText is the comment of a struct, with keys in place of fields. One that
// only says which section it is tells nothing here.
func sectionText(t reflect.Type, doc documented) string {
	if strings.Contains(doc.text, "of the configuration file") || t.Name() == "Config" {
		return ""
	}
	text := strings.Replace(oneLine(doc.text), t.Name(), strings.ToLower(t.Name()), 1)
	for _, r := range rows(t) {
		text = regexp.MustCompile(`\b`+r.field.Name+`\b`).ReplaceAllLiteralString(text, "`"+r.key+"`")
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// fieldText is the comment of a field without its first word, the field's name,
// where a verb follows that can do without.
func fieldText(r row, text string) string {
	text = oneLine(text)
	if rest, ok := strings.CutPrefix(text, r.field.Name+" "); ok {
		text = rest
		for _, verb := range []string{"is ", "are "} {
			text = strings.TrimPrefix(text, verb)
		}
	}
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// oneLine makes a comment fit for a cell of a table.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`).Replace(text)
}
