package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
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

const usage = "usage: chaos records|backlog|endpoints|changes|definitions|functions|bus|firsts [-h] [flags], with the brokers in KLAMM_TEST_BROKERS"

// prove runs the proof that the arguments name, and returns whether it holds.
func prove(ctx context.Context, args []string) (bool, error) {
	if len(args) == 0 {
		return false, errors.New(usage)
	}
	s := &stage{out: os.Stdout}
	flags := flag.NewFlagSet("chaos "+args[0], flag.ContinueOnError)
	klamm := flags.String("klamm", "bin/klamm", "the program")
	timeout := flags.Duration("timeout", time.Hour, "give up after this time")
	var run func(context.Context) (bool, error)
	switch args[0] {
	case "records":
		run = recordsFlags(flags, s)
	case "backlog":
		run = backlogFlags(flags, s)
	case "endpoints":
		run = endpointsFlags(flags, s)
	case "changes":
		run = changesFlags(flags, s)
	case "definitions":
		run = definitionsFlags(flags, s)
	case "functions":
		run = functionsFlags(flags, s)
	case "bus":
		run = busFlags(flags, s)
	case "firsts":
		run = firstsFlags(flags, s)
	default:
		return false, errors.New(usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return true, nil
		}
		return false, err
	}
	if flags.NArg() > 0 {
		return false, errors.New(usage)
	}
	if brokers := os.Getenv("KLAMM_TEST_BROKERS"); brokers != "" {
		s.brokers = strings.Split(brokers, ",")
	} else if own := flags.Lookup("embedded"); own == nil || own.Value.String() != "true" {
		return false, errors.New(usage)
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

func recordsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	r := &records{stage: s, nodes: nodes(os.Getenv("KLAMM_KAFKA_CONTROL"))}
	flags.IntVar(&r.total, "records", 1_000_000, "how many records")
	flags.IntVar(&r.keys, "keys", 10_000, "how many keys")
	flags.IntVar(&r.size, "size", 200, "bytes of a value")
	flags.IntVar(&r.partitions, "partitions", 12, "partitions of the topic")
	flags.IntVar(&r.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&r.inFlight, "in-flight", 64, "requests at once of each klamm")
	flags.IntVar(&r.backlog, "backlog", 20_000, "so many records wait to be delivered, at most")
	flags.IntVar(&r.refuse, "refuse", 500, "one request in so many is answered 503; 0: none")
	flags.IntVar(&r.kills, "kills", 10, "how often a klamm is killed")
	flags.IntVar(&r.rebalances, "rebalances", 20, "forced rebalances, of two kinds in turn")
	flags.BoolVar(&r.broker, "broker", true, "a broker is lost, and returns")
	flags.Uint64Var(&r.seed, "seed", uint64(time.Now().Unix()), "of the order of events")
	return func(ctx context.Context) (bool, error) {
		switch {
		case r.total < 1 || r.keys < 1 || r.partitions < 1 || r.klamms < 1 || r.inFlight < 1 || r.backlog < 1 || r.size < 24 || r.kills < 0 || r.rebalances < 0 || r.refuse < 0:
			return false, errors.New("a number is too small")
		case r.broker && r.nodes == "":
			return false, errors.New("to lose a broker needs deploy/kafka/run --control; -broker=false goes without")
		}
		return r.run(ctx)
	}
}

func backlogFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	b := &backlog{stage: s}
	flags.Int64Var(&b.bytes, "bytes", 5e9, "bytes that wait")
	flags.IntVar(&b.size, "size", 10_000, "bytes of a value")
	flags.IntVar(&b.partitions, "partitions", 12, "partitions of the topic")
	flags.DurationVar(&b.watch, "watch", time.Minute, "how long each state of the target lasts")
	flags.Int64Var(&b.most, "most", 200e6, "bytes that may be resident while the target is down")
	flags.Int64Var(&b.mostBack, "most-back", 200e6, "bytes that may be resident when it is back")
	return func(ctx context.Context) (bool, error) {
		if b.size < 24 || b.bytes < int64(b.size) || b.partitions < 1 || b.watch <= 0 {
			return false, errors.New("a number is too small")
		}
		return b.run(ctx)
	}
}

func changesFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	c := &changes{stage: s}
	flags.IntVar(&c.pipes, "pipes", 50, "how many")
	flags.IntVar(&c.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&c.rate, "rate", 200, "records a second")
	flags.DurationVar(&c.lasting, "lasting", 5*time.Minute, "how long pipes are changed")
	flags.DurationVar(&c.every, "every", time.Minute, "between two kills")
	flags.Uint64Var(&c.seed, "seed", uint64(time.Now().Unix()), "of the changes")
	return func(ctx context.Context) (bool, error) {
		if c.pipes < 1 || c.klamms < 1 || c.rate < 1 || c.rate > 100_000 || c.lasting <= 0 || c.every <= 0 {
			return false, errors.New("a number is out of range")
		}
		return c.run(ctx)
	}
}

func definitionsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	d := &definitions{stage: s}
	flags.IntVar(&d.defined, "defined", 10_000, "how many pipes are defined")
	flags.IntVar(&d.active, "active", 100, "how many of them run")
	flags.IntVar(&d.klamms, "klamms", 3, "klamm processes that a change has to reach")
	flags.IntVar(&d.tries, "tries", 10, "how often a pipe is made, and changed")
	return func(ctx context.Context) (bool, error) {
		if d.active < 1 || d.defined < d.active || d.klamms < 1 || d.tries < 1 {
			return false, errors.New("a number is out of range")
		}
		return d.run(ctx)
	}
}

func functionsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	f := &functions{stage: s}
	flags.IntVar(&f.total, "records", 200_000, "how many records")
	flags.IntVar(&f.size, "size", 200, "bytes of a value")
	flags.IntVar(&f.partitions, "partitions", 8, "partitions of the topic")
	flags.IntVar(&f.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&f.batch, "batch", 100, "records in a batch")
	flags.DurationVar(&f.takes, "takes", 20*time.Millisecond, "how long a function takes for a batch")
	flags.IntVar(&f.kills, "kills", 5, "how often a klamm is killed")
	flags.IntVar(&f.shots, "shots", 20, "how often a function is killed")
	flags.Uint64Var(&f.seed, "seed", uint64(time.Now().Unix()), "of the order of events")
	return func(ctx context.Context) (bool, error) {
		if f.total < 1 || f.size < 24 || f.partitions < 1 || f.klamms < 1 || f.batch < 2 || f.batch > 10_000 || f.takes < 0 || f.kills < 0 || f.shots < 0 {
			return false, errors.New("a number is out of range")
		}
		return f.run(ctx)
	}
}

func busFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	b := &buses{stage: s, nodes: nodes(os.Getenv("KLAMM_KAFKA_CONTROL"))}
	flags.IntVar(&b.total, "events", 100_000, "how many events")
	flags.IntVar(&b.clients, "clients", 8, "clients that put events")
	flags.IntVar(&b.partitions, "partitions", 12, "partitions of the bus")
	flags.IntVar(&b.klamms, "klamms", 3, "klamm processes")
	flags.IntVar(&b.refuse, "refuse", 100, "one request in so many of a target is answered 503; 0: none")
	flags.IntVar(&b.kills, "kills", 4, "how often a klamm is killed")
	flags.BoolVar(&b.broker, "broker", true, "a broker is lost, and returns")
	flags.Uint64Var(&b.seed, "seed", uint64(time.Now().Unix()), "of the order of events")
	return func(ctx context.Context) (bool, error) {
		switch {
		case b.total < 1 || b.clients < 1 || b.partitions < 1 || b.klamms < 1 || b.refuse < 0 || b.kills < 0:
			return false, errors.New("a number is too small")
		case b.broker && b.nodes == "":
			return false, errors.New("to lose a broker needs deploy/kafka/run --control; -broker=false goes without")
		}
		return b.run(ctx)
	}
}

func firstsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	f := &firsts{stage: s}
	flags.IntVar(&f.rounds, "rounds", 20, "how many buses, one after the other")
	flags.IntVar(&f.events, "events", 1_000, "how many events of each")
	flags.IntVar(&f.clients, "clients", 4, "clients that put events")
	flags.IntVar(&f.klamms, "klamms", 2, "klamm processes")
	flags.DurationVar(&f.within, "within", time.Second, "how soon a klamm is killed, at most")
	flags.BoolVar(&f.embedded, "embedded", false, "one klamm that brings its own broker, which is killed with it, without KLAMM_TEST_BROKERS")
	flags.Uint64Var(&f.seed, "seed", uint64(time.Now().Unix()), "of who is killed when")
	return func(ctx context.Context) (bool, error) {
		if f.rounds < 1 || f.events < 1 || f.clients < 1 || f.klamms < 1 || f.within <= 0 {
			return false, errors.New("a number is too small")
		}
		return f.run(ctx)
	}
}

func endpointsFlags(flags *flag.FlagSet, s *stage) func(context.Context) (bool, error) {
	e := &endpoints{stage: s}
	flags.IntVar(&e.count, "endpoints", 10_000, "how many")
	flags.IntVar(&e.dead, "dead", 5, "per cent of them that are dead")
	flags.IntVar(&e.partitions, "partitions", 12, "partitions of the topic")
	flags.IntVar(&e.rate, "rate", 500, "records a second")
	flags.DurationVar(&e.lasting, "lasting", 30*time.Second, "how long a round measures")
	flags.IntVar(&e.rounds, "rounds", 3, "rounds with dead endpoints, and as many without")
	flags.IntVar(&e.inFlight, "in-flight", 256, "requests at once")
	flags.Int64Var(&e.growth, "growth", 20e6, "bytes that memory may grow by")
	return func(ctx context.Context) (bool, error) {
		if e.count < 1 || e.dead < 0 || e.dead > 99 || e.partitions < 1 || e.rate < 1 || e.lasting <= 0 || e.rounds < 1 || e.inFlight < 1 {
			return false, errors.New("a number is out of range")
		}
		return e.run(ctx)
	}
}
