package rule

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// rows reads a table of a testdata file: cells separated by tabs.
func rows(t testing.TB, file string) (all [][]string) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, strings.Split(line, "\t"))
		}
	}
	return all
}

func TestWorkedExamples(t *testing.T) {
	for _, row := range rows(t, "examples.tsv") {
		p, err := Compile([]byte(row[1]))
		if err != nil {
			t.Errorf("%s: %s: %v", row[0], row[1], err)
			continue
		}
		got, err := p.Match([]byte(row[2]))
		if err != nil || got != (row[3] == "match") {
			t.Errorf("%s: %s on %s: got %v, %v; want %s", row[0], row[1], row[2], got, err, row[3])
		}
	}
}

func TestInvalidPatterns(t *testing.T) {
	for _, row := range rows(t, "invalid.tsv") {
		_, err := Compile([]byte(row[0]))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: got %v, want a syntax error", row[0], err)
			continue
		}
		if want := row[1]; !strings.HasPrefix(want, "not JSON") && syntax.Reason != want {
			t.Errorf("%s: got %q, want %q", row[0], syntax.Reason, want)
		}
	}
}

func TestRecordsFailOpen(t *testing.T) {
	for _, c := range []struct {
		name, pattern, document string
		key, value              Form
		want                    bool
	}{
		{"JSON on JSON", `{"value":{"a":[1]}}`, `{"value":{"a":2}}`, Missing, JSON, false},
		{"JSON on text", `{"value":{"a":[1]}}`, `{"value":"x"}`, Missing, Text, true},
		{"plain on text", `{"value":["x"]}`, `{"value":"y"}`, Missing, Text, false},
		{"plain on JSON", `{"value":["x"]}`, `{"value":{"a":1}}`, Missing, JSON, true},
		{"any on binary", `{"value":["x"]}`, `{"value":"AP8="}`, Missing, Binary, true},
		{"the rest must match", `{"topic":["a"],"value":{"a":[1]}}`, `{"topic":"b","value":"x"}`, Missing, Text, false},
		{"inside $or", `{"$or":[{"value":{"a":[1]}},{"topic":["a"]}]}`, `{"topic":"b","value":"x"}`, Missing, Text, true},
		{"a tombstone has no data", `{"value":{"a":[1]}}`, `{"value":null}`, Missing, Missing, false},
		{"absence in a tombstone", `{"value":{"a":[{"exists":false}]}}`, `{"value":null}`, Missing, Missing, true},
		{"null on a tombstone", `{"value":[null]}`, `{"value":null}`, Missing, Missing, true},
		{"key and value apart", `{"key":["k"],"value":{"a":[1]}}`, `{"key":"other","value":"x"}`, Text, Text, false},
	} {
		p, err := CompileRecord([]byte(c.pattern))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Match([]byte(c.document), c.key, c.value); err != nil || got != c.want {
			t.Errorf("%s: got %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

func TestEventsThatAreNone(t *testing.T) {
	p, err := Compile([]byte(`{"a":["x"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range []string{``, `[]`, `5`, `{`, `{"a":1}}`, `{"a":1,}`, `{"a"}`, `{"b":[1,}`, `{"a":[1 2]}`} {
		if _, err := p.Match([]byte(event)); !errors.Is(err, ErrEvent) {
			t.Errorf("%s: got %v, want ErrEvent", event, err)
		}
	}
}
