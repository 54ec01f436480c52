package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
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
	cmd.Flags().StringVar(&f.since, "since", "", "from which time on: how long ago (15m, 1h, 7d) or an RFC 3339 time; the default is everything there is")
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
	return completed(cmd, logNames)
}

// logNames are the logs that there are, for shells.
func logNames(ctx context.Context, c *client, begin string) (found []string, err error) {
	prefix := strings.TrimSuffix(log.Topic("x"), "x")
	err = c.topics(ctx, prefix+begin, func(t topicDoc) error {
		if name := strings.TrimPrefix(t.Topic, prefix); log.Topic(name) == t.Topic {
			found = append(found, name)
		}
		return nil
	})
	return found, err
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
	return completed(cmd, functionNames)
}

// show prints a log from the beginning on, and what is added if that is asked for.
func (f *logFlags) show(cmd *cobra.Command, name string) error {
	c, ctx, err := f.open(cmd)
	if err != nil {
		return err
	}
	query := url.Values{"offset": {"earliest"}, "count": {"1000"}}
	if f.since != "" {
		since, err := parseTime("--since", f.since, time.Now())
		if err != nil {
			return &exitError{2, err}
		}
		query = url.Values{"since": {since.UTC().Format(time.RFC3339Nano)}, "count": {"1000"}}
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
