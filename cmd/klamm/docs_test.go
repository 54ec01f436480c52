package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestCommandsOfTheManual reads the lines that the manual has for a terminal and that call
// klamm: their commands and flags exist, and they have as many arguments as they need.
func TestCommandsOfTheManual(t *testing.T) {
	pages := []string{"../../README.md"}
	for _, dir := range []string{"../../docs", "../../examples"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(path) == ".md" {
				pages = append(pages, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	checked, root := 0, rootCommand()
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range terminalLines(string(page)) {
			checked++
			if problem := wrongCall(root, line); problem != "" {
				t.Errorf("%s: %s\n\t%s", strings.TrimPrefix(path, "../../"), problem, line)
			}
		}
	}
	if checked < 150 {
		t.Errorf("%d lines were found; the manual has many more", checked)
	}
	for _, line := range []string{"klamm topic lisd", "klamm pipe list --colour", "klamm topic show"} {
		if wrongCall(root, line) == "" {
			t.Errorf("nothing is found wrong with %q", line)
		}
	}
}

var (
	fence    = regexp.MustCompile("^ *```(\\w*)")
	callsOne = regexp.MustCompile(`^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:go run \./cmd/klamm|klamm) (.*)$`)
	written  = regexp.MustCompile(`^(?:ready:|raw:? )`) // what klamm dev and klamm bench write
)

// terminalLines returns the lines of a page's code that call klamm, each in one. Code stands
// between fences, or four spaces in behind an empty line.
func terminalLines(page string) (lines []string) {
	open, language, before := false, "", ""
	for line := range strings.Lines(strings.ReplaceAll(page, "\\\n", " ")) {
		line = strings.TrimSuffix(line, "\n")
		if m := fence.FindStringSubmatch(line); m != nil {
			open, language, before = !open, m[1], line
			continue
		}
		code := open && slices.Contains([]string{"", "sh", "bash", "console"}, language)
		if !open && strings.HasPrefix(line, "    ") && (before == "" || strings.HasPrefix(before, "    ")) {
			code = true
		}
		before = line
		m := callsOne.FindStringSubmatch(strings.TrimSpace(line))
		if code && m != nil && !written.MatchString(m[1]) {
			lines = append(lines, "klamm "+m[1])
		}
	}
	return lines
}

// wrongCall says what is wrong with a line that calls klamm; "" is nothing.
func wrongCall(root *cobra.Command, line string) string {
	cmd, args, err := root.Find(firstCommand(strings.TrimPrefix(line, "klamm ")))
	if err != nil {
		return err.Error()
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err.Error()
	}
	if !cmd.Runnable() {
		return "a command is missing"
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err.Error()
	}
	return ""
}

// firstCommand returns the words of a line up to the first that is for the shell.
func firstCommand(line string) []string {
	words := shellWords(line)
	for i, w := range words {
		if strings.HasPrefix(w, "#") || slices.Contains([]string{"|", "||", "&", "&&", ";", ">", ">>", "<", "2>"}, w) {
			return words[:i]
		}
	}
	return words
}
