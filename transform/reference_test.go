package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// The slow, obvious renderer that the fuzz tests compare with: every path is
// looked up for itself with encoding/json, and the template is read once more.

// find returns the values that steps lead to.
func find(v json.RawMessage, steps []step) []json.RawMessage {
	if len(steps) == 0 {
		return []json.RawMessage{v}
	}
	var members map[string]json.RawMessage
	var elements []json.RawMessage
	switch first := bytes.TrimSpace(v)[0]; {
	case first == '{':
		_ = json.Unmarshal(v, &members)
	case first == '[':
		_ = json.Unmarshal(v, &elements)
	}
	switch s := steps[0]; s.kind {
	case member:
		if m, ok := members[s.name]; ok {
			return find(m, steps[1:])
		}
	case element:
		if s.index < len(elements) {
			return find(elements[s.index], steps[1:])
		}
	case every:
		var all []json.RawMessage
		for _, e := range elements {
			all = append(all, find(e, steps[1:])...)
		}
		return all
	}
	return nil
}

// lookUp returns what a path stands for, compact; nil for nothing.
func lookUp(doc json.RawMessage, steps []step) []byte {
	for i, s := range steps {
		if s.kind != every {
			continue
		}
		at := find(doc, steps[:i])
		if len(at) == 0 || bytes.TrimSpace(at[0])[0] != '[' {
			return nil
		}
		out := []byte("[")
		for n, hit := range find(doc, steps) {
			if n > 0 {
				out = append(out, ',')
			}
			out = append(out, compact(hit)...)
		}
		return append(out, ']')
	}
	if hits := find(doc, steps); len(hits) == 1 {
		return compact(hits[0])
	}
	return nil
}

func compact(v []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, v); err != nil {
		panic(err)
	}
	return b.Bytes()
}

var errReference = errors.New("INVALID_JSON")

// reference renders a pipe template that has compiled.
func reference(template string, doc []byte) (string, error) {
	trimmed := strings.TrimSpace(template)
	isJSON := trimmed[:min(1, len(trimmed))] == "{" || trimmed[:min(1, len(trimmed))] == "["
	var out strings.Builder
	quoted := false
	for i := 0; i < len(template); i++ {
		rest := template[i:]
		switch {
		case strings.HasPrefix(rest, "<$"):
			steps, n, _ := scanPath(rest[1:])
			v := lookUp(doc, steps)
			whole := strings.TrimSpace(template) == rest[:n+2]
			i += n + 1
			switch {
			case v == nil && quoted:
			case v == nil:
				out.WriteString(`""`)
			case quoted && v[0] == '"':
				var s string
				_ = json.Unmarshal(v, &s)
				out.WriteString(s)
			case quoted:
				out.WriteString(strings.ReplaceAll(string(v), `"`, ""))
			case whole && !isJSON && (v[0] == '{' || v[0] == '['):
				out.WriteString(`"` + strings.ReplaceAll(string(v), `"`, "") + `"`)
			default:
				out.Write(v)
			}
			continue
		case quoted && rest[0] == '\\' && len(rest) > 1:
			out.WriteString(rest[:2])
			i++
			continue
		case rest[0] == '"':
			quoted = !quoted
		case isJSON && !quoted && strings.ContainsAny(rest[:1], " \t\r\n"):
			continue
		}
		out.WriteByte(rest[0])
	}
	if isJSON && !json.Valid([]byte(out.String())) {
		return "", errReference
	}
	return out.String(), nil
}

var fuzzDocuments = []string{
	`{"topic":"orders","partition":3,"key":null,"value":{"id":7,"tags":["a","b"],"who":{"n":"x \"y\" \\z"},"lines":[{"n":2},{"n":5,"n":6},{}]}}`,
	` { "value" : { "id" : [ 1 , 2.50 , { "a b" : true } ] , "\u0069d" : "\u00e9\ud83d\ude00" } , "value" : { "id" : [ [ ] , [ "x" ] ] } } `,
	`[1,[2,[3]]]`, `"text"`, `{}`, `{"value":{"":{"'":1}}}`, `{"value":`, `{"a":{"b":1},"a":2}`, "{\"value\":\"\\n\\u0000\\/\"}",
}

var fuzzTemplates = []string{
	`{"t": <$.topic>, "id": <$.value.id>, "w": "<$.value.who>", "l": <$.value.lines[*].n>}`, `"id <$.value.id> <$.value.who.n> from <$.topic>"`, `<$.value>`, ` <$.value.id[0]> `, `[<$>, <$[1][0]>, "<$.value.tags>"]`,
	`<$['value']['']['\'']>`, `{"a":"\"<$.value>\\"}`, `x<$.value.id>y`, `{"a":<$.value.id[*][*]>,"b":<$.value.id[*]>,"c":<$.value.id[0]>}`, `"<$.a.b><$.a>"`, `{ "a" : [ <$.value.id> , 1 ] , "b c" : " <$.value> " }`,
}

func FuzzTemplate(f *testing.F) {
	for _, t := range fuzzTemplates {
		for _, d := range fuzzDocuments {
			f.Add(t, d)
		}
	}
	f.Fuzz(func(t *testing.T, template, document string) {
		tr, err := Compile(Spec{Template: template}, Vars{})
		if err != nil || strings.Contains(template, "<aws.") {
			return
		}
		got, err := tr.Apply(nil, []byte(document), noon)
		if !json.Valid([]byte(document)) || !utf8.ValidString(document) || !utf8.ValidString(template) {
			return
		}
		want, wantErr := reference(template, []byte(document))
		var invalid *InvalidJSONError
		switch {
		case errors.Is(err, ErrTooLarge):
		case wantErr != nil && !errors.As(err, &invalid):
			t.Errorf("template %q, document %q: got %q, %v, want an InvalidJSONError", template, document, got, err)
		case wantErr == nil && (err != nil || string(got) != want):
			t.Errorf("template %q, document %q:\ngot  %q, %v\nwant %q", template, document, got, err, want)
		}
	})
}

// FuzzSpec looks for specs and documents that break Compile or Apply.
func FuzzSpec(f *testing.F) {
	for i, t := range fuzzTemplates {
		f.Add(t, "$.value.id", "n", fuzzDocuments[i%len(fuzzDocuments)], i%2 == 0)
	}
	f.Add(`{"a":<n>,"e":<aws.events.event.json>,"b":<aws.events.event>,"t":<aws.events.event.ingestion-time>}`, "$.detail[*].x", "n", `{"detail":[{"x":1}],"id":"1"}`, false)
	f.Add(`{"e":<aws.pipes.event.json>,"r":<aws.pipes.event>,"v":<$.value.id>}`, "$", "n", `{"key":"azc=","value":"eyJpZCI6N30="}`, true)
	f.Fuzz(func(t *testing.T, template, path, name, document string, encoded bool) {
		for _, spec := range []Spec{
			{Template: template, Encoded: encoded},
			{Template: template, InputPaths: map[string]string{name: path}, Encoded: encoded},
			{InputPath: path, Encoded: encoded},
			{Template: "[<" + path + ">]", Encoded: encoded},
		} {
			tr, err := Compile(spec, Vars{})
			if err != nil {
				var wrong *SpecError
				if !errors.As(err, &wrong) || wrong.Position > utf8.RuneCountInString(template+path)+3 {
					t.Errorf("%+v: %v", spec, err)
				}
				continue
			}
			out, err := tr.Apply(nil, []byte(document), noon)
			if err != nil || !tr.json && spec.InputPath == "" {
				continue
			}
			if !json.Valid(out) {
				t.Errorf("%+v, document %q: the result %q is not JSON", spec, document, out)
			}
		}
	})
}
