package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"unicode/utf8"
)

// Plain are the simple rules that a text must keep: a parameter of a request, or
// the key of a record. The zero value asks for UTF-8.
type Plain struct {
	// Type is what the text stands for: string (the default), integer, number or
	// boolean.
	Type string
	// Pattern is a regular expression that a part of the text must match.
	Pattern string
	// Enum is a JSON array of the values that it may have; empty: any.
	Enum json.RawMessage
	// Minimum and Maximum are JSON numbers; empty: no bound.
	Minimum, Maximum json.RawMessage
	// MinLength and MaxLength bound its characters; zero: no bound.
	MinLength, MaxLength int
}

// Zero says whether nothing is asked for.
func (p Plain) Zero() bool {
	return p.Type == "" && p.Pattern == "" && len(p.Enum) == 0 && len(p.Minimum) == 0 && len(p.Maximum) == 0 && p.MinLength == 0 && p.MaxLength == 0
}

// Validate reports each problem with the rule that it lies in.
func (p Plain) Validate(report func(path, problem string)) {
	if !slices.Contains([]string{"", "string", "integer", "number", "boolean"}, p.Type) {
		report("type", "want string, integer, number or boolean")
	}
	if _, err := compilePattern(p.Pattern); err != nil {
		report("pattern", "want a regular expression without look-ahead, look-behind and back references: "+err.Error())
	}
	var list []json.RawMessage
	if len(p.Enum) > 0 && (json.Unmarshal(p.Enum, &list) != nil || len(list) == 0) {
		report("enum", "want a list of values")
	}
	numeric := p.Type == "integer" || p.Type == "number"
	for _, b := range []struct {
		name  string
		bound json.RawMessage
	}{{"minimum", p.Minimum}, {"maximum", p.Maximum}} {
		switch {
		case len(b.bound) == 0:
		case !wholeNumber.Match(b.bound) || bounded(b.bound) != nil:
			report(b.name, "want a number")
		case !numeric:
			report(b.name, "belongs to the types integer and number")
		}
	}
	for _, b := range []struct {
		name  string
		bound int
	}{{"min_length", p.MinLength}, {"max_length", p.MaxLength}} {
		if b.bound < 0 {
			report(b.name, "want a number from 0")
		}
		if b.bound > 0 && p.Type != "" && p.Type != "string" {
			report(b.name, "belongs to the type string")
		}
	}
}

// wholeNumber is the grammar of JSON's numbers.
var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// A Text is a Plain made ready. It is safe for concurrent use.
type Text struct {
	kind     string
	compiled *JSONSchema
}

// CompilePlain makes simple rules ready. The error says what is wrong with them.
func CompilePlain(p Plain) (*Text, error) {
	var wrong error
	p.Validate(func(path, problem string) {
		if wrong == nil {
			wrong = fmt.Errorf("%s: %s", path, problem)
		}
	})
	if wrong != nil {
		return nil, wrong
	}
	t := &Text{kind: p.Type}
	if t.kind == "" {
		t.kind = "string"
	}
	doc := map[string]any{"type": t.kind}
	if p.Pattern != "" {
		doc["pattern"] = p.Pattern
	}
	if len(p.Enum) > 0 {
		enum, err := t.enum(p.Enum)
		if err != nil {
			return nil, err
		}
		doc["enum"] = enum
	}
	for name, bound := range map[string]json.RawMessage{"minimum": p.Minimum, "maximum": p.Maximum} {
		if len(bound) > 0 {
			doc[name] = bound
		}
	}
	for name, bound := range map[string]int{"minLength": p.MinLength, "maxLength": p.MaxLength} {
		if bound > 0 {
			doc[name] = bound
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	t.compiled, err = CompileJSON(text, JSONOptions{})
	return t, err
}

// enum writes the values as they are compared: a text may have been given without
// its quotes, as in [1, 10].
func (t *Text) enum(list json.RawMessage) ([]any, error) {
	var given []json.RawMessage
	if err := json.Unmarshal(list, &given); err != nil {
		return nil, errors.New("enum: want a list of values")
	}
	out := make([]any, len(given))
	for i, one := range given {
		out[i] = one
		if t.kind == "string" && len(one) > 0 && one[0] != '"' {
			out[i] = string(one)
		}
	}
	return out, nil
}

// Check returns what is wrong with a text: nothing if it keeps the rules.
func (t *Text) Check(text string) []Violation {
	if !utf8.ValidString(text) {
		return []Violation{{Pointer: "#", Keyword: "type", Detail: "is not UTF-8"}}
	}
	var value any = text
	switch t.kind {
	case "integer", "number":
		if !wholeNumber.MatchString(text) || bounded([]byte(text)) != nil {
			return []Violation{{Pointer: "#", Keyword: "type", Detail: "must be " + article([]string{t.kind})}}
		}
		value = json.Number(text)
	case "boolean":
		if text != "true" && text != "false" {
			return []Violation{{Pointer: "#", Keyword: "type", Detail: "must be true or false"}}
		}
		value = text == "true"
	}
	violations, _ := t.compiled.checkDecoded(value)
	return violations
}

// CheckBytes is Check for a record's key or value. Where a string is asked for, the
// string that JSON bytes write counts as well as the bytes themselves, because the
// APIs that take JSON keep its quotes.
func (t *Text) CheckBytes(raw []byte) []Violation {
	if t.kind == "string" && len(raw) > 1 && raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return t.Check(s)
		}
	}
	return t.Check(string(raw))
}
