package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A groupDoc is a consumer group in a list.
type groupDoc struct {
	Group   string   `json:"group"`
	Type    string   `json:"type"`
	State   string   `json:"state"`
	Members int      `json:"members"`
	Lag     int64    `json:"lag"`
	Topics  []string `json:"topics"`
}

// A groupShown is a group with its members and partitions.
type groupShown struct {
	Group       string              `json:"group"`
	Type        string              `json:"type"`
	State       string              `json:"state"`
	Assignor    string              `json:"assignor"`
	Coordinator int32               `json:"coordinator"`
	Lag         int64               `json:"lag"`
	Members     []groupMemberDoc    `json:"members"`
	Partitions  []groupPartitionDoc `json:"partitions"`
}

type groupMemberDoc struct {
	ID         string           `json:"id"`
	InstanceID string           `json:"instance_id,omitempty"`
	ClientID   string           `json:"client_id"`
	Host       string           `json:"host"`
	Partitions []memberPosition `json:"partitions"`
}

// A groupPartitionDoc is how far a group is on a partition; nil is not known.
type groupPartitionDoc struct {
	Topic      string   `json:"topic"`
	Partition  int32    `json:"partition"`
	Committed  *int64   `json:"committed"`
	End        *int64   `json:"end"`
	Lag        *int64   `json:"lag"`
	LagSeconds *float64 `json:"lag_seconds"`
	Holder     string   `json:"holder,omitempty"`
}

type groupMoveDoc struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      *int64 `json:"from"`
	To        int64  `json:"to"`
	Lag       int64  `json:"lag"`
}

func groupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "group",
		Short:   "List and show consumer groups, and have them go on elsewhere",
		Example: "  klamm group list\n  klamm group lag billing",
		Args:    cobra.NoArgs,
		RunE:    needSubcommand,
	}
	cmd.AddCommand(groupListCommand(), groupShowCommand(), groupLagCommand(), groupResetCommand(), groupDeleteCommand())
	return cmd
}

// oneGroup is the rule of a command whose only argument is a group.
func oneGroup(_ *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" || len(args[0]) > 255 {
		return usage("give the consumer group; klamm group list shows the groups there are")
	}
	return nil
}

// groups visits the groups whose names begin so, page by page.
func (c *client) groups(ctx context.Context, prefix string, visit func(groupDoc)) error {
	query := url.Values{"limit": {"500"}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	for {
		var page struct {
			Groups []groupDoc `json:"groups"`
			Next   string     `json:"next"`
		}
		if err := c.call(ctx, request{method: http.MethodGet, path: []string{"groups"}, query: query, within: readTime}, "groups", &page); err != nil {
			return err
		}
		for _, g := range page.Groups {
			visit(g)
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

// group asks for all that is known of a group.
func (c *client) group(ctx context.Context, name string) (g groupShown, err error) {
	return g, c.call(ctx, request{method: http.MethodGet, path: []string{"groups", name}, within: readTime}, "partitions", &g)
}

func groupNames(ctx context.Context, c *client, begin string) (found []string, err error) {
	err = c.groups(ctx, begin, func(g groupDoc) { found = append(found, g.Group) })
	return found, err
}

func groupListCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:     "list [PREFIX]",
		Short:   "List the consumer groups, all or those whose names begin so",
		Long:    "Lists the consumer groups that you may see, by name, with their lag: the records on all partitions that are still to be read.",
		Example: "  klamm group list\n  klamm group list klamm- -o json\n  klamm group list --query '[?lag > `1000`].group' -o name",
		Args:    cobra.MaximumNArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		var all []groupDoc
		if err := c.groups(ctx, strings.Join(args, ""), func(g groupDoc) { all = append(all, g) }); err != nil {
			return err
		}
		return rows(c, all, newTable("GROUP", "STATE", "MEMBERS", "LAG", "TOPICS"), func(g groupDoc) []any {
			return []any{g.Group, g.State, g.Members, g.Lag, short(strings.Join(g.Topics, ","), 60)}
		})
	})
}

func groupShowCommand() *cobra.Command {
	return completed(asking(&cobra.Command{
		Use:     "show GROUP",
		Short:   "Show a consumer group: its members, and how far it is on each partition",
		Example: "  klamm group show billing\n  klamm group show billing -o json",
		Args:    oneGroup,
	}, func(ctx context.Context, c *client, args []string) error {
		g, err := c.group(ctx, args[0])
		if err != nil {
			return err
		}
		if c.output == "json" {
			return c.json(g)
		}
		t := &table{}
		t.add("group", g.Group)
		t.add("state", g.State)
		t.add("type", strings.TrimSpace(g.Type+" "+g.Assignor))
		t.add("coordinator", fmt.Sprintf("broker %d", g.Coordinator))
		t.add("lag", g.Lag)
		if err := t.write(c.out); err != nil {
			return err
		}
		if len(g.Members) > 0 {
			fmt.Fprintln(c.out)
			t := newTable("MEMBER", "CLIENT", "HOST", "PARTITIONS")
			for _, m := range g.Members {
				t.add(m.ID, m.ClientID, m.Host, len(m.Partitions))
			}
			if err := t.write(c.out); err != nil {
				return err
			}
		}
		if len(g.Partitions) == 0 {
			return nil
		}
		fmt.Fprintln(c.out)
		return groupLagTable(g.Partitions).write(c.out)
	}), groupNames)
}

// known formats a number that may not be known.
func known(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

func groupLagTable(partitions []groupPartitionDoc) *table {
	t := newTable("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "HOLDER")
	for _, p := range partitions {
		t.add(lagCells(p)...)
	}
	return t
}

func lagCells(p groupPartitionDoc) []any {
	behind := ""
	if p.LagSeconds != nil {
		behind = time.Duration(*p.LagSeconds * float64(time.Second)).Round(time.Second).String()
	}
	return []any{p.Topic, p.Partition, known(p.Committed), known(p.End), known(p.Lag), behind, p.Holder}
}

func groupLagCommand() *cobra.Command {
	var follow bool
	cmd := asking(&cobra.Command{
		Use:   "lag GROUP",
		Short: "Show how far a consumer group is behind on each partition",
		Long: "Shows for each partition how many records a group has still to read, and how long ago the first of them was written (BEHIND). With\n" +
			"--follow it goes on every two seconds until Ctrl-C: a table that is kept up to date on a terminal, else lines for what has changed.",
		Example: "  klamm group lag billing\n  klamm group lag billing --follow\n  klamm group lag billing -o json",
		Args:    oneGroup,
	}, func(ctx context.Context, c *client, args []string) error {
		live := c.liveTable()
		var before []string
		for {
			g, err := c.group(ctx, args[0])
			switch {
			case errors.Is(err, errInterrupted) && before != nil:
				return nil
			case err != nil:
				return err
			case !follow:
				return rows(c, g.Partitions, newTable("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "BEHIND", "HOLDER"), lagCells)
			case live != nil:
				err = live.show(groupLagTable(g.Partitions))
			default:
				err = c.lagChanges(g.Partitions, &before)
			}
			if err != nil {
				return err
			}
			if before == nil {
				before = []string{}
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(2 * time.Second):
			}
		}
	})
	cmd.Flags().BoolVar(&follow, "follow", false, "go on until Ctrl-C")
	return completed(cmd, groupNames)
}

// lagChanges prints the partitions that are not as before, a line each.
func (c *client) lagChanges(partitions []groupPartitionDoc, before *[]string) error {
	now := []string{}
	for _, p := range partitions {
		line := fmt.Sprintf("%s/%d  committed %s  end %s  lag %s", printable(p.Topic), p.Partition, orDash(known(p.Committed)), orDash(known(p.End)), orDash(known(p.Lag)))
		now = append(now, line)
		if slices.Contains(*before, line) {
			continue
		}
		var err error
		if c.output == "json" {
			err = c.json(p)
		} else {
			_, err = fmt.Fprintf(c.out, "%s  %s\n", clock(time.Now()), line)
		}
		if err != nil {
			return err
		}
	}
	*before = now
	return nil
}

func groupResetCommand() *cobra.Command {
	var topics []string
	var to string
	var partitions []int
	var dryRun, execute bool
	cmd := asking(&cobra.Command{
		Use:     "reset GROUP",
		Aliases: []string{"seek"},
		Short:   "Have a consumer group go on elsewhere; a dry run unless --execute is given",
		Long: "Says where a consumer group goes on in a topic or, with --execute, has it go on there. The group must have no members. --to is\n" +
			"beginning, end, an offset, a time, how long ago (15m, 1h, 7d), or a shift such as +10 or -10. Without --topic it is all topics where\n" +
			"the group has committed offsets.",
		Example: "  klamm group reset billing --topic orders --to 2026-01-31T12:00:00Z\n" +
			"  klamm group reset billing --topic orders --partitions 0,3 --to -100 --execute\n" +
			"  klamm group reset billing --to beginning --execute",
		Args: oneGroup,
	}, func(ctx context.Context, c *client, args []string) error {
		switch {
		case dryRun && execute:
			return usage("give either --dry-run or --execute")
		case to == "":
			return usage("give where to go on with --to")
		case len(topics) == 0 && len(partitions) > 0:
			return usage("--partitions are those of one --topic")
		}
		for _, t := range topics {
			if err := checkTopic(t); err != nil {
				return err
			}
		}
		where, err := groupTarget(to)
		if err != nil {
			return err
		}
		if len(topics) == 0 {
			if topics, err = c.topicsOf(ctx, args[0]); err != nil {
				return err
			}
		}
		var moves []groupMoveDoc
		for _, t := range topics {
			body := map[string]any{"topic": t, "to": where, "dry_run": !execute}
			if len(partitions) > 0 {
				body["partitions"] = partitions
			}
			var answer struct {
				Moves []groupMoveDoc `json:"moves"`
			}
			if err := c.call(ctx, request{method: http.MethodPost, path: []string{"groups", args[0], "seek"}, body: body, within: changeTime}, "moves", &answer); err != nil {
				if len(moves) > 0 && execute {
					err = fmt.Errorf("%w; the topics before %s are done", err, t)
				}
				return err
			}
			moves = append(moves, answer.Moves...)
		}
		if err := rows(c, moves, newTable("TOPIC", "PARTITION", "FROM", "TO", "LAG"), func(m groupMoveDoc) []any {
			return []any{m.Topic, m.Partition, known(m.From), m.To, m.Lag}
		}); err != nil {
			return err
		}
		if !execute {
			fmt.Fprintln(c.errs, "Nothing was moved: this was a dry run; --execute does it.")
		}
		return nil
	})
	flags := cmd.Flags()
	flags.StringArrayVarP(&topics, "topic", "t", nil, "the topic; may be given again")
	flags.IntSliceVarP(&partitions, "partitions", "p", nil, "only these partitions, such as 0,3")
	flags.StringVar(&to, "to", "", "where to go on")
	flags.BoolVar(&dryRun, "dry-run", false, "only say what would be done; as without it")
	flags.BoolVar(&execute, "execute", false, "do it")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"beginning", "end", "15m", "1h", "1d"}, cobra.ShellCompDirectiveNoFileComp))
	completedFlag(cmd, "topic", topicNames)
	return completed(cmd, groupNames)
}

// groupTarget is where to go on, as the API has it.
func groupTarget(text string) (string, error) {
	switch text {
	case "beginning", "earliest":
		return "beginning", nil
	case "end", "latest":
		return "end", nil
	}
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return text, nil
	}
	at, err := parseTime("--to", strings.TrimPrefix(text, "-"), time.Now())
	if err != nil {
		return "", usage("--to %q: want beginning, end, an offset, a time, how long ago, or a shift such as +10 or -10", printable(text))
	}
	return at.UTC().Format(time.RFC3339Nano), nil
}

// topicsOf are the topics where a group has committed offsets.
func (c *client) topicsOf(ctx context.Context, group string) ([]string, error) {
	g, err := c.group(ctx, group)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, p := range g.Partitions {
		if p.Committed != nil && !slices.Contains(all, p.Topic) {
			all = append(all, p.Topic)
		}
	}
	if all == nil {
		return nil, fmt.Errorf("consumer group %s has committed nothing; name topics with --topic", printable(group))
	}
	return all, nil
}

func groupDeleteCommand() *cobra.Command {
	return completed(asking(&cobra.Command{
		Use:     "delete GROUP",
		Short:   "Delete a consumer group with its offsets",
		Long:    "Deletes a consumer group that has no members, with the offsets it has committed, for good.",
		Example: "  klamm group delete billing",
		Args:    oneGroup,
	}, func(ctx context.Context, c *client, args []string) error {
		var a struct {
			Group   string `json:"group"`
			Deleted bool   `json:"deleted"`
		}
		if err := c.call(ctx, request{method: http.MethodDelete, path: []string{"groups", args[0]}, within: changeTime}, "deleted", &a); err != nil {
			return err
		}
		return c.show(a, "consumer group %s is deleted", printable(a.Group))
	}), groupNames)
}
