package schema

import (
	"strings"
	"testing"
	"time"
)

func TestUnionsWithoutTheirBranches(t *testing.T) {
	compiled := func(text string) *Schema {
		s, err := Compile(Definition{Text: text}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.ID = 1
		return s
	}
	const records = `{"type":"record","name":"R","fields":[{"name":"u","type":["null","long","double","string",{"type":"array","items":["null","int"]},{"type":"record","name":"P","fields":[{"name":"string","type":"string"}]},{"type":"map","values":"boolean"}]}]}`
	for _, c := range []struct {
		name, in string
		want     string // Avro's own JSON; empty: it does not fit
	}{
		{"null", `null`, `null`},
		{"a branch by its name", `{"long":5}`, `{"long":5}`},
		{"a whole number", `9007199254740993`, `{"long":9007199254740993}`},
		{"a number", `1.5`, `{"double":1.5}`},
		{"a text", `"x"`, `{"string":"x"}`},
		{"an array", `[null,{"int":1},2]`, `{"array":[null,{"int":1},{"int":2}]}`},
		{"a record that looks like a branch", `{"string":"x"}`, `{"string":"x"}`},
		{"a record by its name", `{"P":{"string":"x"}}`, `{"P":{"string":"x"}}`},
		{"a map", `{"string":true}`, `{"map":{"string":true}}`},
		{"nothing that fits", `{"a":1}`, ""},
		{"an array of texts", `["x"]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := compiled(records)
			got, err := s.EncodeRelaxed([]byte(`{"u":` + c.in + `}`))
			if c.want == "" {
				if err == nil {
					t.Errorf("it is taken as %x", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := s.AppendJSON(nil, got[5:], Tagged)
			if err != nil || string(text) != `{"u":`+c.want+`}` {
				t.Errorf("got %s, %v", text, err)
			}
			if _, err := s.Encode([]byte(`{"u":` + c.in + `}`)); (err == nil) != (c.in == c.want) {
				t.Errorf("without relaxed: %v", err)
			}
		})
	}
	t.Run("unions in unions are bounded", func(t *testing.T) {
		s := compiled(`{"type":"record","name":"A","fields":[{"name":"n","type":["null","A",{"type":"record","name":"B","fields":[{"name":"n","type":["null","A","B"]}]},{"type":"record","name":"C","fields":[{"name":"n","type":["null","A","B","C"]}]}]}]}`)
		begun := time.Now()
		_, err := s.EncodeRelaxed([]byte(strings.Repeat(`{"n":`, 100) + `"x"` + strings.Repeat(`}`, 100)))
		if took := time.Since(begun); err == nil || took > 30*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}
