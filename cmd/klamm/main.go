// Command klamm is the whole product: one program between Apache Kafka and
// everything that does not speak Kafka. Each file of this package is one
// subcommand; the work is done elsewhere.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// run carries out one command line and returns its exit status: 0 well, 1 the
// thing asked for failed or the answer is no, 2 the call itself was wrong.
func run(args []string) int {
	root := &cobra.Command{
		Use:           "klamm",
		Short:         "One program between Apache Kafka and everything that does not speak Kafka",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		devCommand(),
		serveCommand(),
		checkCommand(),
		versionCommand(),
		ruleCommand(),
		transformCommand(),
		schemaCommand(),
		benchCommand(),
		statusCommand(),
		pipeCommand(),
		applyCommand(),
		diffCommand(),
		exportCommand(),
		deliveryCommand(),
		dlqCommand(),
		replayCommand(),
		keyCommand(),
		usageCommand(),
		policyCommand(),
		accessCommand(),
		functionCommand(),
		functionGuardCommand(),
		logsCommand(),
	)
	root.SetArgs(args)
	err := root.Execute()
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(os.Stderr, "klamm:", exit.err)
		}
		return exit.code
	default: // cobra's own: an unknown command or flag
		fmt.Fprintf(os.Stderr, "klamm: %v; see klamm --help\n", err)
		return 2
	}
}
