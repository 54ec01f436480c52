package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// checkRun carries out klamm check and returns both outputs and its exit status,
// with the error's line on standard error as main prints it.
func checkRun(t *testing.T, args ...string) (out, errs string, status int) {
	t.Helper()
	cmd := checkCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var o, e bytes.Buffer
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	cmd.SetArgs(append([]string{}, args...)) // none is not nil, which would be those of the test
	err := cmd.Execute()
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		status = exit.code
		if exit.err != nil {
			e.WriteString(exit.err.Error() + "\n")
		}
	case err != nil:
		status = 2
	}
	return o.String(), e.String(), status
}

func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	const target = "target: {topic: {name: u}}"
	many := "pipes:\n"
	for i := range 22 {
		many += fmt.Sprintf("- {name: p%d, topics: [t], %s}\n", i, target)
	}
	for name, text := range map[string]string{
		"klamm.yaml": "listen: 127.0.0.1:0\n",
		"one.yaml":   "pipes: [{name: a, topics: [t], " + target + "}]",
		"three.yaml": "pipes:\n- {name: a, topics: [t], " + target + "}\n- {name: b, topics: [t], " + target + "}\n- {name: c, topics: [t], " + target + "}\n",
		"many.yaml":  many,
		"odd.yaml":   `policies: [{name: "all-but", kind: resource, attach: [cluster], document: {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "NotPrincipal": {"AWS": "arn:aws:iam::000000000000:user/x"}, "Action": "*", "Resource": "*"}]}}]`,
		"wrong.yaml": "listen: 127.0.0.1:0\npipes:\n  - name: p\n    topcs: [a]\n    target:\n      webhook: {ulr: 'http://x'}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, environment string
		args              []string
		out, errs         string
		status            int
	}{
		{name: "the default file", out: "ok: klamm.yaml, 0 pipes\n"},
		{name: "one pipe", args: []string{"--config", "one.yaml"}, out: "ok: one.yaml, 1 pipe\nread-only at run time, and win over definitions of the same name: a\n"},
		{name: "three pipes", args: []string{"--config=three.yaml"}, out: "ok: three.yaml, 3 pipes\nread-only at run time, and win over definitions of the same name: a, b, c\n"},
		{
			name: "an odd policy", args: []string{"--config=odd.yaml"}, out: "ok: odd.yaml, 0 pipes\n",
			errs: "warning: odd.yaml: policy \"all-but\": statement 1: NotPrincipal: with Allow it grants nothing to anybody; name the principals\n",
		},
		{name: "many pipes", args: []string{"--config=many.yaml"}, out: "ok: many.yaml, 22 pipes\nread-only at run time, and win over definitions of the same name: p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16, p17, p18, p19, and 2 more\n"},
		{name: "the environment names the file", environment: "one.yaml", out: "ok: one.yaml, 1 pipe\nread-only at run time, and win over definitions of the same name: a\n"},
		{name: "a flag wins over the environment", environment: "wrong.yaml", args: []string{"--config", "one.yaml"}, out: "ok: one.yaml, 1 pipe\nread-only at run time, and win over definitions of the same name: a\n"},
		{
			name: "every problem, one a line", args: []string{"--config", "wrong.yaml"}, status: 1,
			errs: "wrong.yaml:4:5: unknown key \"topcs\"; did you mean \"topics\"?\nwrong.yaml:6:17: unknown key \"ulr\"; did you mean \"url\"?\n",
		},
		{name: "no such file", args: []string{"--config", "none.yaml"}, status: 1, errs: "--config: open none.yaml: no such file or directory\n"},
		{name: "a directory", args: []string{"--config", "."}, status: 1, errs: "--config: read .: is a directory\n"},
		{name: "an argument", args: []string{"one.yaml"}, status: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("KLAMM_CONFIG", tt.environment)
			out, errs, status := checkRun(t, tt.args...)
			if out != tt.out || errs != tt.errs || status != tt.status {
				t.Errorf("got  %q, %q, exit %d\nwant %q, %q, exit %d", out, errs, status, tt.out, tt.errs, tt.status)
			}
		})
	}
}

func TestCheckReadsNoMoreThanAConfigurationMayHave(t *testing.T) {
	file := filepath.Join(t.TempDir(), "huge.yaml")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(1<<40), f.Close()); err != nil {
		t.Skip("no sparse files here:", err)
	}
	if _, errs, status := checkRun(t, "--config", file); status != 1 || !strings.Contains(errs, ":1:1: the file is larger than") {
		t.Errorf("exit %d: %s", status, errs)
	}
}

// TestPrecedence holds flags over the environment, and both over defaults.
func TestPrecedence(t *testing.T) {
	t.Setenv("KLAMM_LISTEN", "127.0.0.1:1")
	t.Setenv("KLAMM_KAFKA_LISTEN", "127.0.0.1:2")
	t.Setenv("KLAMM_BROKERS", "a:1,b:2")
	t.Setenv("KLAMM_WORKERS", "")
	tests := []struct {
		name string
		args []string
		want string // listen, kafka-listen, brokers, workers
	}{
		{"the environment", nil, "127.0.0.1:1 127.0.0.1:2 [a:1,b:2] 4"},
		{"a flag", []string{"--listen", ":3", "--brokers", "c:3", "--workers", "7"}, ":3 127.0.0.1:2 [c:3] 7"},
		{"a flag that is empty", []string{"--listen="}, " 127.0.0.1:2 [a:1,b:2] 4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			cmd := precedenceCommand(&got)
			cmd.SetArgs(tt.args)
			if err := cmd.Execute(); err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, %v, want %q", strings.Join(got, " "), err, tt.want)
			}
		})
	}
	t.Setenv("KLAMM_WORKERS", "many")
	cmd := precedenceCommand(new([]string))
	cmd.SetArgs(nil)
	var exit *exitError
	if err := cmd.Execute(); !errors.As(err, &exit) || exit.code != 2 || !strings.Contains(err.Error(), "KLAMM_WORKERS") {
		t.Errorf("got %v, want exit 2 and the variable's name", err)
	}
}

// precedenceCommand puts the values of its flags into got.
func precedenceCommand(got *[]string) *cobra.Command {
	cmd := &cobra.Command{Use: "test", SilenceErrors: true, SilenceUsage: true, RunE: func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"listen", "kafka-listen", "brokers", "workers"} {
			*got = append(*got, cmd.Flags().Lookup(name).Value.String())
		}
		return nil
	}}
	cmd.Flags().String("listen", "127.0.0.1:8082", "")
	cmd.Flags().String("kafka-listen", "", "")
	cmd.Flags().StringSlice("brokers", nil, "")
	cmd.Flags().Int("workers", 4, "")
	fromEnvironment(cmd)
	return cmd
}
