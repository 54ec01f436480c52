package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIRECTORY",
		Short:   "Write a manual page for each command",
		Long:    "Writes manual pages of section 1, one for each command, into a directory, which is made if it is not there.",
		Example: "  klamm man ~/.local/share/man/man1\n  man klamm-topic-tail",
		Args:    oneArgument("the directory for the pages"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return failed(err)
			}
			pages := 0
			if err := writePages(cmd.Root(), args[0], &pages); err != nil {
				return failed(err)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d pages in %s\n", pages, args[0])
			return failed(err)
		},
	}
}

// writePages writes the page of a command and those of the ones below it.
func writePages(cmd *cobra.Command, directory string, pages *int) error {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	if err := os.WriteFile(filepath.Join(directory, name+".1"), []byte(manPage(cmd, name)), 0o644); err != nil {
		return err
	}
	*pages++
	for _, sub := range cmd.Commands() {
		if err := writePages(sub, directory, pages); err != nil {
			return err
		}
	}
	return nil
}

// manPage is the page of a command, for man(1).
func manPage(cmd *cobra.Command, name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %q 1 \"\" %q \"klamm\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(name), cmd.Root().Name(), roff(name), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n%s\n.fi\n", roff(cmd.UseLine()))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, ".PP\n%s COMMAND ...\n", roff(cmd.CommandPath()))
	}
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	b.WriteString(".SH DESCRIPTION\n")
	for paragraph := range strings.SplitSeq(long, "\n\n") {
		b.WriteString(".PP\n" + roff(paragraph) + "\n")
	}
	var subs, flags strings.Builder
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			fmt.Fprintf(&subs, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
		}
	}
	cmd.InitDefaultHelpFlag()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		text := "--" + f.Name
		if f.Shorthand != "" {
			text = "-" + f.Shorthand + ", " + text
		}
		kind, help := pflag.UnquoteUsage(f)
		if kind != "" {
			text += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" && f.DefValue != "0s" {
			help += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&flags, ".TP\n.B %s\n%s\n", roff(text), roff(help))
	})
	if subs.Len() > 0 {
		b.WriteString(".SH COMMANDS\n" + subs.String())
	}
	if flags.Len() > 0 {
		b.WriteString(".SH OPTIONS\n" + flags.String())
	}
	if cmd.Example != "" {
		b.WriteString(".SH EXAMPLES\n.nf\n" + roff(cmd.Example) + "\n.fi\n")
	}
	b.WriteString(".SH EXIT STATUS\n0 if all went well, 1 if what was asked for failed or the answer is no, 2 if the call itself was wrong.\n")
	if cmd.HasParent() {
		b.WriteString(".SH SEE ALSO\n" + roff(strings.ReplaceAll(cmd.Parent().CommandPath(), " ", "-")) + "(1)\n")
	}
	return b.String()
}

// roff keeps a text from being taken for roff's own.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
