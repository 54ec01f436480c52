package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/bench"
)

// benchCommand measures klamm beside a bare Go program.
func benchCommand() *cobra.Command {
	o := bench.Default()
	var output string
	measure := func(cmd *cobra.Command, front, pipe bool) error {
		o.Front, o.Pipe = front, pipe
		return runBench(cmd, o, output)
	}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure klamm beside a bare Go program on this machine",
		Long: "Measures both doors beside yardsticks: bare Go programs that do the same work with net/http and a Kafka client. Everything\n" +
			"runs on this machine, in processes of its own, in turn. docs/benchmarks.md says how to read the result. Linux only.",
		Example: "  klamm bench\n  klamm bench front --runs 1 --seconds 2\n  klamm bench front --sse --clients 500\n  klamm bench pipe --brokers 127.0.0.1:9092 -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return measure(cmd, true, true) },
	}
	front := &cobra.Command{
		Use:     "front",
		Short:   "Measure only the HTTP APIs: requests that become records, and records that are read",
		Example: "  klamm bench front",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return measure(cmd, true, false) },
	}
	pipe := &cobra.Command{
		Use:     "pipe",
		Short:   "Measure only records that are read and become requests",
		Example: "  klamm bench pipe",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return measure(cmd, false, true) },
	}
	for _, c := range []*cobra.Command{cmd, front, pipe} {
		benchFlags(c, &o, &output)
	}
	flags := front.Flags()
	flags.BoolVar(&o.SSE, "sse", false, "measure Server-Sent Events, and nothing else")
	flags.StringVar(&o.Auth, "auth", "", "measure callers who show who they are by apikey, jwt or sigv4, and nothing else")
	flags.BoolVar(&o.Policies, "policies", false, "measure a token, a group, limits and a JSON Schema together, with 10 and 10,000 rules, and nothing else")
	flags.IntVar(&o.SSEClients, "clients", o.SSEClients, "with --sse: clients that listen at once")
	flags.IntVar(&o.SSERate, "rate", o.SSERate, "with --sse: records a second, each of which goes to all clients")
	cmd.AddCommand(front, pipe, benchLimitsCommand(), benchRulesCommand(), benchFunctionCommand(), benchRoleCommand())
	return cmd
}

func benchFlags(cmd *cobra.Command, o *bench.Options, output *string) {
	flags := cmd.Flags()
	flags.StringSliceVar(&o.Cases, "cases", nil, "what to measure, some of "+strings.Join(bench.CaseNames(), ",")+" (default: all)")
	flags.StringSliceVar(&o.Brokers, "brokers", nil, "bootstrap servers, HOST:PORT,... (default: an embedded broker with its data in a temporary directory)")
	flags.IntVar(&o.Rounds, "runs", o.Rounds, "how often each side is measured, in turn")
	flags.IntVar(&o.Seconds, "seconds", o.Seconds, "how long one measurement at the front door lasts")
	flags.IntVar(&o.Records, "records", o.Records, "what a pipe or a reader finds, five times as much for a pipe with batches (default 40,000 for each of --seconds)")
	flags.IntVar(&o.Connections, "connections", o.Connections, "requests under way at once")
	flags.IntVar(&o.ValueBytes, "value-bytes", o.ValueBytes, "length of a record's value")
	flags.IntVar(&o.Partitions, "partitions", o.Partitions, "partitions of a topic")
	flags.StringVarP(output, "output", "o", "table", "table or json")
}

func runBench(cmd *cobra.Command, o bench.Options, output string) error {
	o.Progress = cmd.ErrOrStderr()
	return report(cmd, output, o.Validate(), func(ctx context.Context) (tableWriter, error) { return bench.Run(ctx, o) })
}

// benchLimitsCommand measures memory.
func benchLimitsCommand() *cobra.Command {
	o := bench.DefaultLimits()
	var output string
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Measure how much memory klamm needs for large things and for many",
		Long: "Asks klamm for a large record by each API, a long stream, many consumer instances and lists of many topics, each time a klamm\n" +
			"of its own, verifies the answers, and reports the largest memory that klamm had. docs/benchmarks.md says more. Linux only.",
		Example: "  klamm bench limits\n  klamm bench limits --consumers 100 --topics 200 --stream-records 100000 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			return report(cmd, output, o.Validate(), func(ctx context.Context) (tableWriter, error) { return bench.Limits(ctx, o) })
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.Brokers, "brokers", nil, "bootstrap servers, HOST:PORT,... (default: an embedded broker with its data in a temporary directory)")
	flags.IntVar(&o.RecordBytes, "record-bytes", o.RecordBytes, "length of the large record")
	flags.IntVar(&o.StreamRecords, "stream-records", o.StreamRecords, "records in the stream")
	flags.IntVar(&o.Consumers, "consumers", o.Consumers, "consumer instances at once")
	flags.IntVar(&o.Topics, "topics", o.Topics, "topics in the lists")
	flags.IntVar(&o.ValueBytes, "value-bytes", o.ValueBytes, "length of a value in the stream and for the consumer instances")
	flags.StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// benchRulesCommand measures event patterns.
func benchRulesCommand() *cobra.Command {
	o := bench.DefaultRules()
	var output string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Measure how many events a second patterns are matched against",
		Long: "Matches GeoJSON features of about 800 bytes against sets of event patterns, of each kind and of several sizes, in this\n" +
			"process and on one core. docs/patterns.md tells what event patterns are.",
		Example: "  klamm bench rules\n  klamm bench rules --runs 9 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			return report(cmd, output, o.Validate(), func(ctx context.Context) (tableWriter, error) { return bench.Rules(ctx, o) })
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Runs, "runs", o.Runs, "how often each set is measured, in turn")
	flags.IntVar(&o.Millis, "millis", o.Millis, "how many milliseconds one measurement lasts")
	flags.StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// benchFunctionCommand measures functions.
func benchFunctionCommand() *cobra.Command {
	o := bench.DefaultFunctions()
	var output string
	cmd := &cobra.Command{
		Use:   "function",
		Short: "Measure what it costs to run functions",
		Long: "Compares invocations of a function that does nothing with requests to an HTTP server that does nothing, starts functions\n" +
			"cold, watches idle ones, and lets pipes and a mapping deliver to functions what waits in a topic. docs/functions.md says more.",
		Example: "  klamm bench function\n  klamm bench function --directory build --runtime python3.13 --handler app.handle --clients /srv/clients",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Progress = cmd.ErrOrStderr()
			return report(cmd, output, o.Validate(), func(ctx context.Context) (tableWriter, error) { return bench.Functions(ctx, o) })
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Calls, "calls", o.Calls, "calls in a round")
	flags.IntVar(&o.Rounds, "rounds", o.Rounds, "how often each side is measured, in turn")
	flags.IntVar(&o.Records, "records", o.Records, "records in the large event")
	flags.IntVar(&o.Starts, "starts", o.Starts, "cold starts of each function")
	flags.IntVar(&o.Resident, "resident", o.Resident, "idle instances")
	flags.IntVar(&o.Seconds, "seconds", o.Seconds, "how long they are watched")
	flags.IntVar(&o.Drain, "drain", o.Drain, "records that are delivered in batches to a webhook and to functions; 0: none")
	flags.StringSliceVar(&o.Brokers, "brokers", nil, "bootstrap servers for that, HOST:PORT,... (default: an embedded broker with its data in a temporary directory)")
	flags.StringVar(&o.Directory, "directory", "", "code of a function of yours, to be started cold, too")
	flags.StringVar(&o.Runtime, "runtime", "", "its runtime, such as python3.13")
	flags.StringVar(&o.Handler, "handler", "", "its handler, such as app.handle")
	flags.StringSliceVar(&o.Clients, "clients", nil, "where its runtime client lies, if not beside the code")
	flags.StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// A tableWriter is the result of a benchmark.
type tableWriter interface{ WriteTable(io.Writer) error }

// report runs a benchmark, unless its options are invalid, and prints the result.
func report(cmd *cobra.Command, output string, invalid error, run func(context.Context) (tableWriter, error)) error {
	if output != "table" && output != "json" {
		return &exitError{2, fmt.Errorf("--output %q: want table or json", output)}
	}
	if invalid != nil {
		return &exitError{2, invalid}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	report, err := run(ctx)
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = errors.New("bench: interrupted")
		}
		return failed(err)
	}
	if output == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return failed(e.Encode(report))
	}
	return failed(report.WriteTable(cmd.OutOrStdout()))
}

// benchRoleCommand is one of the processes that bench starts.
func benchRoleCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "role NAME CONFIGURATION",
		Short:  "Run one of the processes of a benchmark",
		Args:   cobra.ExactArgs(2),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			err := bench.Role(ctx, args[0], args[1], cmd.OutOrStdout())
			if errors.Is(err, bench.ErrRole) {
				return &exitError{2, err}
			}
			return failed(err)
		},
	}
}
