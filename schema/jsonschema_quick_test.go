package schema

import (
	"strings"
	"testing"
)

// quickSchemas are understood quickly, as a whole or in part.
var quickSchemas = []string{
	`{}`, `true`, `false`, heartbeat,
	`{"type":"object","minProperties":1,"properties":{"seq":{"type":["integer","string"]}}}`,
	`{"type":"object","required":["a","b"],"maxProperties":3,"additionalProperties":{"type":"number"},"properties":{"a":{"minLength":2,"maxLength":3}}}`,
	`{"type":"object","minProperties":2}`, `{"properties":{"\ufffd":false,"a":false}}`,
	`{"type":["array","null"],"minItems":1,"maxItems":2,"items":{"type":"integer","minimum":-1,"maximum":9223372036854775807}}`,
	`{"items":{"type":"number","maximum":9223372036854775808}}`, `{"items":{"minimum":0.5}}`, `{"items":{"type":"integer"}}`, `{"items":{"type":"boolean"},"description":"flags"}`,
	`{"$schema":"http://json-schema.org/draft-07/schema#","items":{"type":"string"},"definitions":{"a":false}}`,
	`{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"string"}],"additionalItems":false}`,
	`{"$schema":"http://json-schema.org/draft-07/schema#","$ref":"#/definitions/a","type":"string","definitions":{"a":{"type":"integer"}}}`,
	`{"$defs":{"a":{"type":"integer"}},"$ref":"#/$defs/a","type":"number"}`, `{"prefixItems":[{"type":"string"}],"items":{"type":"integer"}}`,
	`{"properties":{"a":{"enum":[1,"1"]}},"patternProperties":{"^b":{"type":"null"}}}`, `{"not":{"required":["a"]}}`, `{"uniqueItems":true}`,
	`{"unevaluatedProperties":false,"properties":{"a":true}}`, `{"dependentRequired":{"a":["b"]}}`, `{"properties":{"a":{"$ref":"#"}},"type":"object","additionalProperties":false}`,
	`{"propertyNames":{"maxLength":1}}`, `{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"contains":{"type":"integer"}}`, `{"const":1}`, `{"exclusiveMinimum":0}`, `{"multipleOf":2}`,
}

var quickValues = append([]string{
	`{"seq":1}`, `{"seq":"1"}`, `{"seq":1.0}`, `{"seq":1e0}`, `{"seq":null}`, `{"\u0073eq":null}`, `{"seq":null,"seq":1}`, `{"seq":1,"seq":null}`, `{"deviceid":"d-1","heartrate":72}`,
	`{"a":"xyz","b":1}`, `{"a":"xyz","b":1,"c":1.5,"d":2}`, `{"a":"xyz","b":"y"}`, `{"a":"é\u00e9","b":-1}`, `{"a":"éé","b":0}`, `{"a":"éééé","b":0}`, "{\"a\":\"\xff\xff\",\"b\":0}", "{\"\xff\":1}",
	`{"a":"xy"}`, `{"b":1}`, `{"a":{"a":{}}}`, `{"a":{"b":1}}`, `{"a":1}`, `{"a":1,"a":1}`, `{"b":2}`, `{"bb":null,"a":"1"}`, `[]`, `[1]`, `[1,1]`, `[-2]`, `[1,2,3]`, `["a"]`, `["a","b"]`, `["a",1]`, `[true,false]`,
	`[9223372036854775807]`, `[9223372036854775808]`, `[-9223372036854775809]`, `[0.5]`, `[0.25]`, `[-0]`, `[1e2]`, `[10000000000000000000000]`, `0`, `2`, `-1`, `3.5`, `"text"`, `false`,
}, decodable...)

// sees says whether a value is seen to fit.
func (s *JSONSchema) sees(value []byte) bool {
	t := &tape{}
	return t.parse(value) && s.quick.sees(t)
}

func expectNoOtherResult(t *testing.T, schema *JSONSchema, value string) (seen bool) {
	t.Helper()
	seen = schema.sees([]byte(value))
	if !seen {
		return false
	}
	doc, err := decode([]byte(value))
	if err != nil {
		t.Fatalf("%q is seen to fit, but %v", value, err)
	}
	if violations, _ := schema.checkDecoded(doc); len(violations) > 0 {
		t.Errorf("%q is seen to fit, but %v", value, violations)
	}
	return true
}

func TestWhatIsQuicklySeenFits(t *testing.T) {
	seen := 0
	for _, text := range quickSchemas {
		schema := compile(t, text, JSONOptions{})
		for _, value := range quickValues {
			if expectNoOtherResult(t, schema, value) {
				seen++
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d of the values were seen to fit", seen)
	}
}

func TestUsualSchemasAreSeenQuickly(t *testing.T) {
	for _, tc := range []struct{ schema, value string }{
		{quickSchemas[4], `{"seq":17,"time":1.5,"flags":[true,{"a":null}],"pad":"` + strings.Repeat("x", 900) + `"}`},
		{quickSchemas[5], `{"a":"xyz","b":1}`},
		{quickSchemas[8], `[-1,9223372036854775807]`},
		{quickSchemas[13], `["a"]`},
		{`{"type":"object","required":["id"],"properties":{"id":{"type":"string","minLength":1},"tags":{"type":"array","items":{"type":"string"}}}}`, `{"tags":["a"],"id":"1"}`},
	} {
		if !compile(t, tc.schema, JSONOptions{}).sees([]byte(tc.value)) {
			t.Errorf("%s: %s is not seen to fit", tc.schema, tc.value)
		}
	}
}

func FuzzQuick(f *testing.F) {
	for _, value := range quickValues {
		f.Add(value)
	}
	var all []*JSONSchema
	for _, text := range quickSchemas {
		all = append(all, compile(f, text, JSONOptions{}))
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, schema := range all {
			expectNoOtherResult(t, schema, value)
		}
	})
}

func BenchmarkCheckQuick(b *testing.B) {
	s := compile(b, quickSchemas[4], JSONOptions{})
	value := []byte(`{"seq":17,"time":1784000000000000000,"flags":[true,false],"at":{"lat":48.85,"lon":2.35},"pad":"` + strings.Repeat("x", 900) + `"}`)
	b.ReportAllocs()
	for b.Loop() {
		if violations, _ := s.Check(value); len(violations) > 0 {
			b.Fatal(violations)
		}
	}
}
