package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if isFunction() {
		fmt.Fprintln(os.Stderr, playFunction())
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	holds, err := prove(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if err != nil || !holds {
		os.Exit(1)
	}
}

// A proof adds its flags, and returns what runs it once they are parsed: whether it
// holds, and an error if that could not be found out.
type proof struct {
	name string
	with func(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error)
}

var proofs = []proof{
	{"records", recordsFlags},
	{"backlog", backlogFlags},
	{"endpoints", endpointsFlags},
	{"changes", changesFlags},
	{"definitions", definitionsFlags},
	{"functions", functionsFlags},
	{"bus", busFlags},
	{"firsts", firstsFlags},
}

// errUsage says how the program is called.
func errUsage() error {
	var names []string
	for _, p := range proofs {
		names = append(names, p.name)
	}
	return errors.New("usage: chaos " + strings.Join(names, "|") + " [-h] [flags], with the brokers in KLAMM_TEST_BROKERS")
}

// prove runs the proof that the arguments name, and returns whether it holds.
func prove(ctx context.Context, args []string) (bool, error) {
	if len(args) == 0 {
		return false, errUsage()
	}
	chosen := slices.IndexFunc(proofs, func(p proof) bool { return p.name == args[0] })
	if chosen < 0 {
		return false, errUsage()
	}
	s := &stage{out: os.Stdout}
	flags := flag.NewFlagSet("chaos "+args[0], flag.ContinueOnError)
	klamm := flags.String("klamm", "bin/klamm", "the program")
	timeout := flags.Duration("timeout", time.Hour, "give up after this time")
	run := proofs[chosen].with(flags, s)
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return true, nil
		}
		return false, err
	}
	if flags.NArg() > 0 {
		return false, errUsage()
	}
	if brokers := os.Getenv("KLAMM_TEST_BROKERS"); brokers != "" {
		s.brokers = strings.Split(brokers, ",")
	} else if own := flags.Lookup("embedded"); own == nil || own.Value.String() != "true" {
		return false, errUsage()
	}
	s.klamm = func(config string) *exec.Cmd { return exec.Command(*klamm, "serve", "--config", config) }
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done within %s", *timeout))
	defer cancel()
	defer s.close()
	if err := s.open(); err != nil {
		return false, err
	}
	return run(ctx)
}
