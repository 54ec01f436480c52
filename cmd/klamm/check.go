package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report every problem of a configuration file",
		Long:  "Loads a configuration file exactly as serve does and prints every problem with its line and column. The exit status is 1 if there is one.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "ok: %s, %d pipes\n", file, len(cfg.Pipes))
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "klamm.yaml", "configuration file (KLAMM_CONFIG)")
	fromEnvironment(cmd)
	return cmd
}

// loadConfig reads a configuration file; no file is the configuration of an
// empty one. All problems are printed, one a line.
func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &exitError{1, fmt.Errorf("--config: %w", err)}
	}
	cfg, problems := config.Load(text, all.Kinds())
	if len(problems) == 0 {
		return cfg, nil
	}
	for _, p := range problems {
		fmt.Fprintf(os.Stderr, "%s:%s\n", file, p)
	}
	return nil, &exitError{1, errors.New("the configuration file cannot be used; nothing was started")}
}
