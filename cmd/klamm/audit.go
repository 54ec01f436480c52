package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// auditPause is how often a tail of the audit log looks.
const auditPause = 2 * time.Second

// An auditDoc is a line of the audit log.
type auditDoc struct {
	Time      time.Time `json:"time"`
	Decision  string    `json:"decision"`
	Principal string    `json:"principal,omitempty"`
	Scheme    string    `json:"scheme,omitempty"`
	Source    string    `json:"source,omitempty"`
	Action    string    `json:"action,omitempty"`
	Resource  string    `json:"resource,omitempty"`
	Policy    string    `json:"policy,omitempty"`
	Statement int       `json:"statement,omitempty"`
	Sid       string    `json:"sid,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Method    string    `json:"method,omitempty"`
	Path      string    `json:"path,omitempty"`
}

// An auditAsk says which lines are wanted.
type auditAsk struct {
	from, who, act string
	limit          int
}

func (a *auditAsk) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&a.who, "who", "", "only callers whose name or address has this in it")
	flags.StringVar(&a.act, "act", "", "only lines whose action, resource, path or decision has this in it")
}

// query is the ask as the API has it.
func (a *auditAsk) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	for name, value := range map[string]string{"who": a.who, "act": a.act} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if a.from != "" {
		at, err := parseTime("--from", a.from, now)
		if err != nil {
			return nil, &exitError{2, err}
		}
		q.Set("from", at.UTC().Format(time.RFC3339Nano))
	}
	if a.limit < 0 {
		return nil, usage("--limit %d: want a number from 1", a.limit)
	}
	if a.limit > 0 {
		q.Set("limit", strconv.Itoa(a.limit))
	}
	return q, nil
}

func auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show the log of refusals and administrative acts",
		Args:  cobra.NoArgs, Example: "  klamm audit list --from 1h",
		RunE: needSubcommand,
	}
	cmd.AddCommand(auditListCommand(), auditTailCommand())
	return cmd
}

// audited asks for lines of the log, the latest first.
func (c *client) audited(ctx context.Context, q url.Values) (source string, complete bool, all []auditDoc, err error) {
	var a struct {
		Source   string     `json:"source"`
		Complete bool       `json:"complete"`
		Lines    []auditDoc `json:"lines"`
	}
	err = c.call(ctx, request{method: http.MethodGet, path: []string{"audit"}, query: q, within: readTime}, "lines", &a)
	return a.Source, a.Complete, a.Lines, err
}

func auditRow(d auditDoc) []any {
	return []any{clock(d.Time), d.Decision, d.Principal, d.Source, d.Action, d.Resource, short(orDash(reasonOf(d)), 60)}
}

// reasonOf is what a line says of its reason.
func reasonOf(d auditDoc) string {
	if d.Policy == "" {
		return d.Reason
	}
	text := "policy " + strconv.Quote(d.Policy)
	if d.Sid != "" {
		text += " (" + d.Sid + ")"
	}
	return text
}

func auditListCommand() *cobra.Command {
	var ask auditAsk
	cmd := asking(&cobra.Command{
		Use:   "list",
		Short: "List who was refused what, and who has changed what, the latest first",
		Long: "Lists lines of the audit log, the latest first: refusals and administrative acts. They are those of the audit log's topic or, where there\n" +
			"is none, the last that the process has in memory; which of them it is, and whether lines are missing, stands on standard error.",
		Example: "  klamm audit list\n  klamm audit list --from 24h --who alice\n  klamm audit list --act deny -o json",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		q, err := ask.query(time.Now())
		if err != nil {
			return err
		}
		source, complete, all, err := c.audited(ctx, q)
		if err != nil {
			return err
		}
		t := newTable("TIME", "DECISION", "WHO", "FROM", "ACTION", "RESOURCE", "BECAUSE")
		t.paint = func(column int, text string) string {
			if column == 1 && text != "allow" {
				return "31"
			}
			return ""
		}
		if err := rows(c, all, t, auditRow); err != nil {
			return err
		}
		if !complete {
			fmt.Fprintf(c.errs, "There is more than these %d lines (from the %s); --from and --limit say how much to show.\n", len(all), printable(source))
		}
		return nil
	})
	ask.add(cmd)
	cmd.Flags().StringVar(&ask.from, "from", "", "only from here on: an RFC 3339 time, or how long ago (15m, 1h, 7d)")
	cmd.Flags().IntVar(&ask.limit, "limit", 100, "how many lines there may be")
	return cmd
}

func auditTailCommand() *cobra.Command {
	var ask auditAsk
	cmd := asking(&cobra.Command{
		Use:     "tail",
		Short:   "Show the last lines of the audit log, and those that come, until Ctrl-C",
		Example: "  klamm audit tail\n  klamm audit tail --act deny -o json",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, c *client, _ []string) error {
		ask.limit = 10
		q, err := ask.query(time.Now())
		if err != nil {
			return err
		}
		var seen []string // the lines of the last time that was shown
		var last time.Time
		for {
			_, _, all, err := c.audited(ctx, q)
			switch {
			case errors.Is(err, errInterrupted) && !last.IsZero():
				return nil
			case err != nil:
				return err
			}
			slices.Reverse(all)
			for _, d := range all {
				text, err := json.Marshal(d)
				if err != nil {
					return err
				}
				if d.Time.Before(last) || slices.Contains(seen, string(text)) {
					continue
				}
				if !d.Time.Equal(last) {
					last, seen = d.Time, nil
				}
				seen = append(seen, string(text))
				if err := c.auditLine(d); err != nil {
					return err
				}
			}
			if last.IsZero() {
				last = time.Now().Add(-auditPause)
			}
			q.Set("from", last.UTC().Format(time.RFC3339Nano))
			q.Set("limit", "1000")
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(auditPause):
			}
		}
	})
	ask.add(cmd)
	return cmd
}

func (c *client) auditLine(d auditDoc) error {
	if c.output == "json" {
		return c.json(d)
	}
	_, err := fmt.Fprintf(c.out, "%s  %s  %s  %s %s  %s\n", clock(d.Time), printable(d.Decision), printable(orDash(d.Principal)), printable(d.Action), printable(d.Resource), printable(orDash(reasonOf(d))))
	return err
}
