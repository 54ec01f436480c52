package transform

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

const inputEvent = `{"version":"0","id":"e-1","detail-type":"order","source":"shop","account":"000000000000","time":"2026-08-01T12:00:00Z","region":"us-east-1","replay-name":"r","resources":["r0","r1"],` +
	`"detail":{"id":"7","q":"say \"hi\"","obj":{"acc":"1","s":"b"},"list":["A","B"],"deep":[{"v":4},{"v":5}],"n":2.50,"none":null}}`

var inputVars = InputVars{RuleARN: "arn:aws:events:us-east-1:000000000000:rule/r", RuleName: `r"1`}

func TestInput(t *testing.T) {
	named := func(template string) Input {
		return Input{Template: template, Paths: map[string]string{"id": "$.detail.id", "q": "$.detail.q", "obj": "$.detail.obj", "all": "$.detail.deep[*].v", "gone": "$.detail.gone", "n": "$.detail.n"}}
	}
	const invalid = "INVALID_JSON"
	for _, c := range []struct {
		name string
		in   Input
		want string
	}{
		{"the event", Input{}, inputEvent},
		{"constant", Input{Constant: json.RawMessage(`{"fixed": [1, "x"]}`)}, `{"fixed": [1, "x"]}`},
		{"constant null", Input{Constant: json.RawMessage(`null`)}, `null`},
		{"the event by its path", Input{Path: "$"}, inputEvent},
		{"a string by its path", Input{Path: "$.detail.id"}, `"7"`},
		{"an element", Input{Path: "$.resources[1]"}, `"r1"`},
		{"a path without a hit", Input{Path: "$.detail.gone.further[3]"}, `null`},
		{"a null by its path", Input{Path: "$.detail.none"}, `null`},
		{"a template without placeholders", Input{Template: `{"a": 1}`}, `{"a":1}`},
		{"a text without placeholders", Input{Template: `"a  b"`}, `"a  b"`},
		{"an array", named(`[<id>, "<n>", <all>]`), `["7","2.50",[4,5]]`},
		{"within a string", named(`{"a":"<id>-<gone>-<n>"}`), `{"a":"7--2.50"}`},
		{"an object within a string of JSON", named(`{"a":"<obj>"}`), invalid},
		{"an array within a string of JSON", named(`{"a":"<all>"}`), invalid},
		{"quotes within a string of JSON", named(`{"a":"<q>"}`), invalid},
		{"quotes within a text", named(`"<q>"`), `"say "hi""`},
		{"an object within a text", named(`"<obj> <all>"`), `"{acc:1,s:b} [4,5]"`},
		{"white space before the brace", named(" \n{\"a\": <id>}"), `{"a":"7"}`},
		{"a text that is one placeholder", named(`<obj>`), `{"acc":"1","s":"b"}`},
		{"the rule's name, escaped", named(`{"a":<aws.events.rule-name>}`), `{"a":"r\"1"}`},
		{"the rule's ARN within a text", named(`"<aws.events.rule-arn>"`), `"arn:aws:events:us-east-1:000000000000:rule/r"`},
		{"the time of intake", named(`{"a":<aws.events.event.ingestion-time>,"b":"at <aws.events.event.ingestion-time>"}`), `{"a":"2026-08-01T12:00:00.123Z","b":"at 2026-08-01T12:00:00.123Z"}`},
		{"the event", named(`{"e":<aws.events.event.json>}`), `{"e":` + inputEvent + `}`},
		{"the event without its detail", named(`[<aws.events.event>]`), `[{"id":"e-1","account":"000000000000","detailType":"order","time":"2026-08-01T12:00:00Z","source":"shop","region":"us-east-1","resources":["r0","r1"],"version":"0"}]`},
		{"paths of pipes are no placeholders", Input{Template: `"<$.detail.id>"`}, `"<$.detail.id>"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := CompileInput(c.in, inputVars)
			if err != nil {
				t.Fatal(err)
			}
			got, err := in.Apply([]byte("before:"), []byte(inputEvent), noon)
			var spoilt *InvalidJSONError
			if c.want == invalid {
				if !errors.As(err, &spoilt) || string(got) != "before:" {
					t.Errorf("got %s, %v, want an InvalidJSONError", got, err)
				}
				return
			}
			if err != nil || string(got) != "before:"+c.want {
				t.Errorf("got %s, %v, want before:%s", got, err, c.want)
			}
		})
	}
}

func TestWrongInputs(t *testing.T) {
	for _, c := range []struct {
		name               string
		in                 Input
		field, placeholder string
	}{
		{"two ways", Input{Constant: json.RawMessage("1"), Path: "$"}, "template", ""},
		{"no template", Input{Paths: map[string]string{"a": "$"}}, "input_paths", ""},
		{"a constant that is not JSON", Input{Constant: json.RawMessage(`{'a': 1}`)}, "constant", ""},
		{"an empty constant", Input{Constant: json.RawMessage{}}, "constant", ""},
		{"a path that is none", Input{Path: "detail"}, "input_path", ""},
		{"a path in the map that is none", Input{Template: `"x"`, Paths: map[string]string{"a": "$..b"}}, "input_paths.a", ""},
		{"a reserved name", Input{Template: `"x"`, Paths: map[string]string{"aws.x": "$"}}, "input_paths", ""},
		{"an unknown name", Input{Template: `"<b>"`, Paths: map[string]string{"a": "$"}}, "template", "b"},
		{"an unknown name, no map", Input{Template: `<html>`}, "template", "html"},
		{"an unknown variable", Input{Template: `"<aws.events.nope>"`}, "template", "aws.events.nope"},
		{"the event within quotes", Input{Template: `"<aws.events.event>"`}, "template", "aws.events.event"},
		{"the event within quotes of JSON", Input{Template: `{"a":"<aws.events.event.json>"}`}, "template", "aws.events.event.json"},
		{"a name as a key", Input{Template: `{<a>:1}`, Paths: map[string]string{"a": "$"}}, "template", ""},
		{"no JSON around the placeholder", Input{Template: `{"a":<a>`, Paths: map[string]string{"a": "$"}}, "template", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := CompileInput(c.in, inputVars)
			var wrong *SpecError
			if !errors.As(err, &wrong) || wrong.Field != c.field || wrong.Placeholder != c.placeholder {
				t.Errorf("got %#v, want one of %s about %q", err, c.field, c.placeholder)
			}
		})
	}
}

// referenceInput renders a template of a rule that has compiled, slowly, as the table
// of event-bus.md 5.1 says it.
func referenceInput(in Input, doc []byte) (string, error) {
	trimmed := strings.TrimSpace(in.Template)
	isJSON := strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[")
	var out strings.Builder
	quoted := false
	for i := 0; i < len(in.Template); i++ {
		rest := in.Template[i:]
		if name, _, closed := strings.Cut(rest[1:], ">"); rest[0] == '<' && closed {
			if path, ok := in.Paths[name]; ok {
				steps, _, _ := scanPath(path)
				v := lookUp(doc, steps)
				i += len(name) + 1
				var text string
				switch {
				case v == nil && quoted:
				case v == nil:
					out.WriteString(`""`)
				case !quoted:
					out.Write(v)
				case json.Unmarshal(v, &text) == nil && v[0] == '"':
					out.WriteString(text)
				case isJSON && (v[0] == '{' || v[0] == '['):
					return "", errReference
				default:
					out.WriteString(strings.ReplaceAll(string(v), `"`, ""))
				}
				continue
			}
		}
		switch {
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

func FuzzInput(f *testing.F) {
	for _, template := range []string{`{"a":<a>,"b":"<b>"}`, `"<a> is <b>"`, `<a>`, "\"<a>\"\n\"<b>\"", `["<a>\\",<b>]`, ` [ <b> , {"x y":"<a"} ]`, `"{[/odd <a>"`} {
		for _, doc := range append(fuzzDocuments, inputEvent) {
			f.Add(template, "$.value.id", "$.detail.obj", doc)
			f.Add(template, "$.value.lines[*].n", "$['value']", doc)
		}
	}
	f.Fuzz(func(t *testing.T, template, a, b, document string) {
		in := Input{Template: template, Paths: map[string]string{"a": a, "b": b}}
		compiled, err := CompileInput(in, inputVars)
		if err != nil {
			var wrong *SpecError
			if !errors.As(err, &wrong) {
				t.Errorf("%+v: %v", in, err)
			}
			return
		}
		got, err := compiled.Apply(nil, []byte(document), noon)
		if !json.Valid([]byte(document)) || !utf8.ValidString(document) || !utf8.ValidString(template) || strings.Contains(template, "<aws.") || template == "" || errors.Is(err, ErrTooLarge) {
			return
		}
		want, wantErr := referenceInput(in, []byte(document))
		var spoilt *InvalidJSONError
		switch {
		case wantErr != nil && !errors.As(err, &spoilt):
			t.Errorf("%+v, document %q: got %q, %v, want an InvalidJSONError", in, document, got, err)
		case wantErr == nil && (err != nil || string(got) != want):
			t.Errorf("%+v, document %q:\ngot  %q, %v\nwant %q", in, document, got, err, want)
		}
	})
}
