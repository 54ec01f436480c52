package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addressFlag checks the address of a flag at which klamm is to listen; an empty one is
// another's to choose.
func addressFlag(flag, text string) error {
	if text == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return usage("%s %q is not HOST:PORT with a port from 0 to 65535", flag, printable(text))
	}
	return nil
}

// brokerFlag checks the addresses of --brokers.
func brokerFlag(brokers []string) error {
	for _, b := range brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return usage("--brokers %q is not HOST:PORT", printable(b))
		}
	}
	return nil
}

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
