package openapi

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestTemplatesNameParameters checks where the parameters of templates are looked for.
func TestTemplatesNameParameters(t *testing.T) {
	document := func(key string) []byte {
		integration := map[string]any{
			"type": "http", "httpMethod": "POST", "uri": "http://rest.example:8082/topics/beats", "responses": map[string]any{"default": map[string]any{"statusCode": "202"}},
			"requestTemplates": map[string]any{"application/json": `{"records":[{"key":"` + key + `","value":$input.json("$.beat")}]}`},
		}
		text, err := json.Marshal(map[string]any{"openapi": "3.0.1", "info": map[string]any{"title": "t", "version": "1"}, "paths": map[string]any{"/beats/{device}": map[string]any{"post": map[string]any{
			"parameters": []any{map[string]any{"name": "X-Site", "in": "header", "schema": map[string]any{"type": "string"}}}, "x-amazon-apigateway-integration": integration,
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	const differs = "the parameter id is not declared: it is taken from the query, where API Gateway looks at headers, too"
	tests := []struct{ name, key, want, note string }{
		{"path", "$input.params('device')", "key: ${path.device}", ""},
		{"header", "$input.params('X-Site')", "key: ${header.X-Site}", ""},
		{"undeclared", "$input.params('id')", "key: ${query.id}", differs},
		{"escaped", "$util.escapeJavaScript($input.params('id'))", "key: ${query.id}", differs},
		{"no name", "$input.params('a b')", "", "a template: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result, err := Import(document(tt.key), Options{RestProxies: []string{"http://rest.example:8082"}})
			if err != nil {
				t.Fatal(err)
			}
			notes := ""
			for _, n := range result.Notes {
				notes += n.At + ": " + n.Text + "\n"
			}
			if !strings.Contains(string(result.Config), tt.want) || !strings.Contains(notes, tt.note) || tt.note == "" && strings.Contains(notes, "requestTemplates") {
				t.Errorf("got\n%s\n%s", result.Config, notes)
			}
		})
	}
}
