package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// A deliveryDoc is what the delivery log says of a delivery, in the order of
// members that scripts know (interface.md 1).
type deliveryDoc struct {
	ID        string    `json:"delivery_id"`
	Pipe      string    `json:"pipe"`
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Attempts  int       `json:"attempts"`
	Status    int       `json:"status"`
	Last      int64     `json:"last_offset"`
	Count     int       `json:"count"`
	Outcome   string    `json:"outcome"`
	Next      time.Time `json:"next,omitzero"`
	At        time.Time `json:"at"`
}

// A deliveryShown is one delivery with the attempts that the log has kept.
type deliveryShown struct {
	deliveryDoc
	Kept []attemptDoc `json:"attempts"`
}

type attemptDoc struct {
	Number   int       `json:"attempt"`
	At       time.Time `json:"at"`
	Status   int       `json:"status"`
	Error    string    `json:"error,omitempty"`
	Response string    `json:"response,omitempty"`
	Took     float64   `json:"took_ms"`
	DNS      float64   `json:"dns_ms,omitempty"`
	Connect  float64   `json:"connect_ms,omitempty"`
	TLS      float64   `json:"tls_ms,omitempty"`
	Wait     float64   `json:"wait_ms,omitempty"`
	Next     time.Time `json:"next,omitzero"`
}

func deliveryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delivery",
		Short: "Look into the delivery log, and deliver once more",
		Args:  cobra.NoArgs,
		RunE:  needSubcommand,
	}
	cmd.AddCommand(deliveryListCommand(), deliveryShowCommand(), deliveryRetryCommand(), deliveryTailCommand())
	return cmd
}

const logHelp = "The log keeps what delivery.log of the pipe says (failed attempts by default) for seven days."

func deliveryListCommand() *cobra.Command {
	var pipe, since, outcome string
	var limit int
	cmd := asking(&cobra.Command{
		Use:     "list",
		Short:   "List the newest deliveries of a pipe",
		Long:    "Lists the newest deliveries of a pipe that the delivery log knows, the newest first. " + logHelp,
		Example: "  klamm delivery list --pipe orders-to-hook --since 15m\n  klamm delivery list --pipe orders-to-hook --since 7d --limit 1000 -o json",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, args []string) error {
		name, err := needPipe(pipe, args)
		if err != nil {
			return err
		}
		if limit < 1 || limit > mostRows {
			return usage("--limit %d: want a number from 1 to %d", limit, mostRows)
		}
		from, err := parseTime("--since", since, time.Now())
		if err != nil {
			return &exitError{2, err}
		}
		query := url.Values{"pipe": {name}, "since": {from.UTC().Format(time.RFC3339Nano)}, "limit": {strconv.Itoa(limit)}}
		if outcome != "" {
			query.Set("outcome", outcome)
		}
		return c.listDeliveries(ctx, query)
	})
	pipeFlag(cmd, &pipe, "the pipe")
	cmd.Flags().StringVar(&since, "since", "1d", "from which time on: how long ago (15m, 1h, 7d) or an RFC 3339 time")
	cmd.Flags().StringVar(&outcome, "outcome", "", "only those that are delivered, failed or dead_lettered")
	cmd.Flags().IntVar(&limit, "limit", 100, fmt.Sprintf("the most to list, up to %d", mostRows))
	return cmd
}

func (c *client) listDeliveries(ctx context.Context, query url.Values) error {
	var list struct {
		Deliveries []deliveryDoc `json:"deliveries"`
	}
	if err := c.call(ctx, request{method: http.MethodGet, path: []string{"deliveries"}, query: query, within: changeTime}, "deliveries", &list); err != nil {
		return err
	}
	t := newTable("DELIVERY", "TOPIC", "PARTITION", "OFFSET", "ATTEMPTS", "STATUS", "OUTCOME", "LAST ATTEMPT", "NEXT")
	t.paint = paintColumn(6)
	return rows(c, list.Deliveries, t, func(d deliveryDoc) []any {
		return []any{d.ID, d.Topic, d.Partition, d.Offset, d.Attempts, statusOf(d.Status), d.Outcome, clock(d.At), clock(d.Next)}
	})
}

func deliveryShowCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:     "show ID",
		Short:   "Show a delivery with its attempts",
		Long:    "Shows a delivery with the attempts that the delivery log has kept. Its id is what the receiver gets as Klamm-Delivery-Id.\n" + logHelp,
		Example: "  klamm delivery show orders-to-hook:orders:0:17:1a2b3c4d",
		Args:    cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		id, err := deliveryID(args[0])
		if err != nil {
			return err
		}
		var d deliveryShown
		if err := c.call(ctx, request{method: http.MethodGet, path: []string{"deliveries", id}, within: changeTime}, "delivery_id", &d); err != nil {
			return err
		}
		return c.showDelivery(d)
	})
}

// deliveryID checks an argument.
func deliveryID(text string) (string, error) {
	if text == "" || len(text) > 1024 || text == "." || text == ".." {
		return "", usage("%q is no delivery id; klamm delivery list shows them", short(printable(text), 100))
	}
	return text, nil
}

func (c *client) showDelivery(d deliveryShown) error {
	if c.output == "json" {
		return c.json(d)
	}
	t := &table{paint: paintColumn(1)}
	t.add("delivery", d.ID)
	t.add("pipe", d.Pipe)
	t.add("record", fmt.Sprintf("%s/%d at offset %d", d.Topic, d.Partition, d.Offset))
	if d.Count > 1 {
		t.add("batch", fmt.Sprintf("%d records up to offset %d", d.Count, d.Last))
	}
	t.add("outcome", d.Outcome)
	if !d.Next.IsZero() {
		t.add("next", clock(d.Next))
	}
	if err := t.write(c.out); err != nil {
		return err
	}
	fmt.Fprintln(c.out)
	t = newTable("ATTEMPT", "TIME", "STATUS", "TOOK", "DNS", "CONNECT", "TLS", "WAIT", "ERROR", "RESPONSE")
	for _, a := range d.Kept {
		t.add(a.Number, clock(a.At), statusOf(a.Status), millis(a.Took), millis(a.DNS), millis(a.Connect), millis(a.TLS), millis(a.Wait), short(a.Error, 200), short(a.Response, 200))
	}
	return t.write(c.out)
}

// millis formats a duration; what a target does not tell is nothing.
func millis(ms float64) string {
	if ms == 0 {
		return ""
	}
	return fmt.Sprintf("%.1fms", ms)
}

func deliveryRetryCommand() *cobra.Command {
	return asking(&cobra.Command{
		Use:   "retry ID",
		Short: "Deliver the records of a delivery once more",
		Long: "Delivers the records of a delivery once more, with the same delivery id, and waits until they are delivered or given up, as the\n" +
			"pipe's attempts say. The exit status is 1 if they are given up. Ctrl-C ends it.",
		Example: "  klamm delivery retry orders-to-hook:orders:0:17:1a2b3c4d",
		Args:    cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client, args []string) error {
		id, err := deliveryID(args[0])
		if err != nil {
			return err
		}
		return c.retry(ctx, id)
	})
}

func (c *client) retry(ctx context.Context, id string) error {
	var p progressDoc
	err := c.call(ctx, request{method: http.MethodPost, path: []string{"deliveries", id, "retry"}}, "records", &p)
	if errors.Is(err, errInterrupted) {
		return fmt.Errorf("%w; an attempt that was under way is still finished, and none follows", err)
	}
	if err != nil {
		return err
	}
	p.Finished = true
	if err := c.show(p, "%d records delivered, %d given up", p.Delivered, p.DeadLettered); err != nil {
		return err
	}
	if p.DeadLettered > 0 {
		return fmt.Errorf("%d of %d records were given up; klamm delivery show %s says why", p.DeadLettered, p.Records, printable(id))
	}
	return nil
}

func deliveryTailCommand() *cobra.Command {
	var pipe string
	cmd := asking(&cobra.Command{
		Use:     "tail",
		Short:   "Follow the delivery log",
		Long:    "Prints attempts as they are logged, of one pipe or of all, until Ctrl-C. " + logHelp,
		Example: "  klamm delivery tail --pipe orders-to-hook\n  klamm delivery tail -o json",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		query := url.Values{}
		if c.cmd.Flags().Changed("pipe") {
			name, err := needPipe(pipe, nil)
			if err != nil {
				return err
			}
			query.Set("pipe", name)
		}
		return c.tail(ctx, query)
	})
	pipeFlag(cmd, &pipe, "only of this pipe")
	return cmd
}

// tail prints attempts until the user has seen enough, which is no error.
func (c *client) tail(ctx context.Context, query url.Values) error {
	err := c.stream(ctx, request{method: http.MethodGet, path: []string{"deliveries", "tail"}, query: query}, func(line []byte) error {
		var l struct {
			deliveryDoc
			Attempt attemptDoc `json:"attempt"`
			Error   string     `json:"error"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return c.broken(err)
		}
		if l.ID == "" {
			return fmt.Errorf("%s: %s", c.base.Redacted(), printable(l.Error))
		}
		if c.output == "json" {
			return c.json(json.RawMessage(line))
		}
		status := statusOf(l.Attempt.Status)
		if status == "" {
			status = "-"
		}
		_, err := fmt.Fprintf(c.out, "%s  %s  #%d  %s  %s  %s%s\n", clock(l.Attempt.At), printable(l.ID), l.Attempt.Number, status, printable(l.Outcome),
			millis(l.Attempt.Took), prefixed("  ", short(printable(l.Attempt.Error), 200)))
		return err
	})
	if errors.Is(err, errInterrupted) {
		return nil
	}
	if err == nil {
		err = c.endedStream()
	}
	return err
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
