package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProperties(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     map[string]string
	}{
		{"the forms of a line", "a=1\nb: 2\nc 3\n  d \t=  4 \ne\nf=", map[string]string{"a": "1", "b": "2", "c": "3", "d": "4 ", "e": "", "f": ""}},
		{"comments and empty lines", "# a=1\n! b=2\n\n \t\nc=#3", map[string]string{"c": "#3"}},
		{"lines that go on", "a=1,\\\n   2,\\\r\n3\nb=x\\\\\nc=y\\", map[string]string{"a": "1,2,3", "b": `x\`, "c": "y"}},
		{"escapes", `a\=b\ c=\t\u00e9\ud83d\ude00\q` + "\n" + `p=C\:\\x`, map[string]string{"a=b c": "\té\U0001f600q", "p": `C:\x`}},
		{"UTF-8", "ä=\\ö😀", map[string]string{"ä": "ö😀"}},
		{"the last one counts", "a=1\na=2", map[string]string{"a": "2"}},
		{"the pairs of a sink", "topics=a,b\naws.eventbridge.detail.types=kafka-connect-${topic}", map[string]string{"topics": "a,b", "aws.eventbridge.detail.types": "kafka-connect-${topic}"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := properties(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, in := range []string{`a=\u12`, `a=\uzzzz`} {
		if _, err := properties(in); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
}

func FuzzProperties(f *testing.F) {
	f.Add("a=1\\\n 2\nb:\\u0041\n# c")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < 1<<12 {
			_, _ = properties(text)
		}
	})
}

func TestConnectorFilesAreApplied(t *testing.T) {
	got := map[string]map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "1")
		var config map[string]string
		if err := json.NewDecoder(r.Body).Decode(&config); err != nil || r.Method != http.MethodPut {
			t.Errorf("%s %v", r.Method, err)
		}
		got[r.URL.Path] = config
		_ = json.NewEncoder(w).Encode(map[string]any{"name": config["name"], "config": config, "tasks": []any{}, "type": "sink"})
	}))
	defer server.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := []string{
		write("a.properties", "name=a\ntopics=t\ntasks.max=1\n"),
		write("b.json", `{"name":"b b","config":{"topics":"t","tasks.max":2,"errors.deadletterqueue.context.headers.enable":true}}`),
		write("c.json", `{"name":"c","topics":"t"}`),
	}
	if code := run(append([]string{"connector", "apply", "--server", server.URL}, files...)); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	want := map[string]map[string]string{
		"/connectors/a/config":   {"name": "a", "topics": "t", "tasks.max": "1"},
		"/connectors/b b/config": {"name": "b b", "topics": "t", "tasks.max": "2", "errors.deadletterqueue.context.headers.enable": "true"},
		"/connectors/c/config":   {"name": "c", "topics": "t"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{"no name": "topics=t", "a list": `{"name":"x","topics":["t"]}`, "no JSON": `{"name":`, "an escape": `name=\u1`} {
		if _, err := connectorOf(strings.NewReader(text), "-"); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
