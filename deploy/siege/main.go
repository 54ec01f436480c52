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

// options are the bounds, and how much is done.
type options struct {
	klamm       string
	only        string
	connections int
	seconds     int
	limitFor    time.Duration
	p99         time.Duration
	memory      int64 // MiB
}

// A part is one thing that is done to klamm.
type part struct {
	name, title string
	run         func(h *house, ctx context.Context) (verdict, error)
}

var parts = []part{
	{"loris", "heads of requests, a byte a second", (*house).loris},
	{"bodies", "bodies, ten bytes a second", (*house).bodies},
	{"half-open", "connections on which nothing comes", (*house).halfOpen},
	{"headers", "heads without end", (*house).headers},
	{"paths", "paths of 1 MB", (*house).paths},
	{"bombs", "bodies that inflate a thousandfold", (*house).bombs},
	{"certificates", "certificates replaced under load", (*house).certificates},
	{"fair", "two keys, one of them limited to 1 MB/s", (*house).fair},
	{"quota", "a quota, two processes and kill -9", (*house).quota},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := besiege(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "siege:", err)
		os.Exit(1)
	}
}

var errBroken = errors.New("bounds are broken")

// besiege runs the parts and prints a line for each.
func besiege(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("siege", flag.ContinueOnError)
	flags.StringVar(&o.klamm, "klamm", "bin/klamm", "the program")
	flags.StringVar(&o.only, "only", "", "one part")
	flags.IntVar(&o.connections, "connections", 10_000, "half-open connections")
	flags.IntVar(&o.seconds, "seconds", 20, "for how long certificates are replaced")
	flags.DurationVar(&o.limitFor, "limit-for", 30*time.Second, "how long the limited key is measured")
	flags.DurationVar(&o.p99, "p99", 2*time.Second, "bound of the others' 99th percentile")
	flags.Int64Var(&o.memory, "memory", 600, "bound of klamm's memory, in MiB")
	timeout := flags.Duration("timeout", 15*time.Minute, "give up after this time")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done within %s", *timeout))
	defer cancel()
	h, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer h.close()
	broken, ran := 0, 0
	for _, p := range parts {
		if o.only != "" && o.only != p.name {
			continue
		}
		ran++
		v, err := p.run(h, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%-12s  %s\n", p.name, p.title)
		for _, line := range v.lines {
			fmt.Printf("%14s%s\n", "", line)
		}
		for _, line := range v.broken {
			broken++
			fmt.Printf("%14sBROKEN: %s\n", "", line)
		}
	}
	switch {
	case ran == 0:
		names := make([]string, len(parts))
		for i, p := range parts {
			names[i] = p.name
		}
		return fmt.Errorf("-only %s: want one of %s", o.only, strings.Join(names, ", "))
	case broken > 0:
		return fmt.Errorf("%w: %d", errBroken, broken)
	}
	return nil
}

// A verdict is what a part has found.
type verdict struct {
	lines  []string
	broken []string
}

func (v *verdict) say(form string, args ...any) {
	v.lines = append(v.lines, fmt.Sprintf(form, args...))
}

// hold notes that a bound is broken, unless it holds.
func (v *verdict) hold(holds bool, form string, args ...any) {
	if !holds {
		v.broken = append(v.broken, fmt.Sprintf(form, args...))
	}
}
