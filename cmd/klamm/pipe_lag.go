package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

func pipeLagCommand() *cobra.Command {
	var pipe string
	var follow bool
	cmd := asking(&cobra.Command{
		Use:   "lag [PIPE]",
		Short: "List the lag of each partition, of one pipe or of all",
		Long: "Lists how far each partition of a pipe, or of all, is behind: LAG is how many offsets are not committed yet. With --follow a line for\n" +
			"each partition that has moved is printed as it does, until Ctrl-C; on a terminal the list is kept up to date in place.",
		Example: "  klamm pipe lag\n  klamm pipe lag orders-to-hook -o json\n  klamm pipe lag orders-to-hook --follow",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		name := ""
		if pipe != "" || len(args) > 0 {
			var err error
			if name, err = needPipe(pipe, args); err != nil {
				return err
			}
		}
		if follow {
			return c.followLag(ctx, name)
		}
		return c.lag(ctx, name)
	})
	pipeFlag(cmd, &pipe, "the pipe, instead of the argument")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with what changes, until Ctrl-C")
	return completed(cmd, pipeNames)
}

// lag prints the lag of the partitions of one pipe, or of all.
func (c *client) lag(ctx context.Context, name string) error {
	list := make([]pipeDoc, 1)
	var err error
	if name == "" {
		list, err = c.pipes(ctx)
	} else {
		list[0], err = c.pipe(ctx, request{method: http.MethodGet, path: []string{"pipes", name}, within: readTime})
	}
	if err != nil {
		return err
	}
	var all []lagRow
	for _, p := range list {
		all = append(all, lagRows(p)...)
	}
	return rows(c, all, lagTable(), lagRow.cells)
}

func lagTable() *table {
	return newTable("PIPE", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER")
}

func (r lagRow) cells() []any {
	return []any{r.Pipe, r.Topic, r.Partition, committedOf(r.Committed), r.End, r.Lag, r.Member}
}

func lagRows(p pipeDoc) (all []lagRow) {
	for _, q := range p.Partitions {
		all = append(all, lagRow{p.Pipe, q})
	}
	return all
}

// A changeDoc is a line of a watch.
type changeDoc struct {
	Status  *statusDoc  `json:"status,omitempty"`
	Members []memberDoc `json:"members,omitempty"`
	Pipe    *pipeDoc    `json:"pipe,omitempty"`
	Gone    string      `json:"gone,omitempty"`
	Error   string      `json:"error,omitempty"`

	line []byte // as it came
}

// watch visits what there is and what changes, until the user has seen enough, which
// is no error.
func (c *client) watch(ctx context.Context, query url.Values, visit func(changeDoc) error) error {
	err := c.stream(ctx, request{method: http.MethodGet, path: []string{"watch"}, query: query}, func(line []byte) error {
		var d changeDoc
		if err := json.Unmarshal(line, &d); err != nil {
			return c.broken(err)
		}
		if d.Error != "" {
			return fmt.Errorf("%s: %s", c.base.Redacted(), printable(d.Error))
		}
		d.line = line
		return visit(d)
	})
	if errors.Is(err, errInterrupted) {
		return nil
	}
	if err == nil {
		err = c.endedStream()
	}
	return err
}

// followLag prints the partitions that move.
func (c *client) followLag(ctx context.Context, name string) error {
	query := url.Values{"only": {"pipes"}}
	if name != "" {
		query.Set("pipe", name)
	}
	seen := map[string][]lagRow{}
	live := c.liveTable()
	return c.watch(ctx, query, func(d changeDoc) error {
		pipe := d.Gone
		if d.Pipe != nil {
			pipe = d.Pipe.Pipe
		}
		before := seen[pipe]
		delete(seen, pipe)
		var now []lagRow
		if d.Pipe != nil {
			now = lagRows(*d.Pipe)
			seen[pipe] = now
		}
		if live == nil {
			return c.moved(before, now)
		}
		t := lagTable()
		for _, p := range slices.Sorted(maps.Keys(seen)) {
			for _, r := range seen[p] {
				t.add(r.cells()...)
			}
		}
		return live.show(t)
	})
}

// moved prints the rows that are not as before, a line each.
func (c *client) moved(before, now []lagRow) error {
	for _, r := range now {
		if slices.Contains(before, r) {
			continue
		}
		if c.output == "json" {
			if err := c.json(r); err != nil {
				return err
			}
			continue
		}
		_, err := fmt.Fprintf(c.out, "%s  %s  %s/%d  committed %s  end %d  lag %d\n", clock(time.Now()), printable(r.Pipe), printable(r.Topic), r.Partition, orDash(committedOf(r.Committed)), r.End, r.Lag)
		if err != nil {
			return err
		}
	}
	return nil
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
