package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/jmespath/go-jmespath"
)

// outputs are what -o can be.
var outputs = []string{"table", "wide", "json", "yaml", "name"}

// shape checks the flags that say what to print.
func (f *clientFlags) shape(c *client) error {
	if !slices.Contains(outputs, f.output) {
		return usage("--output %q: want table, wide, json, yaml or name", f.output)
	}
	// To the commands there are two: what is not for people is made of JSON.
	c.kind, c.output = f.output, "json"
	if f.query != "" {
		query, err := jmespath.Compile(f.query)
		if err != nil {
			return usage("--query %q: %s", printable(f.query), printable(err.Error()))
		}
		c.query = query
		if f.output == "table" || f.output == "wide" {
			c.kind = "json"
		}
	}
	if c.kind == "table" || c.kind == "wide" {
		c.output = "table"
	}
	return nil
}

// escapes are those of JSON.
var escapes = regexp.MustCompile(`(?s)\\(u003c|u003e|u0026|.)`)

// readable is JSON for people, indented: the three characters that encoding/json
// escapes for the sake of HTML stand for themselves.
func readable(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return escapes.ReplaceAllFunc(text, func(escape []byte) []byte {
		switch string(escape) {
		case `\u003c`:
			return []byte("<")
		case `\u003e`:
			return []byte(">")
		case `\u0026`:
			return []byte("&")
		}
		return escape
	}), err
}

// document prints JSON for people.
func (c *client) document(v any) error {
	text, err := readable(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s\n", text)
	return err
}

// asYAML turns JSON into YAML whose members keep their order and whose numbers, times
// among them, are without exponents.
func asYAML(text []byte) ([]byte, error) {
	var v any
	if err := yaml.UnmarshalWithOptions(text, &v, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	plain := yaml.CustomMarshaler(func(f float64) ([]byte, error) { return strconv.AppendFloat(nil, f, 'f', -1, 64), nil })
	return yaml.MarshalWithOptions(v, plain)
}

// json prints one document: with -o json on one line.
func (c *client) json(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	if c.query != nil {
		var err error
		if b, err = c.queried(b.Bytes()); err != nil {
			return err
		}
	}
	switch c.kind {
	case "yaml":
		text, err := asYAML(b.Bytes())
		if err != nil {
			return err
		}
		if c.printed > 0 {
			text = append([]byte("---\n"), text...)
		}
		b.Reset()
		b.Write(harmless(text)) // YAML may not hold control characters
	case "name":
		if err := named(&b, c.query != nil); err != nil {
			return err
		}
	}
	c.printed++
	_, err := c.out.Write(b.Bytes())
	return err
}

// queried is what the query finds in a document.
func (c *client) queried(text []byte) (b bytes.Buffer, err error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return b, err
	}
	found, err := c.query.Search(v)
	if err != nil {
		return b, usage("--query: %s", printable(err.Error()))
	}
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	return b, e.Encode(found)
}

// named replaces a document by its name, which is its first member, and a list by its
// names. What a query has found are the names themselves.
func named(b *bytes.Buffer, found bool) error {
	text := bytes.TrimSpace(bytes.Clone(b.Bytes()))
	b.Reset()
	var all []json.RawMessage
	if len(text) == 0 || text[0] != '[' {
		all = []json.RawMessage{text}
	} else if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, one := range all {
		name, err := nameOf(one, found)
		if err != nil {
			return err
		}
		b.WriteString(printable(name) + "\n")
	}
	return nil
}

func nameOf(one json.RawMessage, found bool) (string, error) {
	if one = bytes.TrimSpace(one); len(one) > 0 && one[0] == '{' && !found {
		d := json.NewDecoder(bytes.NewReader(one))
		for range 2 { // { and the first member's name
			if _, err := d.Token(); err != nil {
				return "", err
			}
		}
		if err := d.Decode(&one); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
	}
	var name string
	if json.Unmarshal(one, &name) == nil {
		return name, nil
	}
	return string(one), nil
}

// show prints a document as JSON, or a sentence for people.
func (c *client) show(v any, format string, args ...any) error {
	if c.output == "json" {
		return c.json(v)
	}
	_, err := fmt.Fprintf(c.out, format+"\n", args...)
	return err
}

// pairs prints a document as JSON, or its members for people.
func (c *client) pairs(v any) error {
	if c.output == "json" {
		return c.json(v)
	}
	members, err := membersOf(v)
	if err != nil {
		return err
	}
	t := &table{}
	for _, m := range members {
		t.add(strings.ReplaceAll(m.name, "_", " "), m.text)
	}
	return t.write(c.out)
}

// rows prints a list: as JSON an object a line, as YAML and to a query one list, else a
// table, which is wide if it has all that the objects have.
func rows[T any](c *client, list []T, t *table, row func(T) []any) error {
	switch {
	case c.output == "json" && (c.query != nil || c.kind == "yaml"):
		if list == nil {
			list = []T{}
		}
		return c.json(list)
	case c.output == "json":
		for _, v := range list {
			if l, ok := any(v).(labelled); ok && c.kind == "name" {
				if _, err := fmt.Fprintln(c.out, printable(l.label())); err != nil {
					return err
				}
				continue
			}
			if err := c.json(v); err != nil {
				return err
			}
		}
		return nil
	case c.kind == "wide" && len(list) > 0:
		return wide(c, list)
	}
	for _, v := range list {
		t.add(row(v)...)
	}
	return t.write(c.out)
}

// A labelled thing has another name than its first member.
type labelled interface{ label() string }

// wide prints a list, which is not empty, with a column for each member that is no
// object and no list of them.
func wide[T any](c *client, list []T) error {
	var titles []string
	var all [][]member
	for _, v := range list {
		members, err := membersOf(v)
		if err != nil {
			return err
		}
		for _, m := range members {
			if title := titled(m.name); !slices.Contains(titles, title) {
				titles = append(titles, title)
			}
		}
		all = append(all, members)
	}
	t := newTable(titles...)
	t.paint = func(_ int, text string) string { return stateColour(text) }
	for _, members := range all {
		row := make([]any, len(titles))
		for i := range row {
			row[i] = ""
		}
		for _, m := range members {
			row[slices.Index(titles, titled(m.name))] = m.text
		}
		t.add(row...)
	}
	return t.write(c.out)
}

// titled makes a title of a member's name, be its words joined by _ or capitals.
func titled(name string) string {
	return strings.ToUpper(strings.ReplaceAll(humps.ReplaceAllString(name, "$1 $2"), "_", " "))
}

// humps are where a word begins by its capital.
var humps = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// A member is one of an object's that is no object and no list of them.
type member struct{ name, text string }

// membersOf are the members of an object in their order.
func membersOf(v any) ([]member, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return []member{{"value", strings.Trim(string(text), `"`)}}, err
	}
	var all []member
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		var shown string
		switch {
		case value[0] == '{':
			continue
		case value[0] == '[':
			var ok bool
			if shown, ok = plainList(value); !ok {
				continue
			}
		case json.Unmarshal(value, &shown) != nil:
			shown = string(value)
		case string(value) == "null":
			shown = ""
		}
		all = append(all, member{fmt.Sprint(name), shown})
	}
	return all, nil
}

// plainList is a list of texts, numbers and truths on one line; ok is false for any other.
func plainList(text json.RawMessage) (line string, ok bool) {
	var all []json.RawMessage
	if json.Unmarshal(text, &all) != nil {
		return "", false
	}
	words := make([]string, len(all))
	for i, one := range all {
		if one[0] == '{' || one[0] == '[' {
			return "", false
		}
		if json.Unmarshal(one, &words[i]) != nil {
			words[i] = string(one)
		}
	}
	return strings.Join(words, ","), true
}
