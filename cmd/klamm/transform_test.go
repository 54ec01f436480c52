package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/transform"
)

// transformRun carries out klamm transform with arguments and returns its
// output, what stands on standard error behind it, and its exit status.
func transformRun(t *testing.T, stdin string, args ...string) (out string, status int) {
	t.Helper()
	cmd := transformCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var b bytes.Buffer
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	err := cmd.Execute()
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.err != nil {
			fmt.Fprintln(&b, "klamm:", exit.err)
		}
		return b.String(), exit.code
	}
	if err != nil {
		return err.Error(), 2
	}
	return b.String(), 0
}

func TestTransformTest(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	event := file("event.json", `{"value":{"id":7}}`)
	template := file("template", `{"id": <$.value.id>}`)
	lines := file("lines", "{\"value\":{\"id\":1}}\n\n{\"value\":{\"id\":2}}\n")
	broken := file("broken", "{\"value\":{\"id\":1}}\n{\n{\"value\":{\"id\":2}}\n")
	golden := file("golden", "{\"id\":1}\n{\"id\":2}\n")
	stale := file("stale", "{\"id\":1}\n{\"id\":3}\n")
	spec := file("spec.yaml", "template: |-\n  {\"id\": <$.value.id>}\n")
	for _, c := range []struct {
		name, stdin string
		args        []string
		want        string // part of the output
		status      int
	}{
		{"inline", "", []string{"--template", `"<$.value.id>"`, "--event", `{"value":{"id":7}}`}, "\"7\"\n", 0},
		{"files", "", []string{"--template", "@" + template, "--event", "@" + event}, "{\"id\":7}\n", 0},
		{"standard input", `{"value":{"id":9}}`, []string{"--template", "@" + template, "--event", "-"}, "{\"id\":9}\n", 0},
		{"YAML spec", "", []string{"--spec", "@" + spec, "--event", "@" + event}, "{\"id\":7}\n", 0},
		{"JSON constant keeps its text", "", []string{"--spec", `{"constant":{"b":1.50,"a":2}}`, "--event", "{}"}, "{\"b\":1.50,\"a\":2}\n", 0},
		{"lines", "", []string{"--template", "@" + template, "--events", lines}, "{\"id\":1}\n{\"id\":2}\n", 0},
		{"lines from standard input", "{}\n", []string{"--template", "@" + template, "--events", "-"}, "{\"id\":\"\"}\n", 0},
		{"broken line", "", []string{"--template", "@" + template, "--events", broken}, "{\"id\":1}\n{\"id\":2}\nklamm: --events line 2: the event is not JSON\n", 1},
		{"golden", "", []string{"--template", "@" + template, "--events", lines, "--golden", golden}, "", 0},
		{"golden differs", "", []string{"--template", "@" + template, "--events", lines, "--golden", stale}, "+++ result\n@@ -1,2 +1,2 @@\n {\"id\":1}\n-{\"id\":3}\n+{\"id\":2}\n", 1},
		{"no golden file", "", []string{"--template", "@" + template, "--events", lines, "--golden", filepath.Join(dir, "none")}, "make it from", 2},
		{"record in base64", "", []string{"--kafka", "--template", "@" + template, "--event", `{"value":"eyJpZCI6N30="}`}, "{\"id\":7}\n", 0},
		{"result that is not JSON", "", []string{"--template", `{"a":"<$.a>"}`, "--event", `{"a":"\""}`}, "INVALID_JSON", 1},
		{"event that is not JSON", "", []string{"--template", `"x"`, "--event", `{`}, "--event: the event is not JSON", 2},
		{"wrong template", "", []string{"--template", `{"a":<$.a}`, "--event", `{}`}, "not closed", 2},
		{"unknown key", "", []string{"--spec", `{"tempate":"x"}`, "--event", `{}`}, "tempate", 2},
		{"neither", "", []string{"--event", `{}`}, "either --template or --spec", 2},
		{"no event", "", []string{"--template", `"x"`}, "either --event or --events", 2},
		{"standard input twice", "", []string{"--template", `-`, "--event", "-"}, "only one", 2},
		{"no such file", "", []string{"--template", `"x"`, "--event", "@" + filepath.Join(dir, "none")}, "--event: ", 2},
		{"wrong time", "", []string{"--template", `"x"`, "--event", "{}", "--now", "noon"}, "--now", 2},
		{"jq says what it did not like", "", []string{"--spec", `{"jq":".a[]"}`, "--event", `{"a":5}`}, "cannot iterate over: number (5)", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, status := transformRun(t, c.stdin, append([]string{"test"}, c.args...)...)
			if status != c.status || !strings.Contains(out, c.want) || c.want == "" && out != "" {
				t.Errorf("exit %d, want %d; got\n%s\nwant %s", status, c.status, out, c.want)
			}
		})
	}
	if _, status := transformRun(t, ""); status != 2 {
		t.Errorf("no subcommand: exit %d, want 2", status)
	}
}

// Every example of the manual does what the manual says.
func TestTransformManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/transforms.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	examples := 0
	blocks := strings.Split(string(page), "\n```")
	for i := 1; i < len(blocks); i += 2 {
		kind, text, _ := strings.Cut(blocks[i], "\n")
		switch {
		case strings.HasPrefix(kind, "json "), strings.HasPrefix(kind, "text "):
			if err := os.WriteFile(kind[len("json "):], []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		case kind == "yaml":
			var lines []string
			section, _ := strings.CutPrefix(text, "transform:")
			for _, l := range strings.Split(section, "\n") {
				lines = append(lines, strings.TrimPrefix(l, "  "))
			}
			spec, err := decodeSpec([]byte(strings.TrimSpace(strings.Join(lines, "\n"))))
			if err == nil {
				_, err = transform.Compile(spec, transform.Vars{})
			}
			if err != nil {
				t.Errorf("%s\n%v", text, err)
			}
		case kind == "console":
			for _, example := range strings.Split("\n"+text, "\n$ ")[1:] {
				line, want, _ := strings.Cut(example, "\n")
				args := shellWords(line)
				if len(args) < 2 || args[0] != "klamm" || args[1] != "transform" {
					t.Fatalf("an example that the test cannot run: %s", line)
				}
				got, _ := transformRun(t, "", args[2:]...)
				if strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("$ %s\ngot  %s\nwant %s", line, got, want)
				}
				examples++
			}
		default:
			t.Errorf("a block of the unknown kind %q", kind)
		}
	}
	if examples < 15 {
		t.Errorf("only %d examples were found", examples)
	}
}

// shellWords splits a command line as a shell does, as far as the manual needs
// it: spaces, single and double quotes.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	started := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ':
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}
