package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/klamm-gateway/klamm/app"
	"github.com/klamm-gateway/klamm/broker"
	"github.com/klamm-gateway/klamm/config"
	"github.com/klamm-gateway/klamm/trace"
)

func serveCommand() *cobra.Command {
	var brokers []string
	var listen, file, level string
	var exact, lenient, strict bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve an Apache Kafka cluster",
		Long: "Serves both doors against an Apache Kafka cluster. It starts before its brokers do and says in /ready what is missing.\n\n" +
			"A flag wins over its environment variable, and that over the configuration file.",
		Example: "  klamm serve --brokers 127.0.0.1:9092\n  klamm serve --config klamm.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(addressFlag("--listen", listen), brokerFlag(brokers)); err != nil {
				return err
			}
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			adjust := func(cfg *config.Config) {
				if listen != "" {
					cfg.Listen = listen
				}
				cfg.Bus.HTTP.ExactHeaders = cfg.Bus.HTTP.ExactHeaders || exact
				cfg.AWS.LenientTemplates = cfg.AWS.LenientTemplates || lenient
				cfg.AWS.StrictFilters = cfg.AWS.StrictFilters || strict
				if len(brokers) > 0 {
					cfg.Kafka.Brokers = brokers
				}
			}
			adjust(cfg)
			if len(cfg.Kafka.Brokers) == 0 {
				return &exitError{2, errors.New("no brokers: give --brokers HOST:PORT,... or kafka.brokers in the file that --config names")}
			}
			return serve(cmd, cfg, level, source(file, adjust), nil)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "config", "", "configuration file (KLAMM_CONFIG)")
	flags.StringSliceVar(&brokers, "brokers", nil, "bootstrap servers, HOST:PORT,... (KLAMM_BROKERS)")
	flags.StringVar(&listen, "listen", "", "HTTP address, HOST:PORT; port 0 takes a free one (KLAMM_LISTEN; default 127.0.0.1:8082)")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error (KLAMM_LOG_LEVEL)")
	flags.BoolVar(&exact, "aws-exact-headers", false, "call API destinations of rules with the headers of EventBridge, Connection: close included (KLAMM_AWS_EXACT_HEADERS)")
	flags.BoolVar(&strict, "aws-strict-filters", false, "refuse filters of pipes and event source mappings with operators that AWS does not have there (KLAMM_AWS_STRICT_FILTERS)")
	flags.BoolVar(&lenient, "lenient-templates", false, "let an input template that is one path alone, such as <$.value>, deliver JSON as it is (KLAMM_LENIENT_TEMPLATES)")
	fromEnvironment(cmd)
	return cmd
}

func devCommand() *cobra.Command {
	var listen, kafkaListen, data, file, level string
	var exact, lenient, strict bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, with an embedded broker",
		Long: "Runs an embedded broker, with its data on disk, and everything else in one process. Without auth in the configuration\n" +
			"file, anybody who can connect may do anything, so it listens on loopback only. The broker is for development and single\n" +
			"machines: there is no replication.",
		Example: "  klamm dev\n  klamm dev --listen 127.0.0.1:0 --kafka-listen 127.0.0.1:0 --data /tmp/klamm",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(addressFlag("--listen", listen), addressFlag("--kafka-listen", kafkaListen)); err != nil {
				return err
			}
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			adjust := func(cfg *config.Config) {
				if listen != "" {
					cfg.Listen = listen
				}
				cfg.Bus.HTTP.ExactHeaders = cfg.Bus.HTTP.ExactHeaders || exact
				cfg.AWS.LenientTemplates = cfg.AWS.LenientTemplates || lenient
				cfg.AWS.StrictFilters = cfg.AWS.StrictFilters || strict
			}
			adjust(cfg)
			return serve(cmd, cfg, level, source(file, adjust), &broker.Config{Listen: kafkaListen, Dir: data})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "", "HTTP address, HOST:PORT; port 0 takes a free one (KLAMM_LISTEN; default 127.0.0.1:8082)")
	flags.StringVar(&kafkaListen, "kafka-listen", "127.0.0.1:9092", "Kafka address, HOST:PORT; port 0 takes a free one (KLAMM_KAFKA_LISTEN)")
	flags.StringVar(&data, "data", "klamm-data", "data directory (KLAMM_DATA)")
	flags.StringVar(&file, "config", "", "configuration file (KLAMM_CONFIG)")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error (KLAMM_LOG_LEVEL)")
	flags.BoolVar(&exact, "aws-exact-headers", false, "call API destinations of rules with the headers of EventBridge, Connection: close included (KLAMM_AWS_EXACT_HEADERS)")
	flags.BoolVar(&strict, "aws-strict-filters", false, "refuse filters of pipes and event source mappings with operators that AWS does not have there (KLAMM_AWS_STRICT_FILTERS)")
	flags.BoolVar(&lenient, "lenient-templates", false, "let an input template that is one path alone, such as <$.value>, deliver JSON as it is (KLAMM_LENIENT_TEMPLATES)")
	fromEnvironment(cmd)
	return cmd
}

// serve runs klamm until a signal; a second signal ends it at once.
func serve(cmd *cobra.Command, cfg *config.Config, level string, from *app.Source, embedded *broker.Config) error {
	log, err := logger(cmd.ErrOrStderr(), level)
	if err != nil {
		return &exitError{2, err}
	}
	if embedded != nil {
		embedded.Log = log
	}
	traces, err := trace.FromEnvironment(os.Getenv)
	if err != nil {
		return &exitError{2, err}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // the next signal has its usual effect
	}()
	out := cmd.OutOrStdout()
	a, err := app.New(ctx, cfg, app.Options{Version: versionText(), Source: from, Trace: traces,
		Broker: embedded,
		Log:    log,
		Guard:  guard(),
		Ready: func(http string, kafka []string) {
			if embedded != nil {
				banner(out, http, kafka, embedded.Dir, app.DescribeAccess(cfg), cfg.Console.On())
			}
			fmt.Fprintf(out, "klamm ready: http=%s kafka=%s\n", http, strings.Join(kafka, ","))
		},
	})
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		return failed(err)
	}
	go tuneCollector(ctx)
	return failed(a.Run(ctx))
}

// guard is the command of this program that outlives it for a moment.
func guard() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, "function-guard"}
}

// banner greets with commands that work as printed, and says who may do what.
func banner(w io.Writer, http string, kafka []string, data string, access []string, console bool) {
	who, hint := "Everybody who can connect may do everything; it listens on loopback only.", ""
	if access != nil {
		who = strings.Join(access, "\n  ")
		hint = ", with your credentials (docs/authentication.md)"
	}
	look := ""
	if console {
		look = "Or look at it in a browser: http://" + http + "/\n"
	}
	fmt.Fprintf(w, `klamm dev: front door http://%[1]s, Kafka %[2]s, data in %[3]s
Development broker: one copy of the data, no replication. %[4]s

Write a record, read it back, see the topics%[5]s:
  curl -d '{"hello":"world"}' http://%[1]s/topics/hello
  curl 'http://%[1]s/topics/hello/records?offset=earliest'
  curl http://%[1]s/topics
%[6]s
`, http, strings.Join(kafka, ","), data, who, hint, look)
}

// logger writes to w from a level on.
func logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}
