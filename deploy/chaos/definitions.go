package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// definitions shows what thousands of definitions cost: how long klamm takes to start
// with them and how much memory, how long a new pipe takes until its first delivery,
// and how long a changed one until all processes go by it.
type definitions struct {
	*stage
	defined, active int
	klamms          int
	tries           int

	control control
	name    string // what topics, pipes and groups begin with
	started time.Duration
	memory  int64 // resident, of the process that was started last, in bytes
	// running and first are how long new pipes took until they ran, and until their
	// first record arrived; changed is how long changes took until all processes went
	// by them. All are sorted.
	running, first, changed []time.Duration
}

// The bounds of the figures.
const (
	mostStart   = 5 * time.Second
	mostFirst   = 2 * time.Second
	mostChanged = time.Second
)

// An inbox notes when the first request for a path arrived.
type inbox struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (b *inbox) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.at[req.URL.Path]; !ok {
		b.at[req.URL.Path] = time.Now()
	}
}

func (b *inbox) arrived(path string) (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[path]
	return at, ok
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

// run returns whether the figures are within their bounds.
func (d *definitions) run(ctx context.Context) (bool, error) {
	d.name = fmt.Sprintf("chaos%d", time.Now().UnixNano())
	box := &inbox{at: map[string]time.Time{}}
	url, stop, err := listen(box)
	if err != nil {
		return false, err
	}
	defer stop()
	if err := d.cluster.EnsureTopic(ctx, d.name, 4, nil); err != nil {
		return false, err
	}
	p, err := d.start("")
	if err != nil {
		return false, err
	}
	if err := d.ready(ctx); err != nil {
		return false, err
	}
	target, err := d.control.destination(ctx, p.address(), d.name, url+"/to/*/*")
	if err != nil {
		return false, err
	}
	d.say("%d pipes are made", d.defined)
	if err := d.define(ctx, p.address(), target); err != nil {
		return false, err
	}
	p.kill()
	d.say("klamm is started with them")
	began := time.Now()
	if err := p.start(); err != nil {
		return false, err
	}
	if err := d.until(ctx, "all pipes run again", patience, func() bool { return p.address() != "" && d.runningNow(ctx, p.address()) == d.active }); err != nil {
		return false, err
	}
	d.started = time.Since(began)
	if d.memory, err = p.memory(); err != nil {
		return false, err
	}
	for range d.klamms - 1 {
		if _, err := d.start(""); err != nil {
			return false, err
		}
	}
	if err := d.ready(ctx); err != nil {
		return false, err
	}
	// Only a process that runs the pipe can go by its new definition.
	d.say("all processes run them")
	for _, p := range d.processes {
		if err := d.until(ctx, "all pipes run in all processes", patience, func() bool { return d.runningNow(ctx, p.address()) == d.active }); err != nil {
			return false, err
		}
	}
	d.say("pipes are made and changed")
	for i := range d.tries {
		if err := d.try(ctx, i, target, box); err != nil {
			return false, err
		}
	}
	return d.report(), nil
}

// ready waits until all processes serve.
func (d *definitions) ready(ctx context.Context) error {
	return d.until(ctx, "all processes are ready", patience, func() bool {
		return !slices.ContainsFunc(d.processes, func(p *process) bool { return p.address() == "" })
	})
}

// define makes the pipes, the first of which are to run.
func (d *definitions) define(ctx context.Context, at, target string) error {
	var next atomic.Int64
	var makers sync.WaitGroup
	failed := make(chan error, 1)
	for range 32 {
		makers.Go(func() {
			for i := int(next.Add(1)) - 1; i < d.defined && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				name := d.name + "-" + strconv.Itoa(i)
				body := d.pipe(d.name, name, target, strconv.Itoa(i), "0")
				if i >= d.active {
					body["DesiredState"] = "STOPPED"
				}
				if status, text := d.control.ask(ctx, at, http.MethodPost, "/v1/pipes/"+name, "", body, nil); status != http.StatusOK {
					select {
					case failed <- fmt.Errorf("make pipe %s: %d %.300s", name, status, text):
					default:
					}
					return
				}
			}
		})
	}
	makers.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	return d.until(ctx, "all of them run", 2*patience, func() bool { return d.runningNow(ctx, at) == d.active })
}

// runningNow counts the pipes that run in a process.
func (d *definitions) runningNow(ctx context.Context, at string) (n int) {
	for token := ""; ; {
		var list struct {
			Pipes     []struct{ Name string }
			NextToken string
		}
		if status, _ := d.control.ask(ctx, at, http.MethodGet, "/v1/pipes?CurrentState=RUNNING&Limit=100&NamePrefix="+d.name+token, "", nil, &list); status != http.StatusOK {
			return -1
		}
		n += len(list.Pipes)
		if list.NextToken == "" {
			return n
		}
		token = "&NextToken=" + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(list.NextToken)
	}
}

// try makes a pipe whose record waits for it, and changes one that runs.
func (d *definitions) try(ctx context.Context, i int, target string, box *inbox) error {
	at := d.processes[i%len(d.processes)].address()
	topic := fmt.Sprintf("%s-new-%d", d.name, i)
	if err := d.cluster.EnsureTopic(ctx, topic, 4, nil); err != nil {
		return err
	}
	client, err := d.writer()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("{}")}).FirstErr(); err != nil {
		return fmt.Errorf("write a record: %w", err)
	}
	path := "/v1/pipes/" + topic
	began := time.Now()
	if status, text := d.control.ask(ctx, at, http.MethodPost, path, "", d.pipe(topic, topic, target, "new", strconv.Itoa(i)), nil); status != http.StatusOK {
		return fmt.Errorf("make a pipe: %d %.300s", status, text)
	}
	var state pipeState
	if err := d.until(ctx, "a new pipe runs", patience, func() bool {
		status, _ := d.control.ask(ctx, at, http.MethodGet, path, "", nil, &state)
		return status == http.StatusOK && state.CurrentState == "RUNNING"
	}); err != nil {
		return errors.Join(err, errors.New(state.CurrentState+" "+state.StateReason))
	}
	d.running = append(d.running, time.Since(began))
	to := fmt.Sprintf("/to/new/%d", i)
	if err := d.until(ctx, "its record arrives", patience, func() bool { _, ok := box.arrived(to); return ok }); err != nil {
		return err
	}
	arrived, _ := box.arrived(to)
	d.first = append(d.first, arrived.Sub(began))

	path = fmt.Sprintf("/v1/pipes/%s-%d", d.name, i%d.active)
	var changed pipeState
	if status, text := d.control.ask(ctx, at, http.MethodPut, path, "", doc{"RoleArn": anyRole, "TargetParameters": pathOf(strconv.Itoa(i), strconv.Itoa(i+1))}, &changed); status != http.StatusOK {
		return fmt.Errorf("change a pipe: %d %.300s", status, text)
	}
	began = time.Now()
	if err := d.until(ctx, "the change is taken up", patience, func() bool {
		return !slices.ContainsFunc(d.processes, func(p *process) bool {
			var s pipeState
			status, _ := d.control.ask(ctx, p.address(), http.MethodGet, path, "", nil, &s)
			return status != http.StatusOK || s.CurrentState != "RUNNING" || s.LastModifiedTime < changed.LastModifiedTime
		})
	}); err != nil {
		return err
	}
	d.changed = append(d.changed, time.Since(began))
	return nil
}

// report prints the figures. A median has to be within its bound: a single one may be
// late because the machine is busy.
func (d *definitions) report() bool {
	holds := d.started <= mostStart
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\ndefinitions\t%d, of which %d run\t\n", d.defined, d.active)
	fmt.Fprintf(w, "from start until all run\t%.1f s\tat most %s\n", d.started.Seconds(), mostStart)
	fmt.Fprintf(w, "resident memory\t%.0f MB\t\n", float64(d.memory)/1e6)
	for _, f := range []struct {
		name string
		took []time.Duration
		most time.Duration
	}{{"create-pipe until RUNNING", d.running, mostFirst}, {"create-pipe until the first delivery", d.first, mostFirst}, {fmt.Sprintf("change until %d processes go by it", d.klamms), d.changed, mostChanged}} {
		slices.Sort(f.took)
		middle := f.took[len(f.took)/2]
		holds = holds && middle <= f.most
		fmt.Fprintf(w, "%s\tmedian %s, longest %s\tmedian at most %s\n", f.name, middle.Round(time.Millisecond), f.took[len(f.took)-1].Round(time.Millisecond), f.most)
	}
	_ = w.Flush()
	fmt.Fprintf(d.out, "%s\n", outcome(holds))
	return holds
}
