// Command klamm is the whole product: one program between Apache Kafka and
// everything that does not speak Kafka. Each file of this package is one
// subcommand; the work is done elsewhere.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// rootCommand is the whole command line.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "klamm",
		Short: "One program between Apache Kafka and everything that does not speak Kafka",
		Long: "One program between Apache Kafka and everything that does not speak Kafka.\n\n" +
			"klamm dev is a whole klamm with a broker of its own, klamm serve one beside Apache Kafka. Most other commands ask one that runs: the\n" +
			"server is --server, else KLAMM_SERVER, else that of the context in use, else " + defaultServer + ", and KLAMM_KEY is the API\n" +
			"key. They print tables for people and, with -o json, one document or one object a line for scripts. The exit status is 0 if all went\n" +
			"well, 1 if what was asked for failed or the answer is no, and 2 if the call itself was wrong.",
		Example:       "  klamm dev\n  klamm status\n  klamm topic tail orders --follow\n  klamm pipe list -o json",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddGroup(&cobra.Group{ID: running, Title: "Running klamm:"}, &cobra.Group{ID: asked, Title: "Asking a klamm that runs:"}, &cobra.Group{ID: trying, Title: "Trying things out, without a klamm:"})
	for group, commands := range map[string][]*cobra.Command{
		running: {devCommand(), serveCommand(), checkCommand(), doctorCommand(), benchCommand()},
		asked: {
			statusCommand(), topicCommand(), produceCommand(), consumeCommand(), tailCommand(), groupCommand(),
			pipeCommand(), targetCommand(), applyCommand(), diffCommand(), exportCommand(), deliveryCommand(), dlqCommand(), replayCommand(),
			keyCommand(), usageCommand(), policyCommand(), configCommand(), accessCommand(), auditCommand(), busCommand(), eventCommand(), archiveCommand(), functionCommand(), mappingCommand(), connectorCommand(), schemaCommand(), logsCommand(), openCommand(),
		},
		trying: {ruleCommand(), transformCommand(), listenCommand(), signCommand(), verifyCommand(), openapiCommand()},
	} {
		for _, cmd := range commands {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(contextCommand(), completionCommand(), manCommand(), versionCommand(), functionGuardCommand())
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() { // a flag of a subcommand that there is not is no mistake of its own
			cmd.FParseErrWhitelist.UnknownFlags = true
		}
	}
	return root
}

// The groups of commands in klamm help.
const (
	running = "running"
	asked   = "asked"
	trying  = "trying"
)

// run carries out one command line and returns its exit status: 0 well, 1 the
// thing asked for failed or the answer is no, 2 the call itself was wrong.
func run(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	return finish(cmd, err, os.Stderr)
}

// finish says what is wrong with a call of a command, in one line, and returns the exit
// status.
func finish(cmd *cobra.Command, err error, errs io.Writer) int {
	var exit *exitError
	switch {
	case err == nil || errors.Is(err, errPrinted):
		return 0
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(errs, "klamm:", exit.err)
		}
		return exit.code
	default: // cobra's own: an unknown command or flag
		fmt.Fprintf(errs, "klamm: %s; see %s --help\n", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", " "), cmd.CommandPath())
		return 2
	}
}
