package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A pipeDoc is what klamm says of a pipe.
type pipeDoc struct {
	Pipe       string         `json:"pipe"`
	Topics     []string       `json:"topics"`
	Group      string         `json:"group"`
	Target     string         `json:"target"`
	State      string         `json:"state"`
	Reason     string         `json:"reason,omitempty"`
	Missing    []string       `json:"missing_topics,omitempty"`
	Since      time.Time      `json:"since,omitzero"`
	Members    int            `json:"members"`
	Consumers  int            `json:"consumers,omitempty"`
	Wanted     int            `json:"consumers_wanted,omitempty"`
	Limited    bool           `json:"limited,omitempty"`
	Lag        int64          `json:"lag"`
	Partitions []partitionDoc `json:"partitions"`
}

type partitionDoc struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
}

// A lagRow is a partition with its pipe.
type lagRow struct {
	Pipe string `json:"pipe"`
	partitionDoc
}

// A moveDoc is what a seek does to a partition.
type moveDoc struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Records   int64  `json:"records"`
}

func pipeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "pipe",
		Short:   "Look at pipes, make, change, pause and move them",
		Example: "  klamm pipe list\n  klamm pipe lag orders-to-hook --follow",
		Args:    cobra.NoArgs,
		RunE:    needSubcommand,
	}
	cmd.AddCommand(pipeListCommand(), pipeShowCommand(), pipeLagCommand(), pipeTailCommand(), pipeCreateCommand(), pipeEditCommand(), pipeDeleteCommand(), pipePauseCommand(), pipeResumeCommand(), pipeSeekCommand())
	return cmd
}

// pipes asks for all pipes.
func (c *client) pipes(ctx context.Context) ([]pipeDoc, error) {
	return list[pipeDoc](ctx, c, "pipes")
}

// pipe asks for something that one pipe is the answer to.
func (c *client) pipe(ctx context.Context, r request) (p pipeDoc, err error) {
	err = c.call(ctx, r, "pipe", &p)
	return p, err
}

// onePipe makes a command for one pipe, which is named by --pipe or as the only
// argument.
func onePipe(cmd *cobra.Command, run func(ctx context.Context, c *client, pipe string) error) *cobra.Command {
	var pipe string
	cmd.Use += " PIPE"
	cmd.Args = cobra.MaximumNArgs(1)
	asking(cmd, func(ctx context.Context, c *client, args []string) error {
		name, err := needPipe(pipe, args)
		if err != nil {
			return err
		}
		return run(ctx, c, name)
	})
	pipeFlag(cmd, &pipe, "the pipe, instead of the argument")
	return completed(cmd, pipeNames)
}

func pipeListCommand() *cobra.Command {
	return listing("List the pipes, what they do and how far they lag", "  klamm pipe list\n  klamm pipe list -o json", (*client).pipes, pipeTable, pipeRow)
}

func pipeTable() *table {
	t := newTable("PIPE", "STATE", "LAG", "MEMBERS", "TARGET", "TOPICS", "REASON")
	t.paint = paintColumn(1)
	return t
}

func pipeRow(p pipeDoc) []any {
	return []any{p.Pipe, p.State, p.Lag, p.Members, p.Target, strings.Join(p.Topics, ","), p.Reason}
}

func pipeShowCommand() *cobra.Command {
	return onePipe(&cobra.Command{
		Use:     "show",
		Short:   "Show how far a pipe is in each partition",
		Example: "  klamm pipe show orders-to-hook",
	}, func(ctx context.Context, c *client, pipe string) error {
		p, err := c.pipe(ctx, request{method: http.MethodGet, path: []string{"pipes", pipe}, within: readTime})
		if err != nil {
			return err
		}
		return c.showPipe(p)
	})
}

// showPipe prints all that is known of a pipe.
func (c *client) showPipe(p pipeDoc) error {
	if c.output == "json" {
		return c.json(p)
	}
	t := &table{paint: paintColumn(1)}
	for _, line := range [][2]any{{"pipe", p.Pipe}, {"state", p.State}, {"reason", p.Reason}, {"since", clock(p.Since)}, {"topics", strings.Join(p.Topics, ",")},
		{"group", p.Group}, {"target", p.Target}, {"members", p.Members}, {"consumers", consumersOf(p)}, {"lag", p.Lag}} {
		if line[1] != "" {
			t.add(line[0], line[1])
		}
	}
	if err := t.write(c.out); err != nil || len(p.Partitions) == 0 {
		return err
	}
	fmt.Fprintln(c.out)
	t = newTable("TOPIC", "PARTITION", "COMMITTED", "START", "END", "LAG", "MEMBER")
	for _, q := range p.Partitions {
		t.add(q.Topic, q.Partition, committedOf(q.Committed), q.Start, q.End, q.Lag, q.Member)
	}
	return t.write(c.out)
}

// consumersOf says how many read for a pipe and how many should; empty where it
// does not run.
func consumersOf(p pipeDoc) string {
	switch {
	case p.Wanted == 0:
		return ""
	case p.Limited:
		return fmt.Sprintf("%d, limited to %d: the target is overloaded", p.Consumers, p.Wanted)
	}
	return fmt.Sprintf("%d, wanted %d", p.Consumers, p.Wanted)
}

// committedOf formats a committed offset; -1 means that there is none.
func committedOf(offset int64) string {
	if offset < 0 {
		return ""
	}
	return fmt.Sprint(offset)
}

func pipePauseCommand() *cobra.Command {
	var reason string
	cmd := onePipe(&cobra.Command{
		Use:     "pause",
		Short:   "Stop a pipe in all processes until it is resumed",
		Long:    "Stops a pipe in all processes, within seconds: deliveries under way end and are committed. It stays paused over restarts.",
		Example: "  klamm pipe pause orders-to-hook --reason 'the receiver is being moved'",
	}, func(ctx context.Context, c *client, pipe string) error {
		p, err := c.pipe(ctx, request{method: http.MethodPost, path: []string{"pipes", pipe, "pause"}, body: map[string]string{"reason": reason}, within: changeTime})
		if err != nil {
			return err
		}
		why := ""
		if p.Reason != "" {
			why = ": " + printable(p.Reason)
		}
		return c.show(p, "pipe %s is %s%s", p.Pipe, printable(p.State), why)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at it later")
	return cmd
}

func pipeResumeCommand() *cobra.Command {
	return onePipe(&cobra.Command{
		Use:     "resume",
		Short:   "Let a pipe run again that is paused or halted",
		Example: "  klamm pipe resume orders-to-hook",
	}, func(ctx context.Context, c *client, pipe string) error {
		p, err := c.pipe(ctx, request{method: http.MethodPost, path: []string{"pipes", pipe, "resume"}, within: changeTime})
		if err != nil {
			return err
		}
		return c.show(p, "pipe %s is %s", p.Pipe, printable(p.State))
	})
}

func pipeSeekCommand() *cobra.Command {
	var to string
	var dryRun, execute bool
	cmd := onePipe(&cobra.Command{
		Use:   "seek",
		Short: "Say where a pipe that is paused or halted shall go on",
		Long: "Moves the committed offsets of a pipe. It must be paused, or have halted by itself; one that had halted runs again afterwards,\n" +
			"a paused one when it is resumed. What it passes over is not delivered, what it goes back to is delivered again. A dry run says\n" +
			"what would be moved, also while the pipe is running.",
		Example: "  klamm pipe seek orders-to-hook --to 2026-01-31T12:00:00Z --dry-run\n" +
			"  klamm pipe seek orders-to-hook --to orders/0=17,orders/1=4 --execute",
	}, func(ctx context.Context, c *client, pipe string) error {
		var moved struct {
			Moves []moveDoc `json:"moves"`
		}
		ask := request{method: http.MethodPost, path: []string{"pipes", pipe, "seek"}, body: map[string]any{"to": pipeTarget(to, time.Now()), "dry_run": dryRun}, within: changeTime}
		if err := c.call(ctx, ask, "moves", &moved); err != nil {
			return err
		}
		if err := rows(c, moved.Moves, newTable("TOPIC", "PARTITION", "FROM", "TO", "RECORDS"), func(m moveDoc) []any {
			return []any{m.Topic, m.Partition, committedOf(m.From), m.To, fmt.Sprintf("%+d", m.Records)}
		}); err != nil || c.output == "json" {
			return err
		}
		last := "\nRecords are offsets that are delivered again, below zero passed over."
		if dryRun {
			last += " Nothing was moved: this was a dry run."
		}
		_, err := fmt.Fprintln(c.out, last)
		return err
	})
	cmd.Flags().StringVar(&to, "to", "", "earliest, latest, an RFC 3339 time, how long ago (15m, 1h, 7d), or TOPIC/PARTITION=OFFSET,...")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"earliest", "latest", "15m", "1h", "1d"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be moved")
	cmd.Flags().BoolVar(&execute, "execute", false, "move")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if to == "" {
			return usage("say where to with --to: earliest, latest, an RFC 3339 time, how long ago (15m, 1h, 7d), or TOPIC/PARTITION=OFFSET,...")
		}
		if err := oneOf(dryRun, execute); err != nil {
			return err
		}
		return run(cmd, args)
	}
	return cmd
}

// pipeTarget is where a pipe is to go as the API has it: klamm group's words and how long
// ago become its words and times, and everything else is for the API to judge.
func pipeTarget(text string, now time.Time) string {
	switch text {
	case "beginning":
		return "earliest"
	case "end":
		return "latest"
	}
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return text
	}
	if at, err := parseTime("--to", text, now); err == nil {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return text
}
