package main

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/gate"
)

func usageCommand() *cobra.Command {
	var plan string
	cmd := asking(&cobra.Command{
		Use:   "usage",
		Short: "Show what API keys have used of their quotas",
		Long: "Shows for each API key what it has used of the quotas of its usage plans in the present day, week or month. What other klamm processes\n" +
			"have let pass in the last ten seconds may be missing.",
		Example: "  klamm usage\n  klamm usage --plan bronze -o json",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		path := []string{"usage"}
		if plan != "" {
			path = append(path, plan)
		}
		var answer struct {
			Usage []gate.Usage `json:"usage"`
		}
		if err := c.call(ctx, request{method: http.MethodGet, path: path, within: readTime}, "usage", &answer); err != nil {
			return err
		}
		return rows(c, answer.Usage, newTable("PLAN", "KEY", "UNIT", "USED", "LIMIT", "LEFT", "UNTIL"), usageRow)
	})
	cmd.Flags().StringVar(&plan, "plan", "", "show one usage plan only")
	return cmd
}

func usageRow(u gate.Usage) []any {
	return []any{u.Plan, u.Key, u.Unit, u.Used, u.Limit, u.Left, u.To.Format(time.RFC3339)}
}
