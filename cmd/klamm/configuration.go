package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/target/all"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Compare configurations, and go back to an earlier one",
		Long: "A klamm that runs by a configuration file keeps the last ten configurations that have counted, each with a number and a hash\n" +
			"(docs/reload.md).",
	}
	cmd.AddCommand(configListCommand(), configDiffCommand(), configRollbackCommand())
	return cmd
}

// A generationDoc is a configuration as a klamm tells of it.
type generationDoc struct {
	Number int       `json:"generation"`
	Hash   string    `json:"hash"`
	Since  time.Time `json:"since"`
}

func (c *client) generations(ctx context.Context, method string, path ...string) error {
	var answer struct {
		Generations []generationDoc `json:"generations"`
	}
	if err := c.call(ctx, request{method: method, path: append([]string{"configuration"}, path...), within: changeTime}, "generations", &answer); err != nil {
		return err
	}
	return rows(c, answer.Generations, newTable("GENERATION", "HASH", "SINCE"), func(g generationDoc) []any {
		return []any{g.Number, g.Hash, g.Since.Format(time.RFC3339)}
	})
}

func configListCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:     "list",
		Short:   "List the configurations that have counted, the present one first",
		Long:    "Lists the configurations that have counted in the klamm that is asked, the present one first.",
		Example: "  klamm config list",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error { return c.generations(ctx, http.MethodGet) })
}

func configRollbackCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:   "rollback",
		Short: "Let the configuration count again that did before",
		Long: "Lets the configuration count again that did before the present one, in the klamm that is asked and in no other. The file stays as it\n" +
			"is: it counts again when it changes, on SIGHUP and after a restart.",
		Example: "  klamm config rollback",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		return c.generations(ctx, http.MethodPost, "rollback")
	})
}

// A configChangeDoc is a difference between two configurations.
type configChangeDoc struct {
	Path    string  `json:"path"`
	Was     *string `json:"was"`
	Is      *string `json:"is"`
	Restart bool    `json:"restart"`
}

func configDiffCommand() *cobra.Command {
	var file, against string
	cmd := asking(&cobra.Command{
		Use:   "diff",
		Short: "Say how a configuration file differs from what counts",
		Long: "Says how a configuration file differs from the configuration of a klamm that runs, or with --against from another file, and what of it\n" +
			"would count only after a restart. Secrets are not shown, and of documents such as schemas only that they differ. The exit status is 0\n" +
			"if nothing differs, and 1 if something does.",
		Example: "  klamm config diff --config klamm.yaml\n  klamm config diff --config new.yaml --against klamm.yaml",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		changes, err := c.configChanges(ctx, file, against)
		if err != nil {
			return err
		}
		if err := rows(c, changes, newTable("KEY", "WAS", "IS", "COUNTS"), changeRow); err != nil {
			return err
		}
		if len(changes) > 0 {
			return &exitError{code: 1}
		}
		return nil
	})
	cmd.Flags().StringVar(&file, "config", "klamm.yaml", "configuration file")
	cmd.Flags().StringVar(&against, "against", "", "another configuration file; without it, the klamm that runs")
	return cmd
}

func changeRow(d configChangeDoc) []any {
	value := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	counts := "at once"
	if d.Restart {
		counts = "after a restart"
	}
	return []any{d.Path, value(d.Was), value(d.Is), counts}
}

// configChanges finds the differences, here or by asking.
func (c *client) configChanges(ctx context.Context, file, against string) ([]configChangeDoc, error) {
	text, err := configText(file)
	if err != nil {
		return nil, err
	}
	if against == "" {
		var answer struct {
			Changes []configChangeDoc `json:"changes"`
		}
		header := map[string]string{"Content-Type": "application/yaml"}
		err := c.call(ctx, request{method: http.MethodPost, path: []string{"configuration", "diff"}, header: header, body: text, within: readTime}, "changes", &answer)
		return answer.Changes, err
	}
	before, err := configText(against)
	if err != nil {
		return nil, err
	}
	was, problems := config.Load(before, all.Kinds())
	if len(problems) > 0 {
		return nil, reported(against, problems)
	}
	is, problems := config.Load(text, all.Kinds())
	if len(problems) > 0 {
		return nil, reported(file, problems)
	}
	var changes []configChangeDoc
	waits := app.Restarting(was, is)
	for _, d := range config.Diff(was, is) {
		changes = append(changes, configChangeDoc{Path: d.Path, Was: d.Was, Is: d.Is, Restart: waits(d)})
	}
	return changes, nil
}

// configText reads a file, but no more of it than a configuration may have.
func configText(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, config.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	return text, nil
}
