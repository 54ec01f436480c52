package shape

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func compiled(t *testing.T, r Rules) *Shape {
	t.Helper()
	s, err := Compile(r, func(name string) ([]byte, error) {
		if name == "a.json" {
			return []byte(`{"type":"object","required":["a"]}`), nil
		}
		return nil, errors.New("no such file")
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParameters(t *testing.T) {
	s := compiled(t, Rules{RejectUnknownQuery: true, Parameters: []Parameter{
		{In: "query", Name: "count", Required: true, Type: "integer", Enum: json.RawMessage(`[1, 10]`)},
		{In: "header", Name: "x-device-id", Required: true, MaxLength: 8},
		{In: "path", Name: "topic", Required: true, Pattern: "^iot-[a-z]+$"},
		{In: "query", Name: "timeout", Type: "integer", Minimum: json.RawMessage("0"), Maximum: json.RawMessage("60000"), Default: json.RawMessage("1000")},
		{In: "query", Name: "last", Repeat: "last"},
		{In: "query", Name: "all", Repeat: "all", Pattern: "^x"},
	}})
	tests := []struct {
		name, target, device, topic string
		want                        []string // place and keyword
		query                       string   // as handlers see it
		aws                         string
	}{
		{name: "good", target: "/?count=10", device: "d", topic: "iot-a", query: "count=10&timeout=1000"},
		{name: "all missing", target: "/", topic: "iot-a", want: []string{"header x-device-id required", "query count required"}, aws: "Missing required request parameters: [x-device-id, count]"},
		{name: "blank", target: "/?count=", device: " ", topic: "iot-a", want: []string{"header x-device-id required", "query count required"}, aws: "Missing required request parameters: [x-device-id, count]"},
		{name: "enum", target: "/?count=2", device: "d", topic: "iot-a", want: []string{"query count enum"}, aws: "Invalid request parameters: [count]"},
		{name: "type", target: "/?count=ten", device: "d", topic: "iot-a", want: []string{"query count type"}, aws: "Invalid request parameters: [count]"},
		{name: "number that is none in JSON", target: "/?count=0x1", device: "d", topic: "iot-a", want: []string{"query count type"}, aws: "Invalid request parameters: [count]"},
		{name: "twice", target: "/?count=1&count=10", device: "d", topic: "iot-a", want: []string{"query count maxItems"}, aws: "Invalid request parameters: [count]"},
		{name: "case of a query name", target: "/?Count=1", device: "d", topic: "iot-a", want: []string{"query count required", "query Count additionalProperties"}, aws: "Missing required request parameters: [count]"},
		{name: "length and path", target: "/?count=1", device: "123456789", topic: "iot-A", want: []string{"header x-device-id maxLength", "path topic pattern"}, aws: "Invalid request parameters: [x-device-id, topic]"},
		{name: "bounds", target: "/?count=1&timeout=60001", device: "d", topic: "iot-a", want: []string{"query timeout maximum"}, aws: "Invalid request parameters: [timeout]"},
		{name: "exact", target: "/?count=1&timeout=60000.0000000000000000000001", device: "d", topic: "iot-a", want: []string{"query timeout type"}, aws: "Invalid request parameters: [timeout]"},
		{name: "last", target: "/?count=1&last=a&last=b&timeout=5", device: "d", topic: "iot-a", query: "count=1&last=b&timeout=5"},
		{name: "all", target: "/?count=1&all=x&all=y&timeout=5", device: "d", topic: "iot-a", want: []string{"query all pattern"}, aws: "Invalid request parameters: [all]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", tt.target, nil)
			if tt.device != "" {
				r.Header.Set("X-Device-Id", tt.device)
			}
			wrong := s.CheckHead(r, []Value{{"topic", tt.topic}})
			if wrong == nil {
				if tt.want != nil || r.URL.RawQuery != tt.query {
					t.Fatalf("passes with %s, want %s", r.URL.RawQuery, tt.query)
				}
				return
			}
			var got []string
			for _, e := range wrong.Entries {
				got = append(got, e.In+" "+e.Name+" "+e.Keyword)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if wrong.AWS() != tt.aws {
				t.Errorf("got %s, want %s", wrong.AWS(), tt.aws)
			}
		})
	}
}

func TestBodies(t *testing.T) {
	model := map[string]json.RawMessage{"application/json": json.RawMessage(`{"type":"object","required":["a"],"properties":{"a":{"type":"number"}}}`)}
	tests := []struct {
		name  string
		rules Rules
		media string
		body  string
		want  Fault
		at    string
	}{
		{name: "fits", rules: Rules{Body: model}, media: "application/json; charset=utf-8", body: `{"a":1}`},
		{name: "no type is JSON", rules: Rules{Body: model}, body: `{"a":"1"}`, want: Body, at: "#/a"},
		{name: "empty", rules: Rules{Body: model}, media: "application/json", want: Body, at: "#"},
		{name: "cut short", rules: Rules{Body: model}, media: "application/json", body: "{", want: Body, at: "#"},
		{name: "byte order mark", rules: Rules{Body: model}, media: "application/json", body: "\ufeff{\"a\":1}"},
		{name: "other type passes", rules: Rules{Body: model}, media: "text/plain", body: "x"},
		{name: "other type refused", rules: Rules{Body: model, RejectUnknown: true}, media: "text/plain", body: "x", want: MediaType},
		{name: "default", rules: Rules{Body: map[string]json.RawMessage{"$default": json.RawMessage(`{"file":"a.json"}`)}}, media: "text/plain", body: "{}", want: Body, at: "#"},
		{name: "suffix", rules: Rules{Body: model, SuffixFallback: true}, media: "application/vnd.x+json", body: "{}", want: Body, at: "#"},
		{name: "no suffix", rules: Rules{Body: model}, media: "application/vnd.x+json", body: "{}"},
		{name: "charset", rules: Rules{Body: model}, media: "application/json; charset=latin1", body: `{"a":1}`, want: MediaType},
		{name: "too large", rules: Rules{Body: model, MaxBody: 3}, media: "application/json", body: `{"a":1}`, want: TooLarge},
		{name: "twice the same member", rules: Rules{StrictJSON: true}, media: "application/json", body: `{"b":{"a":1,"a":2}}`, want: Body, at: "#"},
		{name: "the same member in two objects", rules: Rules{StrictJSON: true}, media: "application/json", body: `[{"a":{"a":1}},{"a":"a"}]`},
		{name: "too deep", rules: Rules{StrictJSON: true}, media: "application/json", body: strings.Repeat("[", 200), want: Body, at: "#"},
		{name: "records", rules: Rules{Records: model["application/json"]}, media: "application/vnd.kafka.json.v2+json", body: `{"records":[{"value":{"a":1}},{"value":{}},{}]}`, want: Body, at: "#/records/1/value"},
		{name: "no records", rules: Rules{Records: model["application/json"]}, media: "application/vnd.kafka.json.v2+json", body: `[]`, want: Body, at: "#/records"},
		{name: "records in base64", rules: Rules{Records: model["application/json"]}, media: "application/vnd.kafka.binary.v2+json", body: `{"records":[{"value":"eyJhIjoxfQ=="},{"value":"e30="}]}`, want: Body, at: "#/records/1/value"},
		{name: "records in base64 fit", rules: Rules{Records: model["application/json"]}, media: "application/json", body: `{"records":[{"value":"eyJhIjoxfQ=="}],"value_schema_id":null}`},
		{name: "records in base64 that are not", rules: Rules{Records: model["application/json"]}, media: "application/vnd.kafka.v2+json", body: `{"records":[{"value":"{}"}]}`, want: Body, at: "#/records/0/value"},
		{name: "one record", rules: Rules{Records: model["application/json"]}, body: `{"a":1}`},
		{name: "one record that does not fit", rules: Rules{Records: model["application/json"]}, media: "application/json", body: `{"a":"1"}`, want: Body, at: "#/a"},
		{name: "one record that looks like an envelope", rules: Rules{Records: model["application/json"]}, media: "application/json", body: `{"records":[{"value":"eyJhIjoxfQ=="}],"b":1}`, want: Body, at: "#"},
		{name: "one record that is no JSON", rules: Rules{Records: model["application/json"]}, media: "text/plain", body: `x`, want: Body, at: "#"},
		{name: "too deep, not strict", rules: Rules{Body: map[string]json.RawMessage{"application/json": json.RawMessage("{}")}}, body: strings.Repeat("[", 129) + strings.Repeat("]", 129), want: Body, at: "#"},
		{name: "deep enough", rules: Rules{Body: map[string]json.RawMessage{"application/json": json.RawMessage("{}")}}, body: strings.Repeat("[", 128) + `"[\"[["` + strings.Repeat("]", 128)},
		{name: "empty is an empty object", rules: Rules{Body: map[string]json.RawMessage{"application/json": json.RawMessage(`{"type":"object"}`)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := compiled(t, tt.rules)
			r := httptest.NewRequest("POST", "/", strings.NewReader(tt.body))
			if tt.media != "" {
				r.Header.Set("Content-Type", tt.media)
			}
			wrong := s.CheckHead(r, nil)
			if wrong == nil {
				wrong = s.CheckBody(r, []byte(tt.body))
			}
			switch {
			case wrong == nil && tt.want != 0:
				t.Fatal("passes")
			case wrong != nil && wrong.Fault != tt.want:
				t.Fatalf("got %v", wrong)
			case tt.at != "" && wrong.Entries[0].Pointer != tt.at:
				t.Errorf("at %s, want %s", wrong.Entries[0].Pointer, tt.at)
			}
		})
	}
}

func TestRulesThatCannotBe(t *testing.T) {
	for _, r := range []Rules{
		{Body: map[string]json.RawMessage{"json": json.RawMessage("{}")}}, {Body: map[string]json.RawMessage{"a/b": json.RawMessage(`{"file":"none.json"}`)}},
		{Body: map[string]json.RawMessage{"a/b": json.RawMessage(`{"type":"nothing"}`)}}, {Parameters: []Parameter{{In: "query", Name: "a", Pattern: "("}}},
		{Body: map[string]json.RawMessage{"a/b": json.RawMessage(`{"$ref":"http://127.0.0.1:1/x"}`)}},
	} {
		if _, err := Compile(r, func(string) ([]byte, error) { return nil, errors.New("no such file") }); err == nil {
			t.Errorf("%+v", r)
		}
	}
}

func FuzzStrictJSON(f *testing.F) {
	f.Add(`{"a":[{"a":1}],"b":null}`)
	f.Add(`{"a":1,"a":2}`)
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		if json.Unmarshal([]byte(text), &v) != nil || shallow([]byte(text)) != nil {
			return
		}
		once, merr := json.Marshal(v)
		if merr != nil {
			return
		}
		if again := distinct(once); again != nil { // a map has each member once
			t.Errorf("%s: %v", once, again)
		}
	})
}

func TestValuesAreRepeatedOnlyWhereThatIsWanted(t *testing.T) {
	rules := Rules{
		Parameters: []Parameter{{In: "query", Name: "count", Type: "integer"}},
		Body:       map[string]json.RawMessage{"application/json": json.RawMessage(`{"properties":{"n":{"maximum":3}}}`)},
		Records:    json.RawMessage(`{"type":"string"}`),
	}
	for _, echo := range []bool{false, true} {
		rules.Echo = echo
		s := compiled(t, rules)
		r := httptest.NewRequest("POST", "/?count=ten", nil)
		for _, tt := range []struct {
			wrong *Mismatch
			want  string
		}{
			{s.CheckHead(r, nil), `query parameter count: must be an integer (type), got "ten"`},
			{s.CheckBody(r, []byte(`{"n":4}`)), "#/n: must be at most 3 (maximum), got 4"},
			{s.CheckBody(r, []byte(`{"records":[{"value":"x"},{"value":5}]}`)), "#/records/1/value: must be a string, is a number (type), got 5"},
		} {
			bare, _, _ := strings.Cut(tt.want, ", got")
			if !echo {
				tt.want = bare
			}
			if tt.wrong == nil || !strings.HasSuffix(tt.wrong.Text(), ": "+tt.want) || !strings.HasSuffix(tt.wrong.Error(), ": "+bare) {
				t.Errorf("echo %v: got %v, want %s", echo, tt.wrong, tt.want)
			}
		}
	}
}

func TestWordsOfAMediaType(t *testing.T) {
	wrong := &Mismatch{Fault: MediaType, Accepts: []string{"application/json"}}
	for got, want := range map[string]string{
		wrong.Text(): "HTTP 415 Unsupported Media Type", wrong.AWS(): "Unsupported Media Type", wrong.Summary(): "Unsupported Media Type: want application/json",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
