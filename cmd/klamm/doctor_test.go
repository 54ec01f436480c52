package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klamm-gateway/klamm/kafka"
	_ "github.com/klamm-gateway/klamm/nametest"
)

// The command names what is broken, in both forms, and says so by its exit status.
func TestDoctor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "klamm.yaml")
	text := `
kafka: {brokers: ["no-such-host.invalid:9092"]}
pipes:
  - {name: p, topics: [t], target: {webhook: {url: "http://127.0.0.1:1/hook"}}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"table", "json"} {
		t.Run(output, func(t *testing.T) {
			var out bytes.Buffer
			cmd := doctorCommand()
			cmd.SetArgs([]string{"--config", file, "-o", output})
			cmd.SetOut(&out)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			err := cmd.Execute()
			var exit *exitError
			if !errors.As(err, &exit) || exit.code != 1 {
				t.Errorf("exit status of %v, want 1", err)
			}
			for _, want := range []string{"no-such-host.invalid", "127.0.0.1:1", "egress"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s is not named in\n%s", want, out.String())
				}
			}
			if output != "json" {
				return
			}
			for line := range strings.Lines(out.String()) {
				var f kafka.Finding
				if err := json.Unmarshal([]byte(line), &f); err != nil || f.Level == "" || f.Check == "" || f.Found == "" {
					t.Errorf("%q: %v", line, err)
				}
			}
		})
	}
}
