package main

import (
	"strings"
	"testing"
)

func TestSchemaTest(t *testing.T) {
	file := "@" + write(t, "beat.json", `{"type":"object","required":["deviceid"],"properties":{"heartrate":{"type":"integer","maximum":300}}}`)
	tests := []struct {
		name   string
		stdin  string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"fits", "", []string{"--schema", file, "--value", `{"deviceid":"d-1","heartrate":72}`}, 0, "valid\n", ""},
		{"does not", "", []string{"--schema", file, "--value", `{"heartrate":301}`}, 1,
			"#  required: deviceid is missing (#/required)\n#/heartrate  maximum: must be at most 300 (#/properties/heartrate/maximum)\n", ""},
		{"as JSON", `{"heartrate":1}`, []string{"--schema", file, "--value", "-", "-o", "json"}, 1,
			`{"valid":false,"errors":[{"pointer":"#","keyword":"required","detail":"deviceid is missing","schema":"#/required"}]}` + "\n", ""},
		{"valid as JSON", "", []string{"--schema", "{}", "--value", "1", "-o", "json"}, 0, `{"valid":true,"errors":[]}` + "\n", ""},
		{"draft", "", []string{"--schema", `{"minimum":1,"exclusiveMinimum":true}`, "--draft", "4", "--value", "1"}, 1, "#  exclusiveMinimum: must be greater than 1 (#/exclusiveMinimum)\n", ""},
		{"format", "", []string{"--schema", `{"format":"date"}`, "--assert-format", "--value", `"x"`}, 1, "#  format: must be a valid date (#/format)\n", ""},
		{"many", "", []string{"--schema", `{"items":false}`, "--value", "[" + strings.Repeat("1,", 30) + "1]"}, 1, "and more\n", ""},
		{"no value", "", []string{"--schema", "{}"}, 2, "", "give the schema with --schema and the value with --value"},
		{"broken value", "", []string{"--schema", "{}", "--value", "{"}, 2, "", "--value: the value is not JSON"},
		{"broken schema", "", []string{"--schema", `{"type":"int"}`, "--value", "{}"}, 2, "", "--schema: invalid schema at #/type"},
		{"no file", "", []string{"--schema", "@nothing", "--value", "{}"}, 2, "", "nothing"},
		{"standard input twice", "", []string{"--schema", "-", "--value", "-"}, 2, "", "only one"},
		{"output", "", []string{"--schema", "{}", "--value", "{}", "-o", "xml"}, 2, "", "want table, wide, json, yaml or name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, log := runCommand(t, schemaCommand(), tt.stdin, append([]string{"test"}, tt.args...)...)
			if code != tt.code || !strings.HasSuffix(out, tt.stdout) || !strings.Contains(log, tt.stderr) {
				t.Errorf("exit %d, %q, %q", code, out, log)
			}
		})
	}
}
