package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const heartbeat = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["deviceid","heartrate"],"additionalProperties":false,
	"properties":{"deviceid":{"type":"string","pattern":"^d-[0-9]+$"},"heartrate":{"type":"integer","minimum":20,"maximum":300}}}`

func compile(t testing.TB, text string, o JSONOptions) *JSONSchema {
	t.Helper()
	s, err := CompileJSON([]byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name, schema, value string
		want                []Violation
	}{
		{"fits", heartbeat, `{"deviceid":"d-1","heartrate":72}`, nil},
		{"type", heartbeat, `{"deviceid":"d-1","heartrate":"72"}`, []Violation{{"#/heartrate", "type", "must be an integer, is a string", "#/properties/heartrate/type", "", false}}},
		{"maximum", heartbeat, `{"deviceid":"d-1","heartrate":301}`, []Violation{{"#/heartrate", "maximum", "must be at most 300", "#/properties/heartrate/maximum", "", false}}},
		{"pattern", heartbeat, `{"deviceid":"x1","heartrate":72}`, []Violation{{"#/deviceid", "pattern", "must match the pattern ^d-[0-9]+$", "#/properties/deviceid/pattern", "", false}}},
		{"missing", heartbeat, `{}`, []Violation{
			{"#", "required", "deviceid is missing", "#/required", "", false}, {"#", "required", "heartrate is missing", "#/required", "", false},
		}},
		{"too much", heartbeat, `{"deviceid":"d-1","heartrate":72,"x":1}`, []Violation{{"#", "additionalProperties", "x is not allowed", "#/additionalProperties", "", false}}},
		{"not an object", heartbeat, `72`, []Violation{{"#", "type", "must be an object, is a number", "#/type", "", false}}},
		{"several places", `{"items":{"type":"integer"}}`, `["a",1,"b"]`, []Violation{
			{"#/0", "type", "must be an integer, is a string", "#/items/type", "", false}, {"#/2", "type", "must be an integer, is a string", "#/items/type", "", false},
		}},
		{"pointer", `{"additionalProperties":{"type":"null"}}`, `{"a/b~ ü":1}`, []Violation{{"#/a~1b~0%20%C3%BC", "type", "must be null, is a number", "#/additionalProperties/type", "", false}}},
		{"alternatives", `{"anyOf":[{"type":"string"},{"properties":{"a":{"type":"integer"}},"required":["a"]}]}`, `{"a":"x"}`, []Violation{
			{"#", "anyOf", "fits none of the alternatives", "#/anyOf", "", false}, {"#/a", "type", "must be an integer, is a string", "#/anyOf/1/properties/a/type", "", false},
		}},
		{"more than one", `{"oneOf":[{"minimum":1},{"minimum":2}]}`, `3`, []Violation{{"#", "oneOf", "fits more than one of the alternatives", "#/oneOf", "", false}}},
		{"wide numbers", `{"maximum":9007199254740992}`, `9007199254740993`, []Violation{{"#", "maximum", "must be at most 9007199254740992", "#/maximum", "", false}}},
		{"fractions", `{"multipleOf":0.01,"exclusiveMinimum":0.1}`, `0.1`, []Violation{{"#", "exclusiveMinimum", "must be greater than 0.1", "#/exclusiveMinimum", "", false}}},
		{"one of", `{"enum":["a",1,null]}`, `"secret"`, []Violation{{"#", "enum", `must be one of "a", 1, null`, "#/enum", "", false}}},
		{"nearest branch", `{"oneOf":[{"type":"string"},{"type":"object","required":["a"]}]}`, `{}`, []Violation{
			{"#", "oneOf", "fits none of the alternatives", "#/oneOf", "", false}, {"#", "required", "a is missing", "#/oneOf/1/required", "", false},
		}},
		{"dependencies", `{"$schema":"http://json-schema.org/draft-04/schema#","dependencies":{"a":["b"]}}`, `{"a":1}`, []Violation{{"#", "dependencies", "with a, b is missing", "#/dependencies/a", "", false}}},
		{"no element of a kind", `{"contains":{"type":"string"}}`, `[1,2]`, []Violation{{"#", "contains", "has no element of the kind that it must contain", "#/contains", "", false}}},
		{"too few of a kind", `{"properties":{"l":{"contains":{"type":"string"},"minContains":2}}}`, `{"l":[1,"x",2]}`, []Violation{
			{"#/l", "minContains", "must contain at least 2 elements of a kind, has 1", "#/properties/l/minContains", "", false},
		}},
		{"names", `{"properties":{"o":{"propertyNames":{"maxLength":2}}}}`, `{"o":{"abc":1}}`, []Violation{{"#/o", "propertyNames", "the name abc is not allowed", "#/properties/o/propertyNames", "", false}}},
		{"const", `{"const":{"a":1}}`, `"secret"`, []Violation{{"#", "const", `must be {"a":1}`, "#/const", "", false}}},
		{"not JSON", heartbeat, `{"deviceid":`, []Violation{{Pointer: "#", Keyword: "type", Detail: "the value is not JSON: it ends too early"}}},
		{"syntax", heartbeat, `{secret}`, []Violation{{Pointer: "#", Keyword: "type", Detail: "the value is not JSON: error at byte 2"}}},
		{"empty", heartbeat, ``, []Violation{{Pointer: "#", Keyword: "type", Detail: "the value is empty, which is not JSON"}}},
		{"two values", heartbeat, `{} {}`, []Violation{{Pointer: "#", Keyword: "type", Detail: "the value is not JSON: something follows it"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, more := compile(t, tt.schema, JSONOptions{}).Check([]byte(tt.value))
			if diff := cmp.Diff(tt.want, got); diff != "" || more {
				t.Error(diff, more)
			}
		})
	}
}

// What is wrong is told in the order in which it stands in the value.
func TestOrderOfViolations(t *testing.T) {
	got, more := compile(t, `{"properties":{"a":{"items":{"type":"integer"}}},"required":["z"]}`, JSONOptions{}).Check([]byte(`{"a":[0,"x",2,3,4,5,6,7,8,9,"x"]}`))
	var at []string
	for _, v := range got {
		at = append(at, v.Pointer)
	}
	if want := []string{"#", "#/a/1", "#/a/10"}; !slices.Equal(at, want) || more {
		t.Errorf("got %q, more: %v; want %q", at, more, want)
	}
}

// A value that is wrong in many places whose names are long costs no more than what is
// told of it.
func TestManyViolationsAtLongNames(t *testing.T) {
	value := `{"` + strings.Repeat("n", 500<<10) + `":["x"` + strings.Repeat(`,"x"`, 100_000) + `]}`
	got, more := compile(t, `{"additionalProperties":{"items":{"type":"integer"}}}`, JSONOptions{}).Check([]byte(value))
	if len(got) == 0 || !more && len(got) == MaxViolations {
		t.Errorf("got %d, more: %v", len(got), more)
	}
	for _, v := range got {
		if len(v.Pointer) > longestPointer {
			t.Errorf("a pointer of %d bytes", len(v.Pointer))
		}
	}
}

// Every keyword has a detail of its own, and none repeats the value.
func TestDetails(t *testing.T) {
	tests := map[string]struct{ schema, value string }{
		"minLength":         {`{"minLength":100}`, `"secret"`},
		"maxLength":         {`{"maxLength":1}`, `"secret"`},
		"minItems":          {`{"minItems":3}`, `["secret"]`},
		"maxItems":          {`{"maxItems":0}`, `["secret"]`},
		"minProperties":     {`{"minProperties":2}`, `{"a":"secret"}`},
		"maxProperties":     {`{"maxProperties":0}`, `{"a":"secret"}`},
		"uniqueItems":       {`{"uniqueItems":true}`, `["secret","secret"]`},
		"contains":          {`{"contains":{"type":"integer"}}`, `["secret"]`},
		"minContains":       {`{"contains":{"type":"string"},"minContains":2}`, `["secret"]`},
		"maxContains":       {`{"contains":{"type":"string"},"maxContains":0}`, `["secret"]`},
		"not":               {`{"not":{"type":"string"}}`, `"secret"`},
		"format":            {`{"format":"ipv4"}`, `"secret"`},
		"propertyNames":     {`{"propertyNames":{"maxLength":0}}`, `{"a":"secret"}`},
		"dependencies":      {`{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":["b"]}}`, `{"a":"secret"}`},
		"dependentRequired": {`{"dependentRequired":{"a":["b"]}}`, `{"a":"secret"}`},
		"multipleOf":        {`{"multipleOf":7}`, `42424243`},
		"minimum":           {`{"minimum":1e9}`, `42424243`},
		"exclusiveMaximum":  {`{"exclusiveMaximum":1}`, `42424243`},
		"if":                {`{"if":{"type":"string"},"then":{"maxLength":2}}`, `"secret"`},
		"prefixItems":       {`{"prefixItems":[{"type":"integer"}],"items":false}`, `["secret","secret"]`},
		"unevaluated":       {`{"unevaluatedProperties":false}`, `{"a":"secret"}`},
		"contentEncoding":   {`{"$schema":"http://json-schema.org/draft-07/schema#","allOf":[{"maxLength":1}]}`, `"secret"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _ := compile(t, tt.schema, JSONOptions{AssertFormat: true}).Check([]byte(tt.value))
			text, _ := json.Marshal(got)
			if len(got) == 0 || strings.Contains(string(text), "secret") || strings.Contains(string(text), "42424243") || got[0].Detail == "" || got[0].Keyword == "" {
				t.Errorf("got %s", text)
			}
		})
	}
}

func TestDrafts(t *testing.T) {
	tests := []struct {
		name, schema, draft, value string
		fits                       bool
	}{
		{"boolean bounds of draft 4", `{"minimum":3,"exclusiveMinimum":true}`, "4", `3`, false},
		{"no const in draft 4", `{"const":1}`, "4", `2`, true},
		{"no if in draft 6", `{"if":true,"then":false}`, "6", `2`, true},
		{"if in draft 7", `{"if":true,"then":false}`, "7", `2`, false},
		{"siblings of $ref in draft 7", `{"definitions":{"a":{}},"$ref":"#/definitions/a","type":"string"}`, "7", `2`, true},
		{"siblings of $ref in 2019-09", `{"$defs":{"a":{}},"$ref":"#/$defs/a","type":"string"}`, "2019-09", `2`, false},
		{"tuples in 2020-12", `{"prefixItems":[{"type":"string"}]}`, "", `[2]`, false},
		{"no tuples in 2019-09", `{"prefixItems":[{"type":"string"}]}`, "2019-09", `[2]`, true},
		{"$schema wins", `{"$schema":"http://json-schema.org/draft-04/schema#","minimum":3,"exclusiveMinimum":true}`, "2020-12", `3`, false},
		{"formats are annotations", `{"format":"ipv4"}`, "", `"x"`, true},
		{"whole floats are integers", `{"type":"integer"}`, "", `1.0`, true},
		{"whole floats are integers in draft 6", `{"type":"integer"}`, "6", `1.0`, true},
		{"but not in draft 4", `{"type":"integer"}`, "4", `1.0`, false},
		{"nor with an exponent", `{"properties":{"a":{"type":["integer","null"]}}}`, "4", `{"a":1e2}`, false},
		{"integers of draft 4", `{"properties":{"a":{"type":["integer","null"]}}}`, "4", `{"a":100}`, true},
		{"numbers of draft 4", `{"type":["integer","number"]}`, "4", `1.0`, true},
		{"draft 4 by $schema", `{"$schema":"http://json-schema.org/draft-04/schema#","items":{"type":"integer"}}`, "", `[1,2.0]`, false},
		{"$schema wins for integers", `{"$schema":"http://json-schema.org/draft-07/schema#","type":"integer"}`, "4", `1.0`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := compile(t, tt.schema, JSONOptions{Draft: tt.draft}).Check([]byte(tt.value))
			if (len(got) == 0) != tt.fits {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestBadSchemas(t *testing.T) {
	tests := []struct {
		name, schema string
		o            JSONOptions
		want         string
	}{
		{"not JSON", `{`, JSONOptions{}, "the schema is not JSON"},
		{"type", `{"properties":{"a":{"type":"int"}}}`, JSONOptions{}, "#/properties/a/type"},
		{"pattern", `{"pattern":"(?=a)"}`, JSONOptions{}, "(?=a)"},
		{"remote", `{"$ref":"https://example.com/s.json"}`, JSONOptions{}, "nothing is fetched"},
		{"file", `{"$ref":"file:///etc/passwd"}`, JSONOptions{}, "nothing is fetched"},
		{"dangling", `{"$ref":"#/$defs/a"}`, JSONOptions{}, "$defs/a"},
		{"draft", `{}`, JSONOptions{Draft: "5"}, `unknown draft "5"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := CompileJSON([]byte(tt.schema), tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	s := compile(t, `{"$ref":"https://example.com/s.json"}`, JSONOptions{Resources: map[string][]byte{"https://example.com/s.json": []byte(`{"type":"null"}`)}})
	if got, _ := s.Check([]byte(`1`)); len(got) != 1 {
		t.Errorf("a schema that is known: %v", got)
	}
}

// Hostile values cost neither time nor memory.
func TestHostileValues(t *testing.T) {
	s := compile(t, `{"$defs":{"n":{"properties":{"a":{"$ref":"#/$defs/n"}},"anyOf":[{"type":"object"},{"minimum":3}]}},"$ref":"#/$defs/n"}`, JSONOptions{})
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for name, value := range map[string]string{
		"deep": deep, "arrays": strings.Repeat("[", 1_000_000), "exponent": `{"a":1e999999999}`, "negative": `1e-999999999`, "long": strings.Repeat("9", 1_000_000),
		"not a number": "1e" + strings.Repeat("9", 1000), "members": `{"` + strings.Repeat(`x":1,"`, 100_000) + `y":2}`,
	} {
		start := time.Now()
		got, _ := s.Check([]byte(value))
		if name != "members" && len(got) != 1 || time.Since(start) > time.Minute {
			t.Errorf("%s: %d violations after %s", name, len(got), time.Since(start))
		}
	}
	if got, _ := s.Check([]byte(`{"a":{"a":"1e999999999 [[["}}`)); got != nil {
		t.Errorf("inside a string: %v", got)
	}
}

func TestManyViolations(t *testing.T) {
	s := compile(t, `{"items":{"type":"string"}}`, JSONOptions{})
	got, more := s.Check([]byte("[" + strings.Repeat("1,", 100) + "1]"))
	if len(got) != MaxViolations || !more || !got[MaxViolations-1].More {
		t.Errorf("%d, %v, %+v", len(got), more, got[len(got)-1])
	}
	if got, more = s.Check([]byte("[" + strings.Repeat("1,", MaxViolations-1) + "1]")); len(got) != MaxViolations || more || got[MaxViolations-1].More {
		t.Errorf("no others: %d, %v, %+v", len(got), more, got[len(got)-1])
	}
}

func TestTranslate(t *testing.T) {
	tests := []struct{ pattern, text string }{
		{`^\u0041\/\d$`, "A/5"}, {`^\cJ$`, "\n"}, {`^\cA\cZ$`, "\x01\x1a"}, {`^\0$`, "\x00"}, {`^a\.b\\$`, `a.b\`}, {`^\u{1F600}$`, "\U0001F600"}, {`^(?<y>\d+)-\w$`, "12-a"},
	}
	for _, tt := range tests {
		r, err := compilePattern(tt.pattern)
		if err != nil || !r.MatchString(tt.text) || r.String() != tt.pattern {
			t.Errorf("%s: %v", tt.pattern, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"enum":[1]}}}`, `{"a":2}`)
	f.Add(`{"pattern":"\\u0041"}`, `"A"`)
	f.Fuzz(func(t *testing.T, schema, value string) {
		s, err := CompileJSON([]byte(schema), JSONOptions{AssertFormat: true})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		got, _ := s.Check([]byte(value))
		for _, v := range got {
			if !strings.HasPrefix(v.Pointer, "#") || v.Detail == "" {
				t.Errorf("%+v", v)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s := compile(b, heartbeat, JSONOptions{})
	value := fmt.Appendf(nil, `{"deviceid":"d-%d","heartrate":72}`, 17)
	b.ReportAllocs()
	for b.Loop() {
		if got, _ := s.Check(value); got != nil {
			b.Fatal(got)
		}
	}
}
