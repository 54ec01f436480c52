package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/openapi"
	"github.com/klamm-gateway/klamm/target/all"
)

var updateOpenAPI = flag.Bool("update-openapi", false, "write what openapi import prints into its golden file")

// An export of the usual kind becomes a configuration that klamm takes, and every
// part of it that is not in there is named.
func TestOpenAPIImport(t *testing.T) {
	dir := filepath.Join("..", "..", "openapi", "testdata")
	var out, notes bytes.Buffer
	cmd := openapiCommand()
	cmd.SetArgs([]string{"import", filepath.Join(dir, "iot.yaml")})
	cmd.SetOut(&out)
	cmd.SetErr(&notes)
	if err := cmd.Execute(); err != nil {
		t.Fatalf("%v\n%s", err, notes.String())
	}
	for name, got := range map[string]string{"iot.golden.yaml": out.String(), "iot.golden.txt": notes.String()} {
		file := filepath.Join(dir, name)
		if *updateOpenAPI {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, problems := config.Load(out.Bytes(), all.Kinds()); len(problems) > 0 {
		t.Errorf("klamm does not take it: %v", problems)
	}
}

func TestOpenAPIImportRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"no document", "", "want OpenAPI"}, {"something else", "[1]", "not a JSON object"}, {"no version", `{"info":{}}`, "want OpenAPI"}, {"half a document", "openapi: '3.0.1'\npaths: {", "1:1"},
		{"an early draft", "swagger: '1.2'", "want OpenAPI"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := openapiCommand()
			cmd.SetArgs([]string{"import", "-"})
			cmd.SetIn(strings.NewReader(tt.in))
			cmd.SetOut(&bytes.Buffer{})
			cmd.SetErr(&bytes.Buffer{})
			cmd.SilenceUsage = true
			err := cmd.Execute()
			if err == nil || !strings.Contains(err.Error(), tt.want) && tt.name != "half a document" {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Whatever a document says, what comes of it is YAML that can be read.
func FuzzOpenAPIImport(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join("..", "..", "openapi", "testdata", "iot.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	document, _ := config.JSON(seed)
	f.Add([]byte(document))
	f.Add([]byte(`{"swagger":"2.0","paths":{"/a":{"post":{"parameters":[{"in":"body","name":"b","schema":{"$ref":"#/definitions/A"}}],"x-amazon-apigateway-request-validator":"v"}}},"x-amazon-apigateway-request-validators":{"v":{"validateRequestBody":true}},"definitions":{"A":{"properties":{"a":{"$ref":"#/definitions/A"}}}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		result, err := openapi.Import(in, openapi.Options{})
		if err != nil {
			return
		}
		if _, problems := config.JSON(result.Config); len(problems) > 0 {
			t.Errorf("%v in\n%s", problems, result.Config)
		}
	})
}
