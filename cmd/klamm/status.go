package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// A statusDoc is what klamm says of itself, and of its pipes.
type statusDoc struct {
	Server   string    `json:"server"`
	Ready    bool      `json:"ready"`
	Problems []string  `json:"problems"`
	Version  string    `json:"version,omitempty"`
	Brokers  []string  `json:"brokers"`
	Pipes    []pipeDoc `json:"pipes"`
}

func statusCommand() *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say whether a klamm is ready, and how its pipes are",
		Long:    "Says whether a klamm can produce and poll, what is wrong if it cannot, and how its pipes are. The exit status is 1 if it is not ready.",
		Example: "  klamm status\n  klamm status --server https://klamm.example.com -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, ctx, err := f.open(cmd)
			if err != nil {
				return err
			}
			s := statusDoc{Server: c.base.Redacted(), Problems: []string{}, Brokers: []string{}, Pipes: []pipeDoc{}}
			if err := c.call(ctx, request{method: http.MethodGet, path: []string{"status"}, within: readTime}, "ready", &s); err != nil {
				return failed(err)
			}
			if s.Ready { // brokers that cannot be reached know nothing of pipes
				if s.Pipes, err = c.pipes(ctx, readTime); err != nil {
					return failed(err)
				}
			}
			if err := c.showStatus(s); err != nil {
				return failed(err)
			}
			if !s.Ready {
				return failed(errors.New("klamm is not ready"))
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func (c *client) showStatus(s statusDoc) error {
	if c.output == "json" {
		return c.json(s)
	}
	t := &table{paint: paintColumn(1)}
	t.add("server", s.Server)
	t.add("ready", map[bool]string{true: "yes", false: "no"}[s.Ready])
	for _, p := range s.Problems {
		t.add("problem", p)
	}
	if s.Version != "" {
		t.add("version", s.Version)
	}
	t.add("brokers", strings.Join(s.Brokers, ","))
	if err := t.write(c.out); err != nil || len(s.Pipes) == 0 {
		return err
	}
	fmt.Fprintln(c.out)
	return rows(c, s.Pipes, pipeTable(), pipeRow)
}
