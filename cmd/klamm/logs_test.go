package main

import (
	"strings"
	"testing"
)

func TestLogsThatNobodyHasWritten(t *testing.T) {
	server, _ := startKlamm(t)
	for name, args := range map[string][]string{
		"of a rule":     {"logs", "/aws/events/nobody"},
		"of a function": {"function", "logs", "nobody"},
	} {
		out, errs, exit := typed(t, "", append(args, "--server", server)...)
		if want := ": nothing has been written to it at " + server; exit != 1 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %q, %q; want %q", name, exit, out, errs, want)
		}
	}
}
