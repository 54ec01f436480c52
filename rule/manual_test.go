package rule

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// Every example of the manual and of the definition does what they say.
func TestManual(t *testing.T) {
	for file, least := range map[string]int{"../docs/patterns.md": 35, "PATTERNS.md": 7} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := 0
		blocks := strings.Split(string(text), "\n```")
		for i := 1; i < len(blocks); i += 2 {
			kind, text, _ := strings.Cut(blocks[i], "\n")
			switch kind {
			case "example", "record":
				examples++
				manualExample(t, text, kind == "record")
			case "refused":
				examples++
				pattern, want, _ := strings.Cut(text, "\n")
				var syntax *SyntaxError
				if _, err := Compile([]byte(pattern)); !errors.As(err, &syntax) || syntax.Reason != want {
					t.Errorf("%s: got %v, want %q", pattern, err, want)
				}
			case "sh", "text":
			default:
				t.Errorf("%s: a block of the unknown kind %q", file, kind)
			}
		}
		if examples < least {
			t.Errorf("%s: only %d examples were found, want %d", file, examples, least)
		}
	}
}

// manualExample runs a pattern on the events below it.
func manualExample(t *testing.T, text string, record bool) {
	t.Helper()
	pattern, events, _ := strings.Cut(text, "\n\n")
	match := func(event string) (bool, error) { return mustCompile(t, pattern).Match([]byte(event)) }
	if record {
		p, err := CompileRecord([]byte(pattern))
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			return
		}
		match = func(event string) (bool, error) {
			var fields struct{ Key, Value any }
			if err := json.Unmarshal([]byte(event), &fields); err != nil {
				return false, err
			}
			return p.Match([]byte(event), formOf(fields.Key), formOf(fields.Value))
		}
	}
	lines := strings.Split(strings.TrimSpace(events), "\n")
	for _, line := range lines {
		event, want := strings.CutPrefix(line, "match ")
		if !want {
			var ok bool
			if event, ok = strings.CutPrefix(line, "no match "); !ok {
				t.Errorf("%s: a line that is neither a match nor none: %s", pattern, line)
				continue
			}
		}
		if got, err := match(event); err != nil || got != want {
			t.Errorf("%s on %s: got %v, %v; want %v", pattern, event, got, err, want)
		}
	}
}

// formOf is the form of a key or value as it stands in an example.
func formOf(data any) Form {
	switch data.(type) {
	case nil:
		return Missing
	case string:
		return Text
	}
	return JSON
}
