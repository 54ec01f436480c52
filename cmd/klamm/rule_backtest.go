package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/kafka"
	"github.com/klamm-gateway/klamm/rule"
)

// maxSamples bounds --samples.
const maxSamples = 1000

// A backtest is one call of klamm rule backtest.
type backtest struct {
	topic, pattern string
	since, until   string
	server         string
	context        string
	brokers        []string
	value          bool
	samples        int
	flags          clientFlags

	from, to time.Time // of since and until; zero: the beginning, and the end as of the start
}

func ruleBacktestCommand() *cobra.Command {
	var call backtest
	cmd := local(&cobra.Command{
		Use:   "backtest",
		Short: "Say what a pattern would have matched in a topic",
		Long: "Reads a topic from a time on up to its end as of now, and says how many records a pattern would have passed to a pipe. It needs\n" +
			"no consumer group and changes nothing. Records are matched as the filters of klamm's own pipes see them, or with --value as\n" +
			"events of their own, such as those of a bus. Ctrl-C stops it and prints what it has.\n\n" +
			"Undecodable records have a key or value that the pattern asks for and that is not text, or with --value a value that is no\n" +
			"JSON object. Of the matches, those counted as ignored pass only because a filter ignores the clauses on a key or value of\n" +
			"another form than they ask for, as it also does in a pipe.\n\n" +
			clientHelp + "\n" +
			"With --brokers no server is needed.",
		Example: "  klamm rule backtest --topic orders --since 1h --pattern @pattern.json\n" +
			`  klamm rule backtest --topic orders --since 7d --until 2026-01-31T12:00:00Z --pattern '{"value":{"total":[{"numeric":[">",100]}]}}' -o json` + "\n" +
			`  klamm rule backtest --topic shop-events --value --pattern '{"source":["shop"]}'`,
		Args: cobra.NoArgs,
	}, &call.flags, func(c *client, _ []string) error { return call.run(c) })
	flags := cmd.Flags()
	flags.StringVar(&call.topic, "topic", "", "the topic to read")
	flags.StringVar(&call.pattern, "pattern", "", "DOC: the event pattern, inline, as @FILE, or - for standard input")
	flags.StringVar(&call.since, "since", "1h", "from which time on: how long ago (90s, 15m, 1h, 7d), an RFC 3339 time, or earliest")
	flags.StringVar(&call.until, "until", "", "up to which time, as --since; the default is the end of the topic")
	flags.BoolVar(&call.value, "value", false, "match the value alone, as an event; the pattern is one of a bus")
	flags.IntVar(&call.samples, "samples", 5, fmt.Sprintf("how many of the first matches to show, at most %d", maxSamples))
	flags.StringVar(&call.server, "server", "", "URL of the klamm to read through (KLAMM_SERVER)")
	flags.StringSliceVar(&call.brokers, "brokers", nil, "read these brokers without a server, HOST:PORT,...; in clear text and without a login")
	flags.StringVar(&call.context, "context", "", "the context to use (KLAMM_CONTEXT); see klamm context")
	completeContexts(cmd)
	completedFlag(cmd, "topic", topicNames)
	return cmd
}

func (c *backtest) run(out *client) error {
	cmd := out.cmd
	m, err := c.compile(cmd)
	if err != nil {
		return &exitError{2, err}
	}
	at, err := findAccess(c.server, c.context)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(c.brokers) > 0 {
		own, end, err := serveBrokers(ctx, c.brokers)
		if err != nil {
			return failed(interrupted(ctx, err))
		}
		defer end()
		at = access{base: own}
	}
	reader := newTopicReader(at, c.topic)
	ranges, err := c.ranges(ctx, reader)
	if err != nil {
		return failed(interrupted(ctx, err))
	}
	result := &backtestResult{Topic: c.topic, Since: "earliest", Until: c.to.UTC().Format(time.RFC3339), Partitions: ranges, Samples: []backtestSample{}}
	if !c.from.IsZero() {
		result.Since = c.from.UTC().Format(time.RFC3339)
	}
	err = c.read(ctx, reader, m, result, newProgress(cmd.ErrOrStderr(), ranges))
	result.Complete = err == nil
	m.report(result)
	if printErr := result.print(out); printErr != nil {
		return failed(printErr)
	}
	return failed(interrupted(ctx, err))
}

// interrupted replaces the error of a command that a signal ended.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted before the end of the topic")
	}
	return err
}

// compile checks the flags and compiles the pattern.
func (c *backtest) compile(cmd *cobra.Command) (*recordMatcher, error) {
	switch {
	case c.topic == "":
		return nil, errors.New("give the topic with --topic")
	case !kafka.ValidTopic(c.topic):
		return nil, fmt.Errorf("--topic %q is no topic's name: want 1 to 249 letters, digits, dots, - and _", c.topic)
	case !cmd.Flags().Changed("pattern"):
		return nil, errors.New("give the pattern with --pattern")
	case c.samples < 0 || c.samples > maxSamples:
		return nil, fmt.Errorf("--samples %d: want a number from 0 to %d", c.samples, maxSamples)
	case c.server != "" && len(c.brokers) > 0:
		return nil, errors.New("give either --server or --brokers")
	case len(c.brokers) == 0 && cmd.Flags().Changed("brokers") || slices.Contains(c.brokers, ""):
		return nil, errors.New("--brokers is a list of HOST:PORT")
	}
	if err := c.times(time.Now()); err != nil {
		return nil, err
	}
	pattern, err := documentFlag(cmd, "--pattern", c.pattern)
	if err != nil {
		return nil, err
	}
	m := &recordMatcher{samples: c.samples, unseen: map[[2]rule.Form]bool{}}
	if c.value {
		m.plain, err = rule.Compile(pattern)
	} else {
		m.record, err = rule.CompileRecord(pattern)
	}
	if err != nil {
		return nil, errors.New(printable(err.Error()))
	}
	return m, nil
}

// times reads --since and --until.
func (c *backtest) times(now time.Time) (err error) {
	if c.since != "earliest" {
		if c.from, err = parseTime("--since", c.since, now); err != nil {
			return err
		}
	}
	if c.to = now; c.until != "" {
		if c.to, err = parseTime("--until", c.until, now); err != nil {
			return err
		}
	}
	if !c.from.Before(c.to) {
		return errors.New("--since must be before --until, which is now if not given")
	}
	return nil
}

// parseTime reads a time, or how long ago it was: 15m, -15m or 7d.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	ago := strings.TrimPrefix(text, "-")
	if days, ok := strings.CutSuffix(ago, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	} else if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%s %q: want a time such as 2026-01-31T12:00:00Z, or how long ago, such as 15m, 1h or 7d", flag, text)
}

// ranges finds what is to be read of each partition.
func (c *backtest) ranges(ctx context.Context, r *topicReader) ([]backtestRange, error) {
	ends, err := r.ends(ctx)
	if err == nil && c.until != "" {
		var until map[int32]int64
		until, err = r.startsAt(ctx, c.to)
		for p, end := range ends {
			if at, ok := until[p]; ok {
				ends[p] = min(end, at)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	starts, err := r.startsAt(ctx, c.from)
	if err != nil {
		return nil, err
	}
	ranges := make([]backtestRange, 0, len(ends))
	for p, end := range ends {
		start, ok := starts[p]
		if !ok {
			start = end // a partition that was added a moment ago
		}
		ranges = append(ranges, backtestRange{Partition: p, From: min(start, end), To: end})
	}
	slices.SortFunc(ranges, func(a, b backtestRange) int { return int(a.Partition) - int(b.Partition) })
	return ranges, nil
}

// read matches the records of all ranges.
func (c *backtest) read(ctx context.Context, r *topicReader, m *recordMatcher, result *backtestResult, show *progress) error {
	defer show.clear()
	for _, part := range result.Partitions {
		if part.From == part.To {
			continue
		}
		err := r.read(ctx, part, func(rec *readRecord) {
			if sample := m.match(rec); sample != nil {
				result.Samples = append(result.Samples, *sample)
			}
			show.at(part.Partition, rec.Offset, m.records, m.matched)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
