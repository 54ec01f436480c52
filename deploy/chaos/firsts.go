package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"text/tabwriter"
	"time"
)

// firsts is the proof that the first events of a bus get to the rules that were there
// before them: in each round a bus, a rule and a target are made, events are put at once,
// and a klamm is killed within the first second of the bus, which has committed nothing
// yet, or hardly anything.
type firsts struct {
	*stage
	rounds   int
	events   int // of a round
	clients  int
	klamms   int
	within   time.Duration // after the rule was made a klamm is killed
	embedded bool          // one klamm with its own broker, which is killed with it
	seed     uint64

	mu    sync.Mutex // guards round
	round *buses     // that the webhook belongs to
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

// run returns whether the proof holds.
func (f *firsts) run(ctx context.Context) (bool, error) {
	url, stop, err := listen(http.HandlerFunc(f.receive))
	if err != nil {
		return false, err
	}
	defer stop()
	if f.embedded {
		f.useOwnBroker()
	}
	for range f.klamms {
		if _, err := f.start(""); err != nil {
			return false, err
		}
	}
	random := rand.New(rand.NewPCG(f.seed, 0))
	f.say("%d rounds of %d events from %d clients; a klamm of %d is killed within %s; seed %d", f.rounds, f.events, f.clients, f.klamms, f.within, f.seed)
	w := tabwriter.NewWriter(f.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nround\tkilled after\taccepted\tarrived\trepeated\tlost\n")
	wrong := 0
	for i := range f.rounds {
		after := time.Duration(random.Int64N(int64(f.within)))
		v, err := f.once(ctx, url, i, after, f.processes[random.IntN(len(f.processes))])
		r := v.rules[0]
		fmt.Fprintf(w, "%d\t%d ms\t%d\t%d\t%d\t%d\n", i+1, after.Milliseconds(), v.accepted, r.arrived, r.repeated, v.lost)
		wrong += v.lost + v.sneaked + v.misjudged + v.wrong + f.events - v.accepted - v.refused
		if err != nil {
			_ = w.Flush()
			return false, fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	fmt.Fprintf(w, "\nlost, not as put, or answered otherwise than they should be\t%d\tmust be 0\n", wrong)
	_ = w.Flush()
	fmt.Fprintf(f.out, "%s\n", outcome(wrong == 0))
	return wrong == 0, nil
}

// useOwnBroker has the klamms be one that brings its broker.
func (f *firsts) useOwnBroker() {
	serve := f.klamm
	f.klamms = 1
	f.klamm = func(config string) *exec.Cmd {
		cmd := serve(config)
		cmd.Args = append([]string{cmd.Args[0], "dev"}, cmd.Args[2:]...)
		cmd.Args = append(cmd.Args, "--kafka-listen", "127.0.0.1:0", "--data", filepath.Join(f.dir, "data"))
		return cmd
	}
}

// once is a round: what was found when everything had arrived, or was given up.
func (f *firsts) once(ctx context.Context, url string, round int, after time.Duration, victim *process) (busVerdict, error) {
	rules := []busRule{{name: "every", pattern: `{"source":["chaos"]}`, matches: func(int) bool { return true }}}
	b := &buses{stage: f.stage, total: f.events, partitions: 4, name: fmt.Sprintf("firsts-%d-%d", time.Now().UnixNano(), round), ledger: newBusLedger(f.events, rules)}
	f.mu.Lock()
	f.round = b
	f.mu.Unlock()
	ready := func() bool { return len(b.addresses()) == len(f.processes) }
	if err := f.until(ctx, "every klamm is ready", patience, ready); err != nil {
		return b.ledger.close(), err
	}
	if err := b.define(ctx, url+"/"+b.name, rules); err != nil {
		return b.ledger.close(), err
	}
	var putting sync.WaitGroup
	putCtx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); putting.Wait() }()
	for i := range f.clients {
		putting.Go(func() { b.put(putCtx, rand.New(rand.NewPCG(f.seed, uint64(i+1)))) })
	}
	pause(ctx, after)
	victim.kill()
	if err := victim.start(); err != nil {
		return b.ledger.close(), err
	}
	err := f.until(ctx, "all events have arrived", patience, func() bool { return b.ledger.answers() == f.events && b.ledger.missing() == 0 })
	return b.ledger.close(), err
}

// receive is the webhook of the rule of the round.
func (f *firsts) receive(_ http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && req.URL.Path == "/"+f.round.name+"/every" {
		f.round.ledger.note("every", body)
	}
}
