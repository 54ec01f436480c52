package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/target/log"
)

// A logRecord is a line of a log: what counts of a record of its topic.
type logRecord struct {
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	Timestamp int64           `json:"timestamp"`
	Key       json.RawMessage `json:"key"`
	Value     json.RawMessage `json:"value"`
}

func logRecordOf(r recordDoc) logRecord {
	return logRecord{r.Partition, r.Offset, r.Timestamp, r.Key, r.Value}
}

// logFlags are those of everything that shows a log.
type logFlags struct {
	clientFlags
	follow bool
	since  string
}

func (f *logFlags) add(cmd *cobra.Command) {
	f.clientFlags.add(cmd)
	cmd.Flags().BoolVar(&f.follow, "follow", false, "go on until Ctrl-C")
	cmd.Flags().StringVar(&f.since, "since", "", "how far back, such as 15m, or a time such as 2027-01-01T00:00:00Z; the default is everything there is")
}

func logsCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:     "logs NAME",
		Short:   "Show a log that pipes and rules write",
		Long:    "Shows the log of a log target, which is kept in the topic klamm.log.NAME.",
		Example: "  klamm logs orders --since 15m\n  klamm logs /aws/events/orders --follow",
		Args:    oneArgument("the name of the log"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.show(cmd, args[0]) },
	}
	f.add(cmd)
	return cmd
}

func functionLogsCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:     "logs NAME",
		Short:   "Show what a function has written, on every klamm that runs it",
		Example: "  klamm function logs orders --since 15m\n  klamm function logs orders --follow",
		Args:    oneArgument("the name of the function"),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.show(cmd, "/aws/lambda/"+args[0]) },
	}
	f.add(cmd)
	return cmd
}

// show prints a log from the beginning on, and what is added if that is asked for.
func (f *logFlags) show(cmd *cobra.Command, name string) error {
	c, ctx, err := f.open(cmd)
	if err != nil {
		return err
	}
	query := url.Values{"offset": {"earliest"}, "count": {"1000"}}
	if f.since != "" {
		if d, err := time.ParseDuration(f.since); err == nil {
			query = url.Values{"since": {time.Now().Add(-d).UTC().Format(time.RFC3339)}, "count": {"1000"}}
		} else if _, err := time.Parse(time.RFC3339, f.since); err == nil {
			query = url.Values{"since": {f.since}, "count": {"1000"}}
		} else {
			return usage("--since %q: want a time such as 15m or 2027-01-01T00:00:00Z", f.since)
		}
	}
	for {
		records, next, err := c.records(ctx, request{path: []string{"topics", log.Topic(name), "records"}, query: query, within: readTime})
		if err != nil {
			if ctx.Err() != nil && f.follow {
				return nil
			}
			if isMissing(err) {
				err = fmt.Errorf("nothing has been written to it at %s; its lines will be in the topic %s", c.base.Redacted(), log.Topic(name))
			}
			return failed(fmt.Errorf("log %s: %w", name, err))
		}
		for _, r := range records {
			if err := c.logLine(logRecordOf(r)); err != nil {
				return failed(err)
			}
		}
		if len(records) == 0 && !f.follow || next == "" {
			return nil
		}
		query = url.Values{"offset": {next}, "count": {"1000"}}
		if f.follow {
			query.Set("wait", "10s")
		}
	}
}

// logLine prints one record of a log.
func (c *client) logLine(r logRecord) error {
	if c.output == "json" {
		return c.json(r)
	}
	var text string
	if json.Unmarshal(r.Value, &text) != nil {
		text = string(r.Value)
	}
	_, err := fmt.Fprintf(c.out, "%s %s\n", time.UnixMilli(r.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z"), printable(text))
	return err
}
