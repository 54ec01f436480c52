package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/rule"
)

// A replayCall is one call of klamm replay.
type replayCall struct {
	flags           clientFlags
	pipe            string
	from, to, where string
	rate            int
	dryRun, execute bool
}

func replayCommand() *cobra.Command {
	var call replayCall
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Deliver the records of a span of time once more",
		Long: "Delivers the records with timestamps from one time on and before another once more, by the pipe's filter, transform, order and\n" +
			"target, and with their delivery ids. The pipe goes on meanwhile, and its committed offsets stay where they are. A dry run counts\n" +
			"the records and delivers nothing. Ctrl-C ends a replay in good order. The exit status is 1 if a record is given up.",
		Example: "  klamm replay --pipe orders-to-hook --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --dry-run\n" +
			`  klamm replay --pipe orders-to-hook --from 3h --to 1h --where '{"value":{"kind":["refund"]}}' --execute --rate 100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return failed(call.run(cmd)) },
	}
	call.flags.add(cmd)
	pipeFlag(cmd, &call.pipe, "the pipe")
	flags := cmd.Flags()
	flags.StringVar(&call.from, "from", "", "from which time on: RFC 3339, or how long ago (15m, 1h, 7d)")
	flags.StringVar(&call.to, "to", "", "before which time, as --from")
	flags.StringVar(&call.where, "where", "", "DOC: an event pattern beside the pipe's filter, inline, as @FILE, or - for standard input")
	flags.IntVar(&call.rate, "rate", 0, "the most records a second; 0 is without limit")
	flags.BoolVar(&call.dryRun, "dry-run", false, "only count the records")
	flags.BoolVar(&call.execute, "execute", false, "deliver them")
	return cmd
}

// body checks the flags and makes the request of them.
func (r *replayCall) body(cmd *cobra.Command) (map[string]any, error) {
	if err := oneOf(r.dryRun, r.execute); err != nil {
		return nil, err
	}
	if r.from == "" || r.to == "" {
		return nil, usage("give the span of time with --from and --to")
	}
	now := time.Now()
	from, err := parseTime("--from", r.from, now)
	if err != nil {
		return nil, &exitError{2, err}
	}
	to, err := parseTime("--to", r.to, now)
	if err != nil {
		return nil, &exitError{2, err}
	}
	switch {
	case !from.Before(to):
		return nil, usage("--from must be before --to")
	case r.rate < 0:
		return nil, usage("--rate %d: want a number of records a second, or 0 for no limit", r.rate)
	}
	body := map[string]any{"from": from.UTC().Format(time.RFC3339Nano), "to": to.UTC().Format(time.RFC3339Nano), "rate": r.rate, "dry_run": r.dryRun}
	if cmd.Flags().Changed("where") {
		pattern, err := documentFlag(cmd, "--where", r.where)
		if err != nil {
			return nil, &exitError{2, err}
		}
		if _, err := rule.CompileRecord(pattern); err != nil {
			return nil, usage("--where: %s", printable(err.Error()))
		}
		body["where"] = json.RawMessage(bytes.TrimSpace(pattern))
	}
	return body, nil
}

func (r *replayCall) run(cmd *cobra.Command) error {
	body, err := r.body(cmd)
	if err != nil {
		return err
	}
	pipe, err := needPipe(r.pipe, nil)
	if err != nil {
		return err
	}
	c, ctx, err := r.flags.open(cmd)
	if err != nil {
		return err
	}
	ask := request{method: http.MethodPost, path: []string{"pipes", pipe, "replay"}, body: body}
	if r.dryRun {
		return c.countReplay(ctx, ask)
	}
	p, err := c.follow(ctx, ask, "records")
	if err != nil {
		return c.stopped(p, err, "records", "a replay of the same time delivers them again")
	}
	if err := c.show(p, "%d records delivered, %d given up", p.Delivered, p.DeadLettered); err != nil {
		return err
	}
	if p.DeadLettered > 0 {
		return fmt.Errorf("%d of %d records were given up; klamm dlq list --pipe %s says why", p.DeadLettered, p.Records, pipe)
	}
	return nil
}

// countReplay is the dry run.
func (c *client) countReplay(ctx context.Context, ask request) error {
	var counted struct {
		Records *int64 `json:"records"`
		Error   string `json:"error,omitempty"`
	}
	err := c.stream(ctx, ask, func(line []byte) error {
		if err := json.Unmarshal(line, &counted); err != nil {
			return c.broken(err)
		}
		if counted.Error != "" {
			return fmt.Errorf("%s: %s", c.base.Redacted(), printable(counted.Error))
		}
		return nil
	})
	if err == nil && counted.Records == nil {
		err = c.broken(errors.New("it has no number of records"))
	}
	if err != nil {
		return err
	}
	return c.show(counted, "%d records would be delivered", *counted.Records)
}
