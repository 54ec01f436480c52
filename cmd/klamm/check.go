package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report every problem of a configuration file",
		Long: "Loads a configuration file exactly as serve does and prints every problem with its line and column on standard error.\n" +
			"The exit status is 1 if there is one. What is allowed but probably not meant is a warning, and changes nothing.",
		Example: "  klamm check --config klamm.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, problems, err := readConfig(file)
			if err != nil {
				return failed(err)
			}
			if len(problems) > 0 {
				printProblems(cmd.ErrOrStderr(), file, problems)
				return &exitError{code: 1}
			}
			if wrong := app.Check(cmd.Context(), cfg); len(wrong) > 0 {
				for _, err := range wrong {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", file, err)
				}
				return &exitError{code: 1}
			}
			for _, p := range cfg.Policies {
				for _, text := range p.Warnings() {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s: policy %q: %s\n", file, p.Name, text)
				}
			}
			pipes := "pipes"
			if len(cfg.Pipes) == 1 {
				pipes = "pipe"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "ok: %s, %d %s\n", file, len(cfg.Pipes), pipes)
			tellReadOnly(cmd.OutOrStdout(), cfg)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "klamm.yaml", "configuration file (KLAMM_CONFIG)")
	fromEnvironment(cmd)
	return cmd
}

// toldNames is how many of a file's pipes check names.
const toldNames = 20

// tellReadOnly says what the pipes of a file are to those that are made at run time.
func tellReadOnly(w io.Writer, cfg *config.Config) {
	if len(cfg.Pipes) == 0 {
		return
	}
	names := make([]string, 0, toldNames+1)
	for _, p := range cfg.Pipes[:min(len(cfg.Pipes), toldNames)] {
		names = append(names, p.Name)
	}
	if more := len(cfg.Pipes) - toldNames; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	fmt.Fprintf(w, "read-only at run time, and win over definitions of the same name: %s\n", strings.Join(names, ", "))
}

// loadConfig reads a configuration file for a command that runs by it; no file
// is the configuration of an empty one. All problems are printed, one a line.
func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Default(), nil
	}
	cfg, problems, err := readConfig(file)
	if err != nil {
		return nil, failed(err)
	}
	if len(problems) > 0 {
		printProblems(os.Stderr, file, problems)
		return nil, failed(errors.New("the configuration file cannot be used; nothing was started"))
	}
	return cfg, nil
}

// readConfig reads a file, but no more of it than a configuration may have.
func readConfig(name string) (*config.Config, []config.Problem, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("--config: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, config.MaxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("--config: %w", err)
	}
	cfg, problems := config.Load(text, all.Kinds())
	return cfg, problems, nil
}

func printProblems(w io.Writer, file string, problems []config.Problem) {
	for _, p := range problems {
		fmt.Fprintf(w, "%s:%s\n", file, p)
	}
}
