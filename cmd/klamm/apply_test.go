package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An export makes its directory, and what it writes is what klamm apply reads. Pipes of
// the configuration file are left out.
func TestExportIntoADirectoryThatThereIsNot(t *testing.T) {
	s := serveAPI(t, http.StatusOK, "application/json", `{"definitions":[
		{"pipe":"p","origin":"catalog","definition":{"name":"p","topics":["t"],"target":{"topic":{"name":"u"}}}},
		{"pipe":"q","origin":"file","definition":{"name":"q"}}]}`)
	to := filepath.Join(t.TempDir(), "all", "pipes")
	if out, errs, status := operate(t, "export", "--to", to, "--server", s.url); status != 0 || out != "" || errs != "" {
		t.Fatalf("exit %d, output %q, %q", status, out, errs)
	}
	files, err := os.ReadDir(to)
	if err != nil || len(files) != 1 || files[0].Name() != "p.json" {
		t.Fatalf("got %v, %v; want p.json alone", files, err)
	}
	all, err := definitionsOf(to)
	if err != nil || len(all) != 1 || all["p"] == nil {
		t.Errorf("got %v, %v; want the definition of p", all, err)
	}
}

func TestExportIsForPeopleAndForApply(t *testing.T) {
	for name, c := range map[string]struct{ definitions, want string }{
		"none":       {"", "{\n  \"pipes\": []\n}\n"},
		"characters": {`{"pipe":"p","origin":"catalog","definition":{"name":"p","filter":"\u003e5 \u0026 \\u003c","n":12345678901234567890}}`, "{\n  \"pipes\": [\n    {\n      \"name\": \"p\",\n      \"filter\": \">5 & \\\\u003c\",\n      \"n\": 12345678901234567890\n    }\n  ]\n}\n"},
	} {
		s := serveAPI(t, http.StatusOK, "application/json", `{"definitions":[`+c.definitions+`]}`)
		out, errs, status := operate(t, "export", "--server", s.url)
		if status != 0 || out != c.want || errs != "" {
			t.Fatalf("%s: exit %d, output %s, %q", name, status, out, errs)
		}
		file := filepath.Join(t.TempDir(), "pipes.json")
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := definitionsOf(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		lines := indented([]byte(out))
		if got := strings.Join(lines, "\n"); name == "characters" && (!strings.Contains(got, `">5 & \\u003c"`) || !strings.Contains(got, "12345678901234567890")) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
