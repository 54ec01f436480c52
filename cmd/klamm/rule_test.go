package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// runRule runs one call of klamm rule and returns its exit status and output.
func runRule(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runCommand(t, ruleCommand(), stdin, args...)
}

// runCommand runs one call of a command.
func runCommand(t *testing.T, cmd *cobra.Command, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	err := cmd.Execute()
	var exit *exitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		code = exit.code
		if exit.err != nil {
			fmt.Fprintln(&log, exit.err)
		}
	default:
		t.Fatal(err)
	}
	return code, out.String(), log.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func kafkaRecord(value string) string {
	return `{"topic":"t1","partition":"3","offset":41,"key":"` + base64.StdEncoding.EncodeToString([]byte("k")) + `","value":"` + base64.StdEncoding.EncodeToString([]byte(value)) + `","headers":[]}`
}

func TestRule(t *testing.T) {
	pattern := write(t, "pattern.json", `{"k":["a"]}`)
	for _, c := range []struct {
		name, stdin    string
		args           []string
		code           int
		stdout, stderr string // stderr: a part of it
	}{
		{name: "match", args: []string{"test", "--pattern", `{"k":["a"]}`, "--event", `{"k":"a"}`}, stdout: "match\n"},
		{name: "no match", args: []string{"test", "--pattern", `{"k":["a"]}`, "--event", `{"k":"b"}`}, code: 1, stdout: "no match\n"},
		{name: "from file and standard input", stdin: `{"k":"a"}`, args: []string{"test", "--pattern", "@" + pattern, "--event", "-"}, stdout: "match\n"},
		{name: "invalid pattern", args: []string{"test", "--pattern", `{"k":"a"}`, "--event", `{}`}, code: 2, stderr: `Event pattern is not valid. Reason: "k" must be an object or an array`},
		{name: "empty pattern", args: []string{"test", "--pattern", "", "--event", `{}`}, code: 2, stderr: "not JSON"},
		{name: "text behind the pattern", args: []string{"test", "--pattern", `{"k":["a"]} x`, "--event", `{}`}, code: 2, stderr: "not JSON"},
		{name: "event is no object", args: []string{"test", "--pattern", `{"k":["a"]}`, "--event", `[]`}, code: 2, stderr: "--event: the event is not a JSON object"},
		{name: "event is broken where no path leads", args: []string{"test", "--pattern", `{"k":["a"]}`, "--event", `{"k":"a","x":[1,}]}`}, code: 2, stderr: "--event: the event is not JSON"},
		{name: "empty event", args: []string{"test", "--pattern", `{"k":["a"]}`, "--event", ""}, code: 2, stderr: "--event: the event is not JSON"},
		{name: "no event", args: []string{"test", "--pattern", `{"k":["a"]}`}, code: 2, stderr: "give either --event or --events"},
		{name: "lines", stdin: "{\"k\":\"a\"}\n\n{\"k\":\"b\"}\n", args: []string{"test", "--pattern", `{"k":["a"]}`, "--events", "-"}, stdout: "match\nno match\n"},
		{name: "a line that is none", stdin: "{\"k\":\"a\"}\n{\"k\n{\"k\":\"b\"}\n", args: []string{"test", "--pattern", `{"k":["a"]}`, "--events", "-"}, code: 2, stdout: "match\nno match\n", stderr: "--events line 2: the event is not JSON"},
		{name: "record", args: []string{"test", "--kafka", "--pattern", `{"key":["k"],"value":{"n":[7]}}`, "--event", kafkaRecord(` {"n":7}`)}, stdout: "match\n"},
		{name: "record with other data", args: []string{"test", "--kafka", "--pattern", `{"value":{"n":[7]}}`, "--event", kafkaRecord(`{"n":8}`)}, code: 1, stdout: "no match\n"},
		{name: "record whose data does not fit", args: []string{"test", "--kafka", "--pattern", `{"value":{"n":[7]}}`, "--event", kafkaRecord("7")}, stdout: "match\n"},
		{name: "scalars are text in records", args: []string{"test", "--kafka", "--pattern", `{"value":["7"]}`, "--event", kafkaRecord("7")}, stdout: "match\n"},
		{name: "binary record", args: []string{"test", "--kafka", "--pattern", `{"topic":["t2"],"value":["7"]}`, "--event", kafkaRecord("\xff")}, code: 1, stdout: "no match\n"},
		{name: "filters see a record's own fields", args: []string{"test", "--kafka", "--pattern", `{"topic":["t1"],"timestampType":["CREATE_TIME"],"eventSource":[{"exists":false}],"eventSourceKey":[{"exists":false}]}`, "--event", `{"eventSource":"aws:kafka","eventSourceKey":"t1-0","topic":"t1","timestampType":"CREATE_TIME"}`}, stdout: "match\n"},
		{name: "tombstone", args: []string{"test", "--kafka", "--pattern", `{"value":[{"exists":false}]}`, "--event", `{"topic":"t1"}`}, stdout: "match\n"},
		{name: "record without base64", args: []string{"test", "--kafka", "--pattern", `{"value":["7"]}`, "--event", `{"value":"%"}`}, code: 2, stderr: "the record's value is not a string of base64"},
		{
			name:   "explain",
			args:   []string{"explain", "--pattern", `{"shop":["north"],"order":{"total":[{"numeric":[">",100]}],"state":["paid"]},"$or":[{"x":[1]},{"shop":["south"]}]}`, "--event", `{"shop":"north","order":{"total":64.5,"state":"paid"},"x":1}`},
			code:   1,
			stdout: "no match\n  ✓ shop [\"north\"]: \"north\"\n  ✗ order.total [{\"numeric\":[\">\",100]}]: 64.5\n  ✓ order.state [\"paid\"]: \"paid\"\n  ✓ x [1]: 1 (in $or[0])\n  ✗ shop [\"south\"]: \"north\" (in $or[1])\n",
		},
		{
			name:   "explain elements of an array",
			args:   []string{"explain", "--pattern", `{"p":{"a":[1],"b":[2]}}`, "--event", `{"p":[{"a":1,"b":3},{"a":2,"b":2}]}`},
			code:   1,
			stdout: "no match: each clause is satisfied, but by values in different elements of an array\n  ✓ p.a [1]: 1, 2\n  ✓ p.b [2]: 3, 2\n",
		},
		{
			name:   "explain a record",
			args:   []string{"explain", "--kafka", "--pattern", `{"topic":["t1"],"value":["x"],"q":[{"exists":false}]}`, "--event", kafkaRecord("{}")},
			stdout: "match\n  ✓ topic [\"t1\"]: \"t1\"\n  ✓ value [\"x\"]: not looked at: the record's data has another form\n  ✓ q [{\"exists\":false}]: no value\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := runRule(t, c.stdin, c.args...)
			if code != c.code || stdout != c.stdout || !strings.Contains(stderr, c.stderr) || c.stderr == "" && stderr != "" {
				t.Errorf("got %d\n%s%s\nwant %d\n%s%s", code, stdout, stderr, c.code, c.stdout, c.stderr)
			}
			if strings.Count(stderr, "\n") > 1 {
				t.Errorf("more than one line: %s", stderr)
			}
		})
	}
}
