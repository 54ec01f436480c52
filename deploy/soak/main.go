package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	holds, err := prove(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || !holds {
		os.Exit(1)
	}
}

const usage = "usage: soak consumers|bad|leave|streams [-h] [flags], with the brokers in KLAMM_TEST_BROKERS"

var errSmall = errors.New("a number is too small")

// prove runs the proof that the arguments name, and returns whether it holds.
func prove(ctx context.Context, args []string) (bool, error) {
	if len(args) == 0 {
		return false, errors.New(usage)
	}
	flags := flag.NewFlagSet("soak "+args[0], flag.ContinueOnError)
	h := &house{out: os.Stdout}
	flags.StringVar(&h.klamm, "klamm", "bin/klamm", "the program")
	flags.StringVar(&h.keep, "keep", "", "a directory for the processes' configurations and logs, which stays")
	flags.IntVar(&h.count, "klamms", 3, "klamm processes")
	timeout := flags.Duration("timeout", 30*time.Minute, "give up after this time")
	var run func(context.Context, *table) error
	switch args[0] {
	case "consumers":
		run = consumersFlags(flags, h)
	case "bad":
		run = badFlags(flags, h)
	case "leave":
		run = leaveFlags(flags, h)
	case "streams":
		run = streamsFlags(flags, h)
	default:
		return false, errors.New(usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return true, nil
		}
		return false, err
	}
	if flags.NArg() > 0 || os.Getenv("KLAMM_TEST_BROKERS") == "" {
		return false, errors.New(usage)
	}
	if h.count < 1 {
		return false, errSmall
	}
	h.brokers = strings.Split(os.Getenv("KLAMM_TEST_BROKERS"), ",")
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done within %s", *timeout))
	defer cancel()
	defer h.close()
	if err := h.open(); err != nil {
		return false, err
	}
	t := &table{}
	if err := run(ctx, t); err != nil {
		return false, err
	}
	return t.print(h.out), nil
}
