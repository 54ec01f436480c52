package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// fromEnvironment lets each flag that is not given take its value from the
// environment: --kafka-listen from KLAMM_KAFKA_LISTEN.
func fromEnvironment(cmd *cobra.Command) {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		var failed error
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			name := "KLAMM_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			value, ok := os.LookupEnv(name)
			if !ok || value == "" || f.Changed || failed != nil {
				return
			}
			if err := cmd.Flags().Set(f.Name, value); err != nil {
				failed = &exitError{2, fmt.Errorf("%s=%q: %w", name, value, err)}
			}
		})
		return failed
	}
}
