package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// pages visits all of a list that is told in pages, which are {name: [...], "next"?}.
func pages[T any](ctx context.Context, c *client, name string, query url.Values, visit func(T)) error {
	for {
		all := listDoc[T]{name: name}
		var page struct {
			Next string `json:"next"`
		}
		a, err := c.ask(ctx, request{method: http.MethodGet, path: []string{name}, query: query, within: readTime})
		if err != nil {
			return err
		}
		if json.Unmarshal(a.text, &all) != nil || json.Unmarshal(a.text, &page) != nil {
			return c.wrongServer(a.Response)
		}
		for _, one := range all.all {
			visit(one)
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

// A targetDoc is an endpoint that pipes deliver to.
type targetDoc struct {
	Endpoint  string    `json:"endpoint"`
	Kinds     []string  `json:"kinds"`
	Pipes     []string  `json:"pipes"`
	Count     int       `json:"pipes_count"`
	State     string    `json:"state"`
	Down      int       `json:"pipes_down"`
	NextProbe time.Time `json:"next_probe,omitzero"`
	Attempts  int       `json:"attempts"`
	Well      int       `json:"succeeded"`
	P50Millis *float64  `json:"p50_ms,omitempty"`
	P95Millis *float64  `json:"p95_ms,omitempty"`
	InFlight  int       `json:"in_flight"`
	Allowed   int       `json:"allowed"`
	Most      int       `json:"most"`
	Held      int       `json:"held"`
	Ailing    int       `json:"ailing_addresses"`
}

func targetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "target",
		Short: "Show what pipes deliver to, and how that is",
		Args:  cobra.NoArgs, Example: "  klamm target list",
		RunE: needSubcommand,
	}
	cmd.AddCommand(targetListCommand())
	return cmd
}

func targetListCommand() *cobra.Command {
	var state string
	cmd := asking(&cobra.Command{
		Use:   "list [TEXT]",
		Short: "List what the process delivers to, all or what has a text in its name",
		Long: "Lists what the klamm process that is asked delivers to: endpoints by scheme, host and port, with the state of their breakers, how many\n" +
			"of the last attempts succeeded, how long they took, and how many are under way.",
		Example: "  klamm target list\n  klamm target list example.com -o json\n  klamm target list --state down -o name",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		query := url.Values{"limit": {"500"}}
		if len(args) > 0 {
			query.Set("search", args[0])
		}
		if state != "" {
			query.Set("state", state)
		}
		var all []targetDoc
		if err := pages(ctx, c, "targets", query, func(d targetDoc) { all = append(all, d) }); err != nil {
			return err
		}
		t := newTable("ENDPOINT", "STATE", "PIPES", "SUCCEEDED", "P95", "IN FLIGHT", "HELD", "NEXT PROBE")
		t.paint = func(column int, text string) string {
			if column == 1 && text != "closed" {
				return "31"
			}
			return ""
		}
		return rows(c, all, t, func(d targetDoc) []any {
			took, well := "", ""
			if d.P95Millis != nil {
				took = millis(*d.P95Millis)
			}
			if d.Attempts > 0 {
				well = fmt.Sprintf("%d of %d", d.Well, d.Attempts)
			}
			return []any{d.Endpoint, d.State, short(strings.Join(d.Pipes, ","), 40), well, took, fmt.Sprintf("%d of %d", d.InFlight, d.Allowed), d.Held, clock(d.NextProbe)}
		})
	})
	cmd.Flags().StringVar(&state, "state", "", "only those whose breaker is closed, open or probing, or down: any but closed")
	return cmd
}
