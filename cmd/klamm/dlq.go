package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// A letterDoc is a dead letter as klamm says it, in the order of members that
// scripts know (interface.md 1).
type letterDoc struct {
	Pipe      string    `json:"pipe"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Attempts  int       `json:"attempts"`
	Status    int       `json:"status"`
	Reason    string    `json:"reason"`
	ID        string    `json:"id"`
	Key       string    `json:"key,omitempty"`
	Bytes     int       `json:"bytes"`
	At        time.Time `json:"at"`
	Response  string    `json:"response,omitempty"`
}

// label is the name by which a letter is redriven or discarded.
func (l letterDoc) label() string { return l.ID }

// mostRows is the most that klamm lists at once.
const mostRows = 10_000

func dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "List, redrive and discard dead letters",
		Args:  cobra.NoArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(dlqListCommand(), dlqPipesCommand(), dlqRedriveCommand(), dlqDiscardCommand())
	return cmd
}

func dlqListCommand() *cobra.Command {
	var pipe, reason string
	var limit int
	cmd := asking(&cobra.Command{
		Use:     "list",
		Short:   "List the dead letters of a pipe that are neither redriven nor discarded",
		Long:    "Lists the dead letters of a pipe that are neither redriven nor discarded, with topic, partition and offset of the original record.",
		Example: "  klamm dlq list --pipe orders-to-hook\n  klamm dlq list --pipe orders-to-hook --limit 10000 -o json\n  klamm dlq list --pipe orders-to-hook --reason 'HTTP status 422'",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, args []string) error {
		name, err := needPipe(pipe, args)
		if err != nil {
			return err
		}
		if limit < 1 || limit > mostRows {
			return usage("--limit %d: want a number from 1 to %d", limit, mostRows)
		}
		return c.listLetters(ctx, name, reason, limit)
	})
	pipeFlag(cmd, &pipe, "the pipe")
	cmd.Flags().StringVar(&reason, "reason", "", "only those that were given up for this reason, word by word")
	cmd.Flags().IntVar(&limit, "limit", 1000, fmt.Sprintf("the most to list, up to %d", mostRows))
	return cmd
}

// A letterList is dead letters of a pipe, and whether there are more.
type letterList struct {
	Letters []letterDoc `json:"dead_letters"`
	More    bool        `json:"more"`
}

// mostShown is how many letters are completed: a shell has no use for more.
const mostShown = 100

// letters asks for dead letters of a pipe, those of one reason unless it is empty.
func (c *client) letters(ctx context.Context, pipe, reason string, limit int) (list letterList, err error) {
	ask := request{method: http.MethodGet, path: []string{"pipes", pipe, "dead-letters"}, query: url.Values{"limit": {strconv.Itoa(limit)}}, within: changeTime}
	if reason != "" {
		ask.query.Set("reason", reason)
	}
	err = c.call(ctx, ask, "dead_letters", &list)
	return list, err
}

func (c *client) listLetters(ctx context.Context, pipe, reason string, limit int) error {
	list, err := c.letters(ctx, pipe, reason, limit)
	if err != nil {
		return err
	}
	err = rows(c, list.Letters, newTable("LETTER", "TOPIC", "PARTITION", "OFFSET", "ATTEMPTS", "STATUS", "GIVEN UP", "KEY", "REASON"), func(l letterDoc) []any {
		return []any{l.ID, l.Topic, l.Partition, l.Offset, l.Attempts, statusOf(l.Status), clock(l.At), short(l.Key, 40), short(l.Reason, 200)}
	})
	if err == nil && list.More {
		fmt.Fprintf(c.errs, "klamm: there are more than these %d; --limit shows up to %d\n", len(list.Letters), mostRows)
	}
	return err
}

// A givingDoc is a pipe that has given records up.
type givingDoc struct {
	Pipe   string `json:"pipe"`
	State  string `json:"state"`
	Target string `json:"target"`
	Counts struct {
		DeadLettered int64 `json:"dead_lettered"`
	} `json:"counts"`
}

// mostGiving is the most pipes that klamm lists at once in an order of theirs.
const mostGiving = 1000

func dlqPipesCommand() *cobra.Command {
	var limit int
	cmd := asking(&cobra.Command{
		Use:   "pipes",
		Short: "List the pipes that have given records up",
		Long: "Lists the pipes that have given up records since they began to run in the klamm process that is asked, those that have given up\n" +
			"most first. Letters from before are still there: klamm dlq list --pipe NAME shows them.",
		Example: "  klamm dlq pipes\n  klamm dlq pipes --limit 10 -o json",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		if limit < 1 || limit > mostGiving {
			return usage("--limit %d: want a number from 1 to %d", limit, mostGiving)
		}
		var page struct {
			Pipes []givingDoc `json:"pipes"`
			Total int         `json:"total"`
		}
		query := url.Values{"sort": {"dead_lettered"}, "brief": {"true"}, "limit": {strconv.Itoa(limit)}}
		if err := c.call(ctx, request{method: http.MethodGet, path: []string{"pipes"}, query: query, within: readTime}, "pipes", &page); err != nil {
			return err
		}
		t := newTable("PIPE", "STATE", "TARGET", "GIVEN UP")
		t.paint = paintColumn(1)
		err := rows(c, page.Pipes, t, func(p givingDoc) []any { return []any{p.Pipe, p.State, p.Target, p.Counts.DeadLettered} })
		if err == nil && page.Total > len(page.Pipes) {
			fmt.Fprintf(c.errs, "klamm: these are %d of %d; --limit shows up to %d\n", len(page.Pipes), page.Total, mostGiving)
		}
		return err
	})
	cmd.Flags().IntVar(&limit, "limit", 100, fmt.Sprintf("the most to list, up to %d", mostGiving))
	return cmd
}

// lettersFlags are those that say which letters are meant.
type lettersFlags struct {
	pipe    string
	letters []string
	all     bool
}

func (l *lettersFlags) add(cmd *cobra.Command, f *clientFlags, all string) {
	f.add(cmd)
	pipeFlag(cmd, &l.pipe, "the pipe")
	cmd.Flags().StringSliceVar(&l.letters, "letter", nil, "only this letter, by its id in the list; may be given several times")
	cmd.Flags().BoolVar(&l.all, "all", false, all)
	completedFlag(cmd, "letter", func(ctx context.Context, c *client, _ string) (found []string, err error) {
		list, err := c.letters(ctx, l.pipe, "", mostShown)
		for _, one := range list.Letters {
			found = append(found, one.ID)
		}
		return found, err
	})
}

// check returns the pipe.
func (l *lettersFlags) check(cmd *cobra.Command, args []string) (string, error) {
	if l.all && len(l.letters) > 0 {
		return "", usage("give either --letter or --all")
	}
	if cmd.Flags().Changed("letter") && len(l.letters) == 0 {
		return "", usage("--letter names no letter; klamm dlq list shows their ids")
	}
	return needPipe(l.pipe, args)
}

func dlqRedriveCommand() *cobra.Command {
	var f clientFlags
	var l lettersFlags
	cmd := &cobra.Command{
		Use:   "redrive",
		Short: "Deliver dead letters once more",
		Long: "Delivers dead letters once more, all or those named, with their delivery ids, and waits until each is delivered or given up again.\n" +
			"What is delivered leaves the list; a letter that fails again comes back as a new one, and the exit status is 1. Ctrl-C ends it in\n" +
			"good order: what was not delivered stays on the list.",
		Example: "  klamm dlq redrive --pipe orders-to-hook\n  klamm dlq redrive --pipe orders-to-hook --letter 0-17 --letter 0-18",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := l.check(cmd, args)
			if err != nil {
				return err
			}
			c, ctx, err := f.open(cmd)
			if err != nil {
				return err
			}
			return failed(c.redrive(ctx, name, l.letters))
		},
	}
	l.add(cmd, &f, "all letters, as without --letter")
	return cmd
}

func (c *client) redrive(ctx context.Context, pipe string, letters []string) error {
	body := map[string]any{}
	if len(letters) > 0 {
		body["letters"] = letters
	}
	p, err := c.follow(ctx, request{method: http.MethodPost, path: []string{"pipes", pipe, "dead-letters", "redrive"}, body: body}, "letters")
	if err != nil {
		return c.stopped(p, err, "letters", "the others stay on the list")
	}
	if err := c.show(p, "%d letters delivered, %d given up again", p.Delivered, p.DeadLettered); err != nil {
		return err
	}
	switch {
	case p.DeadLettered > 0:
		return fmt.Errorf("%d of %d letters were given up again; klamm dlq list --pipe %s says why", p.DeadLettered, p.Records, pipe)
	case p.Records < distinct(letters):
		return fmt.Errorf("%d of the letters are not on the list; klamm dlq list --pipe %s shows those that are", distinct(letters)-p.Records, pipe)
	}
	return nil
}

func distinct(letters []string) int64 {
	seen := map[string]bool{}
	for _, l := range letters {
		seen[l] = true
	}
	return int64(len(seen))
}

func dlqDiscardCommand() *cobra.Command {
	var f clientFlags
	var l lettersFlags
	cmd := &cobra.Command{
		Use:   "discard",
		Short: "Take dead letters off the list without delivering them",
		Long: "Takes dead letters off the list, those named or, with --all, all of them. They stay in the dead-letter topic until its retention\n" +
			"removes them, but nothing delivers them any more.",
		Example: "  klamm dlq discard --pipe orders-to-hook --letter 0-17\n  klamm dlq discard --pipe orders-to-hook --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := l.check(cmd, args)
			if err != nil {
				return err
			}
			if !l.all && len(l.letters) == 0 {
				return usage("name the letters with --letter, or say --all; klamm dlq list shows their ids")
			}
			c, ctx, err := f.open(cmd)
			if err != nil {
				return err
			}
			return failed(c.discard(ctx, name, l))
		},
	}
	l.add(cmd, &f, "all letters")
	return cmd
}

func (c *client) discard(ctx context.Context, pipe string, l lettersFlags) error {
	body := map[string]any{"all": true}
	if !l.all {
		body = map[string]any{"letters": l.letters}
	}
	var done struct {
		Discarded int64 `json:"discarded"`
	}
	ask := request{method: http.MethodPost, path: []string{"pipes", pipe, "dead-letters", "discard"}, body: body}
	if err := c.call(ctx, ask, "discarded", &done); err != nil {
		return err
	}
	if err := c.show(done, "%d letters discarded", done.Discarded); err != nil {
		return err
	}
	if missing := distinct(l.letters) - done.Discarded; missing > 0 {
		return fmt.Errorf("%d of the letters are not on the list; klamm dlq list --pipe %s shows those that are", missing, pipe)
	}
	return nil
}
